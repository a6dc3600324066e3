"""Runs of a model whose scans know less than they would: of the past, or of their row.

Inputs: scans, as a model runs them. Outputs: what they give then.
"""

import itertools

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine import dispatch
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree
from unrolled.insight.watching import Watching


class Cut(Watching):
    """Cuts the past off: after every `context` steps, counted from the end, a row goes on from the state of the row
    before it in the batch; a single row from the first state.
    """

    def __init__(self, context: int, after: dict[int, int], begins: set[int]) -> None:
        super().__init__("checkup")
        self._context, self._after, self._begins, self._number = context, after, begins, 0

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        _, xs, state, active, resets, is_reversed, *_ = scan
        number, self._number = self._number, self._number + 1
        n_steps = pytree.tree_leaves(xs)[0].shape[0]
        after, first = self._after.get(number, 0), 1 if number in self._begins else 0
        cuts = (
            []
            if number not in self._after
            else [at for at in range(first, n_steps) if (after + n_steps - at) % self._context == 0]
        )
        edges = sorted({0, *cuts, n_steps})
        parts, now = [], state
        for begin, end in itertools.pairwise(edges):
            if begin in cuts:
                now = pytree.tree_map(_row_before, now, state)
            t = slice(n_steps - end, n_steps - begin) if is_reversed else slice(begin, end)
            inputs = pytree.tree_map(lambda leaf, t=t: leaf[t], xs)
            runs, goes_back = (None if mask is None else mask[t] for mask in (active, resets))
            part = scan._replace(xs=inputs, state=now, active=runs, resets=goes_back, first=state)
            ys, now = dispatch.run_scan(part, engine="eager" if end - begin < 4 else engine)
            parts.append(ys)
        if len(parts) == 1:
            return parts[0], now
        parts = parts[::-1] if is_reversed else parts
        return pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts), now


class Strange(Watching):
    """Gives each row what the last layers made of the row before it: no scan knows anything of its row."""

    def __init__(self, lasts: set[int]) -> None:
        super().__init__("checkup")
        self._lasts, self._number = lasts, 0

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        found = dispatch.run_scan(scan, engine=engine)
        number, self._number = self._number, self._number + 1
        if number not in self._lasts:
            return found
        ys, last = found
        ys = pytree.tree_map(lambda leaf: leaf.roll(1, 1) if leaf.dim() > 1 else leaf, ys)
        return ys, pytree.tree_map(lambda leaf: leaf.roll(1, 0) if leaf.dim() else leaf, last)


def _row_before(leaf: Tensor, first: Tensor) -> Tensor:
    return leaf.roll(1, 0) if leaf.dim() and leaf.shape[0] > 1 else first
