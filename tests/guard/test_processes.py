"""Changes across two processes with one cache on disk: what the first process read is never in the second's results."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.guard.changes import CHANGES
from tests.guard.checks import are_equal, outcome
from tests.guard.conftest import Patch
from tests.loops import own_cache_with_loops

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from tests.guard import test_processes
test_processes.child(sys.argv[2] == "changed", sys.argv[3:])
"""
# rows that are about two calls of one process and no more, or that read what lies in one process's folder
OF_ONE_PROCESS = {"content_of_a_file", "existence_of_a_file", "deletion_that_raises", "global_deleted_that_raises"}
ROWS = [name for name in CHANGES if name not in OF_ONE_PROCESS]
ORDER = ("first", "changed", "first")
FEW = [
    "closure-number",
    "buffer_filled",
    "environment_variable_by_getenv",
    "deque_-flag_in_a_tensor",
]


def child(is_changed: bool, names: list[str]) -> None:
    """Runs rows of the table once each, with their change or without; prints which are wrong."""
    wrong: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            patch = Patch(Path(folder))
            case = CHANGES[name](patch)
            if is_changed:
                case.change()
            xs, state = case.arguments()
            wanted = list(case.wanted())
            ours, theirs = (outcome(case.step, xs, state, wanted, engine=engine) for engine in ("auto", "eager"))
            if not are_equal(ours, theirs):
                wrong[name] = str(ours)[:200]
            patch.undo()
    sys.stdout.write(json.dumps(wrong))


def run(cache: Path, which: str, names: list[str]) -> dict[str, str]:
    """What a child finds wrong."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT), which, *names],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def assert_right_across_processes(cache: Path, names: list[str], times: tuple[str, ...] = ORDER) -> None:
    for which in times:
        assert run(cache, which, names) == {}, which


def test_changes_between_two_processes(tmp_path):
    with own_cache_with_loops(tmp_path):
        assert_right_across_processes(tmp_path, FEW, ORDER[:2])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_all_changes_between_two_processes(part, tmp_path):
    assert_right_across_processes(tmp_path, ROWS[part::4])


STEP = """
import sys, torch, unrolled
{before}
class Net(torch.nn.Module):
    {attribute}
    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.tensor({buffer}))
    def forward(self, x, h):
        h = torch.tanh(({expression}) * (h + x.sum(1, keepdim=True)) / self.temperature.item() + {constant})
        return h, h
net, xs, h = Net(), torch.ones(3, 2, 3), torch.zeros(2, 4)
import warnings
warnings.simplefilter("ignore")
ours, theirs = (unrolled.scan(net, xs, h, engine=engine)[0] for engine in ("auto", "eager"))
assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7), (ours, theirs)
print(theirs.sum().item())
"""
PLAIN = {"before": "", "attribute": "rate = 0.5", "buffer": "2.0", "expression": "self.rate", "constant": "0.1"}
VERSIONS = [
    PLAIN,
    PLAIN | {"buffer": "4.0"},
    PLAIN | {"before": "def rate(): return 0.125", "expression": "rate()"},
    PLAIN | {"before": "def rate(): return 0.75", "expression": "rate()"},
    PLAIN | {"before": "RATE = 0.3", "expression": "RATE"},
    PLAIN | {"before": "RATE = 0.7", "expression": "RATE"},
    PLAIN | {"attribute": "@property\n    def rate(self): return 0.35"},
    PLAIN | {"attribute": "@property\n    def rate(self): return 0.45"},
]


@pytest.mark.slow
def test_a_script_that_is_edited_between_two_runs(tmp_path):
    """The usual way of work: the same file, with another number in it."""
    script = tmp_path / "script.py"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    said = []
    for version in VERSIONS:
        script.write_text(STEP.format(**version))
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout)
    assert len(set(said)) == len(VERSIONS)


@pytest.mark.slow
def test_a_module_beside_the_script_that_is_edited(tmp_path):
    """The number lies in another file."""
    script, beside = tmp_path / "script.py", tmp_path / "beside.py"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    script.write_text(STEP.format(**PLAIN | {"before": "import beside", "expression": "beside.rate() * beside.scale"}))
    said = []
    for rate, scale in ((0.5, "1"), (0.25, "1"), (0.25, "3"), (0.25, "torch.tensor(3.5)")):
        beside.write_text(f"import torch\nscale = {scale}\ndef rate():\n    return {rate}\n")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout)
    assert len(set(said)) == 4


@pytest.mark.slow
def test_a_cell_of_ours_of_which_only_the_settings_differ(tmp_path):
    """The library's own steps start from the disk: sizes, biases, activations and dtypes are in their key."""
    script = (
        "import torch, unrolled, sys\n"
        "for made in sys.argv[1:]:\n"
        "    torch.manual_seed(0)\n"
        "    cell = eval(made)\n"
        "    state = cell.initial_state(2)\n"
        "    xs = torch.randn(4, 2, 3)\n"
        "    ours, theirs = (unrolled.scan(cell, xs, state, engine=e)[0] for e in ('fused', 'eager'))\n"
        "    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6), (made, ours, theirs)\n"
    )
    cells = ["Elman(3, 4)", "Elman(3, 4, activation=torch.relu)", "Elman(3, 4, bias=False)", "GRU(3, 4)"]
    cells += ["GRU(3, 4, reset='before')", "GRU(3, 4).eval()", "LSTM(3, 4)", "LSTM(3, 4, bias=False)", "LSTM(3, 5)"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    cells = [f"unrolled.cells.{cell}" for cell in cells]
    for order in (cells, cells[::-1], cells[4:], cells[:4]):
        done = subprocess.run([sys.executable, "-c", script, *order], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
