"""Which rows of a batch run at which time steps: what a loop program runs over.

A back-end and the passes around it read it, so it lies below them. `run/packed_rows.py` makes one of a batch whose
rows have different lengths.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class BatchLayout:
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
        """A row for each of the batch, [batch, ...], in the order of the layout's."""
        return rows if self.order is None else rows.index_select(0, self.order)

    def over_time(self, rows: Tensor) -> Tensor:
        """Rows [batch, ...] in the layout's order → those of all steps, [total, ...]; a copy."""
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
