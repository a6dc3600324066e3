"""Cache files: where they lie, who may write them, how many are kept, and what a disk does that takes none."""

import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from unrolled.engine import cache_files


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The cache's folder, and that in the temporary directory; neither is there yet."""
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    cache_files._own_folder.cache_clear()
    monkeypatch.setattr(cache_files, "_room", {})  # as in a new process
    return tmp_path / "cache" / "unrolled", tmp_path / "temporary" / f"unrolled-{os.geteuid()}"


def test_what_is_written_is_read(folders):
    assert cache_files.read("a") is None
    assert cache_files.write("a", b"content")
    assert cache_files.read("a") == b"content"
    assert cache_files.read("b") is None
    assert [path.name for path in folders[0].iterdir()] == ["a"]
    assert not folders[1].exists()
    assert (folders[0].stat().st_mode & 0o777, (folders[0] / "a").stat().st_mode & 0o777) == (0o700, 0o600)


def use_a_file(folder):
    folder.parent.rmdir()
    folder.parent.touch()


def use_a_link(folder):
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "change",
    [use_a_file, use_a_link, lambda folder: folder.mkdir() or folder.chmod(0o770),
     lambda folder: folder.mkdir() or folder.chmod(0o702), lambda folder: folder.touch()],
)  # fmt: skip
def test_a_home_that_cannot_be_used(change, folders):
    change(folders[0])
    assert cache_files.write("a", b"content")
    assert (folders[1] / "a").is_file()
    assert cache_files.read("a") == b"content"
    assert cache_files.cache_folder() == folders[1]


def test_neither_home_nor_name_in_the_temporary_directory(folders):
    use_a_file(folders[0])
    folders[1].mkdir()
    folders[1].chmod(0o777)
    assert cache_files.write("a", b"content")
    assert cache_files.read("a") == b"content"
    [own] = [path for path in folders[1].parent.iterdir() if path != folders[1]]
    assert (own / "a").is_file()


LEAVES = """
import sys, tempfile
sys.path.append(sys.argv[2])
import cache_files  # the file alone, as the package loads torch
tempfile.tempdir = sys.argv[1]
assert cache_files.write("a", b"content")
assert cache_files.read("a") == b"content"
"""


@pytest.mark.parametrize("is_taken", [False, True])
def test_processes_leave_one_folder_at_most(is_taken, folders):
    use_a_file(folders[0])
    if is_taken:
        folders[1].mkdir()
        folders[1].chmod(0o777)
    for _ in range(2):
        subprocess.run([sys.executable, "-c", LEAVES, folders[1].parent, Path(cache_files.__file__).parent], check=True)
    assert list(folders[1].parent.iterdir()) == [folders[1]]


@pytest.mark.parametrize("home", ["", "relative", None])
@pytest.mark.parametrize("xdg", ["", "relative", None])
def test_no_home_and_relative_ones(home, xdg, folders, tmp_path, monkeypatch):
    for name, value in (("HOME", home), ("XDG_CACHE_HOME", xdg)):
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    if home is None:  # then the user's entry tells
        monkeypatch.setattr(os.path, "expanduser", lambda path: str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert cache_files.write("a", b"content")
    expected = tmp_path / "home" / ".cache" / "unrolled" if home is None else folders[1]
    assert cache_files.cache_folder() == expected
    assert not (tmp_path / "relative").exists()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_nothing(fault, folders, monkeypatch):
    def fails(*_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", fails)
    assert not cache_files.write("a", b"content")
    assert cache_files.read("a") is None
    assert not [path for folder in folders for path in folder.iterdir()]


def test_the_files_used_longest_ago_are_evicted(folders, monkeypatch):
    monkeypatch.setattr(cache_files, "MOST_BYTES", 5 * 1200)
    now = time.time()
    for i in range(5):
        assert cache_files.write(str(i), bytes(1000))
        os.utime(folders[0] / str(i), (now - 10_000 * (5 - i),) * 2)
    assert cache_files.read("0") == bytes(1000)  # a use
    assert cache_files.write("5", bytes(1000))
    assert sorted(path.name for path in folders[0].iterdir()) == ["0", "2", "3", "4", "5"]


def test_a_folder_that_has_room_is_scanned_once(folders, monkeypatch):
    scans, scan = [], cache_files._evict
    monkeypatch.setattr(cache_files, "_evict", lambda folder: scans.append(0) or scan(folder))
    for i in range(100):
        assert cache_files.write(str(i), bytes(1000))
    assert len(scans) == 1


@pytest.mark.parametrize("n_others", [0, 3])
def test_processes_that_write_at_once_keep_to_the_size(n_others, folders, monkeypatch):
    monkeypatch.setattr(cache_files, "MOST_BYTES", 100_000)
    rooms = [{} for _ in range(1 + n_others)]  # of each process
    for i in range(400):
        for n, room in enumerate(rooms):
            monkeypatch.setattr(cache_files, "_room", room)
            assert cache_files.write(f"{i} {n}", bytes(1000))
            assert sum(path.stat().st_size for path in folders[0].iterdir()) <= 100_000 + 2000 * n_others


def test_what_killed_processes_left_is_removed_after_a_day(folders, monkeypatch):
    folder = folders[0]
    assert cache_files.write("a", b"")
    for name, age in ((".unrolled-old", 90_000), ("tmp-old", 90_000), (".unrolled-new", 80_000)):
        (folder / name).mkdir()
        (folder / name / "loop.so").touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    monkeypatch.setattr(cache_files, "_room", {})  # as in a new process
    assert cache_files.write("b", b"")
    assert sorted(path.name for path in folder.iterdir()) == [".unrolled-new", "a", "b"]


def test_a_workspace_is_removed_whatever_happens(folders):
    workspaces = cache_files.workspaces()
    first = next(workspaces)
    (first.path / "file").write_bytes(b"content")
    assert first.read("file") == b"content"
    second = next(workspaces)
    assert (first.path.parent, second.path.parent) == folders
    assert not first.path.exists()
    workspaces.close()
    assert not second.path.exists()


def test_no_file_is_left_half_written(folders, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        cache_files.write("a", b"content")
    assert not list(folders[0].iterdir())
