"""The wheel, in a fresh environment that has torch and the libraries but not this folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import pathlib, sys, torch, unrolled
assert pathlib.Path(unrolled.__file__).is_relative_to(sys.prefix), unrolled.__file__
layer, xs = unrolled.GRU(2, 3), torch.randn(4, 2, 2)
theirs = torch.nn.GRU(2, 3)
theirs.load_state_dict(layer.state_dict())
torch.testing.assert_close(layer(xs)[0], theirs(xs)[0])
print(type(unrolled.load(sys.argv[1])).__name__)
"""


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_serves_in_a_fresh_environment(tmp_path):
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    [wheel] = tmp_path.glob("unrolled-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {
        "unrolled/py.typed",
        "unrolled/engine/backends/cpu/loop.h",
        "unrolled/engine/backends/cpu/products.cpp",
    } <= held
    assert "unrolled_command/help.json" in held
    assert all(name.startswith(("unrolled/", "unrolled_command/")) and "__pycache__" not in name for name in held)

    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, cwd=tmp_path)
    bin = fresh / "bin"
    run(sys.executable, "-m", "pip", "--python", bin / "python", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # a path alone: what is installed there as editable is not found
    libraries = sysconfig.get_path("purelib")
    (next(fresh.glob("lib/python*/site-packages")) / "libraries.pth").write_text(f"{libraries}\n")

    assert run(bin / "unrolled", "--version", cwd=tmp_path).startswith("unrolled, version ")
    assert "torch " in run(bin / "unrolled", "doctor", cwd=tmp_path)
    (tmp_path / "book.txt").write_text("to be or not to be, that is the question\n" * 100)
    sizes = ("--hidden", "16", "--layers", "1", "--steps", "3", "--folder", "run")
    run(bin / "unrolled", "train", "text", "book.txt", *sizes, cwd=tmp_path)
    assert len(run(bin / "unrolled", "generate", "run", "--length", "20", "--seed", "1", cwd=tmp_path)) > 10
    assert run(bin / "python", "-c", PROGRAM, "run", cwd=tmp_path) == "TextModel\n"
