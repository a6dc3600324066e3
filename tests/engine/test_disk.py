"""Plans kept on the disk: the same results bit for bit, also in another process, and no capture for the library's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests import strategies
from tests.loops import own_cache_with_loops
from tests.plans import forget_plans
from torch import nn

import unrolled
from unrolled.engine.cache import disk, memory
from unrolled.engine.step.declared import declared

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache_of_loops(tmp_path_factory):
    """Has the compiled loops, which tell nothing of plans."""
    with own_cache_with_loops(tmp_path_factory.mktemp("loops")) as folder:
        yield folder


@pytest.fixture(autouse=True)
def own_cache(cache_of_loops, monkeypatch):
    """Has no plan."""
    for plan in cache_of_loops.glob("*.json"):
        plan.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_of_loops.parent))
    forget_plans()
    yield cache_of_loops
    forget_plans()


def results(run, inputs):
    """What a run gives, its gradients, and theirs."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in inputs]
    ys = run(*leaves)
    first = torch.autograd.grad(ys.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), leaves)
    return [ys, *first, *second]


def assert_kept_is_made(run, inputs, folder, monkeypatch):
    """A second run takes its plan from the disk, and nothing is lowered."""
    n_lowered = count(monkeypatch, "_lowered")
    made = results(run, inputs)
    assert n_lowered
    assert len(list(folder.glob("*.json"))) == len(n_lowered)
    n_loaded = count(monkeypatch, "_prepared")
    before = len(n_lowered)
    forget_plans()
    kept = results(run, inputs)
    assert len(n_lowered) == before
    assert n_loaded
    assert all(torch.equal(a, b) for a, b in zip(made, kept, strict=True))


def count(monkeypatch, name):
    """Notes each call of a function of `memory`."""
    calls, function = [], getattr(memory, name)
    monkeypatch.setattr(memory, name, lambda *args, **options: (calls.append(1), function(*args, **options))[1])
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_a_kept_plan_gives_the_same_bits(name, dtype, own_cache, monkeypatch):
    cell = strategies.make_cell(name, 0, dtype)
    state = strategies.make_state(cell, 3, 1, dtype)

    def run(xs, *states):
        return unrolled.scan(cell, xs, states if isinstance(state, tuple) else states[0], engine="fused")[0]

    states = state if isinstance(state, tuple) else (state,)
    assert_kept_is_made(run, [strategies.make_inputs(4, 3, 2, dtype), *states], own_cache, monkeypatch)


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
def test_layers_with_rows_that_end(layer, own_cache, monkeypatch):
    net = getattr(unrolled, layer)(3, 4, 2, bidirectional=True)

    def run(xs):
        packed = nn.utils.rnn.pack_padded_sequence(xs, torch.tensor([5, 2, 4]), enforce_sorted=False)
        return net(packed)[0].data

    assert_kept_is_made(run, [torch.randn(5, 3, 3)], own_cache, monkeypatch)


def test_resets(own_cache, monkeypatch):
    cell = strategies.make_cell("gru", 0)
    resets = torch.rand(6, 3) < 0.3

    def run(xs, state):
        return unrolled.scan(cell, xs, state, resets=resets, engine="fused")[0]

    inputs = [strategies.make_inputs(6, 3, 2), strategies.make_state(cell, 3, 1)]
    assert_kept_is_made(run, inputs, own_cache, monkeypatch)


class Mine(nn.Module):
    """A step of a user's, with helpers of every kind, a tensor that it makes, and outputs in a tree."""

    def __init__(self, scale=2.0, numbers=(0.5, -0.5, 0.25, 1.0)):
        super().__init__()
        self.cell = unrolled.cells.GRU(3, 4)
        self.scale, self.numbers, self.squash = scale, numbers, torch.tanh

    def forward(self, x, state):
        y, state = self.cell(x, state)
        return {"y": helper(self.squash(y)) * self.scale + torch.tensor(self.numbers, dtype=y.dtype)}, state


def helper(x):
    return x * FACTORS[0]


FACTORS = [3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"lengths": torch.tensor([3, 4])}, {"resets": torch.ones(4, 2).bool()}],
                         ids=["plain", "lengths", "resets"])  # fmt: skip
def test_a_users_step(dtype, options, own_cache, monkeypatch):
    step = Mine().to(dtype)
    inputs = [torch.randn(4, 2, 3, dtype=dtype), torch.randn(2, 4, dtype=dtype)]

    def run(xs, state):
        return unrolled.scan(step, xs, state, engine="fused", **options)[0]["y"]

    assert_kept_is_made(run, inputs, own_cache, monkeypatch)


def scanned(step, folder):
    """The names of the plans kept after a scan."""
    forget_plans()
    unrolled.scan(step, torch.ones(4, 2, 3), torch.zeros(2, 4), engine="fused")
    return {path.name for path in folder.glob("*.json")}


def test_what_a_users_step_computes_is_its_name_and_not_how_it_is_written(own_cache, monkeypatch):
    seen = scanned(Mine(), own_cache)
    assert len(seen) == 1
    assert scanned(Mine(), own_cache) == seen  # other weights
    monkeypatch.setitem(globals(), "helper", lambda x: FACTORS[0] * x + 0)
    monkeypatch.setitem(globals(), "helper", lambda x: (lambda factor: x * factor)(FACTORS[0]))
    assert scanned(Mine(), own_cache) == seen  # the same operations

    def is_anew(step):
        before = len(seen)
        seen.update(scanned(step, own_cache))
        return len(seen) == before + 1

    assert is_anew(Mine(scale=2.5))
    assert is_anew(Mine(numbers=(0.5, -0.5, 0.25, 2.0)))  # the numbers of a tensor that the step makes
    monkeypatch.setitem(globals(), "FACTORS", [4.0])
    assert is_anew(Mine())
    monkeypatch.setitem(globals(), "helper", lambda x: x + FACTORS[0])
    assert is_anew(Mine())


def test_names_tell_apart_what_plans_depend_on(own_cache, monkeypatch):
    names = []
    monkeypatch.setattr(disk, "load", names.append)

    def name(step, width=3, dtype=torch.float32, state_dtype=None):
        forget_plans()
        states = [torch.zeros(2, step.hidden_size, dtype=state_dtype or dtype)]
        memory.of_declared(declared(step), memory.Call([torch.zeros(4, 2, width, dtype=dtype)], None, states, None))
        return names[-1]

    cells = unrolled.cells
    steps = [cells.Elman(3, 4), cells.Elman(3, 4, activation=torch.relu), cells.Elman(3, 4, bias=False)]
    steps += [cells.Elman(3, 5), cells.GRU(3, 4), cells.GRU(3, 4, reset="before")]
    found = [*map(name, steps), name(cells.Elman(3, 4).double(), dtype=torch.float64), name(cells.Elman(2, 4), width=2)]
    assert len(set(found)) == len(found) == len(names)
    assert name(cells.Elman(3, 4)) == found[0]
    monkeypatch.setattr(disk, "_versions", lambda: "another source")
    assert name(steps[0]) != found[0]


IN_ANOTHER_PROCESS = """
import sys, torch, unrolled
sys.path.insert(0, {root!r})
{code}
print(*(number.hex() for number in result.flatten().tolist()))
print([name for name in ("torch._dynamo", "torch._functorch.aot_autograd", "unrolled.engine.passes.trace",
                         "unrolled.engine.step.capture", "unrolled.engine.passes.pipeline", "sympy") if name in sys.modules])
"""
OF_THE_LIBRARY = """
def numbers(run):
    torch.manual_seed(0)
    xs = torch.randn(5, 2, 3, requires_grad=True)
    ys = run(xs)
    ys.square().sum().backward()
    return torch.cat([ys.detach().flatten(), xs.grad.flatten()])

torch.manual_seed(0)
layer, projected = unrolled.LSTM(3, 4, 2, bidirectional=True), unrolled.LSTM(3, 4, proj_size=2)
cell, of_torch, zeros = unrolled.cells.GRU(3, 4), torch.nn.LSTMCell(3, 4), torch.zeros(2, 4)
result = torch.cat([
    numbers(lambda xs: layer(xs)[0]),
    numbers(lambda xs: projected(xs)[0]),
    numbers(lambda xs: unrolled.scan(cell, xs, zeros)[0]),
    numbers(lambda xs: unrolled.scan(cell, xs, zeros, lengths=torch.tensor([5, 3]))[0]),
    numbers(lambda xs: unrolled.scan(of_torch, xs, (zeros, zeros))[0]),
])
"""
OF_A_USER = """
from tests.engine.test_disk import Mine
torch.manual_seed(0)
result = unrolled.scan(Mine(), torch.randn(5, 2, 3), torch.zeros(2, 4), engine="fused")[0]["y"]
"""


def in_a_process(code, cache):
    """The result's numbers, and what was loaded, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS.format(root=str(ROOT), code=code)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cold_cache(tmp_path_factory):
    """Has no plan at first."""
    with own_cache_with_loops(tmp_path_factory.mktemp("cold")) as folder:
        yield folder.parent


def test_a_second_process_of_the_librarys_own_loads_nothing_that_captures(cold_cache):
    first, second = (in_a_process(OF_THE_LIBRARY, cold_cache) for _ in range(2))
    assert "unrolled.engine.passes.trace" in first[1]
    assert second == [first[0], "[]"]


def test_a_second_process_of_a_users_step_makes_no_plan(cold_cache):
    first, second = (in_a_process(OF_A_USER, cold_cache) for _ in range(2))
    assert first[0] == second[0]
    assert "unrolled.engine.passes.pipeline" in first[1]
    assert "unrolled.engine.passes.pipeline" not in second[1]


def test_what_does_not_fit_is_made_anew(own_cache):
    cell = unrolled.cells.GRU(3, 4)
    xs, state = torch.randn(4, 2, 3), torch.zeros(2, 4)
    wanted, _ = unrolled.scan(cell, xs, state)
    [file] = own_cache.glob("*.json")
    whole, text = file.read_bytes(), json.dumps({"nothing": 1}).encode()
    for wrong in (b"", text, whole[:-100], whole.replace(b'"sigmoid"', b'"matmul"')):
        assert wrong != whole
        file.write_bytes(wrong)
        forget_plans()
        assert torch.equal(unrolled.scan(cell, xs, state)[0], wanted)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_torchs_cells_are_kept_too(kind, own_cache, monkeypatch):
    """Torch's own code of them works in place, which a file does not hold."""
    cell, is_pair = kind(3, 4), kind is nn.LSTMCell

    def run(xs, *states):
        return unrolled.scan(cell, xs, states if is_pair else states[0], engine="fused")[0]

    inputs = [torch.randn(5, 2, 3), *(torch.randn(2, 4) for _ in range(2 if is_pair else 1))]
    assert_kept_is_made(run, inputs, own_cache, monkeypatch)
