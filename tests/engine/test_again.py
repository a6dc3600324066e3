"""Calls like one before, which go straight to their loop: what they give, and where they must not."""

import contextlib

import pytest
import torch
from tests.assertions import assert_as_exact_as
from torch.autograd import forward_ad

import unrolled
from unrolled.engine import choose

CELL = unrolled.cells.LSTM(3, 4)


def call(steps=5, rows=2, dtype=torch.float32):
    torch.manual_seed(steps)
    return torch.randn(steps, rows, 3, dtype=dtype), (torch.randn(rows, 4, dtype=dtype), torch.randn(rows, 4, dtype=dtype))


def leaves(result):
    ys, (hidden, memory) = result
    return ys, hidden, memory


FORMS = {
    "another length": dict(steps=9),
    "another batch": dict(rows=7),
    "one step": dict(steps=1, rows=1),
    "another dtype than the cell's": dict(dtype=torch.float64),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("has_gradient", [False, True])
def test_it_gives_what_the_eager_loop_gives(form, reverse, has_gradient):
    xs, state = call(**form)
    with contextlib.nullcontext() if has_gradient else torch.no_grad():
        if form.get("dtype"):
            return assert_none_is_straight(xs, state)
        unrolled.scan(CELL, xs, state, reverse=reverse, engine="fused")  # walked
        unrolled.scan(CELL, xs, state, reverse=reverse, engine="fused")  # remembered
        found = choose.again(CELL, xs, state, is_reversed=reverse)
        eager = unrolled.scan(CELL, xs, state, reverse=reverse, engine="eager")
        exact = unrolled.scan(CELL.double(), xs.double(), tuple(s.double() for s in state), engine="eager")
    assert found is not None
