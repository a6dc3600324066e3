"""`unrolled info`.

Inputs: a model. Outputs: what it is, what it learned from, how good it is, in lines.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from unrolled.cli.models import opened
from unrolled.cli.options import PATH
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, read_model
from unrolled.tasks.notebook_view import of_training
from unrolled.training.settings import TrainSettings


@click.command("info", short_help="What a model file holds.")
@click.argument("model", type=PATH)
def info(model: Path) -> None:
    """What a model file holds: task, settings, metrics, training record."""
    file = read_model(model)
    n_weights = sum(value.numel() for name, value in file.tensors.items() if name.startswith("model."))
    click.echo(f"{model}: a model of the task {file.task!r}, {n_weights:,} weights")
    _print_pairs("model settings", file.settings.get("model", {}))
    training, chosen = file.settings.get("training", {}), {each.name for each in fields(TrainSettings)}
    _print_pairs("training settings", {name: value for name, value in training.items() if name in chosen})
    module, loaded = opened(model, "cpu")
    try:
        _print_pairs("training", {name: text for name, text in of_training(training, file.record).items() if text})
        part = loaded.fitted.metrics.get("part", "validation")
        table = module.Report(loaded).table()
    except (LookupError, TypeError, ValueError, AttributeError) as fault:
        raise ModelFileError(f"{model}: its metrics are damaged: {type(fault).__name__}: {fault}") from fault
    plain = {name: value for name, value in file.baseline.items() if isinstance(value, str | int | float)}
    _print_pairs("baseline", {_BASELINE.get(name, name): value for name, value in plain.items()})
    click.echo(f"\nmetrics of the {part} part")
    for line in table:
        click.echo(f"  {line}")
    click.echo("\nrecord")
    _print_record(file)


_BASELINE = {"best": "answers", "most_frequent": "most frequent", "majority": "most frequent"}


def _print_pairs(title: str, pairs: Mapping[str, Any]) -> None:
    """Names and values below a title."""
    click.echo(f"\n{title}")
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        click.echo(f"  {name:<{width}}  {_short(value)}")


def _short(value: object) -> str:
    """A value in a line: of a long one no more than its begin."""
    match value:
        case None | "":
            return "not given"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.4g}"
        case dict():
            text = ", ".join(f"{name}={each}" for name, each in value.items())
        case list() | tuple():
            text = "; ".join(map(str, value))
        case _:
            text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text):,} characters)"


def _print_record(file: ModelFile) -> None:
    names = list(dict.fromkeys(name for row in file.record for name in row))
    click.echo("  " + "".join(f"{name:>15}" for name in names))
    for row in file.record:
        cells = [row.get(name, math.nan) for name in names]
        click.echo("  " + "".join(f"{_cell(each):>15}" for each in cells))


def _cell(value: object) -> str:
    """A number of a row; nothing where there is none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value + 0.0:.5g}"  # a zero has no sign
    return _short(value)
