"""The large products outside the loop: rows of all time steps times a weight, and the sums over time that are its gradient.

A sum over many rows in one chain of additions rounds worse than the eager loop's, which adds one step's sum to the next:
9 rounding units against 1.5 for 1,600 rows. So long sums run in pieces that are added up.
"""

from typing import Any

import torch
from torch import Tensor

# results up to so many numbers, and the rows in a piece of their sums; for larger results the library's own product works
# in pieces already, and adding up costs more
PIECES = ((1 << 12, 16), (1 << 16, 64))
LONG_PIECE = 1024


def outer_sum(left: Tensor, right: Tensor) -> Tensor:
    """left^T · right, [n, k] and [n, m] → [k, m], in pieces."""
    size = left.shape[1] * right.shape[1]
    piece = next((rows for most, rows in PIECES if size <= most), LONG_PIECE)
    whole = len(left) // piece * piece
    if whole <= piece:
        return left.t() @ right
    # one product for each piece, and not addmm: it would go on with the chain of additions
    if piece == PIECES[0][1]:
        total = torch.bmm(left[:whole].unflatten(0, (-1, piece)).mT, right[:whole].unflatten(0, (-1, piece))).sum(0)
        return total + left[whole:].t() @ right[whole:]
    total = left[:piece].t() @ right[:piece]
    for a, b in zip(left[piece:].split(piece), right[piece:].split(piece), strict=True):
        total = total + a.t() @ b if torch.is_grad_enabled() else total.add_(a.t() @ b)
    return total


def product(left: Tensor, right: Tensor) -> Tensor:
    """[n, k] times [k, m], whose gradient to `right` is summed in pieces."""
    return _Product.apply(left, right)


def product_plus(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The same plus a bias [m]."""
    return _ProductPlus.apply(bias, left, right)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left @ right

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        needs_left, needs_right = ctx.needs_input_grad
        return gradient @ right.t() if needs_left else None, outer_sum(left, gradient) if needs_right else None


class _ProductPlus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return torch.addmm(bias, left, right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        needs_bias, needs_left, needs_right = ctx.needs_input_grad
        return (
            gradient.sum(0) if needs_bias else None,
            gradient @ right.t() if needs_left else None,
            outer_sum(left, gradient) if needs_right else None,
        )
