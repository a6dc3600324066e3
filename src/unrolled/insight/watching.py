"""What all watchers of scans share: one is on at a time, in one thread.

Inputs: none. Outputs: a context within which each scan goes by way of the watcher.
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


class Watching:
    """Base of watchers, see `probing.Watcher`.

    Args:
        name: of who watches, which an error begins with.
    """

    def __init__(self, name: str) -> None:
        self.layer = 1
        self.places: Tensor | None = None
        self._name = name
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        """Whether it watches this thread."""
        return self._thread == threading.get_ident()

    @contextlib.contextmanager
    def on(self) -> Iterator[Self]:
        """Each scan of this thread within goes by way of it.

        Raises:
            ProbeError: another watcher is on.
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
        """Its result, as `scan` has it."""
