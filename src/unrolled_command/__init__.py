"""The command `unrolled`: help and version at once, all else by `unrolled.cli`.

Inputs: the words of a command line. Outputs: a kept text, or what the command does. A package of its own, as importing
any part of `unrolled` loads torch, which takes seconds. `python docs/commands.py` writes the kept texts.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

KEPT = Path(__file__).parent / "help.json"
CTRL_C = 130  # exit code, as shells have it
WIDTHS = (80, 100)  # columns of a terminal; help is never wider


def main() -> None:
    """Runs the command line."""
    if tell_kept(sys.argv[1:]):
        return
    try:
        from unrolled.cli.main import main as command
    except KeyboardInterrupt:  # while torch is loaded, so before the command can tell it
        print("\nunrolled: interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(CTRL_C)

    command()


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
