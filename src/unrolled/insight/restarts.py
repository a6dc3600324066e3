"""Windows of one forward that each begin from the same state: would the loss fall if the state were carried?

Inputs: a model's copy, what ran in it. Outputs: the loss as it is, and with the state carried from window to window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from unrolled.engine import dispatch
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree
from unrolled.insight.chains import Chain
from unrolled.insight.scan_hook import ScanHook
from unrolled.insight.subject import Subject


@dataclass(frozen=True)
class Restarts:
    """What windows lose by their beginning.

    Attributes:
        layer: the first layer that runs in windows, in words.
        n_windows, n_steps: how many windows, time steps of the first.
        loss, carried: the loss as it is, and with each window's first state that of the one before it.
    """

    layer: str
    n_windows: int
    n_steps: int
    loss: float
    carried: float

    @property
    def fall(self) -> float:
        """The share of the loss that carrying the state saves."""
        return (self.loss - self.carried) / abs(self.loss) if self.loss else 0.0


def restarts_of(subject: Subject, chains: Sequence[Chain], loss: float) -> Restarts | None:
    """None where no layer runs several times from one and the same state, or no loss was given that could tell."""
    if subject.loss is None:
        return None
    windows: dict[tuple[str, int], list[Chain]] = {}
    for chain in chains:
        if not chain.is_reversed and chain.active is None:
            windows.setdefault((chain.module, chain.layer), []).append(chain)
    groups = [
        group for group in windows.values() if len(group) > 1 and all(_is_alike(group[0], each) for each in group)
    ]
    if not groups:
        return None
    before = {
        late.numbers[0]: early.numbers[-1] for group in groups for early, late in zip(group, group[1:], strict=False)
    }
    carried = subject.output(_Carried(before))[0]
    first = groups[0][0]
    return Restarts(first.name, len(groups[0]), first.n_steps, loss, carried) if math.isfinite(carried) else None


def _is_alike(one: Chain, other: Chain) -> bool:
    """Whether two chains begin from equal states."""
    firsts = [pytree.tree_leaves(chain.scans[0].arguments.state) for chain in (one, other)]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(*firsts, strict=True))


class _Carried(ScanHook):
    """Begins scans from the last state of earlier ones; `before` has the number of each one's predecessor."""

    def __init__(self, before: dict[int, int]) -> None:
        super().__init__("checkup")
        self._before, self._number = before, 0
        self._lasts: dict[int, Tree] = {}

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        number, self._number = self._number, self._number + 1
        if number in self._before:
            scan = scan._replace(state=self._lasts[self._before[number]])
        ys, last = dispatch.run_scan(scan, engine=engine)
        self._lasts[number] = last
        return ys, last
