"""Files that appear under their name only when they are complete.

Inputs: a path, and what fills a file. Outputs: the file, with the mode that it had before or that the umask says. A
link stays and its target is replaced; a device or a pipe is written through; `/dev/stdout` and its like are the open
file itself, so nothing that stands in it is lost.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_MOST_LINKS = 40  # as Linux follows


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file beside `path` and renames it to `path` once it is on the disk.

    A kill at any moment leaves the old file or the new one, never a part; what is no regular file is written through.

    Raises:
        OSError: `path` cannot be written, or is a folder.
    """
    if not _is_replaceable(path):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "whole")
            write(file)
            with open(file, "rb") as source, _opened_through(path) as target:
                shutil.copyfileobj(source, target)
        return
    with _beside(path) as aside:
        write(aside)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, at once seen in a device or a pipe, else under its name when the block is left unharmed.

    Raises:
        OSError: `path` cannot be written, or is a folder.
    """
    if not _is_replaceable(path):
        with _opened_through(path) as file:
            yield file
        return
    with _beside(path) as aside, open(aside, "wb") as file:
        yield file


def parts_of(path: Path) -> list[Path]:
    """What writes of `path` left that were killed; call it only where no other process writes it."""
    name = re.compile(rf"\.{re.escape(_short(path.name))}\.\d+(-[0-9a-f]+)?\.part")  # 0.1.0 had the number alone
    return [each for each in path.parent.glob(".*.part") if name.fullmatch(each.name)]


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def name_aside(path: Path) -> Path:
    """A name beside `path` that nothing has, within 255 bytes however long the name is."""
    return path.with_name(f".{_short(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _short(name: str) -> str:
    """A name, or the begin of a long one and its checksum."""
    return name if len(name) <= 40 else f"{name[:40]}-{zlib.crc32(os.fsencode(name)):08x}"


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file to fill in a folder of its own, renamed to what `path` stands for when the block is left unharmed."""
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    folder = name_aside(target)
    try:
        folder.mkdir(mode=0o700)  # nobody reads a file that has not its mode yet
    except OSError as fault:  # the user named the file, not what is beside it
        raise OSError(fault.errno, fault.strerror, str(path)) from None
    try:
        aside = folder / "whole"
        os.close(os.open(aside, os.O_CREAT | os.O_WRONLY, 0o666))
        mode = stat.S_IMODE(aside.stat().st_mode)  # as the umask says
        yield aside
        if before is None:
            aside.chmod(mode)  # safetensors makes files that nobody else can read
        else:
            _take_over(aside, before)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(aside: Path, before: os.stat_result) -> None:
    """Gives a file owner, group and mode of another, as far as the user may."""
    mode = stat.S_IMODE(before.st_mode)
    if hasattr(os, "chown"):  # Windows has none
        for owner, group in ((before.st_uid, -1), (-1, before.st_gid)):
            with contextlib.suppress(OSError):
                os.chown(aside, owner, group)
        if aside.stat().st_gid != before.st_gid:
            mode = mode & ~0o070 | (mode & 0o007) << 3  # another group may do what others may
    aside.chmod(mode)


def _is_replaceable(path: Path) -> bool:
    """Whether `path` is a regular file or absent, and not an open file under the name of its number."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_ISREG(mode) and _number_of(path) is None


def _opened_through(path: Path) -> BinaryIO:
    number = _number_of(path)
    # a second handle of the same open file: it goes on where the first one stands
    return open(path if number is None else os.dup(number), "wb")


def _number_of(path: Path) -> int | None:
    """The number of this process's open file that `path` stands for, as /dev/stdout does."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", folder) and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, os.readlink(path))
    return None
