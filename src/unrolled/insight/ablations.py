"""Ablations: a model runs with its past truncated, or with the rows of its batch permuted.

Inputs: scans, as a model runs them. Outputs: their results under the ablation.
"""

import itertools

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine import dispatch
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree
from unrolled.insight.scan_hook import ScanHook


class TruncatedContext(ScanHook):
    """Cuts the past off: after every `context` steps, counted from its own end, a row goes on from the state of the row
    before it in the batch; a single row from the first state.

    Args:
        context: steps that a state knows at most.
        after: for the number of each scan that is cut, how many steps each row runs in later scans, int64 [rows].
        begins: numbers of scans whose first state comes from no scan.
    """

    def __init__(self, context: int, after: dict[int, Tensor], begins: set[int]) -> None:
        super().__init__("checkup")
        self._context, self._after, self._begins, self._number = context, after, begins, 0

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        _, xs, state, active, resets, is_reversed, *_ = scan
        number, self._number = self._number, self._number + 1
        n_steps = pytree.tree_leaves(xs)[0].shape[0]
        cut = self._cuts(scan, number)
        cuts = cut.any(1).nonzero()[:, 0].tolist()
        edges = sorted({0, *cuts, n_steps})
        parts, now = [], state
        for begin, end in itertools.pairwise(edges):
            if begin in cuts:
                now = pytree.tree_map(lambda leaf, first, at=begin: _cut(leaf, first, cut[at]), now, state)
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

    def _cuts(self, scan: CheckedScan, number: int) -> Tensor:
        """bool [time, rows], in the order of the loop: the rows that are cut before each step."""
        runs = pytree.tree_leaves(scan.xs)[0].new_ones(pytree.tree_leaves(scan.xs)[0].shape[:2], dtype=torch.bool)
        if number not in self._after:
            return ~runs
        if scan.active is not None:
            runs = scan.active.flip(0) if scan.is_reversed else scan.active
        left = runs.flip(0).cumsum(0).flip(0) + self._after[number].to(runs.device)
        has_begun = runs.cumsum(0) > 1 if number in self._begins else runs
        return runs & has_begun & (left % self._context == 0)


class PermutedRows(ScanHook):
    """Each row gets the last layers' results of the row before it, so that no output depends on its own row."""

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


def _cut(leaf: Tensor, first: Tensor, rows: Tensor) -> Tensor:
    """A leaf of the state, that of the row before in the rows that are cut."""
    if not leaf.dim() or leaf.shape[0] < 2:
        return first
    return torch.where(rows.view(-1, *[1] * (leaf.dim() - 1)), leaf.roll(1, 0), leaf)
