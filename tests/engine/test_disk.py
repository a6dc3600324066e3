"""Plans kept on the disk: the same results bit for bit, for steps of Unrolled's own alone, and never a stale one."""

import os
import subprocess
import sys

import pytest
import torch
from tests import strategies
from tests.plans import forget_plans
from torch import nn

import unrolled
from unrolled.engine import disk, plans

IN_A_SECOND_PROCESS = """
import sys, torch, unrolled
torch.manual_seed(0)
layer = unrolled.LSTM(3, 4, 2, bidirectional=True)
print(layer(torch.randn(5, 2, 3))[0].sum().item().hex(), "torch._dynamo" in sys.modules)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget_plans()
    yield tmp_path / "unrolled"
    forget_plans()


def results(run, inputs):
    """What a run gives, its gradients, and theirs."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in inputs]
    ys = run(*leaves)
    first = torch.autograd.grad(ys.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), leaves)
    return [ys, *first, *second]


def assert_kept_is_made(run, inputs, folder):
    made = results(run, inputs)
    assert list(folder.glob("*.json"))
    refuse = pytest.MonkeyPatch()
    refuse.setattr(plans, "_made", lambda *_: pytest.fail("it was made anew"))
    forget_plans()
    try:
        kept = results(run, inputs)
    finally:
        refuse.undo()
    assert all(torch.equal(a, b) for a, b in zip(made, kept, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_a_kept_plan_gives_the_same_bits(name, dtype, own_cache):
    cell = strategies.make_cell(name, 0, dtype)
    state = strategies.make_state(cell, 3, 1, dtype)

    def run(xs, *states):
        return unrolled.scan(cell, xs, states if isinstance(state, tuple) else states[0], engine="fused")[0]

    states = state if isinstance(state, tuple) else (state,)
    assert_kept_is_made(run, [strategies.make_inputs(4, 3, 2, dtype), *states], own_cache)


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
def test_layers_with_rows_that_end(layer, own_cache):
    net = getattr(unrolled, layer)(3, 4, 2, bidirectional=True)

    def run(xs):
        packed = nn.utils.rnn.pack_padded_sequence(xs, torch.tensor([5, 2, 4]), enforce_sorted=False)
        return net(packed)[0].data

    assert_kept_is_made(run, [torch.randn(5, 3, 3)], own_cache)


def test_resets(own_cache):
    cell = strategies.make_cell("gru", 0)
    resets = torch.rand(6, 3) < 0.3

    def run(xs, state):
        return unrolled.scan(cell, xs, state, resets=resets, engine="fused")[0]

    assert_kept_is_made(run, [strategies.make_inputs(6, 3, 2), strategies.make_state(cell, 3, 1)], own_cache)


def test_a_second_process_neither_traces_nor_loads_torchs_tracing():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", IN_A_SECOND_PROCESS], capture_output=True, text=True, env=environment, check=True
        ).stdout.split()
        for _ in range(2)
    )
    assert first == [second[0], "True"]
    assert second[1] == "False"


class Mine(nn.Module):
    """A step of a user's, with helpers of every kind."""

    scale = 2.0

    def __init__(self):
        super().__init__()
        self.cell = unrolled.cells.GRU(3, 4)
        self.squash = torch.tanh

    def forward(self, x, state):
        y, state = self.cell(x, state)
        return helper(self.squash(y)) * self.scale, state


def helper(x):
    return x * FACTORS[0]


FACTORS = [3.0]


def scanned(step, folder):
    """The names of the plans kept after a scan."""
    width = 4 if isinstance(step, nn.Module) else 3
    forget_plans()
    unrolled.scan(step, torch.ones(4, 2, 3), torch.zeros(2, width), engine="fused")
    return {path.name for path in folder.glob("*.json")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_users_step(dtype, own_cache):
    step = Mine().to(dtype)
    inputs = [torch.randn(4, 2, 3, dtype=dtype), torch.randn(2, 4, dtype=dtype)]
    assert_kept_is_made(lambda xs, state: unrolled.scan(step, xs, state, engine="fused")[0], inputs, own_cache)


def test_whatever_a_users_step_reads_gives_it_another_name(own_cache, monkeypatch):
    seen = scanned(Mine(), own_cache)
    assert len(seen) == 1
    assert scanned(Mine(), own_cache) == seen

    def is_anew():
        before = set(seen)
        seen.update(scanned(Mine(), own_cache))
        return len(seen) == len(before) + 1

    monkeypatch.setattr(Mine, "scale", 2)  # 2.0 and 2 make different graphs
    assert is_anew()
    monkeypatch.setitem(globals(), "FACTORS", [4.0])
    assert is_anew()
    monkeypatch.setitem(globals(), "helper", lambda x: x * FACTORS[0])
    assert is_anew()
    monkeypatch.setitem(globals(), "helper", lambda x: x + FACTORS[0])
    assert is_anew()
    forward = Mine.forward
    monkeypatch.setattr(Mine, "forward", lambda self, x, state: forward(self, x, state))
    assert is_anew()


def reads_the_environment(x, h):
    return h, x * float(os.environ.get("NO_SUCH", "1")) + h


def imports_within(x, h):
    import math

    return h, x * math.pi + h


def looks_up(x, h):
    return h, x * globals()["FACTORS"][0] + h


class Foreign:
    factor = 2.0


foreign = Foreign()


def asks_an_object(x, h):
    return h, x * foreign.factor + h


@pytest.mark.parametrize("step", [reads_the_environment, imports_within, looks_up, asks_an_object])
def test_a_step_whose_code_cannot_be_followed_is_not_kept(step, own_cache):
    assert not scanned(step, own_cache)


def test_a_function_and_its_closure(own_cache):
    def step_of(factor, squash=torch.tanh):
        return lambda x, h: (h, squash(x * factor + h))

    names = [scanned(step_of(*each), own_cache) for each in ((2.0,), (2.0,), (3.0,), (2.0, torch.sigmoid))]
    assert [len(each) for each in names] == [1, 1, 2, 3]


STEP = """
import torch
from {package} import rates

def step(x, h):
    h = torch.tanh(x * rates.fast(x) + h)
    return h, h
"""
RATES = "RATE = {rate}\n\ndef fast(x):\n    return RATE * x\n"
RUN = """
import sys, torch, unrolled
from {package}.steps import step
ys, last = unrolled.scan(step, torch.ones(3, 1, 1), torch.zeros(1, 1), engine="fused")
print(last.item().hex(), "torch._dynamo" in sys.modules)
"""


def test_files_that_change_between_processes(tmp_path):
    package = tmp_path / "own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "steps.py").write_text(STEP.format(package="own"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}

    def run(rate):
        (package / "rates.py").write_text(RATES.format(rate=rate))
        command = [sys.executable, "-c", RUN.format(package="own")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        last, is_traced = done.stdout.split()
        return float.fromhex(last), is_traced == "True"

    first, changed = run(0.5), run(0.25)
    assert first[1]
    assert changed[1]
    assert first[0] != changed[0]
    assert run(0.5) == (first[0], False)
    assert run(0.25) == (changed[0], False)


def test_names_tell_apart_what_plans_depend_on(monkeypatch):
    def name(step, width=3, dtype=torch.float32):
        walk = plans.Walk()
        states = [torch.zeros(2, step.hidden_size, dtype=dtype)]
        xs = [torch.zeros(4, 2, width, dtype=dtype)]
        return disk.name_of(plans.key_of(walk.of(step), xs, None, states, None), walk.held, step)

    cells = unrolled.cells
    steps = [cells.Elman(3, 4), cells.Elman(3, 4, activation=torch.relu), cells.Elman(3, 4, bias=False)]
    steps += [cells.Elman(3, 5), cells.GRU(3, 4), cells.GRU(3, 4, reset="before")]
    names = [name(step) for step in steps] + [name(steps[0], dtype=torch.float64), name(steps[0], width=2)]
    assert None not in names
    assert len(set(names)) == len(names)
    assert name(cells.Elman(3, 4)) == names[0]
    monkeypatch.setattr(disk, "_versions", lambda: "another source")
    assert name(steps[0]) != names[0]


def test_what_does_not_fit_is_made_anew(own_cache):
    cell = unrolled.cells.GRU(3, 4)
    xs, state = torch.randn(4, 2, 3), torch.zeros(2, 4)
    wanted, _ = unrolled.scan(cell, xs, state)
    [file] = own_cache.glob("*.json")
    whole = file.read_text()
    wrong = ["", "{}", "[1]", "nothing", whole[:-100], whole.replace('"sigmoid"', '"matmul"')]
    wrong += [whole.replace("aten.", "evil."), whole.replace('"places"', '"others"')]
    for text in wrong:
        assert text != whole
        file.write_text(text)
        forget_plans()
        assert torch.equal(unrolled.scan(cell, xs, state)[0], wanted)
        assert file.read_text() == whole
