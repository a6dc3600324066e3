"""Measures of a probe against plain formulas."""

import pytest
import torch

import unrolled
from unrolled.insight.measures import norms_of


@pytest.mark.parametrize("power", range(-36, 37, 6))
def test_a_norm_is_right_at_every_size(power):
    values = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0)) * 10.0**power
    values[1, 2] = 0
    torch.testing.assert_close(norms_of(values).double(), values.double().norm(dim=2), rtol=1e-6, atol=0)


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_so_in_its_row_alone(number):
    values = torch.ones(2, 3, 4)
    values[1, 2, 0] = number
    torch.testing.assert_close(norms_of(values), values.norm(dim=2), equal_nan=True)
    assert norms_of(values).isfinite().sum() == 5


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_probe_shows_states_beyond_the_root_of_the_largest_number(engine):
    """The state grows tenfold at each step; its squares overflow long before it does."""

    def step(x, h):
        h = h * 10 + x
        return h, h

    with unrolled.probe(torch.nn.Identity()) as record:
        unrolled.scan(step, torch.zeros(30, 2, 3), torch.full((2, 3), 1e5), engine=engine)
    [norms] = record.scans[0].states.values()
    wanted = 1e5 * 10.0 ** torch.arange(1, 31, dtype=torch.float64) * 3**0.5
    torch.testing.assert_close(norms.double(), wanted[:, None].expand(30, 2), rtol=1e-5, atol=0)
    assert record.trouble is None
