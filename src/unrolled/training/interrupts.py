"""Ctrl-C and the signals that end a process, in a training.

Inputs: none. Outputs: context managers, within which SIGTERM acts as Ctrl-C does, and within which both wait.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from unrolled.training import processes

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
_ONE_PRESS_S = 1.0  # `timeout` and shells send a signal to the process and to its group: that is one


class Terminated(KeyboardInterrupt):
    """A signal that ends the process came in.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell says it."""
        return 128 + self.number


@contextlib.contextmanager
def ending_signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated` within the block; one that leaves the block ends the process with 128 plus
    the signal's number. What comes within a second of the first signal, Ctrl-C too, is one with it. Signals that the
    program handles by itself or ignores (nohup) stay so. Where several processes train together nothing changes: they
    cannot all stop at one step, so the last checkpoint holds.
    """
    is_alone = processes.world_size() == 1 and threading.current_thread() is threading.main_thread()
    taken = [number for number in _ENDING if is_alone and signal.getsignal(number) is signal.SIG_DFL]
    interrupt = _Interrupt()
    for number in taken:
        signal.signal(number, interrupt)
    if is_ctrl_c_taken := is_alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Terminated as fault:
        if fault.number not in taken:
            raise
        raise SystemExit(fault.exit_code) from None
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        if is_ctrl_c_taken:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interrupt:
    """A handler that raises; what comes within a second is the same press."""

    def __init__(self) -> None:
        self.raised = -math.inf

    def __call__(self, number: int, _: FrameType | None) -> None:
        if time.monotonic() - self.raised < _ONE_PRESS_S:
            return
        self.raised = time.monotonic()
        _raise(number)


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Delays Ctrl-C, and signals that act as it does, to the end of the block; one that comes more than a second after
    the first interrupts at once.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    delayed = {
        number: handler
        for number, handler in handlers.items()
        if isinstance(handler, _Interrupt) or handler is signal.default_int_handler
    }
    if threading.current_thread() is not threading.main_thread():
        delayed = {}
    came: list[tuple[int, float]] = []

    def wait(number: int, _: FrameType | None) -> None:
        came.append((number, time.monotonic()))
        if came[-1][1] - came[0][1] > _ONE_PRESS_S:
            _raise(number)

    for number in delayed:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in delayed.items():
            signal.signal(number, handler)
            if came and isinstance(handler, _Interrupt):
                handler.raised = came[0][1]
    if came:
        _raise(came[0][0])


def _raise(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
