"""`unrolled evaluate`.

Inputs: files with the answers. Outputs: a report.
"""

import dataclasses
from pathlib import Path

import click

from unrolled.cli.models import given, opened
from unrolled.cli.options import PATH
from unrolled.tasks.capabilities import who


@click.command("evaluate")
@click.argument("model", type=PATH)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--encoding", default="utf-8", show_default=True, help="of the file")
@click.option(
    "--streams",
    "n_streams",
    type=click.IntRange(1),
    help=f"of {who('n_streams')}: pieces side by side; 1 is exact  [1 up to 200,000 units]",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def evaluate(model: Path, files: tuple[Path, ...], encoding: str, n_streams: int | None, device: str) -> None:
    """How well a model does on files with the answers, which it has not seen, beside its baseline."""
    module, loaded = opened(model, device)
    more = given(model, loaded, "evaluate", {"n_streams": n_streams})
    loaded.settings = dataclasses.replace(loaded.settings, encoding=encoding)
    figures = loaded.evaluate(loaded.read(files), **more)
    for line in module.Report(loaded, figures).of_evaluation(", ".join(map(str, files))):
        click.echo(line)
