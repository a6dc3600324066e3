"""The compiled loop against the eager one in float64: values and all gradients, by the one tolerance rule."""

import contextlib
import copy
import gc
import math
import os
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests import strategies
from tests.assertions import assert_as_exact_as, to_dtype, values_and_gradients
from tests.engine import odd_steps
from tests.plans import forget_plans
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import unrolled
from unrolled.engine.backends import cpu
from unrolled.engine.backends.cpu import emit, run
from unrolled.scan import scan_both_ways

HELD = [torch.tensor([0.1, -0.2, 0.3, 0.0], requires_grad=True)]


def assert_fused_is_eager(step, xs, state, **options):
    """By the one rule: eager in float64 is the oracle, eager in the same dtype the yardstick."""
    assert_fused_is_eager_over(step, [(xs, state)], **options)


def assert_fused_is_eager_over(step, draws, **options):
    """As `assert_fused_is_eager`, each tensor's error over several draws (xs, state) of the same shapes."""
    oracle = copy.deepcopy(step).double()

    def run(module, engine):
        return lambda args: unrolled.scan(module, args[0], args[1], engine=engine, **options)

    runs = [(run(step, "fused"), step), (run(step, "eager"), step), (run(oracle, "eager"), oracle)]
    inputs = [draws, draws, [to_dtype(draw, torch.float64) for draw in draws]]
    results = [
        [values_and_gradients(call, draw, list(module.parameters())) for draw in each]
        for (call, module), each in zip(runs, inputs, strict=True)
    ]
    assert_as_exact_as(*(_stacked(each) for each in results))
    with torch.no_grad():
        forward = [
            [pytree.tree_leaves(call(draw)) for draw in each] for (call, _), each in zip(runs, inputs, strict=True)
        ]
    assert_as_exact_as(*(_stacked(each) for each in forward))


def _stacked(draws):
    return [torch.stack(leaves) for leaves in zip(*draws, strict=True)]


def cell_draws(cell, steps, batch, seed):
    """Four: the gradient of a bias has five numbers, whose errors in one draw are a matter of luck."""
    return [
        (strategies.make_inputs(steps, batch, each, torch.float32), strategies.make_state(cell, batch, each, torch.float32))
        for each in range(seed, seed + 4)
    ]  # fmt: skip


@given(
    strategies.cell_names,
    st.sampled_from([1, 2, 7, 20]),
    st.sampled_from([1, 2, 5, 33]),
    strategies.seeds,
    st.booleans(),
)
@settings(max_examples=70)
def test_cells(name, steps, batch, seed, reverse):
    cell = strategies.make_cell(name, seed, torch.float32)
    assert_fused_is_eager_over(cell, cell_draws(cell, steps, batch, seed), reverse=reverse)


@given(strategies.cell_names, st.sampled_from([1, 2, 4, 9]), strategies.seeds, st.booleans(), st.booleans(), st.data())
@settings(max_examples=40)
def test_cells_with_rows_that_end_and_rows_that_start_anew(name, batch, seed, reverse, with_resets, data):
    cell = strategies.make_cell(name, seed, torch.float32)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch)))
    options = {"lengths": lengths, "reverse": reverse}
    if with_resets:
        draws = data.draw(st.lists(st.booleans(), min_size=6 * batch, max_size=6 * batch))
        options["resets"] = torch.tensor(draws).view(6, batch)
    assert_fused_is_eager_over(cell, cell_draws(cell, 6, batch, seed), **options)


def of_odd_steps(n_examples):
    """A test over odd steps. Each one is captured and compiled, which takes seconds: a failing one is shown as it is; the
    same ones come at every run, so that the cache serves.
    """
    given_odd = given(odd_steps.odd_steps, st.sampled_from([1, 4]), st.sampled_from([1, 3, 9]), strategies.seeds)
    return lambda test: settings(max_examples=n_examples, derandomize=True, phases=[Phase.generate])(given_odd(test))


@of_odd_steps(5)
def test_odd_steps(step, steps, batch, seed):
    assert_an_odd_step_is_right(step, steps, batch, seed)


@pytest.mark.slow
@of_odd_steps(60)
def test_more_odd_steps(step, steps, batch, seed):
    assert_an_odd_step_is_right(step, steps, batch, seed)


def assert_an_odd_step_is_right(step, steps, batch, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw():
        xs = torch.randn(steps, batch, odd_steps.INPUT, generator=generator)
        return xs, tuple(torch.randn(batch, odd_steps.HIDDEN, generator=generator) for _ in range(2))

    # many: gradients of one number are among them, whose error in one draw is a matter of luck
    assert_fused_is_eager_over(step, [draw() for _ in range(20)])


@pytest.mark.parametrize("names", odd_steps.GROUPS, ids=" ".join)
def test_every_operation(names):
    """Whatever Hypothesis draws: some of the operations each, and what they give added up."""
    generator = torch.Generator().manual_seed(0)

    def draw():  # two steps: at four, rounding the inputs alone moves some gradients by 15 units and more
        return torch.randn(2, 3, odd_steps.INPUT, generator=generator), tuple(
            torch.randn(3, odd_steps.HIDDEN, generator=generator) for _ in range(2)
        )

    assert_fused_is_eager_over(odd_steps.sum_of(names), [draw() for _ in range(20)])


@pytest.mark.parametrize(
    "function",
    {
        "padded": lambda a: F.pad(a, (1, 0))[:, :4],
        "cut": lambda a: F.pad(F.pad(a, (-1, -1)), (1, 1)),
        "compared": lambda a: a + (a > HELD[0]) * 0.5,
        "without a gradient": lambda a: torch.sign(a),
        "sgn": lambda a: a + torch.sgn(a),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_gradients_that_are_nothing(function):
    weight = (0.5 * torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()

    def step(x, h):
        h = function[1](x + h @ weight)
        return h, h

    xs, state = torch.randn(3, 2, 4), torch.randn(2, 4)
    results = [
        values_and_gradients(
            lambda args, engine=engine: unrolled.scan(step, *args, engine=engine), (xs, state), [weight]
        )
        for engine in ("fused", "eager")
    ]
    for fused, eager in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager)


def test_gradients_are_zeros_or_none_as_autograd_has_them():
    weight, bias, threshold = (torch.randn(shape, requires_grad=True) for shape in ((3, 3), (3,), (3,)))

    def step(x, h):
        h = torch.tanh(h + x * bias) + torch.sign(h @ weight) + torch.where(x > threshold, 1.0, 0.0)
        return h, h

    for engine in ("eager", "fused"):
        weight.grad = bias.grad = threshold.grad = None
        unrolled.scan(step, torch.randn(4, 2, 3), torch.randn(2, 3), engine=engine)[0].sum().backward()
        assert torch.equal(weight.grad, torch.zeros(3, 3)), engine
        assert bias.grad.abs().max() > 0
        assert threshold.grad is None


def tanh(a):
    return a.tanh()  # a name that the function has too


def counted(a, n):
    return a if n == 0 else counted(torch.tanh(a), n - 1)


@pytest.mark.parametrize("function", [tanh, F.tanh, lambda a: counted(a, 2)])
def test_a_function_that_names_itself(function):
    def step(x, h):
        h = function(x + h)
        return h, h

    xs, h = torch.randn(3, 2, 4), torch.zeros(2, 4)
    fused, eager = (unrolled.scan(step, xs, h, engine=engine)[0] for engine in ("fused", "eager"))
    torch.testing.assert_close(fused, eager)


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_float64(name):
    cell = strategies.make_cell(name, 3)
    inputs = (strategies.make_inputs(9, 3, 4), strategies.make_state(cell, 3, 5))
    fused, eager = (
        values_and_gradients(
            lambda args, engine=engine: unrolled.scan(cell, *args, engine=engine), inputs, list(cell.parameters())
        )
        for engine in ("fused", "eager")
    )
    for a, b in zip(fused, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_several_threads_of_python_may_scan_at_once():
    cell = unrolled.cells.LSTM(3, 5)
    inputs = [torch.randn(30, 4, 3) for _ in range(8)]
    state = cell.initial_state(4)
    expected = [unrolled.scan(cell, xs, state)[0].detach() for xs in inputs]

    def run(at):
        for _ in range(20):
            ys, _ = unrolled.scan(cell, inputs[at].clone().requires_grad_(), state)
            ys.sum().backward()
        return ys.detach()

    with ThreadPoolExecutor(8) as pool:
        for ys, wanted in zip(pool.map(run, range(8)), expected, strict=True):
            torch.testing.assert_close(ys, wanted)


def test_gradients_of_two_biases_are_two_tensors():
    layer = unrolled.GRU(3, 5, engine="fused")
    ys, _ = layer(torch.randn(4, 2, 3))
    of_x, of_h = torch.autograd.grad(ys.sum(), [layer.bias_ih_l0, layer.bias_hh_l0])
    before = of_h.clone()
    of_x.mul_(2)
    assert torch.equal(of_h, before)
    layer = unrolled.RNN(3, 5, engine="fused")  # whose biases have the same gradient
    ys, _ = layer(torch.randn(4, 2, 3))
    of_x, of_h = torch.autograd.grad(ys.sum(), [layer.bias_ih_l0, layer.bias_hh_l0])
    assert torch.equal(of_x, of_h)
    assert of_x.data_ptr() != of_h.data_ptr()


@pytest.mark.parametrize("wanted", ["xs", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "first"])
def test_a_single_gradient_is_the_same_alone(wanted):
    layer = unrolled.GRU(3, 5, engine="fused")
    tensors = {"xs": torch.randn(4, 2, 3), "first": torch.randn(1, 2, 5), **dict(layer.named_parameters())}
    found = []
    for names in (list(tensors), [wanted]):
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in names)
        ys, _ = layer(tensors["xs"], tensors["first"])
        found.append(torch.autograd.grad(ys.square().sum(), tensors[wanted])[0])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_second_derivatives_take_the_eager_loops_way():
    cell = strategies.make_cell("lstm", 1)
    xs = strategies.make_inputs(4, 2, 2).requires_grad_()
    state = strategies.make_state(cell, 2, 3)
    results = []
    for engine in ("fused", "eager"):
        ys, _ = unrolled.scan(cell, xs, state, engine=engine)
        (first,) = torch.autograd.grad(ys.square().sum(), xs, create_graph=True)
        results.append((first, *torch.autograd.grad(first.square().sum(), [xs, cell.weight_hh])))
    for fused, eager in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-10, atol=1e-10)


def test_a_plan_follows_what_the_step_holds():
    """Parameters exchanged, a flag turned, a closure made anew: each scan runs with what the step holds now."""
    cell, xs = unrolled.cells.Elman(3, 5), torch.randn(6, 2, 3)
    state = cell.initial_state(2)

    def both():
        torch.testing.assert_close(
            unrolled.scan(cell, xs, state, engine="fused")[0], unrolled.scan(cell, xs, state, engine="eager")[0]
        )

    both()
    cell.weight_hh = torch.nn.Parameter(torch.randn(5, 5))
    both()
    with torch.no_grad():
        cell.weight_hh.mul_(0.5)
    both()
    cell.activation = torch.relu
    both()
    cell.weight_ih.requires_grad_(False)
    both()
    for factor in (0.5, 2.0):
        for weight in (torch.eye(5), torch.ones(5, 5)):
            step = lambda x, h, f=factor, w=weight: ((h @ w) * f, torch.tanh(h @ w + f))
            fused, eager = (unrolled.scan(step, xs, state, engine=engine) for engine in ("fused", "eager"))
            torch.testing.assert_close(fused, eager)


def test_a_plan_keeps_no_model_alive():
    cell = unrolled.cells.GRU(4, 6)
    unrolled.scan(cell, torch.randn(3, 2, 4), cell.initial_state(2), engine="fused")[0].sum().backward()
    alive = [weakref.ref(parameter) for parameter in cell.parameters()]
    del cell
    gc.collect()
    assert [each() for each in alive] == [None] * 4


def test_nan_and_infinity_travel_as_in_the_eager_loop():
    step = lambda x, h: (torch.sigmoid(h), torch.maximum(torch.tanh(x * h), torch.exp(x)).abs())
    special = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e30, -1e30, 88.0, 89.5, -87.5, -104.0]
    )
    xs = special.repeat(3, 2, 1)
    fused, eager = (unrolled.scan(step, xs, torch.ones(2, 11), engine=engine) for engine in ("fused", "eager"))
    torch.testing.assert_close(fused, eager, equal_nan=True)


def test_masks_are_drawn_anew_at_every_step_with_the_eager_loops_law():
    step = lambda x, h: (torch.nn.functional.dropout(x, 0.5), 0.5 * h + x)
    ys, _ = unrolled.scan(step, torch.ones(50, 20, 30), torch.zeros(20, 30), engine="fused")
    assert set(ys.unique().tolist()) == {0.0, 2.0}
    assert abs(ys.mean().item() - 1) < 0.05
    assert not torch.equal(ys[0], ys[1])


WEIGHTS = torch.linspace(-1, 1, 36).view(9, 4)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, h: (h * torch.rand(4), torch.tanh(x + h)),
        lambda x, h: (h, torch.tanh(x * torch.rand(4) + h)),
        lambda x, h: (h, torch.tanh(x * F.dropout(torch.ones(1, 4)) + h)),
        lambda x, h: (h, torch.tanh(F.linear(x, WEIGHTS[:4], torch.randn(4)) + h)),
        lambda x, h: (h, torch.tanh(x + torch.normal(0.0, 1.0, (1, 4)) + h)),
        lambda x, h: (h, torch.tanh(x + torch.normal(WEIGHTS[0], 1.0) + h)),
        lambda x, h: (h, torch.tanh(x + torch.randint(9, (4,)) + h)),
        lambda x, h: (h * torch.randperm(4), torch.tanh(x + h)),
    ],
)
def test_numbers_that_the_rows_of_a_batch_share_are_drawn_anew_at_every_step(step):
    found = []
    for engine in ("auto", "eager"):
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", unrolled.errors.NotFusedWarning)
            found.append(unrolled.scan(step, torch.ones(5, 3, 4), torch.ones(3, 4), engine=engine))
    torch.testing.assert_close(*found)


def test_a_gradient_by_how_often_a_word_occurs_in_a_step():
    table = torch.nn.Embedding(3, 4, scale_grad_by_freq=True)
    words, gradients = torch.tensor([[1, 1, 2], [1, 0, 2], [1, 1, 1]]), []
    for engine in ("auto", "eager"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", unrolled.errors.NotFusedWarning)
            ys, _ = unrolled.scan(lambda x, h: (h, torch.tanh(table(x) + h)), words, torch.zeros(3, 4), engine=engine)
        gradients += torch.autograd.grad(ys.sum(), table.weight)
    torch.testing.assert_close(*gradients)


def test_embeddings_of_integer_inputs_are_done_before_the_loop():
    table, cell = torch.nn.Embedding(7, 3), unrolled.cells.GRU(3, 5)
    step = lambda x, h: cell(table(x), h)
    words = torch.randint(0, 7, (6, 4))
    told = unrolled.explain(step, words, cell.initial_state(4))
    assert told.path == "fused"
    assert told.before["aten.embedding"] == 1
    fused, eager = (unrolled.scan(step, words, cell.initial_state(4), engine=engine) for engine in ("fused", "eager"))
    torch.testing.assert_close(fused, eager)


class Elsewhere(torch.nn.Module):
    """Steps some of whose parts lie on the other side of a cut."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.wide = kind, torch.nn.Parameter(0.4 * torch.randn(4, 8))
        self.norm = torch.nn.BatchNorm1d(4).eval()

    def forward(self, x, h):
        if self.kind == "tuples before":
            a, b = (x @ self.wide).view(-1, 2, 4).unbind(1)
            h = torch.tanh(F.layer_norm(a, (4,)) + b * h)
        elif self.kind == "tuples inside":  # one half feeds the state, the other is put out
            a, b = (x @ self.wide + h @ self.wide).chunk(2, 1)
            return b, torch.tanh(a)
        elif self.kind == "written to":
            h = (h @ self.wide[:, :4]).clone()
            h[:, 1:3] = x[:, :2]
            h[:, 2:] = 1.5
            h[:, 3] = 0.5
            h = torch.tanh(h + x[:, :2].repeat(1, 2) * (x > 1).any(1, keepdim=True))
        elif self.kind == "written over":  # nothing is left of the product, nor of its gradient
            h = (h @ self.wide[:, :4]).clone()
            h[:, :2], h[:, 2:] = x[:, :2], 1.5
        elif self.kind == "shapes alone":  # what is put out, and what is carried, are constants
            return (h.new_zeros(len(h), 2), h), (torch.tanh(x + h[:, :1]) * torch.ones_like(h)).mul(0) + x
        elif self.kind == "batch norm":
            h = torch.tanh(self.norm(x) + h)
        else:  # what the loop cannot hold, of the inputs alone
            time = torch.special.i0(x) % 2
            h = torch.where(time > 1, torch.tanh(x + h), h)
        return h, h


@pytest.mark.parametrize(
    "kind", ["tuples before", "tuples inside", "a clock", "written to", "written over", "batch norm", "shapes alone"]
)
def test_steps_with_parts_that_lie_elsewhere(kind):
    torch.manual_seed(0)
    assert_fused_is_eager(Elsewhere(kind), torch.randn(5, 3, 4), torch.randn(3, 4))


@pytest.mark.parametrize(
    "draw",
    [
        lambda h: torch.rand_like(h) < 0.3,
        lambda h: torch.bernoulli(torch.full_like(h, 0.3)),
        lambda h: torch.empty_like(h).bernoulli_(0.3),
        lambda h: h.new_empty(h.shape).uniform_(-0.3, 0.7) > 0.4,
        lambda h: torch.zeros_like(h).normal_(0.2, 0.9) < -0.27,
        lambda h: torch.zeros_like(h).cauchy_() > math.tan(0.2 * math.pi),
        lambda h: h.clone().log_normal_() < math.exp(1 - 2 * 0.5244),
        lambda h: torch.sin(h).geometric_(0.3) == 1,
    ],
)
def test_random_numbers_in_the_shape_of_the_state(draw):
    """Zoneout: what a mask says stays as it was, three in ten."""
    torch.manual_seed(0)
    step = lambda x, h: (torch.where(draw(h).bool(), h, h + x), torch.where(draw(h).bool(), h, h + x))
    xs = torch.ones(200, 10, 20)
    ys, last = unrolled.scan(step, xs, torch.zeros(10, 20), engine="fused")
    assert abs(last.mean().item() / 200 - 0.7) < 0.02
    assert not torch.equal(ys[1:] - ys[:-1], ys[:1] - ys[1:2])
    assert len(last.unique()) > 10


@pytest.fixture
def two_threads(monkeypatch):
    """However small a step is."""
    monkeypatch.setattr(emit, "ALONE", "0")
    monkeypatch.setattr(emit, "AWAKE", "0")
    forget_plans()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
    forget_plans()


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
@pytest.mark.parametrize("batch", [1, 3, 8, 33])
def test_two_threads_share_the_rows_or_the_features(two_threads, name, batch):
    cell = strategies.make_cell(name, 2, torch.float32)
    xs = strategies.make_inputs(11, batch, 3, torch.float32)
    assert_fused_is_eager(cell, xs, strategies.make_state(cell, batch, 4, torch.float32), reverse=batch == 8)


REDUCTIONS = ["softmax", "layer_norm", "product", "rotate", "cumsum", "less_largest"]


def assert_two_threads_are_one(step, batch):
    # such a step makes much of a single rounding, and which way it falls is luck: few steps, many draws
    draws = [(torch.randn(2, batch, 3), (torch.randn(batch, 6), torch.randn(batch, 6))) for _ in range(20)]
    assert_fused_is_eager_over(step, draws)


@pytest.mark.parametrize("names", [REDUCTIONS[:3], REDUCTIONS[3:]], ids=" ".join)
@pytest.mark.parametrize("batch", [1, 9])
def test_two_threads_share_reductions(two_threads, names, batch):
    assert_two_threads_are_one(odd_steps.sum_of(names), batch)


@pytest.mark.slow
@pytest.mark.parametrize("node", REDUCTIONS)
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_two_threads_share_each_reduction(two_threads, node, batch):
    step = odd_steps.Odd((odd_steps.Node(node, 0, 0), odd_steps.Node("product", 4, 4)), 1, returns_more=True)
    assert_two_threads_are_one(step, batch)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("hidden", "batch"), [(300, 9), (65, 130), (16, 1), (33, 7), (300, 2), (65, 1)])
def test_sizes_beyond_a_tile_a_panel_and_a_cache(two_threads, threads, hidden, batch):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cell, xs = unrolled.cells.GRU(hidden - 3, hidden), torch.randn(4, batch, hidden - 3)
    assert_fused_is_eager(cell, xs, torch.randn(batch, hidden))
    again = [unrolled.scan(cell, xs, torch.ones(batch, hidden))[0] for _ in range(5)]
    assert all(torch.equal(each, again[0]) for each in again)
    torch.set_num_threads(1)


class Straight(torch.autograd.Function):
    """Rounds, and lets the gradient through as it is."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Writes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.history, self.last = [], None
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x, h):
        self.last = h
        self.history.append(1)
        return h, torch.tanh(h + x)


def without_gradient(x, h):
    with torch.no_grad():
        scale = h.abs().amax(1, keepdim=True)
    return h, torch.tanh(x + h) / (1 + scale)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (without_gradient, r"it switches gradients on or off, or takes one, within the step; tensor\.detach\(\) stops"),
        (lambda x, h: (h, Straight.apply(x + 0.5 * h)), "it calls the autograd function Straight, whose backward"),
        (Writes(), "it writes to an object that outlives the step; put what changes into the state"),
        (lambda x, h: (h, h.mul_(0.5) + x), "it changes one of its arguments, or a tensor that it holds, in place"),
        (lambda x, h: (h, h * 0.5 if h.sum() > 0 else h + x), "tracing it raises"),
        (lambda x, h: (h, h + x - (h + x).mean(0)), "averages over the batch"),
        (lambda x, h: (h, h.sort(1)[0] + x), "aten.sort is not among the operations that a fused loop can hold"),
        (lambda x, h: (h, h.cumsum(0) + x), "works along another axis than the features"),
        (lambda x, h: (h, h.view(-1, 2, 2).max(2)[0].repeat(1, 2) + x), "amax and amin find what stands there"),
        (lambda x, h: (h, torch.bernoulli(torch.sigmoid(h)) + x), "random numbers whose law may depend on the state"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_faithfully_runs_eagerly_and_right(step, reason):
    xs, h = torch.randn(5, 3, 4), torch.randn(3, 4)
    with pytest.raises(unrolled.errors.NotFusedError, match=reason):
        unrolled.scan(step, xs, h.clone(), engine="fused")

    def run(engine):
        torch.manual_seed(0)
        inputs = xs.clone().requires_grad_()
        ys, last = unrolled.scan(step, inputs, h.clone(), engine=engine)
        return (ys.detach(), last.detach(), *torch.autograd.grad(last.sum(), inputs, allow_unused=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unrolled.errors.NotFusedWarning)
        torch.testing.assert_close(run("auto"), run("eager"), rtol=0, atol=0)
    if isinstance(step, Writes):
        assert len(step.history) == 10
        assert type(step.last) is torch.Tensor


def test_a_detached_value_passes_no_gradient():
    step = lambda x, h: (h, torch.tanh(x + h.detach() * h))
    results = []
    for engine in ("fused", "eager"):
        xs = torch.linspace(-1, 1, 60).view(5, 3, 4).requires_grad_()
        _, last = unrolled.scan(step, xs, torch.ones(3, 4), engine=engine)
        results.append(torch.autograd.grad(last.sum(), xs))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-before", "elman"])
@pytest.mark.parametrize("options", [{}, {"reverse": True, "lengths": torch.tensor([9, 4, 6])}], ids=["plain", "ends"])
def test_bfloat16_is_stored_and_float_computed(name, options):
    cell = strategies.make_cell(name, 1, torch.bfloat16)
    xs, state = strategies.make_inputs(9, 3, 2), strategies.make_state(cell, 3, 3)
    assert_fused_is_eager(cell, *to_dtype((xs, state), torch.bfloat16), **options)


@pytest.mark.parametrize("engine", ["fused", "eager"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masks", ["none", "ends", "ends and resets"])
def test_recomputed_is_kept(engine, reverse, masks):
    cell = strategies.make_cell("lstm", 1, torch.float32)
    xs, state = strategies.make_inputs(11, 3, 2, torch.float32), strategies.make_state(cell, 3, 3, torch.float32)
    options = {"engine": engine, "reverse": reverse}
    if masks != "none":
        options["lengths"] = torch.tensor([11, 3, 7])
    if masks == "ends and resets":
        options["resets"] = torch.rand(11, 3, generator=torch.Generator().manual_seed(0)) > 0.7
    kept, recomputed = (
        values_and_gradients(
            lambda args, r=r: unrolled.scan(cell, *args, recompute=r, **options), (xs, state), list(cell.parameters())
        )
        for r in (False, True)
    )
    for a, b in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(a, b)


def test_recomputed_without_time():
    cell = strategies.make_cell("gru", 1, torch.float32)
    state = strategies.make_state(cell, 3, 3, torch.float32).requires_grad_()
    ys, last = unrolled.scan(cell, torch.zeros(0, 3, 3), state, recompute=True)
    assert ys.shape == (0, *state.shape)
    torch.testing.assert_close(torch.autograd.grad(last.sum(), state), (torch.ones_like(state),))


def test_recomputing_draws_the_same_masks():
    """With y = masked x, the gradient is the mask: it must be the one that the forward drew."""
    step = lambda x, h: (torch.nn.functional.dropout(x, 0.5), h)
    xs = torch.ones(10, 4, 3, requires_grad=True)
    ys, _ = unrolled.scan(step, xs, torch.zeros(4, 3), engine="fused", recompute=True)
    [gradient] = torch.autograd.grad(ys.sum(), xs)
    assert 0 < ys.count_nonzero() < ys.numel()
    torch.testing.assert_close(gradient, ys.detach())


#: what changes a tensor in place that an operation before it has saved
CHANGES = {
    "tanh": lambda z: torch.tanh(z).mul_(2),
    "sigmoid": lambda z: torch.sigmoid(z).add_(1),
    "exp": lambda z: z.exp().zero_(),
    "sin": lambda z: (y := z * 1.5, torch.sin(y) + y.neg_())[1],
    "product": lambda z: (y := z * 1.5, y * y + y.fill_(2.0))[1],
    "part": lambda z: (y := torch.tanh(z), y[:, 0].mul_(2), y)[2],
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
@pytest.mark.parametrize("change", CHANGES)
def test_recomputing_raises_of_what_was_changed_in_place(change, n_steps, reverse):
    """As the plain loop does: torch does not look at what it computes again."""
    weight = torch.linspace(-1, 1, 9).cos().view(3, 3).requires_grad_()

    def step(x, h):
        h = CHANGES[change](x + h @ weight)
        return h, h

    for recompute in (False, True):
        options = {"reverse": reverse, "engine": "eager", "recompute": recompute}
        ys, last = unrolled.scan(step, torch.ones(n_steps, 4, 3), torch.zeros(4, 3), **options)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (ys.sum() + last.sum()).backward()
        assert weight.grad is None


class Scans(torch.utils.data.Dataset):
    """Items that are made by a scan, in a worker process."""

    def __init__(self, cell, *, learns):
        self.cell, self.learns = cell, learns

    def __len__(self):
        return 6

    def __getitem__(self, i):
        xs = torch.full((7, 2, 3), float(i), requires_grad=True)
        ys, _ = unrolled.scan(self.cell, xs, self.cell.initial_state(2), engine="fused")
        gradients = torch.autograd.grad(ys.sum(), xs) if self.learns else ()
        return torch.cat([tensor.detach().flatten() for tensor in (ys, *gradients)])


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader_scan(context):
    # torch built for GPUs refuses a backward in a process that was forked from one that had made some
    data = Scans(unrolled.cells.GRU(3, 5), learns=context == "spawn" or torch.version.cuda is None)
    here = torch.stack([data[i] for i in range(len(data))])
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=context)
    torch.testing.assert_close(torch.cat(list(loader)), here)


@pytest.mark.parametrize("name", strategies.CELLS)
def test_products_of_inputs_within_the_loop_are_as_exact(monkeypatch, name):
    monkeypatch.setattr(cpu, "least_rows_inside", lambda: 1)
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(6, 9, 1, torch.float32), strategies.make_state(cell, 9, 2, torch.float32)
    assert_fused_is_eager(cell, xs, state)


@pytest.mark.parametrize("wide", [1, 1 << 30])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_inputs_of_no_features(monkeypatch, name, wide):
    monkeypatch.setattr(cpu, "least_rows_inside", lambda: wide)
    cell = {"elman": unrolled.cells.Elman, "lstm": unrolled.cells.LSTM, "gru": unrolled.cells.GRU}[name](0, 5)
    assert_fused_is_eager(cell, torch.randn(4, 9, 0), pytree.tree_map(torch.randn_like, cell.initial_state(9)))


def test_products_of_inputs_stay_in_the_loop_in_inference_where_a_thread_has_many_rows(monkeypatch):
    monkeypatch.setattr(cpu, "least_rows_inside", lambda: 8)
    wide = 8 * torch.get_num_threads()

    def told(cell, batch, **options):
        return unrolled.explain(cell, torch.randn(3, batch, 5), cell.initial_state(batch), **options)

    cell = unrolled.cells.LSTM(5, 6)
    assert told(cell, wide).products == [(6, 24)]  # in training
    with torch.no_grad():
        few, many = told(cell, wide - 1), told(cell, wide)
        assert (few.before["aten.addmm"], few.products) == (1, [(6, 24)])
        assert (many.before, sorted(many.products)) == ({}, [(5, 24), (6, 24)])
        assert told(cell, wide, resets=torch.zeros(3, wide, dtype=torch.bool)).products == many.products
        # which gives no more numbers than it reads
        assert told(unrolled.cells.Elman(5, 5), wide).products == [(5, 5)]
        # whose weights would leave no room in the cache
        assert told(unrolled.cells.LSTM(5, 260), wide).products == [(260, 1040)]


@pytest.mark.parametrize("kind", [unrolled.cells.Elman, unrolled.cells.LSTM, unrolled.cells.GRU])
def test_a_call_of_a_single_row_is_one_loop(kind):
    torch.manual_seed(0)
    cell = kind(5, 5)
    xs = torch.randn(6, 1, 5)
    state = pytree.tree_map(torch.randn_like, cell.initial_state(1))
    with torch.no_grad():
        assert unrolled.explain(cell, xs, state).before == {"aten.addmm": 1}
        assert unrolled.explain(cell, xs[:1], state).before == {}
        assert len(unrolled.explain(cell, xs[:1], state).products) == 2
        whole, last = unrolled.scan(cell, xs, state)
        steps = []
        for x in xs.split(1):
            for _ in range(2):  # as a new call, and as one like one before
                ys, new = unrolled.scan(cell, x, state, engine="fused")
            steps.append(ys)
            state = new
    torch.testing.assert_close((torch.cat(steps), state), (whole, last))
    assert unrolled.explain(cell, xs[:1], state).before == {"aten.addmm": 1}  # in training


class Branching(torch.nn.Module):
    """A product of the input that the loop reads, and what else is made of it; two products of states, added up, of
    which one may be read again.
    """

    def __init__(self, *, again):
        super().__init__()
        self.again = again
        self.first, self.second = torch.nn.Linear(5, 12), torch.nn.Linear(6, 6)
        self.third = torch.nn.Linear(6, 6, bias=False)

    def forward(self, x, state):
        a, b = state
        gate, more = self.first(x).chunk(2, 1)
        product = self.third(b)
        new = torch.tanh(self.second(a) + product + gate)
        return new + more.relu(), (new, a * torch.sigmoid(gate + product if self.again else gate))


@pytest.mark.parametrize("again", [True, False])
def test_a_product_is_computed_once(again):
    step, state = Branching(again=again), (torch.zeros(3, 6), torch.zeros(3, 6))
    assert unrolled.explain(step, torch.zeros(2, 3, 5), state).products == [(6, 6), (6, 6)]


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("wide", [1, 1 << 30])
@pytest.mark.parametrize("learns", [True, False])
def test_products_that_others_read_too(monkeypatch, again, wide, learns):
    torch.manual_seed(0)
    monkeypatch.setattr(cpu, "least_rows_inside", lambda: wide)
    step, xs = Branching(again=again), torch.randn(4, 9, 5)
    state = torch.randn(9, 6), torch.randn(9, 6)
    if learns:
        assert_fused_is_eager(step, xs, state)
    results = [unrolled.scan(module, xs.to(dtype), to_dtype(state, dtype), engine=engine)[0] for module, dtype, engine in (
        (step, torch.float32, "fused"), (step, torch.float32, "eager"), (copy.deepcopy(step).double(), torch.float64, "eager")
    )]  # fmt: skip
    assert_as_exact_as(*[each.detach() for each in results])


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 0, 2])])
def test_both_ways_at_once_are_two_scans(two_threads, monkeypatch, n_threads, lengths):
    torch.set_num_threads(n_threads)
    cells = [unrolled.cells.GRU(5, 6), unrolled.cells.GRU(5, 6)]
    xs, states = torch.randn(9, 3, 5), [torch.randn(3, 6), torch.randn(3, 6)]
    met = []
    together = run._together()
    monkeypatch.setattr(run, "_together", lambda: lambda calls: (met.append(calls), together(calls)))
    parameters = [parameter for cell in cells for parameter in cell.parameters()]
    both = values_and_gradients(
        lambda args: scan_both_ways(cells, args[0], args[1], lengths=lengths), (xs, states), parameters
    )
    assert len(met) == (2 if n_threads == 2 else 0)  # forward and backward
    alone = values_and_gradients(
        lambda args: [
            unrolled.scan(cell, args[0], state, lengths=lengths, reverse=reverse)
            for cell, state, reverse in zip(cells, args[1], (False, True), strict=True)
        ],
        (xs, states),
        parameters,
    )
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        again = pytree.tree_leaves(scan_both_ways(cells, xs, states, lengths=lengths))
    for a, b in zip(again, both[: len(again)], strict=True):
        torch.testing.assert_close(a, b)


def test_both_ways_where_one_cannot_run_fused():
    steps = [unrolled.cells.GRU(5, 6), lambda x, h: (h, h + x.mean() * 0.1)]
    xs, states = torch.randn(4, 3, 5), [torch.randn(3, 6), torch.randn(3, 6)]
    with pytest.warns(unrolled.errors.NotFusedWarning):
        both = scan_both_ways(steps, xs, states)
    for (ys, last), step, state, reverse in zip(both, steps, states, (False, True), strict=True):
        wanted = unrolled.scan(step, xs, state, reverse=reverse, engine="eager")
        torch.testing.assert_close((ys, last), wanted)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="a matter of Linux")
@pytest.mark.parametrize("n_allowed", [1, None])
def test_threads_may_run_where_they_might_before(two_threads, n_allowed):
    everywhere = os.sched_getaffinity(0)
    cell, xs = unrolled.cells.GRU(5, 6), torch.randn(3, 4, 5)
    unrolled.scan(cell, xs, torch.zeros(4, 6))

    def allow(processors):
        for thread in map(int, os.listdir("/proc/self/task")):
            with contextlib.suppress(ProcessLookupError):  # of another test, and just ended
                os.sched_setaffinity(thread, processors)

    def allowed():
        found = {}
        for thread in map(int, os.listdir("/proc/self/task")):
            with contextlib.suppress(ProcessLookupError):
                found[thread] = os.sched_getaffinity(thread)
        return found

    try:
        allow(sorted(everywhere)[:1])  # so that all are on one processor
        allow(sorted(everywhere)[:n_allowed])
        before = allowed()
        unrolled.scan(cell, xs, torch.zeros(4, 6))
        after = allowed()
        assert {thread: before[thread] for thread in before.keys() & after.keys()} == after
    finally:
        allow(everywhere)
