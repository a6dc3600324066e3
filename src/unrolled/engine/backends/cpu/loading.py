"""A library's bytes become a loaded library, by way of no file that could change meanwhile.

On Linux the bytes lie in a sealed file in memory; elsewhere, and where that is forbidden, in a private file that is
unlinked as soon as it is loaded. So what was checked is what runs, and a file that is cut short in the cache is no
SIGBUS later.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os

from unrolled.engine import cache_files

_numbers = itertools.count(1)
_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_SEAL")


def load(content: bytes) -> ctypes.CDLL:
    """Loads a library.

    Raises:
        OSError: it is none, or can be loaded from nowhere.
    """
    try:
        return _from_memory(content)
    except (OSError, AttributeError) as fault:  # neither memfd_create nor /proc is everywhere
        first = fault
    with contextlib.closing(cache_files.workspaces()) as folders:
        for folder in folders:
            with contextlib.suppress(OSError):
                return _from_file(content, os.fspath(folder.path / "library.so"))
    raise OSError(str(first)) from None


def _from_memory(content: bytes) -> ctypes.CDLL:
    file = os.memfd_create("unrolled", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, sum(getattr(fcntl, seal) for seal in _SEALS))
        # the loader takes a path that it has seen for the library that it has loaded from there; descriptors return,
        # so each path is written with other slashes
        way = "".join("./" if bit == "1" else "/" for bit in f"{next(_numbers):b}")
        return ctypes.CDLL(f"/proc/self/fd/{way}{file}")


def _from_file(content: bytes, path: str) -> ctypes.CDLL:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    try:
        with open(file, "wb") as stream:
            stream.write(content)
        return ctypes.CDLL(path)
    finally:
        os.unlink(path)
