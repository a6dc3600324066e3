"""`unrolled checkup`.

Inputs: a model, data or none. Outputs: what is wrong with its network, and what to do; a picture.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from unrolled.cli.formats import write_lines
from unrolled.cli.models import about, opened, tell
from unrolled.cli.options import PATH
from unrolled.cli.reading import read_by, reading_options
from unrolled.errors import UnrolledError
from unrolled.files.whole import write_aside
from unrolled.insight.diagnosis import Checkup
from unrolled.insight.progress import Progress
from unrolled.pages.source import validation_part
from unrolled.tasks.checkup import SYNTHETIC, checkup_of
from unrolled.tasks.estimator import Estimator
from unrolled.training.run_folder import Run

_PICTURES = (".png", ".svg")


@click.command("checkup", short_help="What is wrong with a model's network, and what to do.")
@click.argument("model", type=PATH)
@click.argument("data", nargs=-1, type=PATH, metavar="[DATA]...")
@reading_options("checkup")
@click.option("--out", type=PATH, help="file to write; whole or not at all  [standard output]")
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="of the findings"
)
@click.option("--picture", type=PATH, help="file for the pictures too, .png or .svg: gradients, memory, gates")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def checkup(
    *,
    model: Path,
    data: tuple[Path, ...],
    out: Path | None,
    form: str,
    picture: Path | None,
    device: str,
    **read: object,
) -> None:
    """What is wrong with a model's network, in sentences, with the numbers: how far back the gradient reaches, what it
    uses of the past, saturated gates, dead units, and more.

    MODEL is a model file or the folder of its run; DATA have the form of the training files. Without DATA it takes the
    run's validation part, and of a model file alone input that is made up. Of layers with hundreds of units it takes
    minutes; how many are left is told.
    """
    if picture is not None and picture.suffix not in _PICTURES:
        raise click.UsageError(f"--picture {picture}: expected a name that ends in .png or .svg")
    _, loaded = opened(model, device)
    read_by(loaded, model, "checkup", read, data)
    given, on = _data(model, loaded, data)
    with about(data):
        found = checkup_of(loaded, given, progress=Progress(sys.stderr))
    if picture is not None:
        figure = found.plot()
        write_aside(picture, lambda aside: figure.savefig(aside, format=picture.suffix[1:], dpi=120))
    write_lines(_lines(found, model, on, form), out)


def _data(model: Path, loaded: Estimator, files: tuple[Path, ...]) -> tuple[object, str]:
    """What the model is looked at on, and that in words."""
    if files:
        with about(files):
            found = loaded.read(files)
        tell(found.notes)
        return found, ", ".join(map(str, files))
    try:
        run = Run.open(model if model.is_dir() else model.parent)
    except UnrolledError:  # a model file alone
        return None, SYNTHETIC
    try:
        return validation_part(loaded, run), "the validation part of its run"
    except UnrolledError as fault:
        click.echo(f"{fault}; so the input is made up", err=True)
        return None, SYNTHETIC


def _lines(found: Checkup, model: Path, on: str, form: str) -> Iterable[str]:
    if form == "json":
        return [json.dumps({"model_file": str(model), "data": on, **found.to_dict()}, ensure_ascii=False, indent=1)]
    return [f"{model}, on {on}", "", str(found)]
