"""Help and version at once, all else by `unrolled.cli`.

Inputs: the words of a command line. Outputs: a kept text, or what the command does. `python docs/commands.py` writes
the kept texts.
"""

import gc
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

KEPT = Path(__file__).parent / "help.json"
FAULT = 2  # exit code, of `unrolled.cli.faults`
LEAST_ADDRESSES = 1 << 30  # bytes; with 0.75 GB torch loads, and a training aborts amid its work
WIDTHS = (80, 100)  # columns of a terminal; help is never wider


def main() -> None:
    """Runs the command line. What is loaded for it stays to the end: to look for garbage in that takes a quarter of the
    time of a short command.
    """
    before_torch(sys.argv[1:])
    limit = address_space()
    gc.disable()
    try:
        from unrolled.cli.main import main as command
    except (MemoryError, ImportError, SystemError) as fault:
        if limit is None or isinstance(fault, ModuleNotFoundError):  # a library that is not installed
            raise
        _end(_too_small(limit))
    finally:
        gc.enable()
    gc.freeze()
    command()


def before_torch(words: Sequence[str]) -> None:
    """Ends the process where some words ask for a kept text, or where there is no room for torch, which would be loaded
    in part, or abort.
    """
    if tell_kept(words):
        sys.exit(0)
    limit = address_space()
    if limit is not None and limit < LEAST_ADDRESSES:
        _end(_too_small(limit))


def address_space() -> int | None:
    """The bytes of memory that a process may address, as `ulimit -v` sets it; None where there is no limit."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _too_small(limit: int) -> str:
    return (
        f"unrolled: out of memory: the limit of address space is {limit / 2**30:.2f} GiB, and to load torch takes "
        f"{LEAST_ADDRESSES / 2**30:.1f} GiB, a training more. Raise the limit, such as ulimit -v unlimited"
    )


def _end(text: str) -> NoReturn:
    print(text, file=sys.stderr)  # noqa: T201
    sys.exit(FAULT)


def tell_kept(words: Sequence[str]) -> bool:
    """Prints the kept text that some words ask for; False if there is none, or it cannot be printed, which is told as
    faults of every command are.
    """
    text = kept_text(words, shutil.get_terminal_size().columns)
    if text is None or sys.stdout is None or "_UNROLLED_COMPLETE" in os.environ:
        return False
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, UnicodeError):
        return False
    return True


def kept_text(words: Sequence[str], columns: int) -> str | None:
    """The help that some words ask for, or the version; None where they ask for something else.

    Args:
        words: of the command line, after its name.
        columns: of the terminal.
    """
    if list(words) == ["--version"]:
        from importlib import metadata

        return f"unrolled, version {metadata.version('unrolled')}\n"
    widths = [width for width in WIDTHS if width <= columns]
    if not words or words[-1] not in ("-h", "--help") or not widths:
        return None
    try:
        text = json.loads(KEPT.read_text(encoding="utf-8"))[str(widths[-1])].get(" ".join(words[:-1]))
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):  # an installation that is damaged: the command says what it can
        return None
    return text if isinstance(text, str) else None
