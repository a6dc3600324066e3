"""Back-ends: each is what the protocol says, is found by its device, and another one runs what the CPU's runs."""

import inspect
from pathlib import Path

import grimp
import pytest
import torch
from tests import strategies
from tests.engine import numpy_backend
from tests.engine.test_fused import assert_fused_is_eager, assert_fused_is_eager_over, cell_draws
from tests.plans import forget_plans
from torch import nn

import unrolled
from unrolled.engine import backends
from unrolled.engine.backends import base, registry
from unrolled.engine.ir.program import POINTWISE, Builder, Program
from unrolled.engine.reasons import NotTraceable

FUNCTIONS = [name for name, _ in inspect.getmembers(base.Backend, inspect.isfunction) if not name.startswith("_")]
BACKENDS = {name: registry.backend_for(torch.device(name)) for name in registry.MODULES} | {"numpy": numpy_backend}
CPU = torch.device("cpu")


@pytest.fixture
def on_numpy(monkeypatch):
    """Scans of tensors on the CPU run in NumPy. Gives the programs that ran."""
    ran = []

    class Watched(numpy_backend.Kernel):
        def run(self, arguments):
            ran.append(self.program)
            super().run(arguments)

    monkeypatch.setattr(numpy_backend, "Kernel", Watched)
    monkeypatch.setitem(registry._loaded, "cpu", numpy_backend)
    forget_plans()
    yield ran
    forget_plans()


def taken(function):
    """A function's parameters: name, kind and default."""
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_functions_have_the_signatures_of_the_protocol(backend, name):
    assert taken(getattr(backend, name)) == taken(getattr(base.Backend, name))


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_kernels_have_the_signatures_of_the_protocol(backend):
    builder = Builder()
    state = builder.input("state", 0, 3)
    program = Program((), (3,), (), (), (builder.pointwise("tanh", state),), ())
    [kernel] = backend.kernels([program], torch.float32)
    for name in ("names", "arguments"):
        assert taken(getattr(type(kernel), name)) == taken(getattr(base.Kernel, name))
    assert kernel.program is program
    assert kernel.source
    assert kernel.language
    assert callable(kernel.run)


def test_a_change_of_a_signature_is_noticed():
    assert taken(lambda like: 0) != taken(base.Backend.new_tensor)
    assert taken(lambda like, *shape: 0) == taken(base.Backend.new_tensor)


def test_each_folder_is_a_back_end_of_a_device():
    folders = {path.parent.name for path in Path(backends.__file__).parent.glob("*/__init__.py")}
    assert registry.MODULES.keys() == folders
    for name in folders:
        assert torch.device(name).type == name


@pytest.mark.parametrize("module", registry.MODULES.values())
def test_a_back_end_is_imported_by_its_own_files_alone(module):
    graph = grimp.build_graph("unrolled")
    own = {module, *graph.find_descendants(module)}
    assert {each for one in own for each in graph.find_modules_that_directly_import(one)} - own == set()


def test_a_device_without_a_back_end_has_a_reason():
    with pytest.raises(
        NotTraceable, match="its tensors are not on the CPU; there are no kernels for other devices yet"
    ):
        registry.backend_for(torch.device("meta"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", strategies.CELLS)
def test_cells_run_on_another_back_end(on_numpy, name, reverse):
    cell = strategies.make_cell(name, 1, torch.float32)
    assert_fused_is_eager_over(cell, cell_draws(cell, 5, 3, 1), reverse=reverse)
    assert len(set(map(id, on_numpy))) >= 3, "forward, training and backward"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_rows_of_different_lengths_run_on_another_back_end(on_numpy, name, reverse):
    cell = strategies.make_cell(name, 1, torch.float32)
    lengths = torch.tensor([4, 1, 0, 6, 4])
    assert_fused_is_eager_over(cell, cell_draws(cell, 6, 5, 1), lengths=lengths, reverse=reverse)
    assert on_numpy


def test_resets_run_on_another_back_end(on_numpy):
    cell, resets = strategies.make_cell("gru", 1, torch.float32), torch.rand(6, 5) < 0.4
    assert_fused_is_eager_over(cell, cell_draws(cell, 6, 5, 1), resets=resets)
    assert on_numpy


class Attentive(nn.Module):
    """A step with a product around the loop, a row for each sequence, a memory, sums and a second state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.inside, self.after = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.memory = nn.Parameter(torch.randn(5, 6, 4))  # [batch, places, width]

    def forward(self, x, state):
        hidden, total = state
        weights = torch.softmax((self.memory * hidden.unsqueeze(1)).sum(2), 1)
        read = (weights.unsqueeze(2) * self.memory).sum(1)
        hidden = torch.tanh(self.inside(hidden) + self.before(x) + read)
        total = total + hidden.square().sum(1, keepdim=True)
        return self.after(hidden) / (1 + total), (hidden, total)


def test_a_step_of_the_users_runs_on_another_back_end(on_numpy):
    assert_fused_is_eager(Attentive(), torch.randn(4, 5, 3), (torch.randn(5, 4), torch.zeros(5, 1)))
    assert any(program.totals or program.held for program in on_numpy)


def test_what_is_explained_is_of_the_back_end(on_numpy):
    cell = strategies.make_cell("gru", 1, torch.float32)
    told = unrolled.explain(cell, torch.zeros(3, 2, 3), cell.initial_state(2), verbose=True, timed=True)
    assert "NumPy of the forward" in told.stages
    assert told.share_of_peak > 0


def test_numpy_has_every_operation():
    assert numpy_backend.POINTWISE.keys() == POINTWISE.keys()
