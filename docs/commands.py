"""Writes the help of each command, as docs/commands.md and as texts that `unrolled` prints without loading torch.

Input: the command line. Outputs: the page and the texts; tests compare both with the command line. Run it after each
change of an option: `python docs/commands.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from unrolled.cli.main import cli
from unrolled_command.command import KEPT, WIDTHS

PAGE = Path(__file__).parent / "commands.md"
HEAD = """# Commands
Written by `python docs/commands.py` from the command line's own help; not to be edited by hand.
`unrolled COMMAND --help` prints the same."""


def _helps(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help of a command, and of the commands in it, the deeper ones after it."""
    yield f"## {context.command_path}\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, click.Context(inner, info_name=name, parent=context, terminal_width=100))


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="unrolled", terminal_width=100, **cli.context_settings)
    return "\n\n".join([HEAD, *_helps(cli, context)]) + "\n"


def _paths(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _paths(inner, (*path, name))


def kept() -> dict[str, dict[str, str]]:
    """The help of each command by the columns of the terminal, as the command itself prints it."""
    return {
        str(width): {
            " ".join(path): CliRunner(env={"COLUMNS": str(width)})
            .invoke(cli, [*path, "--help"], prog_name="unrolled")
            .output
            for path in sorted(_paths(cli))
        }
        for width in WIDTHS
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    texts = json.dumps(kept(), ensure_ascii=False, indent=1)
    KEPT.write_text(texts + "\n", encoding="utf-8")
