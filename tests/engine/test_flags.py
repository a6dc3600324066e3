"""The generated code on narrower processors, and under the sanitizers. Slow: run on purpose with -m slow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(tmp_path, *flags, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.with_flags", *flags],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "unrolled").iterdir())) > 30


@pytest.mark.slow
@pytest.mark.parametrize("march", ["x86-64", "haswell"])
def test_narrower_processors(tmp_path, march):
    run(tmp_path, f"-march={march}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs Clang")
def test_another_compiler(tmp_path):
    run(tmp_path, CXX="clang++")


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("aarch64-linux-gnu-g++", "qemu-aarch64"))),
    reason="needs a cross compiler and an emulator (Debian: apt install g++-aarch64-linux-gnu qemu-user)",
)
def test_an_arm_processor(tmp_path):
    done = run_as_programs(tmp_path, "arm")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*/*.cpp"))) > 30


@pytest.mark.slow
def test_threads_never_race(tmp_path):
    done = run_as_programs(tmp_path, "races")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*/*.cpp"))) > 30


@pytest.mark.slow
@pytest.mark.parametrize("where", ["within", "between"])
def test_a_race_is_noticed(tmp_path, where):
    done = run_as_programs(tmp_path, f"sabotage {where} steps")
    assert done.returncode != 0
    assert "data race" in done.stderr


def run_as_programs(tmp_path, way):
    return subprocess.run(
        [sys.executable, "-m", "tests.engine.as_programs", way],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path):
    library = lambda name: subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    preload = f"{library('libasan.so')}:{library('libubsan.so')}"
    options = {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    flags = ("-march=native", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    run(tmp_path, *flags, **options)
