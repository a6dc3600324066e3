"""How far a check-up is, in a line, where it takes long.

Inputs: steps that are done. Outputs: text on a stream. A file of its own, as trainings show more.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TextIO

_FIRST_S = 1.0  # of steps, by which the rest is estimated
_LONG_S = 5.0  # what takes less is not told
_EVERY_S = 15.0  # between two lines
_REDRAWN_S = 1.0  # between two changes of the line of a terminal


class Progress:
    """Tells how many of some steps are done, and how long the rest takes.

    Args:
        stream: that is written to; None: nothing is said.
        clock: seconds, at any time.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._is_terminal = stream is not None and _is_terminal(stream)
        self._total = self._done = self._width = 0
        self._begun = self._told = 0.0

    def start(self, total: int) -> None:
        """So many steps will be done at most."""
        self._total, self._done, self._begun, self._told = total, 0, self._clock(), 0.0

    def step(self) -> None:
        """One is done."""
        self._done += 1
        if self._stream is None or not self._total:
            return
        now = self._clock()
        spent = now - self._begun
        left = spent / self._done * (self._total - self._done)
        every = _REDRAWN_S if self._is_terminal else _EVERY_S
        is_due = now - self._told >= every if self._told else left > _LONG_S
        if spent >= _FIRST_S and is_due:
            self._told = now
            share = 100 * self._done // self._total
            self._write(
                f"check-up: {share} % of the products with Jacobians, at most {_words(left)} left (Ctrl-C stops)"
            )

    def stop(self) -> None:
        """All are done; a terminal's line is taken away."""
        if self._width:
            self._write("")

    def _write(self, text: str) -> None:
        assert self._stream is not None
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            if self._is_terminal:
                self._stream.write("\r" + " " * self._width + "\r" + text)
                self._width = len(text)
            else:
                self._stream.write(f"{text}\n")
            self._stream.flush()


def of_call() -> Progress:
    """What a call from Python shows: its progress on a terminal or in a notebook, nothing elsewhere."""
    stream = sys.stderr
    is_seen = stream is not None and (_is_terminal(stream) or type(stream).__module__.startswith("ipykernel"))
    return Progress(stream if is_seen else None)


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):  # it may be closed
        return stream.isatty()
    return False


def _words(seconds: float) -> str:
    """Such as "40 seconds" or "3 minutes", rounded up: it is an estimate."""
    return f"{10 * max(1, -(-seconds // 10)):.0f} seconds" if seconds < 90 else f"{-(-seconds // 60):.0f} minutes"
