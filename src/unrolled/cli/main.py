"""The command line: words come in, a task's verbs are called, text goes out.

Options are made from the settings' dataclasses, so each is declared once. Every fault is printed as one line and ends
the command with an exit code of its own (`faults.py`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import torch

from unrolled import tasks
from unrolled.cli import faults
from unrolled.cli.checkup import checkup
from unrolled.cli.evaluate import evaluate
from unrolled.cli.generate import generate
from unrolled.cli.info import info
from unrolled.cli.predict import predict
from unrolled.cli.report import report
from unrolled.cli.stream import stream
from unrolled.cli.train import train
from unrolled.cli.units import units
from unrolled.cli.watch import watch
from unrolled.training import processes


def _help() -> str:
    """What there is, with a training of every task."""
    helps = {name: tasks.task(name).HELP for name in tasks.names()}
    rows = [(f"unrolled train {name} {each.usual}", each.purpose) for name, each in helps.items()]
    rows += [
        ('unrolled generate MODEL --prompt "Once"', "write"),
        ("unrolled predict MODEL ...", "what a model says"),
        ("unrolled stream MODEL", "what it hears, as sound comes in"),
        ("unrolled checkup MODEL", "what is wrong with it, and what to do"),
    ]
    lines = "\n".join(f"{command:<50} {purpose}" for command, purpose in rows)
    return f"Recurrent neural networks: train on your files, predict, look inside.\n\n\b\n{lines}"


class _Commands(click.Group):
    """Leaves the telling of a signal to `faults.run`: click would print an empty line first, to end that of a ^C."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's own; raises Abort for a signal."""
        with _aborting():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Click's own; raises Abort for a signal."""
        with _aborting():
            return super().invoke(ctx)


@contextmanager
def _aborting() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as fault:
        raise click.Abort from fault


@click.group(
    cls=_Commands, help=_help(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="unrolled")
def cli() -> None:
    """All commands."""


@cli.command(short_help="What this machine has for the compiled loop.")
def doctor() -> None:
    """What this machine has for the compiled loop, and what is missing and how to get it."""
    from unrolled.engine.backends.registry import backend_for

    click.echo(f"torch     {torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        click.echo(f"GPU       {name}: layers run on cuDNN, steps of your own eagerly, as loops in Python")
    for line in backend_for(torch.device("cpu")).diagnosis():
        click.echo(line)


for _command in (train, generate, predict, evaluate, info, stream, report, watch, units, checkup):
    cli.add_command(_command)


def main() -> None:
    """Runs the command line; see `faults.run` for exit codes."""
    try:
        code = faults.run(lambda: cli.main(prog_name="unrolled", standalone_mode=False))
    finally:
        processes.leave()
    sys.exit(code)
