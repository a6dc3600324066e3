"""Writes docs/commands.md, the help of each command; `tests/test_docs.py` compares the page with it.

Input: the command line. Output: the page. Run it after each change of an option: `python docs/commands.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from unrolled.cli.main import cli

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


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
