"""The error of the kernels' own functions, in units of the last place, as kernel.h states it."""

import pytest
import torch

import unrolled

FUNCTIONS = {
    "exp": (torch.exp, -100, 88, 2),
    "sigmoid": (torch.sigmoid, -80, 40, 4),
    "tanh": (torch.tanh, -12, 12, 3),
    "log": (torch.log, 0, 30, 2),
    "log1p": (torch.log1p, -0.999, 30, 4),
    "expm1": (torch.expm1, -10, 30, 4),
    "erf": (torch.special.erf, -5, 5, 3),
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
    spacing = torch.exp2(torch.floor(torch.log2(exact.abs().clamp_min(2.0**-126))) - 23)
    error = ((compiled(function, values).double() - exact).abs() / spacing).max().item()
    assert error <= units, f"{error:.2f} units"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_infinities_and_nan_come_out_as_torchs(name, dtype):
    function, values = FUNCTIONS[name][0], EDGES.to(dtype)
    ours, torchs = compiled(function, values), function(values)
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-37, equal_nan=True)
