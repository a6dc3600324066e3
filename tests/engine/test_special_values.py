"""Zeros of both signs, infinities and denormals come out of a fused loop as they come out of torch, sign for sign."""

import pytest
import torch
import torch.nn.functional as F

import unrolled

NUMBERS = [
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    5e-324,
    -5e-324,
    1e300,
    -1e300,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    0.2,
    -0.2,
]
FUNCTIONS = {
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "relu": F.relu,
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "clamp_min": lambda h: h.clamp(min=0.0),
    "clamp_max": lambda h: h.clamp(max=0.0),
    "maximum": lambda h: torch.maximum(h, -h),
    "minimum": lambda h: torch.minimum(h, -h),
    "clamp": lambda h: h.clamp(-1, 1),
}


@pytest.mark.filterwarnings("ignore:scan. a step was built")  # one step's code, of many functions
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_torchs(name):
    first = torch.tensor([NUMBERS, NUMBERS], dtype=torch.float64)

    def step(x, h):
        y = FUNCTIONS[name](h)
        return y, y

    found = []
    for engine in ("fused", "eager"):
        state = first.clone().requires_grad_()
        ys, _ = unrolled.scan(step, torch.zeros(1, 2, 1, dtype=torch.float64), state, engine=engine)
        (gradient,) = torch.autograd.grad(ys.sum(), state)
        found.append((ys.detach(), gradient))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours.signbit(), theirs.signbit()), "a zero has another sign"


def _as_eager(step, state):
    xs = torch.zeros(1, *state.shape, dtype=state.dtype)
    found = [unrolled.scan(step, xs, state, engine=engine)[0] for engine in ("fused", "eager")]
    assert torch.equal(*(each.nan_to_num(nan=-7.0) for each in found))
    assert torch.equal(*(each.isnan() for each in found))
    assert torch.equal(*(each.signbit() & (each == 0) for each in found)), "a zero has another sign"


ROUNDED_APART = {
    "difference of squares": lambda h: torch.sqrt(h * h - (-h) * (-h)),  # a product fused with the difference gives NaN
    "overflow within": lambda h: h * -2 + h,
    "plus zero": lambda h: h + 0,
    "less zero": lambda h: h - 0.0,
    "power of -2": lambda h: h**-2,
    "fmax": lambda h: torch.fmax(h, -h),
    "fmin": lambda h: torch.fmin(h, -h),
    "spread": lambda h: torch.where(h > 7, h, h[:, 1:2].expand_as(h)),
}


@pytest.mark.filterwarnings("ignore:scan. a step was built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arithmetic_is_rounded_as_torchs(dtype):
    """All in one loop: the functions of a state each, at numbers whose squares and quotients leave the range too."""
    most = torch.finfo(dtype).max
    numbers = [*NUMBERS, 0.1, 1.9e19, 1.4e154, most, -most, torch.finfo(dtype).smallest_normal, float("nan")]
    state = torch.tensor([numbers], dtype=torch.float64).to(dtype)

    def step(x, h):
        y = torch.cat(
            [f(h[:, i * len(numbers) : (i + 1) * len(numbers)]) for i, f in enumerate(ROUNDED_APART.values())], 1
        )
        return y, y

    _as_eager(step, state.repeat(1, len(ROUNDED_APART)))
