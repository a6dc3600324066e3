"""The compiler and its cache: absent, damaged, and asked for by several processes at once."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from tests.plans import forget_plans

import unrolled
from unrolled.engine import disk, planning
from unrolled.engine.backends.cpu import build, library

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
    return os.environ | {"XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"} | changed


def test_without_a_compiler_everything_works_with_one_warning(tmp_path):
    changed = environment(tmp_path, PATH=str(tmp_path), CXX="")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=changed, check=False)
    assert done.returncode == 0, done.stderr
    [warning] = eval(done.stdout)  # our own program's list of strings
    assert "there is no C++ compiler on this machine. Install one (Debian, Ubuntu: apt install g++" in warning
    command = [sys.executable, "-m", "unrolled", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=changed, check=True)
    assert "Until then scans run eagerly" in done.stdout


def test_products_are_built_while_a_first_step_is_traced(monkeypatch):
    traced, began = threading.Event(), []

    def tracing(*arguments, **options):
        traced.set()
        return make_plan(*arguments, **options)

    def building(*arguments):
        began.append(traced.wait(60))
        return build.build(*arguments)

    make_plan = planning.make_plan
    monkeypatch.setattr(planning, "make_plan", tracing)
    monkeypatch.setattr(library, "build", building)
    monkeypatch.setattr(library, "_begun", {})
    monkeypatch.setattr(disk, "name_of", lambda *_: "")  # no plan is on the disk
    forget_plans()
    cell = unrolled.cells.Elman(2, 3)
    unrolled.scan(cell, torch.ones(4, 2, 2), cell.initial_state(2), engine="fused")
    assert began[0]


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs Clang")
def test_clang_compiles_too(tmp_path):
    changed = environment(tmp_path, CXX="clang++", OMP_NUM_THREADS="2")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=changed, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_processes_that_start_at_once_on_a_cold_cache_all_succeed(tmp_path):
    start = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )
    processes = [start() for _ in range(10)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == "[]\n"
    assert not [path for path in (tmp_path / "unrolled").iterdir() if path.suffix not in (".so", ".json")]


def test_damaged_libraries_and_plans_are_made_again(tmp_path):
    command = [sys.executable, "-c", PROGRAM]
    for _ in range(2):
        subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True)
        files = list((tmp_path / "unrolled").iterdir())
        assert {path.suffix for path in files} == {".so", ".json"}
        assert all(path.stat().st_size > 1000 for path in files)
        for path in files:
            path.write_bytes(b"damaged")


def test_a_source_that_does_not_compile_is_told():
    with pytest.raises(build.NoCompiler, match=r"failed: .*error"):
        build.build("this is no C++", "torch.float32")


def test_a_home_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build.cache_folder().is_dir()
    assert build.cache_folder() != tmp_path


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
