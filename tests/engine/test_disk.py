"""Plans kept on the disk: the same results bit for bit, for steps of Unrolled's own alone, and never a stale one."""

import os
import subprocess
import sys

import pytest
import torch
from tests import strategies
from torch import nn

import unrolled
from unrolled.engine import choose, disk

IN_A_SECOND_PROCESS = """
import sys, torch, unrolled
torch.manual_seed(0)
layer = unrolled.LSTM(3, 4, 2, bidirectional=True)
print(layer(torch.randn(5, 2, 3))[0].sum().item().hex(), "torch._dynamo" in sys.modules)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choose._plans.clear()
    yield tmp_path / "unrolled"
    choose._plans.clear()


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
    refuse.setattr(choose, "_made", lambda *_: pytest.fail("it was made anew"))
    choose._plans.clear()
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
    def __init__(self):
        super().__init__()
        self.cell = unrolled.cells.GRU(3, 4)

    def forward(self, x, state):
        return self.cell(x, state)


@pytest.mark.parametrize(
    "step",
    [Mine(), lambda x, h: (h, torch.tanh(x + h)), unrolled.cells.Elman(3, 3, activation=lambda x: x.sin())],
    ids=["module", "function", "activation"],
)
def test_a_users_step_is_not_kept(step, own_cache):
    width = 4 if isinstance(step, Mine) else 3
    unrolled.scan(step, torch.randn(4, 2, 3), torch.zeros(2, width), engine="fused")
    assert not list(own_cache.glob("*.json"))


def test_names_tell_apart_what_plans_depend_on(monkeypatch):
    def name(step, width=3, dtype=torch.float32):
        walk = choose.Walk()
        states = [torch.zeros(2, step.hidden_size, dtype=dtype)]
        xs = [torch.zeros(4, 2, width, dtype=dtype)]
        return disk.name_of(choose.key_of(walk.of(step), xs, None, states, None), walk.held)

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
        choose._plans.clear()
        assert torch.equal(unrolled.scan(cell, xs, state)[0], wanted)
        assert file.read_text() == whole
