"""In bfloat16 a loop computes in float32 and stores rounded: a number is equal to its maximum, in the backward as well.

Numbers are multiples of 1/16, so that float32 has them exactly: the oracle is the eager loop in float64 with rounded
states, and a difference is the rounding of what else is stored, of some per mille.
"""

import pytest
import torch

import unrolled
from unrolled.engine.step import guarded

BATCH, WIDTH = 4, 6
VALUES = {
    "pointwise": lambda x, h, w: x * h + h,
    "product": lambda x, h, w: h @ w + x,
}
COMPARED = {
    "amax": lambda u: u.amax(1, keepdim=True),
    "amin": lambda u: u.amin(1, keepdim=True),
    "less_max": lambda u: u - u.amax(1, keepdim=True),
    "abs": lambda u: (u - u.amax(1, keepdim=True)).abs(),
    "norm": lambda u: u / (1 + torch.linalg.vector_norm(u, float("inf"), 1, keepdim=True)),
    "eq": lambda u: torch.where(u == u.amax(1, keepdim=True), u, 0.5 * u),
    "ge": lambda u: torch.where(u >= u.amax(1, keepdim=True), u, 0.5 * u),
    "sign": lambda u: torch.sign(u - u.amax(1, keepdim=True)) * u,
    "floor": lambda u: u * (1 + torch.floor((u - u.amax(1, keepdim=True)) / 64)),
    "copysign": lambda u: torch.copysign(u, u - u.amax(1, keepdim=True)),
    "first of cumsum": lambda u: torch.where(u == u.cumsum(1), u, 0.5 * u),
    "mirrored": lambda u: torch.where(
        torch.cat((u, u.flip(1)), 1).flip(1) == torch.cat((u, u.flip(1)), 1), 0.5 * torch.cat((u, u), 1), 0.0
    )[:, :WIDTH],
    "heads": lambda u: (u.view(-1, 2, 3) - u.view(-1, 2, 3).amax(2, keepdim=True)).flatten(1),
    "maximum": lambda u: torch.where(torch.maximum(u, 0.5 * u) == u, u, 2 * u),
    "memory": lambda u, m: (u.unsqueeze(1) * m).amax(2).amax(1, keepdim=True),
}
RETURNED = {"state": lambda h, u, z: h, "value": lambda h, u, z: u, "compared": lambda h, u, z: z + 0 * u}


def sixteenths(*shape, seed):
    whole = torch.randint(-24, 25, shape, generator=torch.Generator().manual_seed(seed))
    return (whole / 16).bfloat16()


def results(engine, dtype, value, compared, returned):
    """Outputs, last state, and gradients of a mixture of them to all that is read."""
    given = [
        sixteenths(2, BATCH, WIDTH, seed=0),
        sixteenths(BATCH, WIDTH, seed=1),
        sixteenths(WIDTH, WIDTH, seed=2),
        sixteenths(BATCH, 2, WIDTH, seed=3),
    ]
    xs, state, weight, memory = (each.to(dtype).requires_grad_() for each in given)

    def step(x, h):
        u = VALUES[value](x, h, weight)
        z = COMPARED[compared](u, memory) if compared == "memory" else COMPARED[compared](u)
        new = torch.tanh(0.25 * h + 0.25 * z)
        if dtype == torch.float64:  # the next step reads what was stored
            new = new + (new.bfloat16().double() - new).detach()
        return RETURNED[returned](h, u, z), new

    guarded._changes.clear()  # a step of its own each time
    outputs = unrolled.scan(step, xs, state, engine=engine)
    total = sum((out.double() * sixteenths(*out.shape, seed=4).double()).sum() for out in outputs)
    gradients = torch.autograd.grad(total, [xs, state, weight, memory], allow_unused=True)
    return [each.detach().double() for each in (*outputs, *gradients) if each is not None]


@pytest.mark.parametrize("compared", COMPARED)
def test_what_is_equal_in_the_loop_is_equal_in_its_backward(compared):
    at = list(COMPARED).index(compared)
    for i, value in enumerate(VALUES):
        returned = list(RETURNED)[(at + i) % len(RETURNED)]
        found = results("fused", torch.bfloat16, value, compared, returned)
        exact = results("eager", torch.float64, value, compared, returned)
        for number, (a, b) in enumerate(zip(found, exact, strict=True)):
            error = ((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()
            assert error < 0.05, f"{value}, {returned} returned, result {number}: {error:.3g}"


EXTREMES = {
    "amax": lambda u: (u, u.amax(1, keepdim=True)),
    "amin": lambda u: (u, u.amin(1, keepdim=True)),
    "max": lambda u: (u, u.max(1, keepdim=True).values),
    "norm": lambda u: (u.abs(), torch.linalg.vector_norm(u, float("inf"), 1, keepdim=True)),
}
AGAIN = {
    "as it was": lambda x, h, w: x * h + h @ w,
    "sum turned": lambda x, h, w: h @ w + x * h,
    "product turned": lambda x, h, w: h * x + h @ w,
}


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_what_is_written_twice_is_equal_outside_the_loop_too(extreme, again):
    """Only the extreme feeds the state, so that the second writing of the value need not be in the loop."""
    xs, state, weight = (
        sixteenths(8, BATCH, WIDTH, seed=5), sixteenths(BATCH, WIDTH, seed=6), sixteenths(WIDTH, WIDTH, seed=7)
    )  # fmt: skip

    def step(x, h):
        _, found = EXTREMES[extreme](x * h + h @ weight)
        same, _ = EXTREMES[extreme](AGAIN[again](x, h, weight))
        return (same == found).to(h.dtype), torch.tanh(0.25 * h + 0.25 * found)

    guarded._changes.clear()
    is_extreme, _ = unrolled.scan(step, xs, state, engine="fused")
    assert is_extreme.amax(2).all(), "each row has a number that is its extreme"


#: comparisons with a number that bfloat16 has not: what is stored may lie on the other side of it
SIDES = {
    "above": lambda u, number: u > number,
    "below": lambda u, number: u < number,
    "not below": lambda u, number: u >= number,
    "sign": lambda u, number: torch.sign(u - number) > 0,
    "floor": lambda u, number: torch.floor(u / number) > 0,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("number", [0.3, 0.7, 1 / 3, 0.2998])
def test_a_number_is_on_one_side_of_another_in_the_loop_and_in_its_backward(side, number):
    """The outputs lie within a rounding of the number; where the state is their double, its gradient is."""
    generator = torch.Generator().manual_seed(8)
    xs = torch.rand(1, 64, WIDTH, generator=generator).bfloat16()
    around = number * (1 + (torch.rand(64, WIDTH, generator=generator) - 0.5) / 128)
    state = (around - xs[0].float()).bfloat16()
    xs.requires_grad_()

    def step(x, h):
        u = x + h
        return u, torch.where(SIDES[side](u, number), 2 * u, u)

    guarded._changes.clear()
    ys, last = unrolled.scan(step, xs, state, engine="fused")
    [gradient] = torch.autograd.grad(last.sum(), xs)
    is_doubled = last.detach() > 1.5 * ys[0].detach()
    assert 0 < is_doubled.sum() < is_doubled.numel()
    assert torch.equal(gradient[0] == 2, is_doubled)
