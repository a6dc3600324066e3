"""`unrolled report`: a page of HTML about a run, a model, or several side by side."""

from pathlib import Path

import click

from unrolled.cli.models import about
from unrolled.cli.options import PATH
from unrolled.cli.reading import check_files, read_by, reading_options, words_of
from unrolled.errors import DataError
from unrolled.files.whole import write_aside
from unrolled.pages import of_run, of_runs
from unrolled.pages.source import source


@click.command("report", short_help="A page about a run or a model; several side by side.")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN|MODEL...")
@click.option("--out", type=PATH, help="file to write  [report.html in the run's folder; of several, report.html here]")
@click.option(
    "--data",
    type=PATH,
    multiple=True,
    help="file with the answers, for the examples; again for several  [the run's validation part]",
)
@reading_options("report")
@click.option(
    "--checkup/--no-checkup",
    "is_checked",
    default=True,
    show_default=True,
    help="measure the network too, which takes a while",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def report(
    *,
    runs: tuple[Path, ...],
    out: Path | None,
    data: tuple[Path, ...],
    is_checked: bool,
    device: str,
    **read: object,
) -> None:
    """Write one HTML file about a run or a model: what was trained on what, learning curves beside the baseline, the
    task's own pictures, the check-up, speed, and the commands to do it again. Of several it compares settings, curves
    and metrics, and says which differences are no more than chance.

    The file opens anywhere without a network, also on a phone. What is missing in a run is said in the page.
    """
    target = out or _target(runs)
    if target.is_dir():
        raise DataError(f"{target}: is a folder; expected a file to write, such as {target / 'report.html'}")
    if not target.absolute().parent.is_dir():  # before the check-up, which can take minutes
        raise DataError(f"{target}: the folder that it is to be in is not there")
    check_files(read, data)
    found = [source(path, data, device=device) for path in runs]
    for each in found:
        each.reading = words_of("report", read)
        if each.model is not None:
            read_by(each.model, each.path, "report", read, data)
    if len(found) == 1 and is_checked and found[0].model is not None and not found[0].is_on:
        click.echo("check-up of the network, which can take minutes; --no-checkup leaves it out", err=True)
    with about(data):
        text = of_run.page(found[0], is_checked=is_checked) if len(found) == 1 else of_runs.page(found)
    write_aside(target, lambda aside: aside.write_text(text, encoding="utf-8"))
    click.echo(target)


def _target(runs: tuple[Path, ...]) -> Path:
    """Where a page goes that nobody named a file for."""
    if len(runs) > 1:
        return Path("report.html")
    [path] = runs
    return path / "report.html" if path.is_dir() else path.with_name(f"{path.stem}-report.html")
