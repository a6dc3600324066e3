"""The error of the kernels' own functions, in units of the last place, as functions.h states it."""

import pytest
import torch

import unrolled

# each test is another function in one line of code
pytestmark = pytest.mark.filterwarnings("ignore:scan. a step was built 8 times:unrolled.errors.NotFusedWarning")

FUNCTIONS = {
    "exp": (torch.exp, -100, 88, 2),
    "sigmoid": (torch.sigmoid, -80, 40, 4),
    "tanh": (torch.tanh, -12, 12, 3),
    "log": (torch.log, 0, 30, 2),
    "log1p": (torch.log1p, -0.999, 30, 4),
    "expm1": (torch.expm1, -10, 30, 4),
    "erf": (torch.special.erf, -5, 5, 3),
    "erfc": (torch.special.erfc, -5, 5, 3),
    "sin": (torch.sin, -30, 30, 2),
    "cos": (torch.cos, -30, 30, 2),
    "tan": (torch.tan, -1.5, 1.5, 3),
    "asin": (torch.asin, -1, 1, 3),
    "acos": (torch.acos, -1, 1, 3),
    "atan": (torch.atan, -30, 30, 3),
    "sinh": (torch.sinh, -20, 20, 3),
    "cosh": (torch.cosh, -20, 20, 3),
    "asinh": (torch.asinh, -30, 30, 3),
    "acosh": (torch.acosh, 1, 30, 3),
    "atanh": (torch.atanh, -0.99, 0.99, 3),
    "log2": (torch.log2, 0, 30, 2),
    "log10": (torch.log10, 0, 30, 3),
    "exp2": (torch.exp2, -100, 100, 2),
    "floor": (torch.floor, -30, 30, 0),
    "ceil": (torch.ceil, -30, 30, 0),
    "trunc": (torch.trunc, -30, 30, 0),
    "round": (torch.round, -30, 30, 0),
}
EDGES = torch.tensor(
    [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), 1e-30, -1e-30, 1e-40, 3e38, -3e38]
)


def compiled(function, values):
    """The function of a state, which the loop computes itself."""
    inputs = torch.zeros(1, 1, len(values), dtype=values.dtype)
    _, last = unrolled.scan(lambda x, h: (h, function(h)), inputs, values.view(1, -1), engine="fused")
    return last.view(-1)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_error_is_as_stated(name):
    function, low, high, units = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(20_000, generator=generator) * (high - low) + low
    values = torch.cat((values, values * 1e-3, values * 1e-6))
    exact = function(values.double())
    ours, finite = compiled(function, values), exact.isfinite()  # elsewhere it is not defined, and so says the loop
    assert torch.equal(ours.isfinite(), finite)
    spacing = torch.exp2(torch.floor(torch.log2(exact.abs().clamp_min(2.0**-126))) - 23)
    error = ((ours.double() - exact).abs() / spacing)[finite].max().item()
    assert error <= units, f"{error:.2f} units"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_infinities_and_nan_come_out_as_torchs(name, dtype):
    function, values = FUNCTIONS[name][0], EDGES.to(dtype)
    ours, torchs = compiled(function, values), function(values)
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-37, equal_nan=True)


PAIRS = {
    "atan2": torch.atan2,
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "remainder by a number": lambda a, b: a % 0.7 + b,
    "floor of a quotient": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "truncated quotient": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "copysign": torch.copysign,
    "hypot": torch.hypot,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "pow": lambda a, b: a.abs() ** b,
    "not a number": lambda a, b: torch.where(torch.isnan(a) | torch.isinf(b), 0.5 * b, a),
    "one alone": lambda a, b: torch.where((a > 0) ^ (b > 0), a, b),
}


@pytest.mark.parametrize("name", sorted(PAIRS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_of_two_and_their_gradients_are_torchs(name, dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = (4 * torch.randn(1000, generator=generator, dtype=torch.float64) for _ in range(2))
    edges = torch.cartesian_prod(EDGES.double(), EDGES.double())
    if name.split()[0] in ("fmod", "remainder", "floor", "truncated"):  # torch's vectors and its single numbers differ
        edges = edges[edges[:, 1].isfinite() & (edges[:, 1].abs() > 0.5) & (edges[:, 0].abs() < 1e30)]
    whole = torch.stack((torch.cat((a, edges[:, 0])), torch.cat((b, edges[:, 1])))).to(dtype)
    step = lambda x, h: (h, torch.stack((PAIRS[name](h[:, 0], h[:, 1]), h[:, 1]), 1))
    results = []
    for engine in ("fused", "eager"):
        state = whole.t().clone().requires_grad_()
        _, last = unrolled.scan(step, torch.zeros(1, len(state), 1, dtype=dtype), state, engine=engine)
        results.append((last, *torch.autograd.grad(last[:, 0].sum(), state)))
    torch.testing.assert_close(*results, rtol=2e-6 if dtype == torch.float32 else 1e-13, atol=1e-37, equal_nan=True)
