"""Base class of the hooks that scans run through: one at a time, in one thread.

Inputs: none. Outputs: a context within which every scan runs through the hook.
"""

import contextlib
import threading
from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

from torch import Tensor

from unrolled import probing
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree
from unrolled.errors import ProbeError


class ScanHook:
    """Base of hooks, see `probing.Hook`.

    Args:
        name: of the function that sets the hook; errors begin with it.
    """

    def __init__(self, name: str) -> None:
        self.layer = 1
        self.places: Tensor | None = None
        self._name = name
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        """Whether it is set in this thread."""
        return self._thread == threading.get_ident()

    @contextlib.contextmanager
    def on(self) -> Iterator[Self]:
        """Every scan of this thread runs through it within the block.

        Raises:
            ProbeError: another hook is on.
        """
        if probing.current is not None:
            raise ProbeError(f"{self._name}: another probe is on. Leave its `with` first.")
        probing.current = self
        try:
            yield self
        finally:
            probing.current = None

    @abstractmethod
    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        """Runs a scan; returns what `scan` returns."""
