"""Compilers at work: their time limit, their end at Ctrl-C and at exit, and a line on the terminal.

Takes a command and its source, returns what it wrote to standard error. It is a file of its own because a compiler is
waited for on threads that Ctrl-C does not reach: whoever starts them stops them, by the `Batch` they belong to.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

SHOWN_AFTER_S = 2.0  # a compile that takes longer is shown on a terminal
MOST_S = 300.0  # ten times what the largest loop takes that is compiled at all (run.py)
_current: ContextVar["Batch | None"] = ContextVar("_current", default=None)
_batches: "set[Batch]" = set()


class Failed(Exception):  # noqa: N818 - a fact within the engine
    """Why a compiler made nothing, in words."""


class Stopped(Exception):  # noqa: N818 - a fact within the engine
    """The compiler was stopped, as its batch was."""


class Batch:
    """Compilers that are stopped together."""

    def __init__(self) -> None:
        self._lock, self._running, self._is_stopped = threading.Lock(), set[subprocess.Popen](), False
        self._process = os.getpid()

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """Compilers that this thread starts within belong to the batch."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def start(self, command: list[str], folder: Path) -> subprocess.Popen:
        """A compiler in a process group of its own, so that Ctrl-C does not reach it, and `stop` all that it starts.

        Raises:
            Stopped: the batch is.
            OSError: the command cannot be run.
        """
        # what it leaves when it is stopped goes with the folder; its complaints in English, as they are searched
        own = dict.fromkeys(("TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(folder))
        environment = os.environ | own | {"LC_ALL": "C"}
        with self._lock:
            if self._is_stopped:
                raise Stopped
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process)
            _batches.add(self)
        return process

    def end(self, process: subprocess.Popen) -> None:
        """Kills a compiler, if it still runs, and forgets it."""
        with self._lock:
            _kill(process)
            self._running.discard(process)
            if not self._running:
                _batches.discard(self)

    def stop(self) -> None:
        """Kills all its compilers; none starts any more."""
        if self._process == os.getpid():  # a forked process has none
            with self._lock:
                self._is_stopped = True
                for process in self._running:
                    _kill(process)


def _kill(process: subprocess.Popen) -> None:
    if process.returncode is None:  # else its number may be another's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@atexit.register
def stop_all() -> None:
    """Kills all compilers of this process."""
    for batch in list(_batches):
        batch.stop()


def compile_source(command: list[str], source: str, folder: Path, what: str) -> None:
    """Runs a compiler that reads its source from standard input.

    Args:
        command: with its arguments.
        source: what it reads.
        folder: for its temporary files.
        what: what is built, in words for a user.

    Raises:
        Failed: it cannot be run, fails, is killed, or takes longer than `MOST_S`; in words.
        Stopped: its batch was stopped.
    """
    batch = _current.get() or Batch()
    try:
        process = batch.start(command, folder)
    except OSError as fault:
        raise Failed(f"it cannot be run ({fault.strerror})") from None
    try:
        with _line.shows(what):
            complaints = _wait(process, source)
    finally:
        batch.end(process)
        process.wait()
        for stream in (process.stdin, process.stderr):
            with contextlib.suppress(OSError):  # what was to be written to it is of no use now
                stream and stream.close()
    if batch._is_stopped:
        raise Stopped
    if process.returncode:
        raise Failed(_reason(process.returncode, complaints))


def _wait(process: subprocess.Popen, source: str) -> str:
    """The compiler's complaints, when it is done."""
    begun = time.monotonic()
    given: str | None = source
    while True:
        try:
            return process.communicate(given, timeout=min(0.2, MOST_S))[1]
        except subprocess.TimeoutExpired:
            given = None  # it goes on with the rest of what it was given
            taken = time.monotonic() - begun
        if taken >= MOST_S:
            raise Failed(f"it was stopped after {MOST_S:g} seconds")
        if taken >= SHOWN_AFTER_S:
            _line.show()


def _reason(code: int, complaints: str) -> str:
    lines = ["".join(filter(str.isprintable, line)).strip() for line in complaints.splitlines()]
    found = next((line for line in lines if "error" in line), None) or next(filter(None, lines), None)
    if found:
        return found[:300]
    if code < 0:
        return f"it was killed by signal {-code}"
    return f"it ended with exit code {code} and no message"


class _Line:
    """One line on the terminal for all compilers that take long, cleared when they are done."""

    def __init__(self) -> None:
        self._lock, self._running, self._shown = threading.Lock(), dict[object, tuple[str, float]](), 0

    @contextlib.contextmanager
    def shows(self, what: str) -> Iterator[None]:
        """Within, the compile may be shown."""
        key = object()
        with self._lock:
            self._running[key] = what, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._running[key]
                if self._shown:
                    self._write(self._text())

    def show(self) -> None:
        """Shows what takes long."""
        with self._lock:
            if not self._shown and (text := self._text()):
                self._write(text)

    def _text(self) -> str:
        now = time.monotonic()
        long = [what for what, begun in self._running.values() if now - begun >= SHOWN_AFTER_S]
        if not long:
            return ""
        more = f" and {len(long) - 1} more" if len(long) > 1 else ""
        return f"unrolled: compiling {long[0]}{more} (once; Ctrl-C stops it)"[:79]

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # standard error may be closed
            if sys.stderr is not None and sys.stderr.isatty():
                sys.stderr.write("\r" + " " * self._shown + "\r" + text)
                sys.stderr.flush()
                self._shown = len(text)


_line = _Line()


def _renew() -> None:
    """In a forked process: locks may be held by threads that it does not have, and compilers are the parent's."""
    global _line
    _line = _Line()
    _batches.clear()


os.register_at_fork(after_in_child=_renew)
