"""Reductions and norms of rows with special numbers come out of a fused loop as out of torch."""

import functools

import pytest
import torch
from tests.engine.along_features import FUNCTIONS, rows

import unrolled

NAMES = list(FUNCTIONS)
GROUPS = {name: tuple(NAMES[i - i % 15 : i - i % 15 + 15]) for i, name in enumerate(NAMES)}
BY_WELFORD = ("layer_norm", "var", "var of all", "std")


@functools.cache
def _found(group, dtype, given_dtype, engine):
    """{name: value and gradient of its fourth number}, all by one step."""
    given = rows(dtype).to(given_dtype)
    state = {name: given.clone().requires_grad_() for name in group}

    def step(x, state):
        values = {name: FUNCTIONS[name](state[name]) for name in group}
        return values, values

    ys, _ = unrolled.scan(step, torch.zeros(1, len(given), 1, dtype=given_dtype), state, engine=engine)
    found = {}
    for name in group:
        [value] = ys[name]
        fourth = torch.zeros_like(value).index_fill(1, torch.tensor([3]), 1)
        gradient = None
        if value.requires_grad:
            [gradient] = torch.autograd.grad(value, state[name], fourth, allow_unused=True, retain_graph=True)
        found[name] = value.detach(), torch.zeros_like(value) if gradient is None else gradient
    return found


def _is_apart(dtype):
    """Rows of which torch, by Welford's method, finds another variance: the deviations' squares leave the range, or all
    numbers are equal, and ours differ from their rounded mean.
    """
    given = rows(dtype)
    deviation = (given - given.mean(1, keepdim=True)).abs().amax(1)
    leaves = (deviation * deviation < torch.finfo(dtype).tiny) | (deviation * deviation * given.shape[1]).isinf()
    return deviation.isfinite() & (leaves & (deviation > 0) | (given == given[:, :1]).all(1))


def _is_near(ours, theirs, exact):
    """Of each row: equal, or no farther from the exact one than torch and eight units of the row's largest number."""
    info = torch.finfo(ours.dtype)
    ours, theirs = ours.double(), theirs.double()
    size = lambda numbers: numbers.abs().nan_to_num(0, 0, 0).amax(1, keepdim=True)  # noqa: E731
    allowed = size(theirs - exact) + 8 * info.eps * size(exact) + 2 * info.smallest_normal * info.eps
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    by_torch = (ours - theirs).abs() <= 8 * info.eps * size(theirs)
    near = ours.isfinite() & theirs.isfinite() & (((ours - exact).abs() <= allowed) | by_torch)
    return (same | near).all(1)


@pytest.mark.filterwarnings("ignore:scan. a step was built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reduction_of_special_numbers_is_torchs(name, dtype):
    found = [
        _found(GROUPS[name], dtype, given_dtype, engine)[name]
        for given_dtype, engine in ((dtype, "fused"), (dtype, "eager"), (torch.float64, "eager"))
    ]
    apart = _is_apart(dtype) if name in BY_WELFORD else torch.zeros(len(rows(dtype)), dtype=torch.bool)
    for kind, ours, theirs, exact in zip(("value", "gradient"), *found, strict=True):
        wrong = ~(_is_near(ours, theirs, exact) | apart)
        told = [
            (rows(dtype)[i].tolist(), ours[i].tolist(), theirs[i].tolist()) for i in wrong.nonzero().flatten().tolist()
        ]
        assert not told, f"{kind}: {told}"
