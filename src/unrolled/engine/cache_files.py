"""Cache files: checked by a digest, written whole, evicted by last use.

Takes and returns the content of a file by name. A file is read and written by descriptor, in a folder that no other
user can write, without following links. It holds a digest of its name and content, so that neither a damaged file nor
one under another file's name is ever used. No function raises because of the cache: a file that cannot be used is
absent.

The folders, best first: XDG_CACHE_HOME or ~/.cache; a folder of this user in the temporary directory; where that name
is taken by another user, a folder of this process, which is removed at exit.
"""

import atexit
import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

MOST_BYTES = 512 << 20  # of all files of a folder
MOST_FILE_BYTES = 64 << 20  # the largest library that the tests make takes 2 MB
_MARK = b"unrolled cache file 1\n"
N_HEAD = len(_MARK) + hashlib.sha256().digest_size  # bytes before the content
_OLD_S = 86_400.0  # what a killed process left behind, and nobody can be writing any more
_TOUCH_S = 3600.0  # a use is noted once an hour: a write for each read would cost more than the read
_ASIDE = ".unrolled-"  # names of what is being written; earlier versions took "tmp"
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# O_NONBLOCK: a FIFO that someone put in a file's place must not hang
_FILE = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_room: dict[tuple[int, int], int] = {}  # bytes that this process may write to a folder before it is scanned again


def read(name: str) -> bytes | None:
    """The content of a file, None where there is none that is whole and ours."""
    for _, folder in _opened(create=False):
        with contextlib.suppress(OSError):
            data = _read(folder, name, is_touched=True)
            if data is not None and is_whole(name, data):
                return data[N_HEAD:]
    return None


def write(name: str, content: bytes) -> bool:
    """Writes a file whole, in the first folder that takes it; returns whether one did."""
    if len(content) > MOST_FILE_BYTES - N_HEAD:
        return False
    data = _MARK + digest(name, content) + content
    for _, folder in _opened(create=True):
        with contextlib.suppress(OSError):  # a full disk, a quota, a folder in the file's place: the next folder serves
            _write(folder, name, data)
            _make_room(folder, len(data))
            return True
    return False


def digest(name: str, content: bytes) -> bytes:
    """Of a file's name and content."""
    return hashlib.sha256(b"\0".join((name.encode(), content))).digest()


def is_whole(name: str, data: bytes) -> bool:
    """Whether a file's bytes are what was written under that name."""
    return data[: len(_MARK)] == _MARK and data[len(_MARK) : N_HEAD] == digest(name, data[N_HEAD:])


class Workspace:
    """An empty folder for a compiler.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    def read(self, name: str) -> bytes:
        """What was written into it, even where the path has become another folder's meanwhile.

        Raises:
            OSError: there is no such file, or it is no regular one, or too large.
        """
        data = _read(self._descriptor, name)
        if data is None:
            raise OSError(f"{name} is no regular file of at most {MOST_FILE_BYTES >> 20} MiB")
        return data


def workspaces() -> Generator[Workspace, None, None]:
    """Each folder's own workspace, best first; it is removed when the next one is asked for, or the iterator closed."""
    for path, folder in _opened(create=True):
        name = _ASIDE + secrets.token_hex(8)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            inside = os.open(name, _FOLDER, dir_fd=folder)
        except OSError:
            continue
        try:
            yield Workspace(path / name, inside)
        finally:
            os.close(inside)
            with contextlib.suppress(OSError):
                shutil.rmtree(name, dir_fd=folder)


def cache_folder() -> Path | None:
    """The folder that files are written to, None where there is none."""
    with contextlib.closing(_opened(create=True)) as folders:
        return next((path for path, _ in folders), None)


# ---- folders


def _opened(*, create: bool) -> Generator[tuple[Path, int], None, None]:
    """The folders that may be used, each with its descriptor."""
    for path in _places():
        folder = _open_folder(path, create=create)
        if folder is not None:
            try:
                yield path, folder
            finally:
                os.close(folder)


def _places() -> Iterator[Path]:
    root = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # as the specification of XDG_CACHE_HOME says, a relative one is ignored
        home = "" if os.environ.get("HOME") == "" else os.path.expanduser("~")  # which makes "/" of an empty one
        root = os.path.join(home, ".cache")
    if os.path.isabs(root):  # else there is no home
        yield Path(root, "unrolled")
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        return
    shared = Path(temporary, f"unrolled-{os.geteuid()}")
    if not os.path.lexists(shared) or _is_folder_of_ours(shared):
        yield shared
    else:
        with contextlib.suppress(OSError):
            yield _own_folder(os.getpid(), temporary)


def _open_folder(path: Path, *, create: bool) -> int | None:
    try:
        if create:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path, _FOLDER)
    except OSError:
        return None
    if _is_ours(os.fstat(folder)):
        return folder
    os.close(folder)
    return None


def _is_folder_of_ours(path: Path) -> bool:
    folder = _open_folder(path, create=False)
    if folder is not None:
        os.close(folder)
    return folder is not None


@functools.cache
def _own_folder(process: int, temporary: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix="unrolled-", dir=temporary))

    def remove() -> None:
        if os.getpid() == process:  # not a forked one
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path


def _is_ours(facts: os.stat_result) -> bool:
    """Whether we own it and nobody else may write to it."""
    return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# ---- files


def _read(folder: int, name: str, *, is_touched: bool = False) -> bytes | None:
    """The bytes of a regular file of ours, None of anything else."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None  # to open a device may do something
    file = os.open(name, _FILE, dir_fd=folder)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or not _is_ours(facts) or facts.st_size > MOST_FILE_BYTES:
            return None
        with open(file, "rb", closefd=False) as stream:
            data = stream.read(MOST_FILE_BYTES)  # read, not mapped: a file that is cut short meanwhile is no signal
        if is_touched and abs(time.time() - facts.st_mtime) > _TOUCH_S:
            with contextlib.suppress(OSError):  # a disk that is read alone
                os.utime(file)
        return data
    finally:
        os.close(file)


def _write(folder: int, name: str, data: bytes) -> None:
    aside = _ASIDE + secrets.token_hex(8)
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with open(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(file)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise
    with contextlib.suppress(OSError):  # not every file system can
        os.fsync(folder)


def _make_room(folder: int, n_bytes: int) -> None:
    """Notes a write. A scan of 15,000 files takes 60 ms: it is made at the first write of a process, and when that has
    written a quarter of what was free then, as others write too.
    """
    facts = os.fstat(folder)
    place = facts.st_dev, facts.st_ino
    _room[place] = _room.get(place, 0) - n_bytes
    if _room[place] < 0:
        _room[place] = (MOST_BYTES - _evict(folder)) // 4


def _evict(folder: int) -> int:
    """Removes what killed processes left, and of more than `MOST_BYTES` the files used longest ago, so that a sixteenth
    is free; returns the bytes that remain.
    """
    found: list[tuple[float, int, str]] = []
    now = time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:  # another process removed it
                continue
            is_aside = entry.name.startswith((_ASIDE, "tmp"))
            if is_aside and now - facts.st_mtime > _OLD_S:
                with contextlib.suppress(OSError):
                    if stat.S_ISDIR(facts.st_mode):
                        shutil.rmtree(entry.name, dir_fd=folder)
                    else:
                        os.unlink(entry.name, dir_fd=folder)
            elif not is_aside and stat.S_ISREG(facts.st_mode):
                found.append((facts.st_mtime, facts.st_size, entry.name))
    total = sum(size for _, size, _ in found)
    most = MOST_BYTES if total <= MOST_BYTES else MOST_BYTES * 15 // 16
    for _, size, name in sorted(found):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        total -= size
    return total
