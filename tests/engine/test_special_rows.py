"""Reductions and norms of rows with special numbers come out of a fused loop as out of torch."""

import functools

import pytest
import torch
from tests.assertions import assert_as_exact_as
from tests.engine.along_features import FUNCTIONS, layer_norm_by_hand, near_rows, rows

import unrolled

NAMES = list(FUNCTIONS)
GROUPS = {name: tuple(NAMES[i - i % 15 : i - i % 15 + 15]) for i, name in enumerate(NAMES)}
VARIANCES = {
    name: FUNCTIONS[name] for name in NAMES if name in ("layer_norm", "group_norm") or "var" in name or "std" in name
} | {"layer norm by hand": layer_norm_by_hand}


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


def _is_chance(name, dtype):
    """Rows of which torch's result is a matter of chance. Where squared deviations leave the range, its layer norm is 0
    or NaN, as the width will have it; the mean beside a variance is infinite or NaN by where an infinite number stands.
    """
    given = rows(dtype)
    deviation = (given - given.mean(1, keepdim=True)).abs().amax(1)
    is_wide = deviation.isfinite() & (deviation * deviation * given.shape[1]).isinf()
    return (is_wide & (name in ("layer_norm", "group_norm"))) | (given.isinf().any(1) & (name == "mean beside var"))


def _is_near(ours, theirs, exact):
    """Of each row: equal, or no farther from the exact one than torch and eight units of the row's largest number."""
    info = torch.finfo(ours.dtype)
    ours, theirs = ours.double(), theirs.double()
    size = lambda numbers: numbers.abs().nan_to_num(0, 0, 0).amax(1, keepdim=True)
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
    for kind, ours, theirs, exact in zip(("value", "gradient"), *found, strict=True):
        if kind == "gradient" and name in ("var", "var of all"):  # where torch's own, in double too, is what it rounds
            is_equal = (rows(dtype) == rows(dtype)[:, :1]).all(1, keepdim=True) & theirs.isfinite()
            exact = torch.where(is_equal, 0, exact)
        wrong = ~(_is_near(ours, theirs, exact) | _is_chance(name, dtype))
        told = [
            (rows(dtype)[i].tolist(), ours[i].tolist(), theirs[i].tolist()) for i in wrong.nonzero().flatten().tolist()
        ]
        assert not told, f"{kind}: {told}"


@functools.cache
def _near(width, dtype):
    """{name: values and gradients} by the fused and the eager loop, and exact ones.

    Exact are those of the differences from the first number, which are exact themselves.
    """
    given = torch.cat(list(near_rows(dtype, width).values()))
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(given.shape, generator=generator, dtype=torch.float64)

    def step(x, state):
        values = {name: norm(state[name]) for name, norm in VARIANCES.items()}
        return values, values

    found = []
    for numbers, engine in ((given, "fused"), (given, "eager"), (given.double() - given[:, :1].double(), "eager")):
        state = {name: numbers.clone().requires_grad_() for name in VARIANCES}
        ys, _ = unrolled.scan(step, torch.zeros(1, len(given), 1, dtype=numbers.dtype), state, engine=engine)
        total = sum((y * mixture.to(numbers.dtype)).sum() for y in ys.values())
        gradients = torch.autograd.grad(total, list(state.values()))
        found.append({n: (ys[n][0].detach(), g) for n, g in zip(VARIANCES, gradients, strict=True)})
    value, gradient = found[2]["mean beside var"]
    found[2]["mean beside var"] = value + given[:, :1].double(), gradient
    return found


@pytest.mark.filterwarnings("ignore:scan. a step was built", r"ignore:(var|std).*\(\). degrees of freedom")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 3, 7, 37, 67])
@pytest.mark.parametrize("name", VARIANCES)
def test_a_variance_of_numbers_that_hardly_differ_keeps_its_digits(name, width, dtype):
    at = 0
    for kind, given in near_rows(dtype, width).items():
        ours, theirs, exact = ([each[at : at + len(given)] for each in found[name]] for found in _near(width, dtype))
        at += len(given)
        if kind.startswith("equal"):
            assert torch.equal(ours[0].double().nan_to_num(7), exact[0].nan_to_num(7)), f"{kind}: {ours[0].abs().max()}"
        assert_as_exact_as(ours, theirs, exact)


@pytest.mark.filterwarnings("ignore:scan. a step was built", r"ignore:(var|std).*\(\). degrees of freedom")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_a_variance_that_is_divided_by_nothing_is_torchs(width, dtype):
    """An infinity, or NaN of equal numbers, however small they are; float64's squares vanish in torch too."""
    generator = torch.Generator().manual_seed(width)
    draw = lambda size: size * torch.randn(50, width, generator=generator, dtype=torch.float64)
    sizes = (1e-44, 1e-38, 1e-30, 1e-21, 1.0, 1e18) if dtype == torch.float32 else (1e-300, 1e-100, 1.0, 1e100)
    given = torch.cat([*map(draw, sizes), torch.ones(1, width), torch.full((1, width), 1e-38)]).to(dtype)

    def step(x, state):
        more = x + state["var"] * 0  # it is within the loop
        values = {
            name: reduced(more, 1, keepdim=True, correction=c).expand_as(x) for name, (reduced, c) in kinds.items()
        }
        return values, values

    kinds = {"var": (torch.var, width), "std": (torch.std, width), "beyond": (torch.var, width + 2)}
    state = {name: torch.zeros_like(given) for name in kinds}
    found = [unrolled.scan(step, given[None], state, engine=engine)[0] for engine in ("fused", "eager")]
    for name in kinds:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_norm_of_two_numbers_errs_no_more_than_torchs(dtype):
    """Its gradient is what is left when two terms of one size cancel. The exact one is (m_0 - m_1) / 2 · eps /
    (d² + eps)^1.5, with d half the difference of the numbers. Where that is below the rounding of the terms, as
    numbers are far apart, both results are rounding alone, and ours is of the size of torch's.
    """
    given = near_rows(dtype, 2)
    numbers, eps = torch.cat(list(given.values())), 1e-5
    mixture = torch.randn(numbers.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def step(x, state):
        value = torch.nn.functional.layer_norm(state, (2,), eps=eps)
        return value, value

    found = []
    for engine in ("fused", "eager"):
        state = numbers.clone().requires_grad_()
        ys, _ = unrolled.scan(step, torch.zeros(1, len(numbers), 1, dtype=dtype), state, engine=engine)
        found += torch.autograd.grad((ys[0] * mixture.to(dtype)).sum(), state)
    half = (numbers[:, 0].double() - numbers[:, 1].double()) / 2
    rstd = (half * half + eps).rsqrt()
    exact = ((mixture[:, 0] - mixture[:, 1]) / 2 * eps * rstd**3).unsqueeze(1) * torch.tensor([1.0, -1.0])
    noise, at = torch.finfo(dtype).eps * rstd.abs(), 0
    n_of_noise = 0
    for n in map(len, given.values()):
        ours, theirs, wanted = (each[at : at + n] for each in (*found, exact))
        if wanted.abs().max() > noise[at : at + n].max():
            assert_as_exact_as(ours, theirs, wanted)
        else:
            n_of_noise += 1
            assert ours.abs().max() <= 2 * theirs.abs().max()
        at += n
    assert 0 < n_of_noise < len(given) / 3
