"""A tensor, the same at each step, that has several rows for each row of the batch: as eager, and soon.

A loop once took each of its rows, as many as the trial's batch is large, for a matrix of its own: memory ran out. Memory
is bounded here by the time that it takes.
"""

import pytest
import torch
from tests.guard.checks import HIDDEN, INPUT, Case, assert_as_eager, at_most
from torch import nn

import unrolled

HEADS = 2
WIDTH = HIDDEN // HEADS
BATCH = 3  # not as many as heads
MADE = {
    "repeated": lambda w, n: w.repeat(n, 1, 1),
    "expanded": lambda w, n: w.expand(n, HEADS, WIDTH, WIDTH).reshape(-1, WIDTH, WIDTH),
    "interleaved": lambda w, n: w[None].expand(n, -1, -1, -1).flatten(0, 1).transpose(1, 2),
    "joined": lambda w, n: torch.cat([w[:1].expand(n, -1, -1), w[1:].expand(n, -1, -1)]),
    "one_more": lambda w, n: torch.cat([w[:1].expand(n, -1, -1), w.expand(HEADS, -1, -1)])[HEADS:].repeat(HEADS, 1, 1),
}
USED = {
    "bmm": torch.bmm,
    "matmul": torch.matmul,
    "added": lambda q, w: torch.baddbmm(q, q, w),
    "transposed": lambda q, w: torch.bmm(q, w.transpose(1, 2)),
}


class Step(nn.Module):
    def __init__(self, make, use) -> None:
        super().__init__()
        self.make, self.use = make, use
        self.of_input = nn.Linear(INPUT, HIDDEN)
        self.heads = nn.Parameter(torch.rand(HEADS, WIDTH, WIDTH))
        self.double()

    def forward(self, x, h):
        n = h.shape[0]
        seen = self.use(h.reshape(n * HEADS, 1, WIDTH), self.make(self.heads, n))
        h = torch.tanh(self.of_input(x) + seen.reshape(n, HIDDEN))
        return h, h


class Attending(nn.Module):
    """Attention over what is captured, with a key and a value that are learned."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.of_input = nn.Linear(INPUT, HIDDEN)
        self.attention = nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True, **options)
        self.register_buffer("memory", torch.rand(BATCH, 5, HIDDEN))
        self.double()

    def forward(self, x, h):
        seen, weights = self.attention((self.of_input(x) + h)[:, None], self.memory, self.memory)
        h = torch.tanh(h + seen[:, 0])
        return (h, weights[:, 0]), h


def _assert_right(step):
    case = Case(step, wanted=lambda: list(step.parameters()), inputs=(3, BATCH, INPUT), state=(BATCH, HIDDEN))
    with at_most(20):
        assert_as_eager(case, times=2)
        explanation = unrolled.explain(step, *case.arguments())
    assert explanation.path == "fused" or explanation.reason


@pytest.mark.parametrize("use", USED)
@pytest.mark.parametrize("made", MADE)
def test_rows_for_each_row(made, use):
    _assert_right(Step(MADE[made], USED[use]))


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}], ids=str)
def test_attention_over_what_is_captured(options):
    _assert_right(Attending(**options))
