"""`unrolled units`: what single units of a text model follow, and text colored by one."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from unrolled import tasks
from unrolled.cli.models import is_named_as_file, opened
from unrolled.cli.options import PATH
from unrolled.cli.reading import read_by, reading_options
from unrolled.data.corpus import read_corpus
from unrolled.errors import DataError, ModelFileError
from unrolled.files.whole import write_aside
from unrolled.insight.units import Follower, UnitActivity
from unrolled.tasks.capabilities import ShowsUnits

_OWN = 5000  # characters that the model writes, where no text is given
_SHOWN = 2000  # characters on a terminal
_FORMS = {".html": "html", ".svg": "svg"}


@click.command("units", short_help="What single units of a text model follow.")
@click.argument("model", type=PATH)
@click.argument("text", required=False, metavar="[TEXT | FILE]")
@reading_options("units")
@click.option("--unit", help="show the text colored by this unit, by its name or number")
@click.option("--out", type=PATH, help="file for the colored text, .html or .svg  [the terminal]")
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="of what is found"
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def units(
    *,
    model: Path,
    text: str | None,
    unit: str | None,
    out: Path | None,
    form: str,
    device: str,
    **read: object,
) -> None:
    """Find the units of a text model that follow something: quotes, brackets, the position in the line, indentation,
    digits, capitals. Each is chosen on the first half of the text and judged on the second, beside what chance gives.
    Without a text the model writes one.

    \b
    unrolled units runs/code script.py
    unrolled units runs/code script.py --unit "layer 2 c 17" --out unit.html
    """
    if out is not None and unit is None:
        raise click.UsageError("--out is for the text colored by one unit: name it with --unit")
    if out is not None and out.suffix not in _FORMS:
        raise click.UsageError(f"--out {out}: expected a name that ends in .html or .svg")
    _, loaded = opened(model, device)
    if not isinstance(loaded, ShowsUnits):
        those = " or ".join(repr(name) for name in tasks.names() if hasattr(tasks.task(name).Model, "activity"))
        raise ModelFileError(f"{model}: is a model of the task {loaded.task!r}; expected one of {those}")
    whole, name = _text(loaded, text, model, read)
    activity = loaded.activity(whole, name=name)
    if unit is None:
        _print(activity.search(), activity, form)
    elif out is None:
        _show(activity, unit)
    else:
        page = activity.html(unit) if out.suffix == ".html" else activity.svg(unit)
        write_aside(out, lambda aside: aside.write_text(page, encoding="utf-8"))
        click.echo(out)


def _text(model: Any, given: str | None, path: Path, read: Mapping[str, object]) -> tuple[str, str]:
    """The text, and what errors call it."""
    if given is None:
        read_by(model, path, "units", read, ())
        click.echo(f"no text given; it reads {_OWN:,} {model.item}s that the model writes", err=True)
        return "".join(model.generate(length=_OWN, seed=0)), "text"
    try:
        is_file, is_folder = bool(given.strip()) and Path(given).is_file(), Path(given).is_dir()
    except (OSError, ValueError):  # too long, or with a zero in it
        is_file = is_folder = False
    if is_folder and given.strip():
        raise DataError(f"{given}: is a folder; expected a text or a file")
    if not is_file and is_named_as_file(given):
        raise DataError(f"{given}: no such file. If it is a text, write it to a file, and name that")
    read_by(model, path, "units", read, [Path(given)] if is_file else ())
    if not is_file:
        return given, "text"
    encoding = model.settings.encoding
    text = read_corpus([Path(given)], encoding=encoding, as_bytes=False).text
    if not text:
        raise DataError(f"{given}: is empty")
    return text, f"{given}, read as {encoding}"


def _print(found: list[Follower], activity: UnitActivity, form: str) -> None:
    if form == "json":
        click.echo(json.dumps([asdict(each) | {"is_found": each.is_found} for each in found], ensure_ascii=False))
        return
    click.echo(
        f"{len(activity.names):,} units over {len(activity.text):,} characters; chosen on the first half, judged"
    )
    click.echo("on the second; by chance: the best unit for the same feature moved along the text, of 20 times")
    click.echo(f"{'feature':<22}{'unit':<18}{'':<13}{'held out':>8}{'by chance':>11}")
    for each in found:
        mark = "" if each.is_found else "  no more than chance"
        line = f"{each.feature:<22}{each.unit:<18}{each.measure:<13}{each.value:>8.3f}{each.by_chance:>11.3f}{mark}"
        click.echo(line)
    if not found:
        click.echo("the text has none of the features often enough; give a longer one")


def _show(activity: UnitActivity, unit: str) -> None:
    """On a terminal in color; `click` takes it away where there is none."""
    click.echo(f"{activity.names[activity.number(unit)]}: red where it is high, blue where it is low")
    left = _SHOWN
    for run, color in activity.runs(unit):
        click.echo(click.style(run[:left], bg=color, fg="black"), nl=False)
        left -= len(run)
        if left <= 0:
            break
    click.echo()
