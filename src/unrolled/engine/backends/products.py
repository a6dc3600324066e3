"""The large products outside the loop, differentiable: rows of all time steps times a weight.

Inputs: rows, weights and biases, on a device that has a back-end, which multiplies. A plan's graphs name `product` and
`product_plus` as operations, so they are the same functions for every back-end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.base import reading, reading_in
from unrolled.engine.backends.registry import backend_for
from unrolled.engine.context import is_batched
from unrolled.engine.ir.layout import BatchLayout

_BLOCK = 128


def product(left: Tensor, right: Tensor) -> Tensor:
    """[n, k] times [k, m]; its gradient to `right` is summed in blocks."""
    return product_plus(None, left, right)


def product_plus(bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """The same plus a bias [m]. Within a graph of torch, torch's own."""
    if torch.compiler.is_compiling():
        return left @ right if bias is None else torch.addmm(bias, left, right)
    if torch.is_grad_enabled():
        return _MatrixProduct.apply(bias, left, right)
    return backend_for(left.device).rows_times(left.contiguous(), right, bias)


class _MatrixProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.reading, ctx.backend = reading(), backend_for(left.device)
        return ctx.backend.rows_times(left.contiguous(), right, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        needs_bias, needs_left, needs_right = ctx.needs_input_grad
        if torch.is_grad_enabled() or is_batched(gradient):
            return (
                gradient.sum(0) if needs_bias else None,
                gradient @ right.t() if needs_left else None,
                _outer_sum(left, gradient) if needs_right else None,
            )
        rows_times, outer_sum = ctx.backend.rows_times, ctx.backend.outer_sum
        with reading_in(ctx.reading):
            sums = gradient.new_zeros(gradient.shape[1]) if needs_bias else None
            of_left = rows_times(gradient.contiguous(), right, is_transposed=True) if needs_left else None
            if needs_right:
                return sums, of_left, outer_sum(left, gradient, right, sums)
            return gradient.sum(0) if needs_bias else None, of_left, None


def _outer_sum(left: Tensor, right: Tensor) -> Tensor:
    """left^T · right, [n, k] and [n, m] → [k, m], with a graph; summed in blocks, as one long sum rounds worse."""
    blocks = [a.t() @ b for a, b in zip(left.split(_BLOCK), right.split(_BLOCK), strict=True)]
    return torch.stack(blocks).sum(0)


# rows and their width, and what is read in place of the rows one step before, at the edge, or None
Factor = tuple[Tensor, int, Tensor | None]


def products_by_row(
    parts: Sequence[tuple[Factor, Factor]], total: Tensor | None, like: Tensor, layout: BatchLayout
) -> Tensor:
    """For each row of the batch the sum over time of left^T · right, of one or several such products, plus a total; it
    has the shape of `like` [batch, ...]. Rows are contiguous, those of a layout. Torch's own batched product.
    """
    found = None if total is None else total.to(like.dtype).view(like.shape)
    for factors in parts:
        left, right = (_by_row(*factor, layout) for factor in factors)
        made = torch.bmm(left.transpose(1, 2), right).view(like.shape)
        found = made if found is None else found.add_(made)
    return torch.zeros_like(like, memory_format=torch.contiguous_format) if found is None else found


def _by_row(rows: Tensor, width: int, first: Tensor | None, layout: BatchLayout) -> Tensor:
    """Rows of all steps → [batch, time, width], zeros where a row has ended."""
    rows = rows.view(layout.total, width)
    if first is not None:
        rows = layout.before(first.reshape(layout.n_rows, width), rows)
    if layout.counts is None:
        return rows.view(layout.n_steps, layout.n_rows, width).transpose(0, 1)
    time, row = layout.time_and_row()
    return rows.new_zeros(layout.n_rows, layout.n_steps, width).index_put_((row, time), rows)
