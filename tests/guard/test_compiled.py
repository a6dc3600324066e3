"""What a compiled model reads, changed between two calls: it answers as the model itself does then."""

import functools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import unrolled

pytestmark = pytest.mark.filterwarnings(
    "ignore:Dynamo detected a call to a `functools.lru_cache`",
    "ignore:The .grad attribute of a Tensor:UserWarning",  # torch's own tracing looks at it
)
FACTOR = 1.0


class Cell(nn.Module):
    """A cell of the user's that reads what lies in many places."""

    input_size, hidden_size = 3, 5

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.rate, self.options, self.activation = 0.5, {"scale": 1.0}, torch.tanh
        self.register_buffer("offset", torch.ones(5))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 5)

    def forward(self, x, hidden):
        seen = self.linear(x) * self.rate * self.options["scale"] * FACTOR + hidden * self.offset
        hidden = self.activation(seen)
        return hidden, hidden


def of_user():
    return unrolled.Recurrent(Cell())


def of_library(kind, **options):
    return lambda: unrolled.Recurrent(getattr(unrolled.cells, kind)(3, 5), **options)


def layer(kind, **options):
    return lambda: getattr(unrolled, kind)(3, 5, 2, **options)


def setting(path, value):
    """Sets an attribute, of the model or of what it holds."""

    def change(model, _):
        *owners, name = path.split(".")
        for owner in owners:
            model = model[int(owner)] if owner.isdigit() else getattr(model, owner)
        setattr(model, name, value() if isinstance(value, type) else value)

    return change


def evaluation(model, _):
    model.eval()


def in_dict(model, _):
    model.cells[0].options.update(scale=2.0)


def a_global(_, monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 3.0)


def hook(model, _):
    model.cells[0].linear.register_forward_hook(lambda module, given, result: result * 2)


def method(_, monkeypatch):
    monkeypatch.setattr(Cell, "forward", lambda self, x, hidden: 2 * (torch.sigmoid(self.linear(x) + hidden),))


def numbers(model, _):
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.mul_(1.5)


CHANGES = {
    "train to eval": (layer("GRU", dropout=0.9), evaluation),
    "train to eval, cells": (of_library("GRU", layers=2, dropout=0.9), evaluation),
    "dropout": (layer("LSTM", dropout=0.9), setting("dropout", 0.0)),
    "nonlinearity": (layer("RNN"), setting("nonlinearity", "relu")),
    "batch_first": (layer("GRU"), setting("batch_first", True)),
    "weights of a layer": (layer("LSTM"), numbers),
    "activation of a cell": (of_library("Elman"), setting("cells.0.activation", torch.relu)),
    "setting of a cell": (of_library("GRU"), setting("cells.0.reset", "before")),
    "number": (of_user, setting("cells.0.rate", 0.25)),
    "function": (of_user, setting("cells.0.activation", torch.sigmoid)),
    "module": (of_user, setting("cells.0.linear", nn.Linear(3, 5, bias=False))),
    "buffer": (of_user, setting("cells.0.offset", torch.full((5,), 0.3))),
    "tensors' numbers": (of_user, numbers),
    "dict": (of_user, in_dict),
    "global": (of_user, a_global),
    "hook": (of_user, hook),
    "method": (of_user, method),
}
UNSEEN_IN_ONE_GRAPH = {"hook", "method"}  # by torch.compile, of any module


@pytest.mark.parametrize(
    ("name", "fullgraph"),
    [(name, is_one) for name in CHANGES for is_one in (False, True) if not (is_one and name in UNSEEN_IN_ONE_GRAPH)],
)
def test_a_change_is_seen(name, fullgraph, monkeypatch):
    torch._dynamo.reset()
    torch.manual_seed(0)
    make, change = CHANGES[name]
    model, xs = make(), torch.randn(6, 6, 3)
    with torch._dynamo.config.patch(allow_rnn=True):  # else torch refuses all that derives from its own layers
        compiled = torch.compile(model, backend="aot_eager", fullgraph=fullgraph)
        before, _ = compiled(xs)
        change(model, monkeypatch)
        ys, last = compiled(xs)
    assert not torch.equal(ys, before), "the change is one"
    wanted = [p for p in model.parameters() if p.requires_grad]
    ours = torch.autograd.grad(ys.square().sum(), wanted, allow_unused=True)
    model.engine = "eager"
    theirs, its_last = model(xs)
    assert_close((ys, last), (theirs, its_last))
    assert_close(ours, torch.autograd.grad(theirs.square().sum(), wanted, allow_unused=True))


@pytest.mark.parametrize("make", [of_user, of_library("GRU"), layer("GRU")])
def test_gradients_may_be_on_and_off(make):
    torch._dynamo.reset()
    model, xs = make(), torch.randn(6, 2, 3)
    compiled = torch.compile(model, backend="aot_eager")
    for is_on in (True, False, True):
        with torch.set_grad_enabled(is_on):
            ys, _ = compiled(xs)
            assert_close(ys, model(xs)[0])
            assert ys.requires_grad == is_on


class Holding(nn.Module):
    """Reads a tensor that is neither a parameter nor a buffer, where one of these holds it."""

    def __init__(self, place):
        super().__init__()
        self.place, self.weight, self.inner = place, nn.Parameter(torch.randn(5, 5)), nn.Identity()
        self.factor, self.inner.factor = torch.randn(5), torch.randn(5)
        self.listed, self.named = [torch.randn(5)], {"factor": torch.randn(5)}

    def forward(self, x, h):
        h = torch.tanh(h @ self.weight + x * HELD[self.place](self))
        return h, h


OF_MODULE = torch.ones(5)
HELD = {
    "attribute": lambda step: step.factor,
    "of a module within": lambda step: step.inner.factor,
    "list": lambda step: step.listed[0],
    "dict": lambda step: step.named["factor"],
    "global": lambda step: OF_MODULE,
}
NAMES = {"attribute": "`factor`", "of a module within": "`inner.factor`"}


@pytest.mark.parametrize("has_gradient", [False, True])
@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("place", HELD)
def test_a_graph_holds_no_tensor_that_torch_would_take_for_a_constant(place, engine, has_gradient):
    """Without gradients such a tensor, exchanged between two calls, was the old one."""
    torch._dynamo.reset()
    step, xs, state = Holding(place), torch.randn(4, 2, 5), torch.zeros(2, 5)

    def run(xs, state):
        return unrolled.scan(step, xs, state, engine=engine)

    with torch.set_grad_enabled(has_gradient):
        assert_close(torch.compile(run, backend="aot_eager")(xs, state), run(xs, state))
        torch._dynamo.reset()
        with pytest.raises(torch._dynamo.exc.BackendCompilerFailed) as error:
            torch.compile(run, backend="aot_eager", fullgraph=True)(xs, state)
    assert (
        "StepError: scan: within torch.compile(fullgraph=True) the step reads a tensor that is neither a parameter nor "
        f"a buffer: {NAMES.get(place, 'one of shape [5]')}. Register it (`self.register_buffer(name, tensor)`), or "
        "leave fullgraph=True out.\n"
    ) in str(error.value)


class Callable:
    def __call__(self, x, h):
        return plain(x, h)

    def method(self, x, h):
        return plain(x, h)


def plain(x, h):
    h = torch.tanh(x + h)
    return h, h


@pytest.mark.parametrize(
    "step", [plain, lambda x, h: plain(x, h), functools.partial(plain), Callable(), Callable().method]
)
def test_a_graph_takes_a_module_as_step_alone(step):
    """With fullgraph=True, where torch saw no tensor of another step."""
    torch._dynamo.reset()
    xs, state = torch.randn(4, 2, 5), torch.zeros(2, 5)
    run = lambda xs, state: unrolled.scan(step, xs, state)
    assert_close(torch.compile(run, backend="aot_eager")(xs, state), run(xs, state))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported) as error:
        torch.compile(run, backend="aot_eager", fullgraph=True)(xs, state)
    assert (
        "StepError('scan: within torch.compile(fullgraph=True) the step has to be an nn.Module, as torch sees the "
        "tensors of modules alone. Make it the `forward` of a module that has them as parameters and buffers, or leave "
        "fullgraph=True out.')"
    ) in str(error.value)


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("is_one", [False, True])
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_of_torch_are_steps_of_a_graph_too(kind, is_one, engine):
    torch._dynamo.reset()
    cell, xs, state = kind(3, 5), torch.randn(4, 2, 3), torch.zeros(2, 5)
    state = (state, state) if kind is nn.LSTMCell else state
    run = lambda xs, state: unrolled.scan(cell, xs, state, engine=engine)
    compiled = torch.compile(run, backend="aot_eager", fullgraph=is_one)
    for _ in range(2):
        found, exact = compiled(xs, state), run(xs, state)
        assert_close(found, exact)
        ours, theirs = (torch.autograd.grad(ys.square().sum(), list(cell.parameters())) for ys, _ in (found, exact))
        assert_close(ours, theirs)
        cell.weight_hh.data.mul_(1.5)
