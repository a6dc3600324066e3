"""A change between two calls is seen: the same result as the plain loop on the same object, whatever path is taken."""

import itertools
import random
import time

import pytest
import torch
from tests.guard.changes import CHANGES, PLACES, USES, pairs, placed, plain_step, weights
from tests.guard.checks import Case, are_equal, assert_as_eager, assert_change_is_seen, at_most, outcome


def test_the_table_is_as_large_as_it_must_be():
    assert len(CHANGES) >= 100


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name, patch):
    assert_change_is_seen(CHANGES[name](patch))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "use"), random.Random(0).sample(sorted({(p, u) for p in PLACES for u in USES} - set(pairs())), 500)
)
def test_a_change_of_any_use_in_any_place_is_seen(place, use, patch):
    assert_change_is_seen(placed(place, use, patch))


@pytest.mark.parametrize("name", ["closure-number", "dict_-number", "rate_changed", "buffer_filled"])
def test_a_change_and_back(name, patch):
    """A plan that was right once may be used again, and none other."""
    case = CHANGES[name](patch)
    first = assert_as_eager(case)
    case.change()
    assert not are_equal(first, assert_as_eager(case))
    again = CHANGES[name](patch)
    assert are_equal(first, assert_as_eager(again))
    assert not are_equal(first, assert_as_eager(case))


@pytest.mark.parametrize("kind", [float, int, torch.tensor], ids=["float", "integer", "buffer"])
def test_a_number_annealed_over_many_calls(kind):
    """It must neither be forgotten nor make a plan at each call for ever: after the first few, all are fast."""
    rates = [kind(1)]
    step, wanted = plain_step(lambda y: torch.tanh(y / rates[0]))
    case, results, times = Case(step, wanted=wanted), [], []
    with at_most(100):
        for i in range(1, 30):
            rates[0] = kind(i)
            began = time.perf_counter()
            results.append(assert_as_eager(case))
            times.append(time.perf_counter() - began)
    assert not any(are_equal(a, b) for a, b in itertools.pairwise(results))


def test_a_number_read_off_a_buffer_and_annealed(recwarn):
    """The temperature of a schedule, in a buffer: value and gradients follow it at each epoch."""
    temperature = torch.ones((), dtype=torch.float64)
    step, wanted = plain_step(lambda y: torch.softmax(y / temperature.item(), -1))
    case = Case(step, wanted=wanted)
    results = []
    for _ in range(3):
        results.append(assert_as_eager(case))
        temperature *= 0.5
    assert not are_equal(results[0], results[1])
    assert not are_equal(results[1], results[2])


def test_steps_made_anew_each_time():
    """Closures of one function, each with other numbers: what is known of one says nothing of another."""

    def make(rate, act):
        w, u = weights()

        def step(x, h):
            h = act(x @ w + rate * (h @ u))
            return h, h

        return Case(step, wanted=lambda: [w, u])

    results = [assert_as_eager(make(r, a)) for r in (0.5, 0.25, 0.5) for a in (torch.tanh, torch.sigmoid)]
    assert are_equal(results[0], results[4])
    assert are_equal(results[1], results[5])
    assert not are_equal(results[0], results[1])
    assert not are_equal(results[0], results[2])


def test_an_object_at_the_address_of_a_dead_one():
    """What is known of an object ends with it: the next one may get its address."""
    results = []
    for rate in (0.5, 0.25, 0.125, 0.0625):
        case = CHANGES["rate_changed"](None)
        case.step.rate = rate
        results.append(assert_as_eager(case))
        del case
    assert not any(are_equal(a, b) for a, b in itertools.pairwise(results))


def test_a_change_while_gradients_are_pending():
    """The backward belongs to the values of its forward, whatever is changed between the two."""
    rates = [0.5]
    step, wanted = plain_step(lambda y: torch.tanh(rates[0] * y))
    xs, state = Case(step).arguments()
    gradients = {}
    for engine in ("auto", "eager"):
        from unrolled import scan

        rates[0] = 0.5
        ys, _ = scan(step, xs, state, engine=engine)
        rates[0] = 0.25
        outcome(step, xs, state, wanted())
        gradients[engine] = torch.autograd.grad(ys.sum(), wanted())
    for ours, theirs in zip(gradients["auto"], gradients["eager"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
