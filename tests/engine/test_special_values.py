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
