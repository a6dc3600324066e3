"""Scans inside torch.compile and torch.export: one operator of the graph, with the same results."""

import itertools

import pytest
import torch
from tests import strategies
from tests.plans import forget_plans
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.library import opcheck

import unrolled
from unrolled.engine.cache import memory
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.loop_programs import RowGradient
from unrolled.engine.run.plan import Plan
from unrolled.engine.step.declared import declared
from unrolled.engine.torch_compile import in_graph, operator
from unrolled.engine.trees import flatten

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning",  # torch's own tracing looks at it
    "ignore:`isinstance.treespec, LeafSpec.:FutureWarning",
)


class Model(nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.cell = cell
        self.readout = nn.LazyLinear(2)
        self.options = {"engine": "fused", **options}

    def forward(self, xs, state, lengths=None, resets=None):
        ys, last = unrolled.scan(self.cell, xs * 2, state, lengths=lengths, resets=resets, **self.options)
        return self.readout(ys).relu(), last


def made(name, **options):
    torch.manual_seed(0)
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(9, 2, 3, torch.float32), strategies.make_state(cell, 2, 4, torch.float32)
    model = Model(cell, **options)
    model(xs, state)
    return model, xs.requires_grad_(), state


def results(model, xs, state, *options):
    ys, last = model(xs, state, *options)
    wanted = [xs, *[p for p in model.parameters() if p.requires_grad]]
    return ys, last, torch.autograd.grad(ys.square().sum(), wanted, allow_unused=True)


MASKS = [(), (torch.tensor([9, 4]),), (torch.tensor([3, 9]), torch.rand(9, 2) > 0.5)]


ALIKE = {"elman-relu", "elman-relu-no-bias", "lstm-no-bias", "gru-before-no-bias", "simple_rnn-tanh"}  # like another


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ALIKE else ()) for n in sorted(strategies.CELLS)]
)
@pytest.mark.parametrize("options", MASKS, ids=len)
def test_compiled_without_a_break(name, options):
    torch._dynamo.reset()
    model, xs, state = made(name)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(results(compiled, xs, state, *options), results(model, xs, state, *options))


def test_compiled_with_and_without_gradients():
    torch._dynamo.reset()
    model, xs, state = made("gru")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for is_on in (False, True, False):
        with torch.set_grad_enabled(is_on):
            ours, theirs = compiled(xs, state), model(xs, state)
        torch.testing.assert_close(ours, theirs)
        assert ours[0].requires_grad == is_on


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


@pytest.mark.parametrize("layer", [unrolled.GRU(3, 5, 2, bidirectional=True), unrolled.RNN(3, 5), unrolled.LSTM(3, 5)])
@torch._dynamo.config.patch(allow_rnn=True)  # else torch refuses all that derives from its own layers
def test_layers_compile_without_a_break(layer):
    torch._dynamo.reset()
    xs = torch.randn(7, 2, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(xs), layer(xs))
    given = (layer(xs)[1],)
    torch.testing.assert_close(compiled(xs, *given), layer(xs, *given))


@pytest.mark.parametrize("make", [lambda: unrolled.GRU(3, 5), lambda: unrolled.Recurrent(unrolled.cells.LSTM(3, 5))])
@torch._dynamo.config.patch(allow_rnn=True)
def test_the_librarys_own_steps_are_not_captured_in_a_graph(make, monkeypatch):
    """Torch's tracing lays functions of its own over nn.Module's, and to capture takes as long as all else."""
    monkeypatch.setattr(in_graph, "_captured", None)
    torch._dynamo.reset()
    layer, xs = make(), torch.randn(7, 2, 3)
    found, exact = torch.compile(layer, backend="aot_eager", fullgraph=True)(xs), layer(xs)
    torch.testing.assert_close(found, exact)
    ours, theirs = (torch.autograd.grad(ys.square().sum(), list(layer.parameters())) for ys, _ in (found, exact))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("n_traces", [1, 2])
@pytest.mark.parametrize("name", ["", "__call__", "__getattr__", "_call_impl"])
def test_what_is_exchanged_beneath_torchs_tracing_is_seen(name, n_traces, monkeypatch):
    cell, found = unrolled.cells.GRU(3, 4), []
    if name:
        right = getattr(nn.Module, name)
        monkeypatch.setattr(nn.Module, name, lambda *given, **options: right(*given, **options))

    def look(x, n):
        if n:
            make_fx(lambda x: look(x, n - 1))(x)
        else:
            found.append(declared(cell))
        return x

    look(torch.zeros(2), n_traces)
    assert [step is None for step in found] == [bool(name)]


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize(("name", "factor"), [("chunk", 2), ("__add__", 3), ("__mul__", 0.5), ("__rsub__", 2)])
@pytest.mark.filterwarnings("ignore::unrolled.errors.NotFusedWarning")
def test_an_exchanged_method_of_tensors_is_called_once(name, factor, engine, monkeypatch):
    """In a graph that runs as it was captured; a mode of ours would make of torch's method the exchanged one."""
    right = getattr(torch.Tensor, name)

    def exchanged(*given):
        found = right(*given)
        return tuple(each * factor for each in found) if isinstance(found, tuple) else torch.mul(found, factor)

    torch._dynamo.reset()
    cell, xs, state = unrolled.cells.GRU(3, 4), torch.randn(2, 3, 3), torch.randn(3, 4)
    compiled = torch.compile(lambda xs: unrolled.scan(cell, xs, state, engine=engine)[0], backend="eager")
    monkeypatch.setattr(torch.Tensor, name, exchanged)
    found = compiled(xs)
    torch.testing.assert_close(found, unrolled.scan(cell, xs, state, engine="eager")[0])


@pytest.mark.parametrize("recompute", [False, True])
def test_export_keeps_time_and_batch_open(recompute):
    model, xs, state = made("lstm", recompute=recompute)
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
    [planned] = memory._plans.values()
    tensors = declared(cell).tensors
    asking = planned.plan.scan(planned.captured(tensors), [xs], flatten(state)[0], BatchLayout(4, 3, False, 12))
    plan, _, given = next(asking)
    plan, given = plan.without_products(given)
    tensors = [torch.randn(tensor.shape, requires_grad=True) for tensor in given]
    number = operator.number_of(plan)
    checks = opcheck(torch.ops.unrolled.loop.default, (tensors, number, 4, is_reversed, True))
    assert set(checks.values()) == {"SUCCESS"}


#: steps of two inputs and two states in which tensors, or their gradients, are one and the same
SHARING = {
    "inputs are added": lambda w, a, b, g, h: (g, (torch.tanh(g @ w + a + b), h + a)),
    "one input is added twice": lambda w, a, b, g, h: (g + h, (torch.tanh(g @ w + a), torch.tanh(h @ w + a) + b)),
    "an input is returned": lambda w, a, b, g, h: (a, (torch.tanh(g @ w + b), h + a)),
    "a state is as it was": lambda w, a, b, g, h: (g, (torch.tanh(g @ w + a + b), h)),
    "states change places": lambda w, a, b, g, h: (g + b, (h, torch.tanh(g @ w + a))),
    "states become one": lambda w, a, b, g, h: ((s := torch.tanh((g + h) @ w + a + b)), (s, s)),
    "a state is an input": lambda w, a, b, g, h: (g * b, (a, torch.tanh(g @ w + h))),
    "outputs are one": lambda w, a, b, g, h: (((s := torch.tanh(g @ w + a)), s + b, s), (s, h + b)),
}


class Sharing(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.weight, self.name = nn.Parameter(torch.randn(3, 3)), name

    def forward(self, x, state):
        return SHARING[self.name](self.weight, *x, *state)


@pytest.mark.parametrize("name", SHARING)
def test_what_shares_memory_in_a_step_does_not_in_a_graph(name):
    torch.compiler.reset()
    step, given = Sharing(name), [torch.randn(*shape, 4, 3, requires_grad=True) for shape in ((5,), (5,), (), ())]

    def run(engine, compiled=lambda function: function):
        def function(a, b, g, h):
            return unrolled.scan(step, (a, b), (g, h), engine=engine)

        ys, last = compiled(function)(*given)
        results = flatten((ys, last))[0]
        loss = sum((i + 1) * each.square().sum() for i, each in enumerate(results))
        return results, torch.autograd.grad(loss, [*given, step.weight], allow_unused=True)

    found = run("fused", lambda function: torch.compile(function, fullgraph=True))
    torch.testing.assert_close(found, run("eager"))


class Attends(nn.Module):
    """Reads a memory of each sequence, [3, 5, 4], whose gradient is a product of factors (`RowGradient`)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.memory = torch.randn(3, 5, 4, requires_grad=True)

    def forward(self, x, h):
        looks = torch.softmax((self.memory * h.unsqueeze(1)).sum(2), 1)
        h = torch.tanh(x @ self.weight + (looks.unsqueeze(2) * self.memory).sum(1))
        return h, h


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_operator_holds_tensors_by_sequence(is_reversed, monkeypatch):
    step, xs, state, calls = Attends(), torch.randn(4, 3, 3), torch.randn(3, 4), []

    def noting(plan, *arguments):
        asking = scan(plan, *arguments)
        calls.append(next(asking))
        asking.close()
        return scan(plan, *arguments)

    scan = Plan.scan
    monkeypatch.setattr(Plan, "scan", noting)
    unrolled.scan(step, xs, state, reverse=is_reversed, engine="fused")
    [(plan, _, given)] = calls
    plan, given = plan.without_products(given)
    assert RowGradient in map(type, plan.programs.constant_gradients)
    number = operator.number_of(plan)
    tensors = [torch.randn(tensor.shape, requires_grad=True) for tensor in given]
    checks = opcheck(torch.ops.unrolled.loop.default, (tensors, number, 4, is_reversed, True))
    assert set(checks.values()) == {"SUCCESS"}
    ours, *_ = torch.ops.unrolled.loop(given, number, 4, is_reversed, True)
    _, theirs = unrolled.scan(step, xs, state, reverse=is_reversed, engine="eager")
    wanted = (step.memory, step.weight)
    found, expected = (torch.autograd.grad(last.square().sum(), wanted) for last in (ours, theirs))
    torch.testing.assert_close((ours, *found), (theirs, *expected))


def _negated(tensors):
    """The same numbers as views that torch negates when it reads them, as z.conj().imag is."""
    views = [torch._neg_view(-tensor) for tensor in tensors]
    assert all(view.is_neg() for view in views)
    return views


@pytest.mark.parametrize("name", ["lstm", "gru", "elman"])
def test_the_operator_reads_negated_views(name):
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(4, 3, 3, torch.float32), strategies.make_state(cell, 3, 4, torch.float32)
    forget_plans()
    unrolled.scan(cell, xs, state, engine="fused")
    [planned] = memory._plans.values()
    captured = planned.captured(declared(cell).tensors)
    plan, _, given = next(planned.plan.scan(captured, [xs], flatten(state)[0], BatchLayout(4, 3, False, 12)))
    plan, given = plan.without_products(given)
    number, given = operator.number_of(plan), [tensor.detach() for tensor in given]
    loop, backward, n = torch.ops.unrolled.loop, torch.ops.unrolled.loop_backward, len(plan.states)
    results = loop(given, number, 4, False, True)
    for ours, theirs in zip(loop(_negated(given), number, 4, False, True), results, strict=True):
        assert torch.equal(ours, theirs)
    kept = operator._kept_states(plan, is_training=True)
    of_kept = results[n + len(kept) :][: plan.programs.n_kept]
    like = [*results[:n], *[results[n + kept.index(i)] for i in plan.sequences], *of_kept]
    gradients = [torch.randn_like(tensor) for tensor in like]
    expected = backward(given, results[n:], gradients, number, 4, False)
    found = backward(_negated(given), _negated(results[n:]), _negated(gradients), number, 4, False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


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


@pytest.fixture
def ran(monkeypatch):
    """The loops that run, by name, in their order."""
    names, call = [], Plan.call

    def told(plan, name):
        names.append(name)
        return call(plan, name)

    monkeypatch.setattr(Plan, "call", told)
    return names


@pytest.mark.parametrize("options", MASKS, ids=len)
@pytest.mark.parametrize("name", ["lstm", "gru-before"])
@pytest.mark.parametrize(
    ("reverse", "engine"),
    [(False, "fused"), (True, "fused"), (True, "eager"), pytest.param(False, "eager", marks=pytest.mark.slow)],
)
def test_recomputed_in_a_graph(name, options, reverse, engine):
    torch._dynamo.reset()
    model, xs, state = made(name, recompute=True, reverse=reverse, engine=engine)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    found = results(compiled, xs, state, *options)
    model.options["recompute"] = False
    torch.testing.assert_close(found, results(model, xs, state, *options))


def kept_bytes(output):
    """Of all that the backward of a tensor reads."""
    kept, todo, seen = {}, [output.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            for tensor in getattr(node, "saved_tensors", ()):
                storage = tensor.untyped_storage()
                kept[storage.data_ptr()] = storage.nbytes()
            todo.extend(following for following, _ in node.next_functions)
    return sum(kept.values())


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])  # each cuts graphs in its own way
def test_a_graph_keeps_states_alone_and_computes_part_by_part(ran, backend):
    torch._dynamo.reset()
    cell = unrolled.cells.LSTM(4, 8)
    xs, state = torch.randn(36, 3, 4), cell.initial_state(3)

    def compiled(*, recompute):
        def run(xs):
            return unrolled.scan(cell, xs, state, engine="fused", recompute=recompute)[0]

        return torch.compile(run, backend=backend, fullgraph=True)

    compiled(recompute=True)(xs).sum().backward()
    ran.clear()
    ys = compiled(recompute=True)(xs)
    assert ran == ["training"] * 6
    weights = sum(parameter.nbytes for parameter in cell.parameters())
    states = 6 * 2 * 3 * 8 * 4
    assert kept_bytes(ys) <= weights + xs.nbytes + states
    assert kept_bytes(compiled(recompute=False)(xs)) > 4 * 36 * 3 * 8 * 4  # the gates at least
    ran.clear()
    ys.sum().backward()
    assert sorted(ran) == ["backward"] * 6 + ["training"] * 6
    alive = itertools.accumulate(1 if name == "training" else -1 for name in ran)
    assert max(alive) <= 2  # Inductor has an order of its own


def test_a_graph_that_recomputes_serves_other_lengths():
    torch._dynamo.reset()
    model, _, _ = made("lstm", recompute=True)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for n_steps, batch in ((20, 2), (13, 3), (31, 4), (2, 2)):
        xs = strategies.make_inputs(n_steps, batch, 3, torch.float32).requires_grad_()
        state = strategies.make_state(model.cell, batch, 4, torch.float32)
        torch.testing.assert_close(results(compiled, xs, state), results(model, xs, state))


@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)
def test_a_time_that_the_graph_finds_is_run_as_a_whole():
    torch._dynamo.reset()
    cell, xs, chosen = unrolled.cells.GRU(3, 4), torch.randn(9, 2, 3), torch.arange(9) % 3 > 0

    def run(xs, chosen):
        some = xs[chosen.nonzero().squeeze(1)]
        torch._check(some.shape[0] > 1)
        return unrolled.scan(cell, some, torch.zeros(2, 4), engine="fused", recompute=True)[0]

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(xs, chosen), run(xs, chosen))


def test_masks_are_drawn_once_in_a_graph_that_recomputes():
    torch._dynamo.reset()

    class Step(nn.Module):
        def forward(self, x, h):
            h = nn.functional.dropout(torch.tanh(x + h), 0.5)
            return h, h

    step, xs = Step(), torch.randn(9, 4, 3, requires_grad=True)
    run = torch.compile(
        lambda xs: unrolled.scan(step, xs, torch.zeros(4, 3), engine="fused", recompute=True)[0],
        backend="aot_eager",
        fullgraph=True,
    )
    ys = run(xs)
    [found] = torch.autograd.grad(ys.sum(), xs)
    h, masks = torch.zeros(4, 3), ys.detach() != 0
    again = []
    for x, mask in zip(xs, masks, strict=True):
        h = torch.tanh(x + h) * mask * 2
        again.append(h)
    torch.testing.assert_close(ys, torch.stack(again))
    torch.testing.assert_close(found, torch.autograd.grad(torch.stack(again).sum(), xs)[0])


def test_a_step_that_is_no_module_recomputes_between_two_graphs(ran):
    torch._dynamo.reset()
    weight, xs = torch.randn(3, 3, requires_grad=True), torch.randn(9, 2, 3)

    def model(xs):
        step = lambda x, h: (h, torch.tanh(x + h @ weight))
        return unrolled.scan(step, xs + 1, torch.zeros(2, 3), engine="fused", recompute=True)[0] * 2

    compiled = torch.compile(model, backend="aot_eager")
    compiled(xs)
    ran.clear()
    [found] = torch.autograd.grad(compiled(xs).sum(), weight)
    assert ran == ["training"] * 3 + ["training", "backward"] * 3
    torch.testing.assert_close(found, torch.autograd.grad(model(xs).sum(), weight)[0])


def test_what_parts_give_each_other_holds_to_torchs_rules():
    checks = opcheck(torch.ops.unrolled.between_parts.default, (torch.randn(2, 3, requires_grad=True),))
    assert set(checks.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_outputs_may_be_changed_in_place_in_a_graph(backend):
    layer, xs = unrolled.GRU(3, 4), torch.randn(5, 2, 3)

    def run(xs):
        ys, _ = layer(xs)
        ys.mul_(2.0)
        return ys.sum()

    run(xs).backward()
    wanted = [parameter.grad for parameter in layer.parameters()]
    layer.zero_grad()
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.compile(run, backend=backend)(xs).backward()
    for parameter, gradient in zip(layer.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


#: conditions on the number of rows; torch's own graph has each branch for the numbers that it is guarded by
OF_ROWS = {
    "larger": lambda n: n > 64,
    "much larger": lambda n: n > 5000,
    "between": lambda n: 64 < n < 512,
    "beyond the usual": lambda n: 1100 < n < 5000,
    "even": lambda n: n % 2 == 0,
    "one of them": lambda n: n != 128,
    "by table": lambda n: {128: True}.get(n, False),
}


class ByRows(nn.Module):
    def __init__(self, name, *, computes):
        super().__init__()
        self.weight, self.name, self.computes = nn.Parameter(torch.randn(4).double()), name, computes

    def forward(self, x, h):
        is_so = OF_ROWS[self.name](x.shape[0])
        if not self.computes:  # a step without an operation
            return h, (x if is_so else h)
        h = torch.tanh(h + x * self.weight) if is_so else torch.sigmoid(h - x * self.weight)
        return h, h


@pytest.mark.parametrize("name", OF_ROWS)
@pytest.mark.parametrize("computes", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::unrolled.errors.NotFusedWarning")
def test_a_condition_of_the_number_of_rows_holds_in_a_graph(name, computes):
    """A plan is made of a twin of two rows; it serves only where that is no other case."""
    torch._dynamo.reset()
    step = ByRows(name, computes=computes)
    compiled = torch.compile(
        lambda xs, state: unrolled.scan(step, xs, state), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for n_rows in (128, 3, 2000, 6000):
        xs, state = torch.randn(2, n_rows, 4).double(), torch.zeros(n_rows, 4).double()
        torch.testing.assert_close(compiled(xs, state), unrolled.scan(step, xs, state, engine="eager"))


def test_a_step_for_all_rows_is_one_operator_whatever_their_number():
    torch._dynamo.reset()

    class Views(nn.Module):
        def forward(self, x, h):
            h = torch.tanh((x + h).view(x.shape[0], 2, 2).flatten(1) + torch.zeros(x.shape[0], 4))
            return h, h

    step, (xs, state) = Views(), (torch.randn(2, 5, 4), torch.zeros(5, 4))
    run = lambda xs, state: unrolled.scan(step, xs, state, engine="fused")
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(xs, state), unrolled.scan(step, xs, state, engine="eager"))


def test_what_has_no_gradient_has_none_in_a_graph_either():
    torch._dynamo.reset()

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3))

        def forward(self, x, state):
            a, b = state
            a, b = torch.tanh(a * self.weight + x), torch.tanh(b + x)
            return (a, b, b + x), (a, b)

    step, xs, state = Two(), torch.randn(4, 2, 3), (torch.zeros(2, 3), torch.zeros(2, 3))
    run = lambda xs, state, engine="fused": unrolled.scan(step, xs, state, engine=engine)
    (found, exact) = (
        [leaf.requires_grad for leaf in flatten(each)[0]]
        for each in (
            torch.compile(run, backend="aot_eager", fullgraph=True)(xs, state),
            run(xs, state, "eager"),
        )
    )
    assert found == exact
    assert set(found) == {True, False}
