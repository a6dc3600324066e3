"""What is written twice is one operation of the normalized graph, and what only looks alike stays two."""

import pytest
import torch
from torch.nn import functional as F

from unrolled.engine.passes.normalize import normalize
from unrolled.engine.passes.trace import of_trees, trace

#: two values of a step, of inputs a and b [batch, 4]
EQUAL = {
    "pointwise": lambda a, b: (torch.tanh(a), torch.tanh(a)),
    "added in the other order": lambda a, b: (a + b, b + a),
    "multiplied in the other order": lambda a, b: (a * b, b * a),
    "larger in the other order": lambda a, b: (torch.maximum(a, b), torch.maximum(b, a)),
    "smaller in the other order": lambda a, b: (torch.minimum(a, b), torch.minimum(b, a)),
    "added to itself": lambda a, b: (a + a, a + a),
    "options": lambda a, b: (torch.add(a, b, alpha=0.3), torch.add(a, b, alpha=0.3)),
    "second of two": lambda a, b: (torch.var_mean(a, 1)[1], torch.var_mean(a, 1)[1]),
    "what is of what": lambda a, b: (torch.sin(a + b).exp(), torch.sin(b + a).exp()),
}
APART = {
    "subtracted in the other order": lambda a, b: (a - b, b - a),
    "divided in the other order": lambda a, b: (a / b, b / a),
    "compared in the other order": lambda a, b: ((a < b).to(a.dtype), (b < a).to(a.dtype)),
    "itself and another": lambda a, b: (a + a, a + b),
    "another option": lambda a, b: (torch.add(a, b, alpha=0.3), torch.add(a, b, alpha=0.4)),
    "an option and none": lambda a, b: (torch.add(a, b, alpha=0.3), a + b),
    "options in the other order": lambda a, b: (torch.add(a, b, alpha=0.3), torch.add(b, a, alpha=0.3)),
    "another number": lambda a, b: (a * 2.0, a * 3.0),
    "a zero of the other sign": lambda a, b: (a * 0.0, a * -0.0),
    "another axis": lambda a, b: (a.view(-1, 2, 2).sum(1), a.view(-1, 2, 2).sum(2)),
    "another of two": lambda a, b: (torch.var_mean(a, 1)[0], torch.var_mean(a, 1)[1]),
    "another form": lambda a, b: (F.gelu(a), F.gelu(a, approximate="tanh")),
    "dropout": lambda a, b: (F.dropout(a, 0.5), F.dropout(a, 0.5)),
    "uniform numbers": lambda a, b: (torch.rand_like(a), torch.rand_like(a)),
    "normal numbers": lambda a, b: (torch.randn_like(a), torch.randn_like(a)),
    "coins": lambda a, b: (torch.bernoulli(torch.full_like(a, 0.5)), torch.bernoulli(torch.full_like(a, 0.5))),
    "numbers filled in": lambda a, b: (torch.empty_like(a).exponential_(), torch.empty_like(a).exponential_()),
    "other laws": lambda a, b: (a.clone().cauchy_(), a.clone().cauchy_()),
}


def outputs(pair):
    traced = trace(of_trees(lambda _, a, b: (pair(a, b), b), None, None), [], [torch.randn(2, 4)], [torch.randn(2, 4)])
    return normalize(traced).outputs


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_written_twice_is_one(name):
    first, second = outputs(EQUAL[name])
    assert first is second


@pytest.mark.parametrize("name", APART)
def test_what_looks_alike_is_two(name):
    first, second = outputs(APART[name])
    assert first is not second
