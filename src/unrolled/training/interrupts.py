"""Ctrl-C in a training.

Inputs: none. Outputs: a context manager, within which Ctrl-C waits.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Delays Ctrl-C to the end of the block; the second one interrupts at once."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (is_usual and threading.current_thread() is threading.main_thread()):
        yield
        return
    n_pressed = 0

    def wait(*_: Any) -> None:
        nonlocal n_pressed
        n_pressed += 1
        if n_pressed > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if n_pressed:
        raise KeyboardInterrupt
