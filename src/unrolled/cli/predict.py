"""`unrolled predict`.

Inputs: items. Outputs: predictions.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from unrolled import tasks
from unrolled.cli.formats import FORMATS, write
from unrolled.cli.models import about, answering, encoding_for, given, is_named_as_file, standard_input, tell
from unrolled.cli.options import PATH
from unrolled.cli.reading import check_files, read_by, reading_options, take_options
from unrolled.data.items import Beside, ItemForm, lines_of, lines_without_names, opened_file, read_items
from unrolled.errors import DataError
from unrolled.tasks.capabilities import Answer, Predicts, PredictsTables, ReadsItems, TellsBeside, who
from unrolled.tasks.estimator import Estimator

_STANDARD_INPUT = "standard input"


def _help() -> str:
    """What the command does, with every task's examples."""
    examples = "\n".join(each for name in tasks.names() if (each := tasks.task(name).HELP.predict))
    return f"""What a model says of new texts or sounds, or of what comes after a table.

    Texts come from the command line; from a table, whose other columns stay in the results; from a file with a text a
    line, or a folder with a text a file; or from standard input, a text a line. A name that exists is a file. Any
    number of lines is read in bounded memory. MODEL is a model file or the folder of its run.

    \b
    {examples.replace(chr(10), chr(10) + "    ")}
    """


@click.command("predict", help=_help(), short_help="What a model says of new texts, sounds or tables.")
@click.argument("model", type=PATH)
@click.argument("items", nargs=-1, metavar="[TEXT | FILE | FOLDER]...")
@click.option("--file", type=PATH, help="the same as FILE; for sounds, their names, one a line")
@reading_options("predict")
@click.option("--out", type=PATH, help="file to write; whole or not at all  [standard output]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="of the results")
@click.option(
    "--highlights", is_flag=True, help=f"of {who('highlights')}: what each word, or value before, did for the answer"
)
@click.option("--answer", help=f"of {who('answer')}: who answers, such as model or 'last value'")
@click.option("--beam", type=click.IntRange(1), help=f"of {who('beam')}: candidates of the search")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def predict(
    *,
    model: Path,
    items: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    form: str,
    highlights: bool,
    answer: str | None,
    beam: int | None,
    device: str,
    **read: Any,
) -> None:
    """What a model says of new items."""
    if file is not None and items:
        raise click.UsageError(f"--file {file} and {items[0]!r}: give one of them")
    _check_out(out, [*items, *([str(file)] if file else [])])
    loaded = answering(model, device)
    options = {"highlights": highlights, "answer": answer, "beam": beam}
    if isinstance(loaded, PredictsTables) and loaded.needs_table:
        more = given(model, loaded, "predict_table", options)
        paths = [Path(item) for item in items] or ([file] if file else [])
        if not paths:
            raise click.UsageError(f"{loaded.needs_table}: unrolled predict MODEL table.csv")
        read_by(loaded, model, "predict", read, paths)
        with about(paths):
            answers = loaded.predict_table(paths, **more)
        tell(loaded.notes)
        beside = loaded.beside if isinstance(loaded, TellsBeside) else ()
        write(zip(answers, beside or [{}] * len(answers), strict=True), form, out, has_text=not beside)
    elif isinstance(loaded, Predicts):
        more = given(model, loaded, "predict_all", options)
        names = list(items) if file is None else [str(file)]
        take_options(loaded, model, "predict", read)
        pairs = _pairs(loaded, names, read, is_file=file is not None)
        write(_answers(loaded, pairs, more), form, out)


def _check_out(out: Path | None, names: Sequence[str]) -> None:
    """Holds --out to be none of the files that are read.

    Raises:
        DataError: it is one; answers would stand in its place.
    """
    if out is not None and _exists(str(out)) and any(_exists(name) and out.samefile(name) for name in names):
        raise DataError(f"{out}: is read and written; name another file with --out")


def _answers(
    model: Any, pairs: Iterator[tuple[Any, Beside]], options: Mapping[str, object]
) -> Iterator[tuple[Answer, Beside]]:
    """Answers with what stands beside their items, computed some at a time."""
    while chunk := list(itertools.islice(pairs, model.chunk)):
        yield from zip(
            model.predict_all([item for item, _ in chunk], **options), (each for _, each in chunk), strict=True
        )


def _form(model: Estimator, read: Mapping[str, Any]) -> ItemForm:
    """How files of items are written: as told, else as the training files were."""
    settings = model.settings.to_dict()
    text, header = (settings.get(name) if read[name] is None else read[name] for name in ("text", "header"))
    return ItemForm(text, header, learnt=model.read_as.get("text"))


def _pairs(
    model: Estimator, names: Sequence[str], read: Mapping[str, Any], *, is_file: bool
) -> Iterator[tuple[Any, Beside]]:
    """Items with what stands beside them, from wherever a user has them; `read` are the options of reading."""
    form, encoding = _form(model, read), read["encoding"]
    if not names:
        return ((line, {}) for line in _standard_input(form, encoding))
    if is_file and model.takes == "SOUND":
        path = Path(names[0])
        return ((line, {}) for line in lines_of(opened_file(path), names[0], encoding or encoding_for(path, model)))
    files = [name for name in names if _exists(name)]
    texts = [name for name in names if name not in set(files)]
    if is_file and texts:
        raise DataError(f"{texts[0]}: no such file")
    if files and texts:
        raise DataError(f"{files[0]!r} is a file and {texts[0]!r} is none; give either files or texts")
    absent = [text for text in texts if is_named_as_file(text)]
    if absent and model.takes == "TEXT":
        raise DataError(f"{absent[0]}: no such file. If it is a text, pass it through standard input")
    if not files:
        check_files(read, files)
        return ((text, {}) for text in texts)
    return itertools.chain.from_iterable(_of_file(model, Path(name), form, encoding) for name in files)


def _exists(name: str) -> bool:
    try:
        return bool(name.strip()) and Path(name).exists()
    except (OSError, ValueError):  # too long, or with a zero in it: a text
        return False


def _of_file(model: Estimator, path: Path, form: ItemForm, encoding: str | None) -> Iterable[tuple[Any, Beside]]:
    """The items of a file, in the model's own form or as texts; how they are read is told."""
    form = replace(form, encoding=encoding or encoding_for(path, model))
    found = model.items_of(path, form) if isinstance(model, ReadsItems) else None
    found = found or read_items(path, form)
    if found.note:
        click.echo(found.note, err=True)
    return found.pairs


def _standard_input(form: ItemForm, encoding: str | None) -> Iterator[str]:
    """Lines of standard input, as they come."""
    stream = standard_input()
    if stream.isatty():
        click.echo("reading texts from standard input, one a line; Ctrl-D ends them", err=True)
    return lines_without_names(stream, _STANDARD_INPUT, ItemForm(form.text, encoding=encoding or "utf-8"))
