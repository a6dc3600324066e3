"""A batch whose rows have different lengths, packed: no step that a row has ended before is computed.

Input: which rows run at which steps. Output: a `Packed`, which packs and unpacks, and whose `BatchLayout` the loop runs
over.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.base import Backend
from unrolled.engine.context import is_batched
from unrolled.engine.ir.layout import BatchLayout


@dataclass(frozen=True)
class Packed:
    """A padded variable-length batch, as the rows of a `BatchLayout`.

    Attributes:
        layout: the rows, the longest first.
        order: int64 [batch], the longest row first.
        ranks: int64 [batch], where each row comes in that order.
        places: int64 [total], where each row of the layout lies among time · batch rows.
        packed_places: int64 [time · batch], where each of those lies in the layout; -1 where a row has ended.
        backend: moves the rows.
    """

    layout: BatchLayout
    order: Tensor
    ranks: Tensor
    places: Tensor
    packed_places: Tensor
    backend: Backend

    def pack(self, leaf: Tensor) -> Tensor:
        """[time, batch, ...] → [total, ...]"""
        return _RowsAt.apply(leaf.flatten(0, 1), self.places, self.packed_places, self.backend)

    def unpack(self, rows: Tensor) -> Tensor:
        """[total, ...] → [time, batch, ...], zeros elsewhere."""
        whole = _RowsAt.apply(rows, self.packed_places, self.places, self.backend)
        return whole.view(self.layout.n_steps, self.layout.n_rows, *rows.shape[1:])

    def sorted(self, state: Tensor) -> Tensor:
        """[batch, ...], the longest row first."""
        return state.index_select(0, self.order)

    def unsorted(self, state: Tensor) -> Tensor:
        """As the batch was."""
        return state.index_select(0, self.ranks)


class _RowsAt(torch.autograd.Function):
    """`Backend.rows_at`, with the places that lead back: what is at none of them has no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, back: Tensor, backend: Backend) -> Tensor:
        ctx.save_for_backward(places, back)
        ctx.backend = backend
        return backend.rows_at(places, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        places, back = ctx.saved_tensors
        if is_batched(gradient):
            taken = gradient[back.clamp(min=0)]
            is_there = (back >= 0).view(-1, *(1,) * (gradient.dim() - 1))
            return torch.where(is_there, taken, 0), None, None, None
        return _RowsAt.apply(gradient, back, places, ctx.backend), None, None, None


def packed(active: Tensor, backend: Backend, *, is_reversed: bool) -> Packed:
    """From bool [time, batch], true in each row up to its length."""
    n_steps, n_rows = active.shape
    counts, offsets, order, ranks, places, packed_places = backend.arranged(active)
    layout = BatchLayout(n_steps, n_rows, is_reversed, len(places), counts, offsets, order)
    return Packed(layout, order, ranks, places, packed_places, backend)
