"""Random scans against the plain loop.

The oracle is `engine="eager"` on the same scan. Random steps amplify rounding, so a difference counts where it is larger
than what the plain loop itself differs by when its numbers, and those of the mixture that its gradients begin at, are
moved by two rounding units.

The one tolerance rule (tests/assertions.py) is not applied. It asks for the loop in float64 as an exact oracle, and most
of these scans are in float64 themselves; and for steps that do not amplify rounding, while these divide by what cancels,
compare and round to integers, so that a rounding decides between results that are both right.
"""

import math
import warnings

import torch

from tests.random_scans.around import run
from tests.random_scans.drawing import drawn
from tests.random_scans.scan import moved
from unrolled.engine.step import guarded
from unrolled.errors import NotFusedError

LIMIT = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}  # of a tensor's largest number
BEYOND = 30  # times what the plain loop differs by


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
    """Compares every engine with the loop; returns whether the scan ran fused."""
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
            assert ours is theirs, f"{seed}, {engine}: {ours}, the loop: {theirs}"
            continue
        own = [max(each) for each in zip(*(differences(other, theirs) for other in others), strict=True)]
        limit = LIMIT[drawn(seed).step.dtype]
        wrong = [
            (i, a, b) for i, (a, b) in enumerate(zip(differences(ours, theirs), own, strict=True))
            if not a <= max(limit, BEYOND * b)
        ]  # fmt: skip
        assert not wrong, f"{seed}, {engine}: results, their differences and the loop's own: {wrong}"
    return isinstance(found["fused"], list)
