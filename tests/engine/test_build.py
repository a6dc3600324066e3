"""The compiler and its cache: absent, damaged, and asked for by several processes at once."""

import importlib.util
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.engine import cache_damage
from tests.plans import forget_plans

import unrolled
from unrolled.engine import cache_files
from unrolled.engine.backends.cpu import build, compilers, compiling, library, run
from unrolled.engine.cache import disk
from unrolled.engine.ir.program import Builder, Program
from unrolled.engine.passes import pipeline
from unrolled.engine.reasons import NotTraceable

PROGRAM = """
import torch, unrolled, warnings
cell = unrolled.cells.Elman(2, 3)
xs = torch.ones(4, 2, 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ys, _ = unrolled.scan(cell, xs, cell.initial_state(2))
    ys, _ = unrolled.scan(cell, xs, cell.initial_state(2))
    unrolled.GRU(2, 3)(xs)
eager, _ = unrolled.scan(cell, xs, cell.initial_state(2), engine="eager")
torch.testing.assert_close(ys, eager)
print([str(each.message) for each in caught if each.category is unrolled.errors.NotFusedWarning])
"""


def environment(folder, **changed):
    # also of its own: where temporary files lie, an earlier process may have left a cache
    own = {"XDG_CACHE_HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    return os.environ | own | changed


def test_without_a_compiler_everything_works_with_one_warning(tmp_path):
    (tmp_path / "ziglang").mkdir()  # found before one that is installed
    (tmp_path / "ziglang/__init__.py").touch()
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    changed = environment(tmp_path, PATH=str(tmp_path), CXX="", PYTHONPATH=path)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=changed, check=False)
    assert done.returncode == 0, done.stderr
    [warning] = eval(done.stdout)  # our own program's list of strings
    assert 'there is no C++ compiler on this machine. Install one: pip install "unrolled[compiler]"; or' in warning
    command = [sys.executable, "-m", "unrolled", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=changed, check=True)
    assert "Until then scans run eagerly" in done.stdout


def test_products_are_built_while_a_first_step_is_traced(monkeypatch):
    traced, began = threading.Event(), []

    def tracing(*arguments, **options):
        traced.set()
        return make_plan(*arguments, **options)

    def building(*arguments, **options):
        began.append(traced.wait(60))
        return build.build(*arguments, **options)

    make_plan = pipeline.make_plan
    monkeypatch.setattr(pipeline, "make_plan", tracing)
    monkeypatch.setattr(library, "build", building)
    monkeypatch.setattr(library, "_begun", {})
    monkeypatch.setattr(disk, "load", lambda _: None)  # no plan is on the disk
    forget_plans()
    cell = unrolled.cells.Elman(2, 3)
    unrolled.scan(cell, torch.ones(4, 2, 2), cell.initial_state(2), engine="fused")
    assert began[0]


ZIG = importlib.util.find_spec("ziglang")


@pytest.mark.skipif(ZIG is None, reason="needs the package ziglang (pip install 'unrolled[compiler]')")
@pytest.mark.parametrize("home", ["home", "/proc/none"])
def test_the_compiler_of_the_package_serves_where_the_system_has_none(home, tmp_path):
    changed = environment(tmp_path, PATH=str(tmp_path), CXX="", OMP_NUM_THREADS="2", HOME=home)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=changed, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert {path.suffix for path in (tmp_path / "unrolled").iterdir()} == {".so", ".json"}
    command = [sys.executable, "-m", "unrolled", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=changed, check=True)
    assert "zig c++: clang of ziglang " in done.stdout
    assert "It compiles and loads: scans run as compiled loops." in done.stdout


def test_a_compilers_words_may_be_several(monkeypatch):
    monkeypatch.setenv("CXX", "env -u NOTHING g++")
    [first, *_] = compilers._of_the_system()
    assert first == (shutil.which("env"), "-u", "NOTHING", "g++")


def test_no_loop_needs_a_part_of_the_c_plus_plus_library(own):
    build.build(library.SOURCE.read_text(), "torch.float32", "multiply")
    cell = unrolled.cells.Elman(2, 3)
    forget_plans()
    unrolled.scan(cell, torch.ones(4, 2, 2).requires_grad_(), cell.initial_state(2), engine="fused")
    libraries = sorted(own.glob("*.so"))
    assert libraries
    for path in libraries:
        path.write_bytes(path.read_bytes()[cache_files.N_HEAD :])
        done = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True)
        names = [line.split()[-1] for line in done.stdout.splitlines()]
        assert "__register_atfork" in " ".join(names)
        assert not [name for name in names if name.startswith(("_Z", "__cxa_throw", "__cxa_guard", "__gxx"))]


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs Clang")
def test_clang_compiles_too(tmp_path):
    changed = environment(tmp_path, CXX="clang++", OMP_NUM_THREADS="2")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=changed, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("n_processes", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_processes_that_start_at_once_on_a_cold_cache_all_succeed_and_damaged_files_are_made_again(
    n_processes, tmp_path
):
    start = lambda: subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )
    for damaged in (False, True):  # then once more, and all that the first ones have left is made again
        processes = [start() for _ in range(1 if damaged else n_processes)]
        for process in processes:
            out, err = process.communicate(timeout=400)  # up to forty compiles
            assert process.returncode == 0, err
            assert out == "[]\n"
        files = list((tmp_path / "unrolled").iterdir())
        assert {path.suffix for path in files} == {".so", ".json"}
        assert all(path.stat().st_size > 1000 for path in files)
        for path in files:
            path.write_bytes(b"damaged")


def test_a_source_that_does_not_compile_is_told():
    with pytest.raises(build.NoCompiler, match=r"failed: .*error"):
        build.build("this is no C++", "torch.float32")


# ---- compilers that do not work


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A cache of this test's own; returns its folder."""
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache" / "unrolled"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Makes a script the compiler."""

    def use(script):
        path = tmp_path / "compiler"
        path.write_text(f'#!/bin/sh\ncase "$1" in --version) exec g++ --version;; esac\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(build, "compiler", lambda: compilers.Compiler((str(path),), "test"))
        return path

    return use


# the last argument is the library
OUTPUT = "for last; do :; done\n"
BROKEN = {
    "exit 3": "it ended with exit code 3 and no message",
    "echo 'loop.cpp: error: no' >&2; exit 1": "loop.cpp: error: no",
    "printf 'odd\\033[31m\\377words' >&2; exit 1": "odd[31m\ufffdwords",
    "kill -9 $$": "it was killed by signal 9",
    "exit 0": "it wrote no library (No such file or directory)",
    OUTPUT + "mkdir $last": "it wrote no library (loop.so is no regular file of at most 64 MiB)",
}


@pytest.mark.parametrize("script", BROKEN)
def test_a_compiler_that_fails(script, own, compiler):
    path = compiler(script)
    with pytest.raises(build.NoCompiler) as told:
        build.build("", "torch.float32")
    assert str(told.value) == f"the compiler {path} failed: {BROKEN[script]}"
    assert not list(own.iterdir())


def test_a_compiler_that_writes_something_else(own, compiler):
    path = compiler(OUTPUT + "echo garbage > $last")
    with pytest.raises(build.NoCompiler) as told:
        build.build("", "torch.float32")
    assert str(told.value).startswith(f"the compiler {path} failed: what it wrote cannot be loaded (")
    assert not list(own.iterdir())


def test_a_compiler_that_is_no_program(own, compiler):
    path = compiler("")
    path.write_bytes(bytes(100))
    with pytest.raises(build.NoCompiler) as told:
        build.build("", "torch.float32")
    assert str(told.value) == f"the compiler {path} failed: it cannot be run (Exec format error)"


def test_a_compiler_that_hangs(own, compiler, monkeypatch):
    path = compiler("sleep 60 & echo $! > $0.number; wait")
    monkeypatch.setattr(compiling, "MOST_S", 0.5)
    with pytest.raises(build.NoCompiler) as told:
        build.build("", "torch.float32")
    assert str(told.value) == f"the compiler {path} failed: it was stopped after 0.5 seconds"
    assert_ends(int((path.parent / "compiler.number").read_text()))
    assert not list(own.iterdir())


def assert_ends(process):
    """Also what a compiler has started is gone soon."""
    until = time.monotonic() + 10
    while is_running(process) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(process)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("words", build._OF_DISKS)
def test_where_the_caches_disk_is_full_another_folder_serves(words, own, compiler, tmp_path):
    compiler(f'case "$TMPDIR" in {tmp_path}/cache/*) echo \'error: {words}\' >&2; exit 1;; esac; exec g++ "$@"')
    function = build.build(cache_damage.SOURCE, "torch.float32")
    assert cache_damage.is_right(function)


def test_no_compiler_works(tmp_path, monkeypatch):
    compilers.compiler.cache_clear()
    (tmp_path / "g++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers, "_zig", lambda: None)
    try:
        with pytest.raises(build.NoCompiler) as told:
            compilers.compiler()
    finally:
        compilers.compiler.cache_clear()
    assert str(told.value) == (
        f"there is no C++ compiler on this machine that works: {tmp_path}/g++ does not tell its version. Install one: "
        'pip install "unrolled[compiler]"; or the system\'s (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; '
        "macOS: xcode-select --install); or set CXX to its path"
    )


# ---- compilers that take long

SLOW = """#!/bin/sh
case "$1" in --version) exec g++ --version;; esac
if [ -e "$0.fast" ]; then exec g++ "$@"; fi
echo $$ >> "$0.numbers"
exec sleep 100
"""
INTERRUPTED = """
import torch, unrolled
from unrolled.engine.backends.cpu import compiling
compiling.SHOWN_AFTER_S = 0.3
cell = unrolled.cells.Elman(2, 3)
def call():
    return unrolled.scan(cell, torch.ones(4, 2, 2).requires_grad_(), cell.initial_state(2), engine="fused")[0]
call_eagerly = unrolled.scan(cell, torch.ones(4, 2, 2), cell.initial_state(2), engine="eager")[0]
print("ready", flush=True)
try:
    call()
except KeyboardInterrupt:
    print("interrupted", flush=True)
input()
torch.testing.assert_close(call(), call_eagerly)
print("right")
"""
LEFT = """
import torch
from unrolled.engine.backends.cpu import library
library.begin(torch.float32)
while not library._begun[next(iter(library._begun))][1]._running: pass
print("ready", flush=True)
"""


@pytest.fixture
def slow(tmp_path):
    """A compiler that takes for ever, until a file is there; and the environment of who uses it."""
    path = tmp_path / "slow"
    path.write_text(SLOW)
    path.chmod(0o755)
    return path, environment(tmp_path, CXX=str(path))


def numbers(path):
    file = path.with_name("slow.numbers")
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_ctrl_c_during_a_compile(slow, tmp_path):
    path, changed = slow
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=changed
    ) as process:
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: len(numbers(path)) == 3)  # products, training, backward
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - begun < 5
        for number in numbers(path):
            assert_ends(number)
        wait_for(lambda: all(each.suffix == ".json" for each in (tmp_path / "unrolled").iterdir()))
        path.with_name("slow.fast").touch()
        out, err = process.communicate("\n", timeout=120)
    assert (out, err, process.returncode) == ("right\n", "", 0)  # no line of progress: it is no terminal


def test_the_end_of_a_program_does_not_wait_for_a_compile(slow, tmp_path):
    path, changed = slow
    with subprocess.Popen([sys.executable, "-c", LEFT], stdout=subprocess.PIPE, text=True, env=changed) as process:
        assert process.stdout.readline() == "ready\n"
        assert process.wait(timeout=20) == 0
    for number in numbers(path):
        assert_ends(number)
    assert not list((tmp_path / "unrolled").iterdir())


def test_a_terminal_shows_what_takes_long(slow):
    path, changed = slow
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=end, env=changed
    ) as process:
        os.close(end)
        shown = os.read(terminal, 1000).decode()
        wait_for(lambda: len(numbers(path)) == 3)  # Ctrl-C while a step is traced leaves the products to be built
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"ready\n"
        assert process.stdout.readline() == b"interrupted\n"
        while not shown.endswith("\r"):
            shown += os.read(terminal, 1000).decode()
        process.kill()
    os.close(terminal)
    words = r"unrolled: compiling (the products of float32|a loop of \d+ operations)( and \d more)? \(once; Ctrl-C stops it\)"
    texts = [text.strip() for text in shown.split("\r") if text.strip()]
    assert texts
    assert all(re.fullmatch(words, text) for text in texts)
    assert shown.count("\n") == 0
    assert not shown.rsplit("\r", 2)[1].strip()  # cleared


# ---- too large


def test_a_loop_that_would_take_minutes_to_compile_is_refused():
    builder = Builder()
    value = builder.input("state", 0, 4)
    for _ in range(2000):
        value = builder.pointwise("tanh", value)
    program = Program((), (4,), (), (), (value,), ())
    with pytest.raises(NotTraceable) as told:
        run.kernels([program], torch.float32)
    assert str(told.value) == (
        "its loop has 2,001 operations, which would take minutes to compile. Move out of the step what does not depend "
        "on the state, or repeat an inner loop less often"
    )


def test_a_loop_whose_operations_wait_for_each_other_is_refused():
    builder = Builder()
    value = builder.input("state", 0, 4)
    for _ in range(1900):
        value = builder.pointwise("abs", value)
    with pytest.raises(NotTraceable) as told:
        run.kernels([Program((), (4,), (), (), (value,), ())], torch.float32)
    assert str(told.value) == (
        "its loop has 1,901 operations, each of which waits for the one before; a fused loop of so many cannot be "
        "compiled. Repeat an inner loop less often"
    )


def test_products_count_for_more():
    builder = Builder()
    value = builder.input("state", 0, 4)
    for _ in range(154):
        value = builder.matmul(value, 0, 4)
    with pytest.raises(NotTraceable, match="its loop has 155 operations"):
        run.check_size(Program((), (4,), (), ((4, 4),) * 2, (value,), ()))


FEWER = """
import torch, unrolled
torch.manual_seed(0)
torch.set_num_threads(2)
cell, xs = unrolled.cells.GRU(65, 400), torch.randn(3, 2, 65, requires_grad=True)
found = [unrolled.scan(cell, xs, torch.zeros(2, 400), engine=engine)[0] for engine in ("fused", "eager")]
torch.testing.assert_close(*found)
gradients = [torch.autograd.grad(each.sum(), [xs, *cell.parameters()]) for each in found]
torch.testing.assert_close(*gradients)
"""


def test_openmp_may_give_fewer_threads_than_torch_counts():
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
    done = subprocess.run([sys.executable, "-c", FEWER], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
