"""Operations with unusual arguments and dtypes: each means what torch means, or is refused in words."""

import pytest
import torch
from tests.engine.test_fused import assert_fused_is_eager
from torch.nn import functional as F

import unrolled

N = 6
XS, STATE = torch.linspace(-2, 2, 3 * 4 * N).view(3, 4, N).sin(), torch.linspace(-1, 1, 4 * N).view(4, N).cos() - 0.6


class Meaning(torch.nn.Module):
    """A step by a function of x, h, a matrix and a row."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(0)
        self.matrix = torch.nn.Parameter(0.4 * torch.randn(N, N, generator=generator))
        self.row = torch.nn.Parameter(torch.randn(N, generator=generator))

    def forward(self, x, h):
        h = torch.tanh(self.function(x, h, self.matrix, self.row))
        return h, h


EXACT = {
    "flip of no axis": lambda x, h, w, r: h.flip(()) + x,
    "bool of a number": lambda x, h, w, r: h.bool() * 0.1 + x,
    "bool of what is cut off": lambda x, h, w, r: F.relu(h).to(torch.bool) * 0.5 + x,
    "bool plus bool": lambda x, h, w, r: ((h > 0) + (x < 1)) * 0.5 + h,
    "bool times bool": lambda x, h, w, r: ((h > 0) * (x < 1)) * 0.5 + h,
    "bool and": lambda x, h, w, r: ((h > 0) & ~(x > 0) ^ (x > 1) | (h < -1)) * 0.5 + h,
    "logical of numbers": lambda x, h, w, r: torch.logical_and(h, F.relu(x)) * 1.0 + torch.logical_not(F.relu(h)) + x,
    "whole numbers divided": lambda x, h, w, r: (h > 0).sum(1, keepdim=True) / 2 + (h > 0).sum(1, keepdim=True) % 2 + x,
    "a whole number of 3.7": lambda x, h, w, r: torch.full_like(h, 3.7, dtype=torch.int64) * h + x,
    "a truth value of 3.7": lambda x, h, w, r: torch.full_like(h, 3.7, dtype=torch.bool) * h + x,
    "addmm with factors": lambda x, h, w, r: torch.addmm(x, h, w, alpha=0.5, beta=0.3),
    "addmm of a bias with factors": lambda x, h, w, r: torch.addmm(r, h, w, alpha=0.5, beta=2) + x,
    "addmm without its bias": lambda x, h, w, r: torch.addmm(r, h, w, beta=0) + x,
    "addmm of a transposed matrix": lambda x, h, w, r: torch.addmm(x, h, w.t(), alpha=1.5),
    "roll and split from the end": lambda x, h, w, r: torch.cat(h.roll(-8, -1).split(4, -1)[::-1], -1) + x,
    "slices beyond the ends": lambda x, h, w, r: h[:, -50:3].sum(1, keepdim=True) + h[:, 2:100].sum(1, keepdim=True) + x,
    "the sign of zero": lambda x, h, w, r: torch.copysign(h, -0.0) + torch.copysign(x, torch.full((2,), -0.0)[:1]),
    "empty slices": lambda x, h, w, r: h[:, 4:2].sum(1, keepdim=True) + torch.cat((h[:, :0], h), 1) + x,
    "heads of bool": lambda x, h, w, r: ((h.view(-1, 3, 2) > 0) + h.view(-1, 3, 2).bool()).reshape(-1, N) * 0.5 + x,
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_what_is_fused_means_the_same(name):
    assert_fused_is_eager(Meaning(EXACT[name]), XS, STATE)


SKIPS, BITS = "a slice with a step other than 1", "works on the bits of whole numbers"
FLAT = "is among the operations that a fused loop has for [batch, features] alone"


def written_heads(x, h, w, r):
    h = (x + h).view(-1, 3, 2).clone()
    h[:, ::2] = 0.5
    return h.reshape(-1, N)


REFUSED = {
    "float16": (lambda x, h, w, r: h.half().float() + x,
                "aten._to_copy gives torch.float16; this loop computes in torch.float32 alone"),
    "bfloat16": (lambda x, h, w, r: h.bfloat16().float() + x,
                 "aten._to_copy gives torch.bfloat16; this loop computes in torch.float32 alone"),
    "float64": (lambda x, h, w, r: (h.double() + x).float(),
                "aten._to_copy gives torch.float64; this loop computes in torch.float32 alone"),
    "float64 of a constant": (lambda x, h, w, r: (torch.full_like(h, 0.3, dtype=torch.float64) * h + x).float(),
                              "torch.float64; this loop computes in torch.float32 alone"),
    "bits of a count": (lambda x, h, w, r: ((h > 0).sum(1, keepdim=True) & (x > 0).sum(1, keepdim=True)) * h, f"aten.bitwise_and {BITS}"),
    "negated bits": (lambda x, h, w, r: ~(h > 0).sum(1, keepdim=True) * 0.5 + x, f"aten.bitwise_not {BITS}"),
    "every second": (lambda x, h, w, r: h[:, ::2].repeat(1, 2) + x, f"aten.slice takes {SKIPS}"),
    "every second written": (lambda x, h, w, r: torch.slice_scatter(h, x[:, :3], 1, 0, N, 2), f"aten.slice_scatter writes to {SKIPS}"),
    "any of a head": (lambda x, h, w, r: (h.view(-1, 3, 2) > 0).any(1).repeat(1, 3) + x, f"aten.any {FLAT}"),
    "any of all heads": (lambda x, h, w, r: (h.view(-1, 3, 2) > 0).any(2).any(1, keepdim=True) + x, f"aten.any {FLAT}"),
    "sums up to a head": (lambda x, h, w, r: h.view(-1, 3, 2).cumsum(2).view(-1, N) + x, f"aten.cumsum {FLAT}"),
    "heads the other way": (lambda x, h, w, r: h.view(-1, 3, 2).flip(1).view(-1, N) + x, f"aten.flip {FLAT}"),
    "heads rolled": (lambda x, h, w, r: h.view(-1, 3, 2).roll(1, 1).view(-1, N) + x, f"aten.roll {FLAT}"),
    "heads padded": (lambda x, h, w, r: F.pad(h.view(-1, 3, 2), (0, 0, 1, -1)).reshape(-1, N) + x, f"aten.constant_pad_nd {FLAT}"),
    "no head": (lambda x, h, w, r: h.view(-1, 3, 2)[:, 2:1].sum(1).repeat(1, 3) + h + x, "aten.slice takes an empty slice of a tensor of more than two axes"),
    "every second head": (lambda x, h, w, r: h.view(-1, 3, 2)[:, ::2].reshape(-1, 4).repeat(1, 2)[:, :N] + x, f"aten.slice takes {SKIPS}"),
    "every second head written": (written_heads, f"aten.slice_scatter writes to {SKIPS}"),
    "a matrix for each row": (
        lambda x, h, w, r: torch.bmm(h.unsqueeze(1), w.expand(h.shape[0], N, N)).squeeze(1) + x,
        "aten.expand takes a matrix for each row of the batch; a product of rows with one matrix is a @ b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_loop_cannot_mean_is_refused(name):
    function, words = REFUSED[name]
    step = Meaning(function)
    with pytest.raises(unrolled.errors.NotFusedError) as refused:
        unrolled.scan(step, XS, STATE, engine="fused")
    assert words in str(refused.value)
    assert f'("{__file__}", line ' in str(refused.value)


def test_short_numbers_outside_the_loop_are_as_they_are():
    """What reads the inputs alone runs before the loop, by torch's own operations."""
    step = Meaning(lambda x, h, w, r: x.half().float() + x.bool() * 0.3 + x.double().float() + 0.5 * h)
    assert_fused_is_eager(step, XS, STATE)


class Normalized(torch.nn.Module):
    """A step with batch normalization, in evaluation."""

    def __init__(self, affine):
        super().__init__()
        self.inner = torch.nn.Linear(N, N)
        self.norm = torch.nn.BatchNorm1d(N, affine=affine)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x, h):
        h = self.norm(torch.tanh(self.inner(h) + x[:, :N]))
        return h, h


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalization_in_evaluation_is_fused(affine):
    """Its means are constants then; torch's whole operation has no derivative by them."""
    torch.manual_seed(0)
    assert_fused_is_eager(Normalized(affine), XS, STATE)
