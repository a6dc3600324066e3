"""Which rows of a batch run at which time steps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.rows import arranged, rows_at


@dataclass(slots=True)
class Span:
    """The rows of all time steps, one after the other: `total` of them.

    Attributes:
        n_steps: time.
        n_rows: batch.
        is_reversed: from the last step to the first.
        total: rows of all steps together.
        counts: int64 [time], how many rows run at each step, the first ones of all; they never grow from a step to the
            one after. None where all rows run at all steps.
        offsets: int64 [time], where each step's rows begin.
        order: int64 [batch], which rows of the batch these are, one after the other; None where they are as they were.
    """

    n_steps: int
    n_rows: int
    is_reversed: bool
    total: int
    counts: Tensor | None = None
    offsets: Tensor | None = None
    order: Tensor | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of what has a row for each step and row of the batch: time and batch, or all rows in one."""
        return (self.n_steps, self.n_rows) if self.counts is None else (self.total,)

    def sizes(self) -> list[int]:
        """How many rows run at each step."""
        return [self.n_rows] * self.n_steps if self.counts is None else self.counts.tolist()

    def in_order(self, rows: Tensor) -> Tensor:
        """A row for each of the batch, [batch, ...], in the order of the span's."""
        return rows if self.order is None else rows.index_select(0, self.order)

    def over_time(self, rows: Tensor) -> Tensor:
        """Rows [batch, ...] in the span's order → those of all steps, [total, ...]; a copy."""
        if self.counts is None:
            return rows.expand(self.n_steps, *rows.shape).flatten(0, 1) if self.n_steps > 1 else rows.clone()
        return rows.index_select(0, self.time_and_row()[1])

    def time_and_row(self) -> tuple[Tensor, Tensor]:
        """Of each row of all steps, int64 [total]: its step, and its place among the rows of the batch."""
        assert self.counts is not None
        assert self.offsets is not None
        time = torch.repeat_interleave(torch.arange(self.n_steps), self.counts)
        return time, torch.arange(self.total) - self.offsets[time]

    def before(self, first: Tensor, states: Tensor) -> Tensor:
        """States [batch, width] before the first step and [total, width] after each → before each, [total, width]."""
        if self.counts is None:
            rest = states[self.n_rows :] if self.is_reversed else states[: self.total - self.n_rows]
            return torch.cat((rest, first) if self.is_reversed else (first, rest))
        return torch.cat((states, first)).index_select(0, self._places_before())

    def _places_before(self) -> Tensor:
        counts, offsets = self.counts, self.offsets
        assert counts is not None
        assert offsets is not None
        time, row = self.time_and_row()
        before = time + (1 if self.is_reversed else -1)
        inside = (before >= 0) & (before < self.n_steps)
        before = before.clamp(0, self.n_steps - 1)
        return torch.where(inside & (row < counts[before]), offsets[before] + row, self.total + row)


@dataclass(frozen=True)
class Packed:
    """A padded batch of rows that end, as the rows of a `Span`.

    Attributes:
        span: the rows, the longest first.
        order: int64 [batch], the longest row first.
        ranks: int64 [batch], where each row comes in that order.
        places: int64 [total], where each row of the span lies among time · batch rows.
        packed_places: int64 [time · batch], where each of those lies in the span; -1 where a row has ended.
    """

    span: Span
    order: Tensor
    ranks: Tensor
    places: Tensor
    packed_places: Tensor

    def pack(self, leaf: Tensor) -> Tensor:
        """[time, batch, ...] → [total, ...]"""
        return _RowsAt.apply(leaf.flatten(0, 1), self.places, self.packed_places)

    def unpack(self, rows: Tensor) -> Tensor:
        """[total, ...] → [time, batch, ...], zeros elsewhere."""
        whole = _RowsAt.apply(rows, self.packed_places, self.places)
        return whole.view(self.span.n_steps, self.span.n_rows, *rows.shape[1:])

    def sorted(self, state: Tensor) -> Tensor:
        """[batch, ...], the longest row first."""
        return state.index_select(0, self.order)

    def unsorted(self, state: Tensor) -> Tensor:
        """As the batch was."""
        return state.index_select(0, self.ranks)


class _RowsAt(torch.autograd.Function):
    """`rows_at`, with the places that lead back: what is at none of them has no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(places, back)
        return rows_at(places, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        places, back = ctx.saved_tensors
        return _RowsAt.apply(gradient, back, places), None, None


def packed(active: Tensor, *, is_reversed: bool) -> Packed:
    """From bool [time, batch], true in each row up to its length."""
    n_steps, n_rows = active.shape
    counts, offsets, order, ranks, places, packed_places = arranged(active)
    span = Span(n_steps, n_rows, is_reversed, len(places), counts, offsets, order)
    return Packed(span, order, ranks, places, packed_places)
