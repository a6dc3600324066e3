"""The command line: words come in, a task's verbs are called, text goes out.

Options are made from the settings' dataclasses, so each is declared once. Every fault is printed as one line and ends
the command with an exit code of its own (`faults.py`).
"""

import math
import sys
from pathlib import Path

import click
import torch

from unrolled import tasks
from unrolled.cli import faults
from unrolled.cli.checkup import checkup
from unrolled.cli.evaluate import evaluate
from unrolled.cli.generate import generate
from unrolled.cli.models import opened
from unrolled.cli.options import PATH
from unrolled.cli.predict import predict
from unrolled.cli.report import report
from unrolled.cli.stream import stream
from unrolled.cli.train import train
from unrolled.cli.units import units
from unrolled.cli.watch import watch
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, read_model
from unrolled.training import processes


def _help() -> str:
    """What there is, with a training of every task."""
    helps = {name: tasks.task(name).HELP for name in tasks.names()}
    rows = [(f"unrolled train {name} {each.usual}", each.purpose) for name, each in helps.items()]
    rows += [
        ('unrolled generate MODEL --prompt "Once"', "write"),
        ("unrolled predict MODEL ...", "what a model says"),
        ("unrolled stream MODEL", "what it hears, as sound comes in"),
        ("unrolled checkup MODEL", "what ails it, and what to do"),
    ]
    lines = "\n".join(f"{command:<50} {purpose}" for command, purpose in rows)
    return f"Recurrent neural networks: train on your files, predict, look inside.\n\n\b\n{lines}"


@click.group(help=_help(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="unrolled")
def cli() -> None:
    """All commands."""


@cli.command(short_help="What a model file holds.")
@click.argument("model", type=PATH)
def info(model: Path) -> None:
    """What a model file holds: task, settings, metrics, training record."""
    file = read_model(model)
    n_weights = sum(value.numel() for name, value in file.tensors.items() if name.startswith("model."))
    click.echo(f"{model}: a model of the task {file.task!r}, {n_weights:,} weights")
    for part in ("model", "training"):
        click.echo(f"\n{part} settings")
        settings = file.settings.get(part, {})
        width = max(map(len, settings), default=0)
        for name, value in settings.items():
            click.echo(f"  {name:<{width}}  {_short(value)}")
    module, loaded = opened(model, "cpu")
    click.echo("\nbaseline")
    for name, value in file.baseline.items():
        if isinstance(value, str | int | float):
            click.echo(f"  {name:<14} {value:.4f}" if isinstance(value, float) else f"  {name:<14} {_short(value)}")
    try:
        part = loaded.fitted.figures.get("part", "validation")
        table = module.Report(loaded).table()
    except (LookupError, TypeError, ValueError, AttributeError) as fault:
        raise ModelFileError(f"{model}: its metrics are damaged: {type(fault).__name__}: {fault}") from fault
    click.echo(f"\nmetrics of the {part} part")
    for line in table:
        click.echo(f"  {line}")
    click.echo("\nrecord")
    _print_record(file)


def _short(value: object) -> str:
    """A value in a line: of a long one no more than its begin."""
    text = str(value)
    if isinstance(value, dict):
        text = ", ".join(f"{name}={each}" for name, each in value.items())
    elif isinstance(value, list | tuple):
        text = "; ".join(map(str, value))
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text):,} characters)"


def _print_record(file: ModelFile) -> None:
    names = list(dict.fromkeys(name for row in file.record for name in row))
    click.echo("  " + "".join(f"{name:>15}" for name in names))
    for row in file.record:
        cells = [row.get(name, math.nan) for name in names]
        click.echo("  " + "".join(f"{c:>15.5g}" if isinstance(c, float) else f"{_short(c):>15}" for c in cells))


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


for _command in (train, generate, predict, evaluate, stream, report, watch, units, checkup):
    cli.add_command(_command)


def main() -> None:
    """Runs the command line; see `faults.run` for exit codes."""
    try:
        code = faults.run(lambda: cli.main(prog_name="unrolled", standalone_mode=False))
    finally:
        processes.leave()
    sys.exit(code)
