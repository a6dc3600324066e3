"""Steps over tensors of more than two axes, by the one tolerance rule."""

import re

import pytest
import torch
from tests.engine.deep_steps import INPUT, REFUSED, SQUARE, STEPS
from tests.engine.test_fused import assert_fused_is_eager

import unrolled


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("options", [{}, {"reverse": True, "lengths": torch.tensor([5, 2, 4])}], ids=["plain", "ends"])
def test_deep_steps(kind, options):
    torch.manual_seed(1)
    step = kind()
    assert_fused_is_eager(step, torch.randn(5, 3, INPUT), torch.randn(3, *step.state_shape), **options)


@pytest.mark.parametrize("kind", SQUARE)
@pytest.mark.parametrize("batch", [3, 4])
def test_axes_of_the_same_size_are_told_apart(kind, batch):
    torch.manual_seed(1)
    assert_fused_is_eager(kind(), torch.randn(5, batch, INPUT), torch.randn(batch, 3, 3))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_come_out_wrong_is_refused(kind):
    step, xs, state = kind(), torch.randn(5, 3, INPUT), torch.randn(3, 3, 3)
    with pytest.raises(unrolled.errors.NotFusedError, match=re.escape(REFUSED[kind])):
        unrolled.scan(step, xs, state, engine="fused")


def test_too_many_rows_are_told():
    step = lambda x, h: (h.sum((1, 2)), torch.tanh(h + x.unsqueeze(-1)))
    with pytest.raises(
        unrolled.errors.NotFusedError, match=r"of shape \[batch, 65, 2\], of more than 64 rows of numbers"
    ):
        unrolled.scan(step, torch.zeros(2, 3, 65), torch.zeros(3, 65, 2), engine="fused")


def turned(*shape, generator):
    """Of strides that no view can reshape."""
    numbers = torch.randn(*shape[:-2], shape[-1], shape[-2], generator=generator, dtype=torch.float64)
    return numbers.transpose(-1, -2).detach()


STRIDED = {
    "an input": lambda x, h, held, weight: (h, torch.tanh(x.flatten(1) + h.flatten(1)).view(-1, 2, 3)),
    "an input of an output": lambda x, h, held, weight: (x.reshape(-1, 6) * h.reshape(-1, 6), torch.tanh(x + h)),
    "a tensor by sequence": lambda x, h, held, weight: (h, torch.tanh(x + h * held)),
    "a reshaped tensor by sequence": lambda x, h, held, weight: (
        h,
        torch.tanh(x.reshape(-1, 6) + h.reshape(-1, 6) * held.reshape(-1, 6)).view(-1, 2, 3),
    ),
    "a weight": lambda x, h, held, weight: (
        h,
        torch.tanh(x + (h.reshape(-1, 6) @ weight.reshape(6, 6)).view(-1, 2, 3)),
    ),
}


@pytest.mark.parametrize("name", STRIDED)
def test_tensors_of_any_strides_are_reshaped(name):
    generator = torch.Generator().manual_seed(1)
    given = [turned(*shape, generator=generator) for shape in ((4, 5, 2, 3), (5, 2, 3), (5, 2, 3), (2, 3, 6))]
    found = []
    for engine in ("fused", "eager"):
        xs, state, held, weight = leaves = [each.requires_grad_() for each in given]
        step = lambda x, h, held=held, weight=weight: STRIDED[name](x, h, held, weight)
        ys, last = unrolled.scan(step, xs, state, engine=engine)
        total = ys.square().sum() + last.square().sum()
        found.append([ys, last, *torch.autograd.grad(total, leaves, materialize_grads=True)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
