"""Zeros of both signs, infinities and denormals come out of a fused loop as they come out of torch, sign for sign."""

import functools

import pytest
import torch
import torch.nn.functional as F
from tests.engine.pointwise import FUNCTIONS, numbers, pairs, pointwise_operations

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
SIGNED = {
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
@pytest.mark.parametrize("name", SIGNED)
def test_special_values_are_torchs(name):
    first = torch.tensor([NUMBERS, NUMBERS], dtype=torch.float64)

    def step(x, h):
        y = SIGNED[name](h)
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


def _groups() -> dict[str, list[str]]:
    """The functions in groups that are compiled as one loop, by name of each."""
    found = {}
    for n_tensors in (1, 2):
        names = [name for name, (n, _) in FUNCTIONS.items() if n == n_tensors]
        for at in range(0, len(names), 12):
            group = tuple(names[at : at + 12])
            found |= dict.fromkeys(group, group)
    return found


GROUPS = _groups()


def _operands(n_tensors, dtype):
    return [numbers(dtype).view(1, -1)] if n_tensors == 1 else [each.view(1, -1) for each in pairs(dtype)]


@functools.cache
def _found(group, dtype, engine):
    """{name: value and gradients}, all computed by one step; a gradient is 0 where torch has none."""
    given = {name: [each.clone().requires_grad_() for each in _operands(FUNCTIONS[name][0], dtype)] for name in group}

    def step(x, state):
        values = {name: FUNCTIONS[name][1](*state[name]) for name in group}
        return values, {name: [values[name], *state[name][1:]] for name in group}

    ys, _ = unrolled.scan(step, torch.zeros(1, 1, 1, dtype=dtype), given, engine=engine)
    found = {}
    for name in group:
        [value] = ys[name]
        found[name] = [value.detach(), *_gradients(value, given[name])]
    return found


def _gradients(value, operands):
    if not value.requires_grad:
        return [torch.zeros_like(each) for each in operands]
    found = torch.autograd.grad(value, operands, torch.ones_like(value), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(each) if one is None else one for each, one in zip(operands, found, strict=True)]


# Where a difference of nearly equal numbers is the result, the unit of its error is theirs: the value's, the gradient's.
UNITS = {
    "tanh": (0.0, 1.0),  # 1 - y²
    "gelu": (0.0, 1.0),  # the gradient has a zero near -0.75, and its two parts cancel below
    "gelu by tanh": (0.0, 1.0),
    "tanhshrink": (1.0, 1.0),  # a - tanh(a)
    "logaddexp2": (1.0, 0.0),  # 2^-1 + 2^-1 is 1, whose logarithm is 0
}


def _is_denormal(*operands):
    return sum((each != 0) & (each.abs() < torch.finfo(each.dtype).smallest_normal) for each in operands) > 0


def _is_near_largest(*operands):
    return sum(each.isfinite() & (each.abs() >= torch.finfo(each.dtype).max / 4) for each in operands) > 0


# What docs/design/engine.md says is not torch's, by function, and the numbers for which it is not.
APART = {
    # one rounding of product and sum in torch's kernels: no overflow between, and the sign of what vanishes
    **dict.fromkeys(("add, alpha 2", "sub, alpha 2", "addcmul"), _is_near_largest),
    **dict.fromkeys(("lerp", "lerp 0.7"), _is_denormal),
    # torch's capture takes it apart in another order, of the value, and of the gradient without the square of b
    "addcdiv, value 0.5": lambda a, b: (
        _is_denormal(a, b, b * b) | _is_near_largest(a, b) | (b * b == 0) | (b * b).isinf()
    ),
    # of what no sigmoid gives, the factors are multiplied in another order
    "sigmoid_backward": lambda g, y: (y < 0) | (y > 1),
}


def _of_one(function, operands, place, copies):
    """Of one number, some times: torch's kernels compute many otherwise than few."""
    operands = [each[:, place : place + 1].repeat(1, copies).requires_grad_() for each in operands]
    value = function(*operands)
    return [each[:, :1] for each in (value.detach(), *_gradients(value, operands))]


def _is_near(ours, theirs, unit=0.0, *, signs):
    """Equal, or within eight rounding units; a zero's sign counts in values."""
    info = torch.finfo(ours.dtype)
    ours, theirs = ours.double(), theirs.double()
    allowed = 8 * info.eps * theirs.abs().clamp(min=unit) + 2 * info.smallest_normal * info.eps
    near = (ours == theirs) | (ours.isnan() & theirs.isnan())
    near |= ((ours - theirs).abs() <= allowed) & ours.isfinite() & theirs.isfinite()
    is_other_zero = (ours == 0) & (theirs == 0) & (ours.signbit() != theirs.signbit())
    return near & ~is_other_zero if signs else near


def _wrong(name, kind, ours, theirs, operands):
    """Lines of what is not torch's, neither among others nor alone."""
    function, is_value = FUNCTIONS[name][1], kind == 0
    unit = UNITS.get(name, (0.0, 0.0))[not is_value]
    near = _is_near(ours, theirs, unit, signs=is_value)
    if name in APART:
        near |= APART[name](*operands)
    for place in (~near).flatten().nonzero().flatten().tolist():
        mine = ours[:, place : place + 1]
        few = [_of_one(function, operands, place, copies)[kind] for copies in (1, 64)]
        if not any(_is_near(mine, each, unit, signs=is_value) for each in few):
            at = [each[0, place].item() for each in operands]
            yield f"{('value', 'gradient', 'second gradient')[kind]} at {at}: {mine.item()}, torch {theirs[0, place]}"


@pytest.mark.filterwarnings("ignore:scan. a step was built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_special_numbers_is_torchs(name, dtype):
    operands = _operands(FUNCTIONS[name][0], dtype)
    ours, theirs = (_found(GROUPS[name], dtype, engine)[name] for engine in ("fused", "eager"))
    wrong = [
        line
        for kind, (mine, torchs) in enumerate(zip(ours, theirs, strict=True))
        for line in _wrong(name, kind, mine, torchs, operands)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_pointwise_operation_of_the_engine_is_tried():
    """Those that no step can call by itself as parts of others."""
    called = {operation.name().removeprefix("aten::") for operation in pointwise_operations()}
    assert called <= {name.split(" ")[0] for name in FUNCTIONS}
    assert len(called) > 90
