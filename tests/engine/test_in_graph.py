"""Scans inside torch.compile and torch.export: one operator of the graph, with the same results."""

import pytest
import torch
from tests import strategies
from tests.plans import forget_plans
from torch import nn
from torch.library import opcheck

import unrolled
from unrolled.engine import in_graph, operator, plans
from unrolled.engine.identity import Walk
from unrolled.engine.span import Span
from unrolled.engine.trees import flatten

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning",  # torch's own tracing looks at it
    "ignore:`isinstance.treespec, LeafSpec.:FutureWarning",
)

whole = pytest.mark.skipif(not in_graph.TAKES_MODULES, reason="this torch breaks the graph at a scan")


class Model(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.readout = nn.LazyLinear(2)

    def forward(self, xs, state, lengths=None, resets=None):
        ys, last = unrolled.scan(self.cell, xs * 2, state, engine="fused", lengths=lengths, resets=resets)
        return self.readout(ys).relu(), last


def made(name):
    torch.manual_seed(0)
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(9, 2, 3, torch.float32), strategies.make_state(cell, 2, 4, torch.float32)
    model = Model(cell)
    model(xs, state)
    return model, xs.requires_grad_(), state


def results(model, xs, state, *options):
    ys, last = model(xs, state, *options)
    wanted = [xs, *[p for p in model.parameters() if p.requires_grad]]
    return ys, last, torch.autograd.grad(ys.square().sum(), wanted, allow_unused=True)


@whole
@pytest.mark.parametrize("name", sorted(strategies.CELLS))
@pytest.mark.parametrize(
    "options", [(), (torch.tensor([9, 4]),), (torch.tensor([3, 9]), torch.rand(9, 2) > 0.5)], ids=len
)
def test_compiled_without_a_break(name, options):
    torch._dynamo.reset()
    model, xs, state = made(name)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(results(compiled, xs, state, *options), results(model, xs, state, *options))


@whole
def test_a_compiled_scan_serves_other_lengths_and_batches():
    torch._dynamo.reset()
    model, _, _ = made("gru")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for steps, batch in ((9, 2), (5, 3), (12, 4)):
        xs, state = strategies.make_inputs(steps, batch, 1, torch.float32), torch.zeros(batch, model.cell.hidden_size)
        torch.testing.assert_close(compiled(xs, state), model(xs, state))


def test_a_step_that_is_no_module_runs_between_two_graphs():
    torch._dynamo.reset()
    weight, xs = torch.randn(3, 3, requires_grad=True), torch.randn(5, 2, 3)

    def model(xs):
        return unrolled.scan(lambda x, h: (h, torch.tanh(x + h @ weight)), xs + 1, torch.zeros(2, 3))[0] * 2

    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(xs), model(xs))
    torch.testing.assert_close(
        torch.autograd.grad(compiled(xs).sum(), weight), torch.autograd.grad(model(xs).sum(), weight)
    )


@pytest.mark.parametrize("name", ["lstm", "gru-before"])
def test_a_torch_that_knows_no_better_breaks_the_graph(monkeypatch, name):
    monkeypatch.setattr(in_graph, "TAKES_MODULES", False)
    torch._dynamo.reset()
    model, xs, state = made(name)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(results(compiled, xs, state), results(model, xs, state))


@whole
@pytest.mark.parametrize("layer", [unrolled.GRU(3, 5, 2, bidirectional=True), unrolled.RNN(3, 5), unrolled.LSTM(3, 5)])
@torch._dynamo.config.patch(allow_rnn=True)  # else torch refuses all that derives from its own layers
def test_layers_compile_without_a_break(layer):
    torch._dynamo.reset()
    xs = torch.randn(7, 2, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(xs), layer(xs))
    given = (layer(xs)[1],)
    torch.testing.assert_close(compiled(xs, *given), layer(xs, *given))


def test_export_keeps_time_and_batch_open():
    model, xs, state = made("lstm")
    time, batch = torch.export.Dim("time", min=2), torch.export.Dim("batch", min=2)
    shapes = ({0: time, 1: batch}, ({0: batch}, {0: batch}))
    exported = torch.export.export(model, (xs.detach(), state), dynamic_shapes=shapes)
    assert "unrolled.loop.default" in [str(node.target) for node in exported.graph.nodes]
    others = strategies.make_inputs(4, 3, 1, torch.float32), strategies.make_state(model.cell, 3, 4, torch.float32)
    torch.testing.assert_close(exported.module()(*others), model(*others))


def test_a_graph_of_another_process_is_told():
    with pytest.raises(RuntimeError, match=r"this process has no plan number 12345\. A graph that holds a scan runs"):
        torch.ops.unrolled.loop([torch.zeros(2, 2)], 12345, 1, False, False)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-before", "elman"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_operator_holds_to_torchs_rules(name, is_reversed):
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(4, 3, 3, torch.float32), strategies.make_state(cell, 3, 4, torch.float32)
    forget_plans()
    unrolled.scan(cell, xs, state, engine="fused")
    [planned] = plans._plans.values()
    walk = Walk()
    walk.of(cell)
    asking = planned.plan.scan(planned.captured(walk.tensors), [xs], flatten(state)[0], Span(4, 3, False, 12))
    plan, _, given = next(asking)
    plan, given = plan.without_products(given)
    tensors = [torch.randn(tensor.shape, requires_grad=True) for tensor in given]
    number = operator.number_of(plan)
    checks = opcheck(torch.ops.unrolled.loop.default, (tensors, number, 4, is_reversed, True))
    assert set(checks.values()) == {"SUCCESS"}


@pytest.mark.filterwarnings("ignore::unrolled.errors.NotFusedWarning")
def test_autocast_is_eager_in_a_graph_too():
    torch._dynamo.reset()
    cell = strategies.make_cell("gru", 1, torch.float32)
    xs, state = strategies.make_inputs(4, 2, 3, torch.float32), strategies.make_state(cell, 2, 4, torch.float32)

    def run(xs, state):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return unrolled.scan(cell, xs, state)

    compiled = torch.compile(run, backend="aot_eager")
    torch.testing.assert_close(compiled(xs, state), run(xs, state), check_dtype=True)
