"""Which rows of a batch run at which time steps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.memory import new_tensor


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
    """

    n_steps: int
    n_rows: int
    is_reversed: bool
    total: int
    counts: Tensor | None = None
    offsets: Tensor | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of what has a row for each step and row of the batch: time and batch, or all rows in one."""
        return (self.n_steps, self.n_rows) if self.counts is None else (self.total,)

    def sizes(self) -> list[int]:
        """How many rows run at each step."""
        return [self.n_rows] * self.n_steps if self.counts is None else self.counts.tolist()

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
        time = torch.repeat_interleave(torch.arange(self.n_steps), counts)
        row = torch.arange(self.total) - offsets[time]
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
        places: int64 [total], where each row of the span lies among time · batch rows.
    """

    span: Span
    order: Tensor
    places: Tensor

    def pack(self, leaf: Tensor) -> Tensor:
        """[time, batch, ...] → [total, ...]"""
        return _Select.apply(leaf.flatten(0, 1), self.places)

    def unpack(self, rows: Tensor) -> Tensor:
        """[total, ...] → [time, batch, ...], zeros elsewhere."""
        whole = _placed(rows, self.places, self.span.n_steps * self.span.n_rows)
        return whole.view(self.span.n_steps, self.span.n_rows, *rows.shape[1:])

    def sorted(self, state: Tensor) -> Tensor:
        """[batch, ...], the longest row first."""
        return state.index_select(0, self.order)

    def unsorted(self, state: Tensor) -> Tensor:
        """As the batch was."""
        return state.index_select(0, torch.argsort(self.order))


class _Select(torch.autograd.Function):
    """Rows at places that are all different: what comes back is put there, where torch's own would add it up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.n_rows = len(rows)
        ctx.save_for_backward(places)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (places,) = ctx.saved_tensors
        return _placed(gradient, places, ctx.n_rows), None


def _placed(rows: Tensor, places: Tensor, n: int) -> Tensor:
    """Rows at their places among n, zeros elsewhere."""
    return new_tensor(rows, n, *rows.shape[1:]).zero_().index_copy_(0, places, rows)


def packed(active: Tensor, *, is_reversed: bool) -> Packed:
    """From bool [time, batch], true in each row up to its length."""
    n_steps, n_rows = active.shape
    order = torch.argsort(active.sum(0), descending=True, stable=True)
    counts = active.sum(1)
    offsets = counts.cumsum(0) - counts
    time, row = active[:, order].nonzero(as_tuple=True)
    places = time * n_rows + order[row]
    return Packed(Span(n_steps, n_rows, is_reversed, len(places), counts, offsets), order, places)
