"""Ctrl-C and the signals that end a process, while no command runs: as torch is loaded, and as Python ends.

Inputs: none. Outputs: one line on standard error, and the exit code of a shell. A file of its own that imports next to
nothing: before its handlers are set, a signal that comes in is Python's affair, which prints a traceback.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

_USUAL = {
    getattr(signal, name): usual  # Windows has no SIGHUP
    for name, usual in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    )
    if hasattr(signal, name)
}


def end_the_process() -> None:
    """From now on these signals end the process at once; those that are ignored or handled by others stay so."""
    for number, usual in _USUAL.items():
        if signal.getsignal(number) is usual:
            signal.signal(number, _end)


class AsUsual:
    """A block in which they do what they do in any program of Python: a command runs, and tells of them itself."""

    def __enter__(self) -> None:
        self.taken = [number for number in _USUAL if signal.getsignal(number) is _end]
        for number in self.taken:
            signal.signal(number, _USUAL[number])

    def __exit__(self, *_: object) -> None:
        for number in self.taken:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    """No exception: amid an import it becomes another one, or is lost in the code of a library."""
    word = "interrupted" if number == signal.SIGINT else "terminated"
    with suppress(OSError):  # nobody to tell it to
        os.write(2, f"unrolled: {word}.\n".encode())
    os._exit(128 + number)
