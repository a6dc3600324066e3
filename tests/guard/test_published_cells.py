"""Cells published by others stay fused and right: a sample written from their papers; those of packages with `-m slow`."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.assertions import assert_as_exact_as, to_dtype, values_and_gradients
from tests.guard.checks import at_most, quiet, slow_but_for
from tests.guard.failing import asserted
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import unrolled

INPUTS, UNITS, STEPS, ROWS = 5, 6, 4, 24


def assert_fused_and_right(cell: nn.Module, state: Any, n_inputs: int = INPUTS) -> None:
    """Values and all gradients, by the rule of tests/assertions.py."""
    with torch.no_grad():
        for each in cell.parameters():
            each.add_(0.1 * torch.randn_like(each))
    xs = torch.randn(STEPS, ROWS, n_inputs)

    def found(engine: str, dtype: torch.dtype) -> list[Tensor]:
        own = copy.deepcopy(cell).to(dtype)
        run = lambda given: unrolled.scan(own, given[0], given[1], engine=engine)
        parameters = [each for each in own.parameters() if each.requires_grad]
        return values_and_gradients(run, to_dtype((xs, state), dtype), parameters)

    ours, eager, exact = (
        found(engine, dtype)
        for engine, dtype in (("fused", torch.float32), ("eager", torch.float32), ("eager", torch.float64))
    )
    assert_as_exact_as(ours, eager, exact)


class Cell(nn.Module):
    """Weights of so many gates."""

    gates = 1
    of_state = 1

    def __init__(self):
        super().__init__()
        self.of_input = nn.Linear(INPUTS, self.gates * UNITS)
        self.of_hidden = nn.Linear(UNITS, max(self.of_state, 1) * UNITS, bias=False)


class MinimalGatedUnit(Cell):
    """Zhou et al. 2016: one gate, which forgets and resets."""

    gates = 2

    def forward(self, x, h):
        of_gate, of_candidate = self.of_input(x).chunk(2, 1)
        gate = torch.sigmoid(of_gate + self.of_hidden(h))
        h = (1 - gate) * h + gate * torch.tanh(of_candidate + self.of_hidden(gate * h))
        return h, h


class IndependentlyRecurrent(Cell):
    """Li et al. 2018: each unit has its own state alone."""

    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.rand(UNITS))

    def forward(self, x, h):
        h = torch.relu(self.of_input(x) + self.own * h)
        return h, h


class UpdateGated(Cell):
    """Collins et al. 2017 (UGRNN)."""

    gates = of_state = 2

    def forward(self, x, h):
        candidate, gate = (self.of_input(x) + self.of_hidden(h)).chunk(2, 1)
        gate = torch.sigmoid(gate + 1)
        h = gate * h + (1 - gate) * torch.tanh(candidate)
        return h, h


class LightGated(Cell):
    """Ravanelli et al. 2018 (LiGRU), with a norm over features in place of the batch."""

    gates = of_state = 2

    def forward(self, x, h):
        now = F.layer_norm(self.of_input(x), (2 * UNITS,)) + self.of_hidden(h)
        gate, candidate = now.unflatten(1, (2, UNITS)).unbind(1)
        gate = gate.sigmoid()
        h = torch.lerp(F.relu(candidate), h, gate)
        return h, h


class AdditionSubtractionTwinGated(Cell):
    """Zhang et al. 2018 (ATR): no weights but those of two products."""

    def forward(self, x, h):
        p, q = self.of_input(x), self.of_hidden(h)
        h = torch.sigmoid(p + q) * p + torch.sigmoid(p - q) * h
        return h, h


class PeepholeLSTM(Cell):
    """Gers and Schmidhuber 2000: gates see the cell."""

    gates = of_state = 4

    def __init__(self):
        super().__init__()
        self.peep = nn.ParameterDict({name: nn.Parameter(torch.randn(UNITS)) for name in "ifo"})

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.of_input(x) + self.of_hidden(h)).chunk(4, dim=-1)
        i = torch.sigmoid(i + self.peep["i"] * c)
        f = torch.sigmoid(f + self.peep["f"] * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + self.peep["o"] * c) * torch.tanh(c)
        return h, (h, c)


class ScalarLSTM(Cell):
    """Beck et al. 2024 (the sLSTM of xLSTM): exponential gates, with a state that keeps them from overflow."""

    gates = of_state = 4

    def forward(self, x, state):
        h, c, n, m = state
        assert h.shape == c.shape
        i, f, z, o = (self.of_input(x) + self.of_hidden(h)).split(UNITS, -1)
        f = F.logsigmoid(f)
        new = torch.maximum(f + m, i)
        i, f = torch.exp(i - new), torch.exp(f + m - new)
        c, n = f * c + i * torch.tanh(z), f * n + i
        h = torch.sigmoid(o) * c / n
        return h, (h, c, n, new)


class FailingScalarLSTM(ScalarLSTM):
    def forward(self, x, state):
        asserted(state[0].shape[1])
        return super().forward(x, state)


def some(n: int) -> Any:
    states = tuple(torch.rand(ROWS, UNITS) for _ in range(n))
    return states if n > 1 else states[0]


OWN: dict[type[Cell], int] = {
    MinimalGatedUnit: 1,
    IndependentlyRecurrent: 1,
    UpdateGated: 1,
    LightGated: 1,
    AdditionSubtractionTwinGated: 1,
    PeepholeLSTM: 2,
    ScalarLSTM: 4,
}


@pytest.mark.parametrize(
    "kind",
    slow_but_for(
        [MinimalGatedUnit, IndependentlyRecurrent, UpdateGated, AdditionSubtractionTwinGated, ScalarLSTM], OWN
    ),
    ids=lambda kind: kind.__name__,
)
def test_a_cell_from_its_paper_is_fused_and_right(kind):
    assert_fused_and_right(kind(), some(OWN[kind]))


def test_a_cell_whose_assertion_fails_raises_it():
    """A bare one, as in xlstm's own code: the plain loop's error, and a reason that is a sentence."""
    cell, xs = FailingScalarLSTM(), torch.randn(STEPS, ROWS, INPUTS)
    raised = []
    for engine in ("auto", "eager"):
        with quiet(), pytest.raises(AssertionError) as error:
            unrolled.scan(cell, xs, some(4), engine=engine)
        raised.append(error.value.args)
    assert raised[0] == raised[1]
    reason = unrolled.explain(cell, xs, some(4)).reason
    assert reason.startswith("it raises an exception when it is captured; the eager loop tells which")
    assert reason.endswith("assert n_units == 99)")


def of_torchrecurrent() -> list[str]:
    try:
        import torchrecurrent
    except ImportError:
        return []
    return [name for name in dir(torchrecurrent) if name.endswith("Cell")]


class Adapted(nn.Module):
    """A cell `(x, state) → state`, its first state the output; or one that returns outputs and state already."""

    def __init__(self, cell: nn.Module, *, is_step: bool):
        super().__init__()
        self.cell, self.is_step = cell, is_step

    def forward(self, x, state=None):
        found = self.cell(x, state)
        if self.is_step:
            return found
        return (found[0] if isinstance(found, tuple) else found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", of_torchrecurrent() or ["not installed"])
def test_a_cell_of_torchrecurrent_is_fused_and_right(name):
    torchrecurrent = pytest.importorskip("torchrecurrent")
    cell = getattr(torchrecurrent, name)
    options = {"timestep": 1} if "timestep" in inspect.signature(cell).parameters else {}
    n_inputs = UNITS if name == "IntersectionRNNCell" else INPUTS  # whose output mixes the two
    adapted = Adapted(
        cell(n_inputs, UNITS, **options), is_step=name in ("IntersectionRNNCell", "MCLSTMCell", "TLSTMCell")
    )
    with torch.no_grad():
        _, found = adapted(torch.randn(ROWS, n_inputs))
    state = pytree.tree_map(torch.rand_like, found)
    assert_fused_and_right(adapted, state, n_inputs)


def of_ncps(name: str) -> tuple[Callable, Any]:
    ncps = pytest.importorskip("ncps.torch")
    wirings = pytest.importorskip("ncps.wirings")
    if name == "CfC":
        cell = ncps.CfCCell(INPUTS, UNITS)
        return (lambda x, h: cell(x, h, 1.0)), torch.rand(ROWS, UNITS)
    wiring = wirings.FullyConnected(8)
    wiring.build(INPUTS)
    cell = ncps.LTCCell(wiring)
    return (lambda x, h: cell(x, h, 1.0)), torch.rand(ROWS, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CfC", "LTC"])
def test_a_cell_of_ncps_is_bounded(name):
    """Fused, or eager with a reason, within seconds: LTC unfolds a solver six times."""
    step, state = of_ncps(name)
    xs = torch.randn(STEPS, ROWS, INPUTS)
    with at_most(60), quiet():
        ours = unrolled.scan(step, xs, state)
        explanation = unrolled.explain(step, xs, state)
    theirs = unrolled.scan(step, xs, state, engine="eager")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert explanation.path == "fused" or explanation.reason


@pytest.mark.slow
def test_so_many_cells_of_torchrecurrent_are_tried():
    pytest.importorskip("torchrecurrent")
    assert len(of_torchrecurrent()) >= 30
