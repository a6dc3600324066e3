"""Scans made at random are what the plain loop gives: outputs, what has a gradient, and all gradients.

The oracle is `engine="eager"` on the same scan. Random steps amplify rounding, so a difference counts where it is larger
than what the plain loop itself differs by when its numbers, and those of the mixture that its gradients begin at, are
moved by two rounding units.
"""

import math
import warnings

import pytest
import torch

import unrolled
from tests import random_scans
from tests.random_scans import DOUBLE, WIDTH, Scan, Step, drawn, moved, run
from unrolled.engine.step import guarded
from unrolled.errors import NotFusedError

LIMIT = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}  # of a tensor's largest number
BEYOND = 30  # times what the plain loop differs by
FEW = [
    3384,
    3418,
    10067,
    *range(10),
]  # the first two are of a fault that there was, the third is of gradients that cancel


def outcome(scan, engine):
    """What a scan gives, or the kind of error that it raises."""
    try:
        return run(scan, engine)
    except NotFusedError:
        return None
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return type(error)


def differences(ours, theirs):
    """Of each result, in units of the largest number of theirs; a gradient that is not there counts as zeros."""
    return [_difference(a, b) for a, b in zip(ours, theirs, strict=True)]


def _difference(a, b):
    if isinstance(a, str) or (a is None and b is None):
        return 0.0 if a == b else math.inf
    a, b = (torch.zeros_like(b) if a is None else a), (torch.zeros_like(a) if b is None else b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return math.inf
    a, b = (each.to(torch.complex128 if each.is_complex() else torch.float64) for each in (a, b))
    is_same = (a == b) | (a.isnan() & b.isnan())
    if is_same.all():
        return 0.0
    if not ((a.isfinite() & b.isfinite()) | is_same).all():
        return math.inf
    return ((a - b)[~is_same].abs().max() / b[b.isfinite()].abs().max().clamp(min=torch.finfo().tiny)).item()


def assert_is_the_loop(seed, drawn=drawn):
    guarded._changes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = outcome(drawn(seed), "eager")
        found = {engine: outcome(drawn(seed), engine) for engine in ("auto", "fused")}
        if isinstance(theirs, list):
            others = [outcome(moved(drawn(seed), k), "eager") for k in range(4)]
    assert theirs is not None
    assert found["auto"] is not None
    for engine, ours in found.items():
        if ours is None:
            continue  # it does not fuse
        if isinstance(theirs, type) or isinstance(ours, type):
            assert ours is theirs, f"{engine}: {ours}, the loop: {theirs}"
            continue
        own = [max(each) for each in zip(*(differences(other, theirs) for other in others), strict=True)]
        limit = LIMIT[drawn(seed).step.dtype]
        wrong = [
            (i, a, b) for i, (a, b) in enumerate(zip(differences(ours, theirs), own, strict=True))
            if not a <= max(limit, BEYOND * b)
        ]  # fmt: skip
        assert not wrong, f"{engine}: results, their differences and the loop's own: {wrong}"
    return found["fused"] is not None


@pytest.mark.parametrize("seed", FEW)
def test_a_random_scan_is_the_loop(seed):
    assert_is_the_loop(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(first, first + 100) for first in range(10_000, 12_000, 100)])
def test_many_random_scans_are_the_loop(seeds):
    n_fused = sum(map(assert_is_the_loop, seeds))
    assert n_fused > len(seeds) / 3


def test_a_wrong_result_is_seen(monkeypatch):
    """Else the random scans would test nothing."""
    seed = next(seed for seed in range(100) if drawn(seed).around == "plain" and assert_is_the_loop(seed))
    right = random_scans.run

    def wrong(scan, engine):
        first, *others = right(scan, engine)
        return [first if engine == "eager" else (first * 1.001 if first.is_floating_point() else first + 1), *others]

    monkeypatch.setattr("tests.test_random_scans.run", wrong)
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
    right = random_scans.run

    def wrong(scan, engine):
        *others, last = right(scan, engine)
        return [*others, last if engine == "eager" else last + 1e-6]

    monkeypatch.setattr("tests.test_random_scans.run", wrong)
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
