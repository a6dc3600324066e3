"""`unrolled predict`.

Inputs: items. Outputs: predictions.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from unrolled import tasks
from unrolled.cli.formats import FORMATS, write
from unrolled.cli.models import answering, given
from unrolled.cli.options import PATH
from unrolled.errors import DataError
from unrolled.tasks.capabilities import Answer, Predicts, PredictsTables, who


def _help() -> str:
    """What the command does, with every task's examples."""
    examples = "\n".join(each for name in tasks.names() if (each := tasks.task(name).HELP.predict))
    return f"""What a model says of new texts or sounds, or of what comes after a table.

    Texts come from the command line, from a file with a text a line, or from standard input; any number of them, in
    bounded memory.

    \b
    {examples.replace(chr(10), chr(10) + "    ")}
    """


@click.command("predict", help=_help())
@click.argument("model", type=PATH)
@click.argument("items", nargs=-1, metavar="[TEXT | TABLE | SOUND]...")
@click.option("--file", type=PATH, help="texts, or names of sounds, one a line, in place of TEXT or SOUND")
@click.option("--out", type=PATH, help="file to write; whole or not at all  [standard output]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="of the results")
@click.option("--highlights", is_flag=True, help=f"of {who('highlights')}: what each word did for the decision")
@click.option("--answer", help=f"of {who('answer')}: who answers, such as model or 'last value'")
@click.option("--beam", type=click.IntRange(1), help=f"of {who('beam')}: candidates of the search")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def predict(
    model: Path,
    items: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    form: str,
    highlights: bool,
    answer: str | None,
    beam: int | None,
    device: str,
) -> None:
    """What a model says of new items."""
    loaded = answering(model, device)
    options = {"highlights": highlights, "answer": answer, "beam": beam}
    if isinstance(loaded, PredictsTables) and loaded.needs_table:
        more = given(model, loaded, "predict_table", options)
        if not items:
            raise click.UsageError(f"{loaded.needs_table}: unrolled predict MODEL table.csv")
        write(loaded.predict_table([Path(item) for item in items], **more), form, out)
    elif isinstance(loaded, Predicts):
        more = given(model, loaded, "predict_all", options)
        texts = iter(items) if items and file is None else _lines(file)
        chunks = (loaded.predict_all(chunk, **more) for chunk in _chunks(texts, loaded.chunk))
        results: Iterable[Answer] = itertools.chain.from_iterable(chunks)
        write(results, form, out)


def _lines(file: Path | None) -> Iterator[str]:
    """Lines of a file, or of standard input, as they come."""
    name = str(file) if file else "standard input"
    try:
        stream: Any = open(file, "rb") if file else sys.stdin.buffer  # noqa: SIM115 - closed below
    except OSError as fault:
        raise DataError(f"{file}: cannot be read: {fault.strerror or fault}") from fault
    with stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeError:
                raise DataError(f"{name}, line {number}: is not utf-8") from None


def _chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(texts, size)):
        yield chunk
