"""Places the barriers of threads that share a step's features.

Inputs: what the phases of a step read and write, and how threads share each. Outputs: the phases before which a barrier
stands, as few as the order of the accesses allows.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

_STEPS = 4  # more than any buffer's content lives


@dataclass(frozen=True)
class Access:
    """Of a buffer.

    Attributes:
        buffer: what is accessed; two accesses of equal ones meet in memory.
        is_write: whether it writes.
        share: None where a thread may touch what is another's, else how threads share it: equal ones are no conflict.
        segment: first feature and their number, where threads share the features of a segment among them, those of a
            width alike: two that do not overlap are no conflict.
    """

    buffer: Hashable
    is_write: bool
    share: Hashable = None
    segment: tuple[int, int] | None = None

    def conflicts(self, other: "Access") -> bool:
        if not (self.is_write or other.is_write) or self.buffer != other.buffer:
            return False
        if self.segment is None or other.segment is None:
            return self.share is None or self.share != other.share
        (a, m), (b, n) = self.segment, other.segment
        return self.segment != other.segment and a < b + n and b < a + m


def barriers(n_phases: int, accesses: Callable[[int, int], Sequence[Access]]) -> set[int]:
    """The phases before which all threads meet; `accesses` are those of a phase in a step, both by number."""
    found: set[int] = set()
    accesses = functools.cache(accesses)
    while (missing := _first_conflict(n_phases, accesses, found)) is not None:
        found.add(missing)
    return found


def _first_conflict(n_phases: int, accesses: Callable[[int, int], Sequence[Access]], meets: set[int]) -> int | None:
    since: dict[Hashable, list[Access]] = defaultdict(list)
    for step in range(_STEPS):
        for phase in range(n_phases):
            if phase in meets:
                since.clear()
            now = accesses(phase, step)
            if any(access.conflicts(before) for access in now for before in since[access.buffer]):
                return phase
            for access in now:
                since[access.buffer].append(access)
    return None
