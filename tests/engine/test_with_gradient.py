"""A result requires a gradient where the plain loop's does: last states and outputs, of generated steps."""

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.guard.checks import scan_quietly

import unrolled
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.run.with_gradient import with_gradient
from unrolled.engine.step.interpreter import COMPARES

#: a new state out of x, the states a and b, and a weight w
STATES = {
    "zeros": lambda x, a, b, w: torch.zeros_like(a),
    "of_x": lambda x, a, b, w: torch.tanh(x),
    "kept": lambda x, a, b, w: a * 1.0,
    "other": lambda x, a, b, w: b * 0.5,
    "of_w": lambda x, a, b, w: torch.sigmoid(x * w),
    "all": lambda x, a, b, w: torch.tanh(a * w + b + x),
    "compared": lambda x, a, b, w: (a > b).to(a.dtype),
    "detached": lambda x, a, b, w: a.detach() * 0.5,
    "chosen": lambda x, a, b, w: torch.where(a > 0, x, torch.ones_like(x)),
    "product": lambda x, a, b, w: x @ w.outer(w) * 0.1,
    "filled": lambda x, a, b, w: torch.fill(a, 0.5),
    "filled_twice": lambda x, a, b, w: (a * w).fill_(0.5).sin().fill_(2.0),
    "overwritten": lambda x, a, b, w: _written(b * 1.0, ..., x),
    "overwritten_by_a_number": lambda x, a, b, w: _written(b.clone(), slice(None), 0.5),
    "overwritten_by_all_columns": lambda x, a, b, w: _written(torch.sin(a), (slice(None), slice(0, 4)), w),
    "overwritten_in_part": lambda x, a, b, w: _written(b.clone(), (slice(None), slice(1, 3)), 0.5),
    "overwritten_zeros": lambda x, a, b, w: _written(torch.zeros_like(a), ..., 0.5),
    "part_of_zeros": lambda x, a, b, w: _written(torch.zeros_like(a), (slice(None), 1), w[1] * x[:, 0]),
    "copied": lambda x, a, b, w: a.clone().copy_(torch.ones_like(w)),
    "zeroed": lambda x, a, b, w: torch.sin(a).zero_(),
    "filled_mask": lambda x, a, b, w: a.masked_fill(a == a, 0.5),
    "written_as_compared": lambda x, a, b, w: (a * 1.0).gt_(b),
    "written_as_compared_in_part": lambda x, a, b, w: _compared(x * 1.0, b),
    "range": lambda x, a, b, w: x * torch.linspace(w[0], 2.0, 4, dtype=x.dtype),
}


def _written(to, place, what):
    to[place] = what
    return to


def _compared(to, what):
    to[:, 1:3].ge_(what[:, :2])
    return to


OUTPUTS = {
    **{name: STATES[name] for name in ("zeros", "of_x", "other", "compared", "detached", "of_w")},
    "state": lambda x, a, b, w: a,
    "summed": lambda x, a, b, w: torch.tanh(a + x),
}


def asked(names, needs, n_steps, engine, **options):
    """Whether outputs and last states require a gradient, and the gradients of what is asked for."""
    numbers = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(shape, generator=numbers, dtype=torch.float64)
    given = draw(n_steps, 3, 4), draw(3, 4), draw(3, 4), draw(4)
    x, a, b, w = (t.requires_grad_(n) for t, n in zip(given, needs, strict=True))

    def step(x, state):
        one, two = (STATES[name](x, *state, w) for name in names[:2])
        return tuple(OUTPUTS[name](x, *state, w) for name in names[2:]), (one, two)

    ys, last = scan_quietly(step, x, (a, b), engine=engine, **options)
    results = [*ys, *last]
    has = [each.requires_grad for each in results]
    total = sum(each.sum() for each in results if each.requires_grad)
    wanted = [t for t in (x, a, b, w) if t.requires_grad]
    found = torch.autograd.grad(total, wanted, allow_unused=True) if any(has) else ()
    is_fused = engine == "eager" or unrolled.explain(step, x, (a, b)).path == "fused"
    return has, [torch.zeros(1) if g is None else g for g in found], is_fused


def cases(count):
    """Random steps, what requires a gradient, and options."""
    numbers = random.Random(4)
    for _ in range(count):
        names = (*numbers.choices(list(STATES), k=2), *numbers.choices(list(OUTPUTS), k=2))
        yield names, tuple(numbers.random() < 0.4 for _ in range(4)), numbers.choice([1, 2, 3, 8]), numbers.randrange(3)


@pytest.mark.parametrize("case", [*cases(12), *(pytest.param(c, marks=pytest.mark.slow) for c in [*cases(100)][12:])])
def test_results_require_a_gradient_where_the_loops_do(case):
    names, needs, n_steps, option = case
    options = [
        {},
        {"lengths": torch.tensor([n_steps, max(1, n_steps - 1), 1])},
        {"resets": torch.arange(n_steps * 3).view(n_steps, 3) % 4 == 1},
    ][option]
    ours, theirs = (asked(names, needs, n_steps, engine, **options) for engine in ("auto", "eager"))
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(*torch.broadcast_tensors(a, b), rtol=1e-10, atol=1e-10, check_dtype=False)


WRITES = [
    name for name in STATES if name.startswith(("filled", "overwritten", "copied", "zeroed", "part_of", "written"))
]


@pytest.mark.parametrize("name", WRITES)
def test_what_is_overwritten_has_a_gradient_of_zeros(name, monkeypatch):
    """As torch gives it; a trained model's loss on it may be called without an error."""
    monkeypatch.setitem(OUTPUTS, name, STATES[name])
    for needs in itertools.product((False, True), repeat=4):
        assert_as_eager(name, needs)


def assert_as_eager(name, needs):
    ours, theirs = (asked(("kept", "other", name, "zeros"), needs, 2, engine) for engine in ("auto", "eager"))
    assert ours[2], "not fused"
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(*torch.broadcast_tensors(a, b), rtol=1e-10, atol=1e-10, check_dtype=False)


@pytest.mark.parametrize("name", sorted(COMPARES))
def test_what_is_compared_in_place_has_a_gradient_of_zeros(name, monkeypatch):
    """As torch gives it, of what it is compared with too; a condition has none."""
    monkeypatch.setitem(OUTPUTS, name, lambda x, a, b, w: getattr(torch.sin(a), name)(0.1))
    monkeypatch.setitem(OUTPUTS, "other", lambda x, a, b, w: getattr(torch.zeros_like(a), name)(x * w))
    for needs in itertools.product((False, True), (False, True), (False,), (False, True)):
        assert_as_eager(name, needs)


@pytest.mark.parametrize("ends", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("name", ["linspace", "logspace"])
def test_a_range_has_no_gradient(name, ends, monkeypatch):
    """Torch reads the numbers of its ends alone; the operation that it then calls asks for a gradient."""

    def of_a_range(x, a, b, w):
        first, last = (w[i] if is_tensor else 0.5 for i, is_tensor in enumerate(ends))
        return b * getattr(torch, name)(first, last, 4, dtype=b.dtype)

    monkeypatch.setitem(OUTPUTS, name, of_a_range)
    for needs in itertools.product((False,), (False,), (False, True), (False, True)):
        assert_as_eager(name, needs)


def test_a_state_that_comes_and_goes():
    """Of two states that change places the last one has a gradient after an even number of steps alone."""

    def step(x, state):
        a, b = state
        return x * 1.0, (b * 1.0, a * 1.0)

    for n_steps, engine in itertools.product((1, 2, 5, 1000, 1001), ("fused", "eager")):
        first = torch.ones(2, 4, requires_grad=True), torch.ones(2, 4)
        _, (a, b) = unrolled.scan(step, torch.zeros(n_steps, 2, 4), first, engine=engine)
        assert (a.requires_grad, b.requires_grad) == (n_steps % 2 == 0, n_steps % 2 == 1)


@pytest.mark.parametrize("option", ["none", "lengths"])
@pytest.mark.parametrize(
    "needs", [(False, False, False, True), (True, False, False, False), (False, False, True, False)]
)
def test_outputs_of_a_state_that_gets_its_gradient_later(needs, option):
    """The first state follows the second, so outputs that read it as it was have a gradient two steps after it."""
    for n_steps in (1, 2, 3, 4):
        options = {"lengths": torch.tensor([n_steps, 1, 1])} if option == "lengths" else {}
        ours, theirs = (
            asked(("other", "of_w", "state", "summed"), needs, n_steps, engine, **options)[:2]
            for engine in ("fused", "eager")
        )
        assert ours[0] == theirs[0]
        torch.testing.assert_close(ours[1], theirs[1])


def step_by_step(depends, n_states, needed, n_steps, *, may_stay):
    """Whether last states and all results of any step have a gradient, without the search for a period."""
    constants, now, ever = list(needed[:-n_states]), list(needed[-n_states:]), [False] * len(depends)
    for _ in range(n_steps):
        found = [any([*constants, *now][i] for i in places) for places in depends]
        ever = [a or b for a, b in zip(ever, found, strict=True)]
        now = [new or (may_stay and old) for new, old in zip(found, now, strict=False)]
    return [*now, *ever]


@given(st.data(), st.integers(1, 5), st.integers(0, 3), st.integers(0, 2))
def test_gradients_of_any_loop_are_those_of_its_steps(data, n_states, n_constants, n_kept):
    n_inputs = n_constants + n_states
    places = st.lists(st.integers(0, n_inputs - 1), max_size=3)
    depends = data.draw(st.lists(places, min_size=n_states + n_kept, max_size=n_states + n_kept))
    loop = SimpleNamespace(
        sources=[], constant_sources=[None] * n_constants, states=[()] * n_states, sequences=list(range(n_states)),
        depends=depends, has_gradient={},
    )  # fmt: skip
    flags = st.lists(st.booleans(), min_size=n_inputs, max_size=n_inputs)
    for needed, n_steps, ends in data.draw(st.lists(st.tuples(flags, st.integers(1, 200), st.booleans()), max_size=6)):
        layout = BatchLayout(n_steps, 2, False, n_steps, torch.ones(n_steps) if ends else None)
        wanted = step_by_step(depends, n_states, needed, n_steps, may_stay=ends)
        assert with_gradient(loop, layout, needed) == wanted
