"""The tolerance rule notices what is wrong, and nothing else."""

import pytest
import torch

from tests.assertions import assert_as_exact_as


def drawn(*shape, size=1.0, n_rounded=3):
    """What float32 has of numbers in float64, each rounded some times more by up to one unit; and the numbers."""
    exact = size * torch.randn(shape, dtype=torch.float64)
    noise = torch.empty_like(exact).uniform_(-n_rounded, n_rounded)
    return (exact * (1 + torch.finfo(torch.float32).eps * noise)).float(), exact


@pytest.mark.parametrize("size", [1e-20, 1e-8, 1.0, 1e8])
@pytest.mark.parametrize("shape", [(), (3,), (100, 100)])
def test_the_yardstick_itself_and_the_rounded_oracle_pass(shape, size):
    yardstick, exact = drawn(*shape, size=size)
    assert_as_exact_as([yardstick], [yardstick], [exact])
    assert_as_exact_as([exact.float()], [yardstick], [exact])


@pytest.mark.parametrize("shape", [(), (3,), (100, 100)])
def test_a_small_gradient_of_zeros_fails(shape):
    yardstick, exact = drawn(*shape, size=1e-8)
    large, exact_large = drawn(50)  # whose errors are larger than the whole gradient
    with pytest.raises(AssertionError, match="tensor 1 of shape"):
        assert_as_exact_as([large, torch.zeros_like(yardstick)], [large, yardstick], [exact_large, exact])


@pytest.mark.parametrize("n_units", [-20, 12])
def test_one_wrong_entry_among_many_fails(n_units):
    yardstick, exact = drawn(100, 100)
    ours = yardstick.clone()
    unit = torch.finfo(torch.float32).eps * exact.abs().max()
    ours[17, 3] += n_units * unit
    with pytest.raises(AssertionError, match="largest error"):
        assert_as_exact_as([ours], [yardstick], [exact])


@pytest.mark.parametrize("shape", [(3,), (100, 100)])
@pytest.mark.parametrize("factor", [1 - 1e-5, 1 + 1e-5])
def test_a_wrong_scale_fails(shape, factor):
    yardstick, exact = drawn(*shape)
    with pytest.raises(AssertionError, match="error"):
        assert_as_exact_as([yardstick * factor], [yardstick], [exact])


def test_errors_three_times_as_large_fail():
    exact = torch.randn(100, 100, dtype=torch.float64)
    noise = torch.randn(100, 100, dtype=torch.float64) * 1e-6
    ours, yardstick = ((exact + times * noise).float() for times in (3, 1))
    with pytest.raises(AssertionError, match=r"error .*, yardstick"):
        assert_as_exact_as([ours], [yardstick], [exact])


@pytest.mark.parametrize("other", [1e-30, -1.0, torch.nan])
def test_a_tensor_of_zeros_is_zero(other):
    exact = torch.zeros(9, dtype=torch.float64)
    ours = torch.zeros(9)
    assert_as_exact_as([ours], [ours], [exact])
    ours[4] = other
    with pytest.raises(AssertionError, match="is zero"):
        assert_as_exact_as([ours], [torch.zeros(9)], [exact])
    if other == other:
        assert_as_exact_as([ours], [ours.flip(0)], [exact])


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_none_fails(wrong):
    yardstick, exact = drawn(100)
    ours = yardstick.clone()
    ours[5] = wrong
    with pytest.raises(AssertionError, match="error"):
        assert_as_exact_as([ours], [yardstick], [exact])


@pytest.mark.parametrize("there", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf, 0.0, 0.5])
def test_infinities_and_nans_stand_where_the_oracle_has_them(there, wrong):
    yardstick, exact = drawn(100)
    for each in (yardstick, exact):
        each[5] = there
    assert_as_exact_as([yardstick], [yardstick], [exact])
    ours = yardstick.clone()
    ours[5] = wrong
    if ours[5].equal(yardstick[5]) or (there != there and wrong != wrong):
        return
    with pytest.raises(AssertionError, match="not finite"):
        assert_as_exact_as([ours], [yardstick], [exact])


def test_shapes_dtypes_and_numbers_of_tensors():
    yardstick, exact = drawn(4)
    for ours in ([yardstick[:3]], [yardstick.double()], [yardstick, yardstick]):
        with pytest.raises(AssertionError):
            assert_as_exact_as(ours, [yardstick], [exact])
    with pytest.raises(AssertionError):
        assert_as_exact_as([yardstick], [yardstick], [exact.float()])


def test_under_autocast_the_largest_error_is_in_the_unit_of_the_factors():
    exact = torch.randn(100, 100, dtype=torch.float64)
    noise = (torch.rand(100, 100, dtype=torch.float64) - 0.5) * 2e-3
    yardstick, ours = (exact + noise).float(), (exact + noise.flip(0)).float()
    ours[3, 3] = exact[3, 3] + 0.02
    with pytest.raises(AssertionError, match="largest error"):
        assert_as_exact_as([ours], [yardstick], [exact])
    assert_as_exact_as([ours], [yardstick], [exact], rounded_to=torch.bfloat16)
    with pytest.raises(AssertionError, match="error"):  # the mean is held as before
        assert_as_exact_as([yardstick + 3e-3], [yardstick], [exact], rounded_to=torch.bfloat16)
