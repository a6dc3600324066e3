"""Bounds on what a file may ask for, held before memory is taken.

Inputs: paths, faults. Outputs: the bytes of a file that is not too large; and whether a fault is want of memory.
"""

import contextlib
import errno
import itertools
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import torch

from unrolled.errors import DataError

MOST_BYTES = 4 * 2**30  # of a file of text or a table, which takes a few times as much in memory
MOST_LINE = 2**26  # bytes of a line, where lines are read as they come
_FIRST, _CHUNK = 2**16, 2**24  # read at once at least, of a pipe


def read_bounded(path: Path) -> bytes:
    """What a file or a pipe holds.

    Raises:
        DataError: it is a device, or holds more than `MOST_BYTES`.
        OSError: it cannot be read.
    """
    if "\0" in str(path):
        raise DataError(f"{str(path)!r}: is no path, as it holds a zero byte")
    with open(path, "rb", buffering=0, opener=open_no_device) as file:
        status = os.fstat(file.fileno())
        if status.st_size > MOST_BYTES:
            raise DataError(f"{path}: holds {status.st_size:,} bytes; {_ADVICE}")
        return read_whole(file, str(path), first=max(status.st_size + 1, _FIRST))


def read_whole(stream: IO[bytes], name: str, *, first: int = _CHUNK) -> bytes:
    """All that a stream holds, of which `first` bytes are asked for at once.

    Raises:
        DataError: it is more than `MOST_BYTES`.
        OSError: it cannot be read.
    """
    chunks: list[bytes] = []
    n_bytes = 0
    while chunk := stream.read(_CHUNK if chunks else first):
        chunks.append(chunk)
        n_bytes += len(chunk)
        if n_bytes > MOST_BYTES:
            raise DataError(f"{name}: holds more than {MOST_BYTES:,} bytes; {_ADVICE}")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


_ADVICE = f"at most {MOST_BYTES:,} are read. Cut it into parts"


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """A block that reads a stream, of a packed file too.

    Raises:
        DataError: it cannot be read.
    """
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as fault:
        raise DataError(f"{name}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault


def bounded_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Lines with their ends, as they come.

    Raises:
        DataError: a line is longer than `MOST_LINE`, or there is no reading on.
    """
    with reading(name):
        for number in itertools.count(1):
            line = stream.readline(MOST_LINE + 1)
            if len(line) > MOST_LINE:
                raise DataError(f"{name}, line {number}: has more than {MOST_LINE:,} bytes; expected a text a line")
            if not line:
                return
            yield line


def check_no_device(path: Path, status: os.stat_result) -> None:
    """Raises DataError where a path is a device, which may have no end."""
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise DataError(f"{path}: is a device; expected a file")


def open_no_device(path: str, flags: int) -> int:
    """An opener for `open`; DataError for a device."""
    check_no_device(Path(path), os.stat(path))  # before it is opened: opening some devices acts
    return os.open(path, flags)


def lacks_memory(fault: BaseException) -> bool:
    """Whether a fault says that memory has ended, in Python's words or in torch's."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(fault, OSError):
        return fault.errno == errno.ENOMEM
    return isinstance(fault, RuntimeError) and bool(_NO_MEMORY.search(str(fault)))


_NO_MEMORY = re.compile("not enough memory|can't allocate memory|out of memory|bad.alloc", re.IGNORECASE)
