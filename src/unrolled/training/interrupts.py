"""Ctrl-C and the signals that end a process, in a training.

Inputs: none. Outputs: context managers, within which SIGTERM acts as Ctrl-C does, and within which both wait.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from unrolled.training import processes

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


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
    the signal's number. Signals that the program handles by itself or ignores (nohup) stay so. Where several processes
    train together nothing changes: they cannot all stop at one step, so the last checkpoint holds.
    """
    is_alone = processes.world_size() == 1 and threading.current_thread() is threading.main_thread()
    taken = [number for number in _ENDING if is_alone and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    except Terminated as fault:
        if fault.number not in taken:
            raise
        raise SystemExit(fault.exit_code) from None
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Terminated(number)


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Delays Ctrl-C, and signals that act as it does, to the end of the block; the second one interrupts at once."""
    usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(_ENDING, _interrupt)
    delayed = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    if threading.current_thread() is not threading.main_thread():
        delayed = []
    came: list[int] = []

    def wait(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            _raise(number)

    for number in delayed:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number in delayed:
            signal.signal(number, usual[number])
    if came:
        _raise(came[0])


def _raise(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
