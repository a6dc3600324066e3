"""Scans made at random are what the plain loop gives: outputs, what has a gradient, and all gradients."""

import warnings

import pytest
import torch

import unrolled
from tests.random_scans import comparing
from tests.random_scans.comparing import LIMIT, assert_is_the_loop
from tests.random_scans.drawing import drawn
from tests.random_scans.operations import ONE, TWO, UNFUSED, WIDTH
from tests.random_scans.scan import DOUBLE, Scan
from tests.random_scans.step import Step
from unrolled.engine.step import guarded


def test_random_scans_are_the_loop():
    _are_the_loop(range(12))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(first, first + 100) for first in range(10_000, 12_000, 100)])
def test_many_random_scans_are_the_loop(seeds):
    _are_the_loop(seeds)


def _are_the_loop(seeds):
    n_fused = sum(map(assert_is_the_loop, seeds))
    assert n_fused > len(seeds) / 3, "the loop was compared with itself"


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE | TWO)
def test_operations_fuse_but_for_those_that_are_named(name):
    guarded._changes.clear()
    operation = ONE[name] if name in ONE else lambda a: TWO[name](a, 0.5 * a)
    xs, state = torch.randn(2, 3, WIDTH, dtype=DOUBLE), torch.randn(3, WIDTH, dtype=DOUBLE)
    found = unrolled.explain(lambda x, h: (h, torch.tanh(operation(h) + x)), xs, state)
    assert (found.path == "fused") == (name not in UNFUSED), found.reason


def test_a_wrong_result_is_seen(monkeypatch):
    """Else the random scans would test nothing."""
    seed = next(seed for seed in range(100) if drawn(seed).around == "plain" and assert_is_the_loop(seed))
    right = comparing.run

    def wrong(scan, engine):
        first, *others = right(scan, engine)
        return [first if engine == "eager" else (first * 1.001 if first.is_floating_point() else first + 1), *others]

    monkeypatch.setattr(comparing, "run", wrong)
    with pytest.raises(AssertionError, match="the loop's own"):
        assert_is_the_loop(seed)


# of equal numbers these are constant, so that gradients cancel: what is left of them is rounding alone
CANCELLING = ["logsumexp", "softmax", "less_mean", "less_max", "normalize", "layer_norm"]


def cancelling(name):
    """Draws of scans whose gradients are zero but for rounding."""

    def made(seed):
        generator = torch.Generator().manual_seed(seed)
        dtype = list(LIMIT)[seed % len(LIMIT)]
        number = lambda *shape: torch.randn(shape, generator=generator, dtype=DOUBLE).to(dtype).requires_grad_()
        batch = 1 + seed % 4
        held = [number(WIDTH, WIDTH), number(WIDTH), number(batch, 1)]
        xs, states = [number(1 + seed % 5, batch, WIDTH)], [number(batch, WIDTH)]
        step = Step([("add", 0, 1), ("first", 3, 0), (name, 4, 0)], [("new", 0)], [("value", 0)], "one", held, dtype)
        return Scan(seed, step, xs, ["plain"], "one", states, ["plain"], "one", wanted=[*xs, *states])

    return made


@pytest.mark.parametrize("name", CANCELLING)
def test_gradients_of_rounding_alone_are_the_loops(name):
    assert all(assert_is_the_loop(seed, cancelling(name)) for seed in range(len(LIMIT)))


def test_a_wrong_gradient_is_seen_where_it_should_cancel(monkeypatch):
    right = comparing.run

    def wrong(scan, engine):
        *others, last = right(scan, engine)
        return [*others, last if engine == "eager" else last + 1e-6]

    monkeypatch.setattr(comparing, "run", wrong)
    with pytest.raises(AssertionError, match="the loop's own"):
        assert_is_the_loop(0, cancelling("logsumexp"))


OVER_ROWS = {
    "sum": lambda a: a.sum(),
    "sum of rows": lambda a: a.sum(0, keepdim=True),
    "sum of both": lambda a: a.sum((0, 1)),
    "norm 0": lambda a: torch.linalg.vector_norm(a, 0),
    "nansum": lambda a: a.nansum(),
    "einsum": lambda a: torch.einsum("ij->", a),
}


@pytest.mark.parametrize("name", OVER_ROWS)
@pytest.mark.parametrize("of_input", [False, True])
def test_an_output_that_sums_over_the_batch_is_the_loops(name, of_input):
    """Outside the loop it would be a sum over all time steps."""
    step = lambda x, h: (h + OVER_ROWS[name](x) if of_input else x + OVER_ROWS[name](h), 0.5 * h + x)
    xs, state = torch.randn(4, 3, 4), torch.randn(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, wanted = (unrolled.scan(step, xs, state, engine=engine) for engine in ("auto", "eager"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
