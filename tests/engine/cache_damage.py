"""Damages the cache and uses it: python -m tests.engine.cache_damage FIRST COUNT [sabotage]

Each try puts a damaged file into the cache and uses it in a forked process: a library, which must compute the right
number although its file is cut short meanwhile, or a plan, which must be the same or absent. Prints what went wrong in
each try. "sabotage" switches the check of the digest off.
"""

import json
import os
import random
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from pathlib import Path

import torch

import unrolled
from unrolled.engine import cache_files
from unrolled.engine.backends.cpu import build
from unrolled.engine.cache import disk, plan_data

SOURCE = """
#include "loop.h"
extern "C" __attribute__((visibility("default"))) void run(const int64_t* numbers) {
  int64_t total = 0;
  for (int64_t i = 1; i <= numbers[1]; i++) total = total * 31 + i * i;
  *(int64_t*)numbers[0] = total;
}
"""
N, LONGEST_S, WRONG, LOST = 1000, 20, 3, 4
EXPECTED = 0
for _i in range(1, N + 1):
    EXPECTED = EXPECTED * 31 + _i * _i
EXPECTED = (EXPECTED + (1 << 63)) % (1 << 64) - (1 << 63)


def is_right(function):
    result = torch.zeros(1, dtype=torch.int64)
    function(struct.pack("2q", result.data_ptr(), N))
    return result.item() == EXPECTED


# ---- damage: each takes the path of a file that is whole, and one of another
def flip_bits(rng, path, _):
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def zero_a_page(rng, path, _):
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data)) // 4096 * 4096
    data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    path.write_bytes(data)


def truncate(rng, path, _):
    os.truncate(path, rng.randrange(path.stat().st_size))


def append(rng, path, _):
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 5000)))


def change_a_number(rng, path, _):
    data = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(data) if i > 60 and 48 <= byte <= 57]
    data[rng.choice(places)] = rng.choice(b"0123456789")
    path.write_bytes(data)


def become(content):
    return lambda rng, path, other: path.write_bytes(content(rng, path))


def be_another(rng, path, other):
    shutil.copyfile(other, path)


def link_to_itself(rng, path, other):
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def replaced(make):
    def damage(rng, path, other):
        path.unlink()
        make(path)

    return damage


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(path))


def make_full_folder(path):
    path.mkdir()
    (path / "file").write_text("not ours to remove")


def with_folder(change):
    def damage(rng, path, other):
        change(path.parent)

    return damage


def link_folder(folder):
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"), target_is_directory=True)


CONTENT = {
    "bits": flip_bits, "a page of zeros": zero_a_page, "cut short": truncate, "longer": append,
    "a number": change_a_number, "empty": become(lambda rng, path: b""),
    "zeros": become(lambda rng, path: bytes(path.stat().st_size)),
    "noise": become(lambda rng, path: rng.randbytes(path.stat().st_size)),
    "noise behind the mark": become(lambda rng, path: path.read_bytes()[:22] + rng.randbytes(9000)),
    "without its head": become(lambda rng, path: path.read_bytes()[54:]),
    "another": be_another,
}  # fmt: skip
#: whole files that someone else may have written, and what is no file
TRUST = {
    "of another user": lambda rng, path, other: os.chown(path, 65534, 65534),
    "writable by the group": lambda rng, path, other: path.chmod(0o660),
    "writable by all": lambda rng, path, other: path.chmod(0o602),
    "a link": link_to_itself, "a link to nothing": replaced(lambda path: path.symlink_to("nothing")),
    "a FIFO": replaced(os.mkfifo), "a socket": replaced(make_socket), "a folder": replaced(Path.mkdir),
    "a full folder": replaced(make_full_folder),
    "a device": replaced(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))),
    "a folder of another user": with_folder(lambda folder: os.chown(folder, 65534, 65534)),
    "a folder for the group": with_folder(lambda folder: folder.chmod(0o770)),
    "a folder for all": with_folder(lambda folder: folder.chmod(0o777)),
    "a link to a folder": with_folder(link_folder),
}  # fmt: skip
NEEDS_ROOT = {"of another user", "a folder of another user", "a device"}
KINDS = {name: kind for name, kind in (CONTENT | TRUST).items() if os.geteuid() == 0 or name not in NEEDS_ROOT}


def use_library(name, whole, *, is_trusted):
    """In the forked process: 0 where all is well."""
    if is_trusted and cache_files.read(name) is not None:
        return WRONG
    build._compiled = lambda *_: whole  # the compiler's part, without its time
    function = build.build(SOURCE, "torch.float32")
    for path in (Path(os.environ["XDG_CACHE_HOME"]) / "unrolled" / name, Path(tempfile.gettempdir()) / "x"):
        if path.is_file():
            os.truncate(path, 0)  # while it is loaded
    if not is_right(function):
        return WRONG
    cache_files.write(name, whole)
    return 0 if cache_files.read(name) == whole else LOST


def use_plan(name, whole, *, is_trusted):
    expected = json.loads(whole)
    found = disk.load(name.removesuffix(".json"))
    if found is not None and (is_trusted or plan_data.to_data(found) != expected):
        return WRONG
    disk.save(name.removesuffix(".json"), plan_data.from_data(expected))
    again = disk.load(name.removesuffix(".json"))
    return 0 if again is not None and plan_data.to_data(again) == expected else LOST


def ended(process):
    """How a process ended, in words; None where all is well."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            words = {0: None, WRONG: "used what is damaged", LOST: "not made anew"}
            return f"signal {-code}" if code < 0 else words.get(code, "an exception")
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "a hang"


def tries(root, first, count):
    """What went wrong, as (kind of damage, name of the file, how)."""
    torch.set_num_threads(1)
    folder = root / "cache" / "unrolled"
    assert is_right(build.build(SOURCE, "torch.float32"))
    build.build.cache_clear()
    [library] = [path.name for path in folder.glob("*.so")]
    cell = unrolled.cells.GRU(2, 3)
    unrolled.scan(cell, torch.ones(4, 2, 2), torch.zeros(2, 3), engine="fused")
    [plan] = [path.name for path in folder.glob("*.json")]
    whole = root / "whole"
    folder.rename(whole)
    of_file = {name: (whole / name).read_bytes()[cache_files.N_HEAD :] for name in (library, plan)}
    # another loop, which has a function of the same name; the products' library is the larger
    loop = min((path for path in whole.glob("*.so") if path.name != library), key=lambda path: path.stat().st_size)
    others = {library: loop, plan: whole / library}
    wrong = []
    for i in range(first, first + count):
        rng = random.Random(i)
        kind, name = list(KINDS)[i % len(KINDS)], (library, plan)[i // len(KINDS) % 2]
        for path in (root / "cache", root / "temporary"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o700)
        folder.mkdir(mode=0o700)
        shutil.copy2(whole / name, folder / name)
        before = (folder / name).read_bytes()
        while True:  # until something has changed
            KINDS[kind](rng, folder / name, others[name])
            if kind in TRUST or (folder / name).read_bytes() != before:
                break
        process = os.fork()
        if process == 0:
            code = 1
            try:
                use = use_library if name == library else use_plan
                code = use(name, of_file[name], is_trusted=kind in TRUST)
            finally:
                os._exit(code)
        how = ended(process)
        if how:
            wrong.append((kind, name, how))
    return wrong


def main(first, count, *more):
    root = Path(tempfile.mkdtemp())
    try:
        (root / "cache").mkdir()
        (root / "temporary").mkdir()
        os.environ["XDG_CACHE_HOME"], tempfile.tempdir = str(root / "cache"), str(root / "temporary")
        if more == ("sabotage",):
            cache_files.is_whole = lambda *_: True
        for each in tries(root, int(first), int(count)):
            sys.stdout.write("; ".join(each) + "\n")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
