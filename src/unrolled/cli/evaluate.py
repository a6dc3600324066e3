"""`unrolled evaluate`.

Inputs: files with the answers. Outputs: a report, or the metrics as JSON or CSV.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unrolled.cli.formats import csv_line, write_lines
from unrolled.cli.models import about, given, opened, tell
from unrolled.cli.options import PATH
from unrolled.cli.reading import read_by, reading_options
from unrolled.errors import RunError
from unrolled.tasks.capabilities import who
from unrolled.training.run_folder import Run


@click.command("evaluate", short_help="How well a model does on files with the answers.")
@click.argument("model", type=PATH)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@reading_options("evaluate")
@click.option(
    "--streams",
    "n_streams",
    type=click.IntRange(1),
    help=f"of {who('n_streams')}: segments side by side; 1 is exact  [1 up to 200,000 units]",
)
@click.option("--out", type=PATH, help="file to write; whole or not at all  [standard output]")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "csv")),
    default="text",
    show_default=True,
    help="of the report",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def evaluate(
    *,
    model: Path,
    files: tuple[Path, ...],
    n_streams: int | None,
    out: Path | None,
    form: str,
    device: str,
    **read: object,
) -> None:
    """How well a model does on files with the answers, which it has not seen, beside its baseline.

    MODEL is a model file or the folder of its run; files have the form of those that it was trained on.
    """
    module, loaded = opened(model, device)
    more = given(model, loaded, "evaluate", {"n_streams": n_streams})
    read_by(loaded, model, "evaluate", read, files)
    with about(files):
        data = loaded.read(files)
    tell(data.notes)
    is_flattered = loaded.is_flattered_by(data, "" if "sha256" in loaded.training else _digest_of_training(model))
    if is_flattered:
        names = ", ".join(map(str, files))
        click.echo(
            f"{names}: the model learnt from this, so the metrics flatter it; name what it has not seen", err=True
        )
    with about(files):
        metrics = loaded.evaluate(data, **more)
    report = module.Report(loaded, metrics, is_flattered=is_flattered)
    told = {**_plain(metrics), "is_flattered": is_flattered, "verdict": report.verdict()}
    if form == "text":
        lines = report.of_evaluation(", ".join(map(str, files)))
    elif form == "json":
        whole = {"model_file": str(model), "task": loaded.task, "files": list(map(str, files)), **told}
        lines = iter([json.dumps(whole, ensure_ascii=False, indent=1)])
    else:
        lines = (csv_line(row) for row in (["metric", "value"], *_flat("", told)))
    write_lines(lines, out)


def _digest_of_training(model: Path) -> str:
    """Of the files of a run, for an earlier model that does not say it; empty where it lies in no run folder."""
    with contextlib.suppress(RunError):
        return str(Run.open(model if model.is_dir() else model.parent).config.get("sha256", ""))
    return ""


def _plain(value: object) -> Any:
    """Metrics as plain data; numbers that are not finite as None, which JSON has no words for."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(name: str, value: object) -> Iterator[list[Any]]:
    """Rows of a metric's path and its value, such as model.classes.up.f1."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for key, each in items:
            yield from _flat(f"{name}.{key}" if name else str(key), each)
    else:
        yield [name, "" if value is None else value]
