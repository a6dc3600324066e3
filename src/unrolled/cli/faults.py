"""How a command ends: in the exit code 0, or with a fault in one line.

Inputs: a command. Outputs: its exit code; one line on standard error. UNROLLED_DEBUG=1 shows the traceback too.
"""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable

import click

from unrolled.cli.train import interrupt_hint
from unrolled.errors import DataError, UnrolledError
from unrolled.files.bounds import lacks_memory
from unrolled.training.interrupts import Terminated, ending_signals_interrupt
from unrolled_command.ending_signals import AsUsual

_FAULT, _INTERNAL, _CTRL_C = 2, 1, 130


def run(command: Callable[[], int | None]) -> int:
    """Runs a command to its exit code: 0; 2 for a fault told in one line; 130 for Ctrl-C and 143 for SIGTERM, after
    which a training can be resumed; 1 for a fault of Unrolled itself, and, in silence, for a reader that went away.
    """
    fill_closed_streams()
    try:
        if sys.stdout is None:
            raise DataError("standard output is closed. Send it somewhere, such as > answers.txt")
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() == "utf-8":
            sys.stdout.reconfigure(errors="backslashreplace")  # bytes of a file's name that are no text
        with AsUsual(), ending_signals_interrupt():
            code = command() or 0
        sys.stdout.flush()  # what cannot be written is told here, not when the interpreter ends
        return code
    except SystemExit:
        raise
    except BaseException as fault:
        _let_go_of_output()
        text, code = told(fault)
        if os.environ.get("UNROLLED_DEBUG"):
            traceback.print_exc()
        with contextlib.suppress(OSError):
            if code == _CTRL_C and sys.stderr.isatty():
                click.echo(err=True)  # ends the line of the ^C
            click.echo(text, err=True)
        return code


def told(fault: BaseException) -> tuple[str, int]:
    """What a user is told of a fault, and the exit code."""
    if isinstance(fault, click.Abort) and fault.__cause__ is not None:
        fault = fault.__cause__  # click turns Ctrl-C into its own exception, and the end of a file too
    match fault:
        case click.exceptions.NoArgsIsHelpError():
            return fault.format_message(), _FAULT
        case click.ClickException():
            return f"unrolled: {' '.join(fault.format_message().split())}", _FAULT
        case Terminated():
            return f"unrolled: terminated.{interrupt_hint()}", fault.exit_code
        case KeyboardInterrupt() | click.Abort():
            return f"unrolled: interrupted.{interrupt_hint()}", _CTRL_C
        case _ if lacks_memory(fault):
            return (
                f"unrolled: out of memory{_first_line(fault)}. Take a smaller --batch or --hidden, or less data",
                _FAULT,
            )
        case UnrolledError():
            return f"unrolled: {fault}", _FAULT
        case UnicodeEncodeError():
            return (
                f"unrolled: standard output is {fault.encoding} and cannot hold {fault.object[fault.start]!r}. "
                "Set PYTHONIOENCODING=utf-8, or write to a file with --out",
                _FAULT,
            )
        case OSError():
            return f"unrolled: {_where(fault)}{fault.strerror or type(fault).__name__}", _FAULT
    return (
        f"unrolled: a fault of unrolled itself: {type(fault).__name__}{_first_line(fault)}. "
        "Please report it, with what UNROLLED_DEBUG=1 shows",
        _INTERNAL,
    )


def _where(fault: OSError) -> str:
    """What an error of the system is about: a named file, or one that was open already."""
    if isinstance(fault.filename, str | bytes):
        return f"{os.fsdecode(fault.filename)}: "
    return "output cannot be written: " if fault.errno in _NO_ROOM else ""


_NO_ROOM = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EBADF") if hasattr(errno, name)}


def _first_line(fault: BaseException) -> str:
    """The first line of a fault's text after a colon; nothing where it has none."""
    line = str(fault).strip().split("\n")[0].rstrip(". ")
    return f": {line[:300]}" if line else ""


def fill_closed_streams() -> None:
    """Opens nothing where a standard stream is closed, so that no file comes to be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process


def _let_go_of_output() -> None:
    """What standard output cannot take is dropped, as the interpreter would fail by it once more at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
