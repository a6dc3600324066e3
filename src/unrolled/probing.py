"""Which probe is on: `scan` asks here, `unrolled.insight` answers.

It is a file of its own below `scan`, so that a scan outside a probe pays for one read of a global.
"""

from typing import Protocol

from torch import Tensor

from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree


class Watcher(Protocol):
    """A probe that is on."""

    #: of the scan that comes next, from 1; a stack of layers sets it, and puts it back to 1
    layer: int
    #: int64 [batch]: where each row of the batch is in what scans are given; None where rows are as they were
    places: Tensor | None

    def is_here(self) -> bool:
        """Whether it watches this thread."""
        ...

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        """Its result, as `scan` has it."""
        ...


#: the probe that is on, in any thread
current: Watcher | None = None


def watcher() -> Watcher | None:
    """The probe that watches this thread."""
    return current if current is not None and current.is_here() else None
