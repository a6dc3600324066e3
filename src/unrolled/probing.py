"""The hook that scans run through: `unrolled.insight` sets it, `scan` reads it.

It is a file of its own below `scan`, so that a scan outside a probe pays for one read of a global.
"""

from typing import Protocol

from torch import Tensor

from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree


class Hook(Protocol):
    """A hook that is set."""

    #: of the scan that comes next, from 1; a stack of layers sets it, and puts it back to 1
    layer: int
    #: int64 [batch]: where each row of the batch is in what scans are given; None where rows are as they were
    places: Tensor | None

    def is_here(self) -> bool:
        """Whether it is set in this thread."""
        ...

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        """Runs a scan; returns what `scan` returns."""
        ...


#: the hook that is set, in any thread
current: Hook | None = None


def hook() -> Hook | None:
    """The hook of this thread; None where none is set."""
    return current if current is not None and current.is_here() else None
