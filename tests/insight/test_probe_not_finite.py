"""`unrolled.probe` finds the first number that is not finite, forward and backward, with its line."""

import math

import pytest
import torch
from torch import nn

import unrolled
from tests.insight.probed_scans import (
    ROWS,
    TIME,
)  # fmt: skip


def divides(x, h):
    scaled = x / x.abs()
    h = torch.tanh(h + scaled)
    return h, h


def takes_a_root(x, h):
    h = h + x
    return torch.sqrt(h.abs()), h


@pytest.mark.parametrize("engine", ["fused", "eager"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_nan_is_found_with_the_line_of_the_step(engine, reverse):
    xs = torch.ones(TIME, ROWS, 5)
    xs[2, 3] = xs[4, 1] = 0
    with unrolled.probe(nn.Identity()) as record:
        unrolled.scan(divides, xs, torch.zeros(ROWS, 5), engine=engine, reverse=reverse)
    step, row = (4, 1) if reverse else (2, 3)
    direction = "backward" if reverse else "forward"
    text = f"first NaN or infinity: model, layer 1, {direction}, step {step}, row {row}: gate tanh 1 "
    assert str(record.trouble).startswith(text)
    assert str(record.trouble).endswith("scaled = x / x.abs())")


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_nan_of_the_input_is_the_inputs(engine):
    layer, xs = unrolled.GRU(3, 5, engine=engine), torch.ones(TIME, ROWS, 3)
    xs[3, 1, 2] = math.inf
    with unrolled.probe(layer) as record:
        layer(xs)
    assert str(record.trouble) == "first NaN or infinity: model, layer 1, forward, step 3, row 1: input"


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_gradient_that_is_not_finite_is_found_where_the_backward_meets_it(engine):
    xs = torch.ones(TIME, ROWS, 5)
    xs[3, 2] = -4  # the sum of the steps so far is zero there: the root's slope is infinite, times a sign of zero
    with unrolled.probe(nn.Identity()) as record:
        ys, _ = unrolled.scan(takes_a_root, xs, torch.ones(ROWS, 5, requires_grad=True), engine=engine)
        ys.sum().backward()
    assert str(record.trouble) == "first NaN or infinity: model, layer 1, forward, step 3, row 2: gradient of state h"
