"""The verbs of the tasks on the command line: train, predict, evaluate; made from the files in the tasks folder.

Words come in, a task's class does the work, and tables, lines or files go out.
"""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np

from unrolled import tasks
from unrolled.data.intents import sub_folder
from unrolled.errors import DataError, SettingsError, UnrolledError
from unrolled.files.model_file import read_model
from unrolled.files.safetensors_tree import write_aside
from unrolled.settings import Settings, value_type
from unrolled.tasks.estimator import Estimator
from unrolled.training import processes
from unrolled.training.display import display_for
from unrolled.training.loop import TrainResult, TrainSettings
from unrolled.training.run_folder import free_folder

FORMATS = ("text", "jsonl", "csv")
_CHUNK = 1000  # items predicted at once: what bounds the memory
_SOUNDS = 20
_PATH = click.Path(path_type=Path)


def options(
    *kinds: type[Settings], defaults: dict[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for each field of the settings."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for kind in reversed(kinds):
            for field in reversed(dataclasses.fields(kind)):
                plain, _ = value_type(field)
                limits = field.metadata
                shown = click.Choice(limits["choices"]) if limits["choices"] else plain
                default = (defaults or {}).get(field.name, field.default)
                name = f"--{field.name.replace('_', '-')}"
                command = click.option(
                    name,
                    field.name,
                    type=shown,
                    default=default,
                    show_default=default not in (None, ""),
                    help=limits["help"],
                )(command)
        return command

    return decorate


def settings_of(kind: type[Settings], values: dict[str, Any]) -> Any:
    """Settings from the options that belong to them."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})


def estimators() -> dict[str, ModuleType]:
    """The tasks that share their verbs, by name."""
    found = {name: tasks.task(name) for name in tasks.names()}
    return {name: module for name, module in found.items() if issubclass(module.Model, Estimator)}


def train_command(name: str, module: ModuleType, on_start: Callable[[Path], None]) -> click.Command:
    """`unrolled train NAME FILE...`; `on_start` is told of the run's folder."""
    kind: type[Estimator] = module.Model
    usual = kind.default_training

    # bounds are filled in later: a run bounded by steps has no minutes
    @options(kind.kind, TrainSettings, defaults=usual.to_dict() | {"minutes": None, "steps": None})
    def command(files: tuple[Path, ...], folder: Path | None, **values: Any) -> None:
        folds = values.pop("folds")
        # a forecast has none of these: its parts are cut by time
        valid, test_files = (list(values.pop(each, ())) for each in ("valid", "test_files"))
        if values["steps"] is None and values["minutes"] is None and values["schedule"] in ("cosine", "linear"):
            values["minutes"] = usual.minutes
        settings, training = settings_of(kind.kind, values), settings_of(TrainSettings, values)
        model = kind(settings)
        if folds is not None and (
            given := [
                name for name, each in (("--valid", valid), ("--test-file", test_files), ("--folder", folder)) if each
            ]
        ):
            raise click.UsageError(
                f"--folds validates on parts of FILE and keeps no model; leave {', '.join(given)} out"
            )
        paths, found = _parts(list(files))
        valid, test_files = valid or found.get("valid", []), test_files or found.get("test", [])
        if folds is not None:
            _cross_validate(kind, settings, training, paths, folds)
            return
        display = display_for(sys.stderr) if processes.rank() == 0 else None
        for part, paths_of in (("validation", valid), ("test", test_files)):
            if paths_of and display is not None:
                display.note(f"{part} part: {', '.join(map(str, paths_of))}")
        test = model.read(test_files) if test_files else None  # a fault in it must not cost a training
        run = Path(processes.same_text(str(folder or free_folder(name))))
        on_start(run)
        result = model.fit(paths, valid=valid or None, train=training, run=run, display=display)
        report(model, result, run, test)

    command = click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE...")(command)
    if name != "forecast":
        for option, shown in (
            (("--valid",), "file or folder to validate on; give it again for several  [a share of FILE]"),
            (("--test-file", "test_files"), "file or folder for the figures at the end; likewise"),
        ):
            command = click.option(*option, type=_PATH, multiple=True, help=shown)(command)
    command = click.option(
        "--folds", type=click.IntRange(2), help="train so many models, each judged on another part; report the spread"
    )(command)
    command = click.option("--folder", type=_PATH, help=f"new folder for the run  [runs/{name}-DATE-TIME]")(command)
    return click.command(name, help=_help(module))(command)


def _help(module: ModuleType) -> str:
    """The task's own text, and its examples as they stand."""
    return f"{module.__doc__}\n\n\b\n{module.EXAMPLES.strip()}"


def _parts(files: list[Path]) -> tuple[list[Path], dict[str, list[Path]]]:
    """A folder with the sub-folders train, valid and test stands for those."""
    if len(files) == 1 and files[0].is_dir() and (train := sub_folder(files[0], "train")):
        valid, test = sub_folder(files[0], "valid", "dev"), sub_folder(files[0], "test")
        return [train], {name: [part] for name, part in (("valid", valid), ("test", test)) if part}
    return files, {}


def report(model: Estimator, result: TrainResult, folder: Path, test: Any = None) -> None:
    """What a training came to: figures beside the floor's, where the model is, and whether it is worth anything."""
    if processes.rank() != 0:
        return
    path = folder / "model.safetensors"
    click.echo(f"stopped  {result.reason}; best at step {result.best_step}")
    figures = model.figures
    click.echo(f"\n{figures.get('part', 'validation')} part")
    click.echo("\n".join(f"  {line}" for line in model.table(figures)))
    if test is not None:
        figures = model.evaluate(test)
        click.echo("\ntest file")
        click.echo("\n".join(f"  {line}" for line in model.table(figures)))
    try:
        if picture := model.picture(figures, folder):
            click.echo(f"\npicture  {picture}")
    except UnrolledError as fault:  # a picture is no reason to fail
        click.echo(f"\npicture  none: {fault}")
    click.echo(f"file     {path}\npredict  unrolled predict {path} {model.item}")
    click.echo(f"\n{model.last_line(figures)}")


def _cross_validate(
    kind: type[Estimator], settings: Any, training: TrainSettings, paths: list[Path], folds: int
) -> None:
    """Trains a model for each part held out, and tells the mean and the spread of the figure that decides."""
    parts = kind(settings)
    data = parts.read(paths)
    figures: list[tuple[str, float, float]] = []
    for i, (part, held) in enumerate(parts.folds(data, folds, training.seed), 1):
        model = kind(settings)
        more = {} if held is None else {"valid": held}
        model.fit(part, train=training, display=display_for(sys.stderr), **more)
        name, reached, floor = model.verdict(model.figures)
        figures.append((name, reached, floor))
        click.echo(f"fold {i}  {name} {model.in_words(reached)}, floor {model.in_words(floor)}")
    for who, numbers in (("model", [model for _, model, _ in figures]), ("floor", [floor for _, _, floor in figures])):
        # negative, where less is better
        spread = model.in_words(math.copysign(statistics.stdev(numbers), numbers[0])).removesuffix(" %")
        click.echo(f"{who}  {model.in_words(statistics.mean(numbers))} ± {spread}")


@click.command("predict")
@click.argument("model", type=_PATH)
@click.argument("items", nargs=-1, metavar="[TEXT | TABLE | SOUND]...")
@click.option("--file", type=_PATH, help="texts, or names of sounds, one a line, in place of TEXT or SOUND")
@click.option("--out", type=_PATH, help="file to write; whole or not at all  [standard output]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="of the results")
@click.option("--highlights", is_flag=True, help="of a classifier: what each word did for the decision")
@click.option("--answer", help="of a forecast: who answers, such as model or 'last value'")
@click.option("--beam", type=click.IntRange(1), help="of a translator or transcriber: candidates of the search")
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
    """What a model says of new texts or sounds, or of what comes after a table.

    Texts come from the command line, from a file with a text a line, or from standard input; any number of them, in
    bounded memory.

    \b
    unrolled predict runs/tag/model.safetensors "Ada Lovelace met Charles Babbage in London"
    unrolled predict runs/classify/model.safetensors --file reviews.txt --format csv --out classes.csv
    cat sentences.txt | unrolled predict runs/understand/model.safetensors --format jsonl
    unrolled predict runs/forecast/model.safetensors sales.csv
    unrolled predict runs/transcribe/model.safetensors call.wav --beam 10
    """
    kind = _model_of(model)
    loaded = kind.load(model, device=device)
    for option, given, who, of_tasks in (
        ("--highlights", highlights, "a classifier", ("classify",)),
        ("--answer", answer, "a forecast", ("forecast",)),
        ("--beam", beam, "a translator or a transcriber", ("translate", "transcribe")),
    ):
        if given and kind.task not in of_tasks:
            raise click.UsageError(f"{option} goes with {who}; {model} is a model of the task {kind.task!r}")
    results: Iterable[Any]
    if kind.task == "forecast":
        if not items:
            raise click.UsageError("a forecast goes on from a table: unrolled predict MODEL table.csv")
        if answer is not None:
            loaded.settings = dataclasses.replace(loaded.settings, answer=answer)
        results = loaded.predict([Path(item) for item in items])  # type: ignore[attr-defined]
    elif getattr(loaded, "reads_tables", False):
        if not items:
            raise click.UsageError("this model reads windows of numbers: unrolled predict MODEL table.csv")
        results = loaded.predict_table([Path(item) for item in items])  # type: ignore[attr-defined]
    else:
        texts = iter(items) if items and file is None else _lines(file)
        more = ({"highlights": True} if highlights else {}) | ({} if beam is None else {"beam": beam})
        results = itertools.chain.from_iterable(
            loaded.predict_all(chunk, **more)  # type: ignore[attr-defined]
            for chunk in _chunks(texts, _SOUNDS if kind.item == "SOUND" else _CHUNK)
        )
    _write(results, form, out)


def _model_of(path: Path) -> type[Estimator]:
    name = read_model(path).task
    module = tasks.task(name)
    if not issubclass(module.Model, Estimator):
        raise SettingsError(f"{path}: a model of the task {name!r} writes; use: unrolled generate {path}")
    return module.Model


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


def _write(results: Iterable[Any], form: str, out: Path | None) -> None:
    lines = _written(results, form)
    if out is None:
        for line in lines:
            click.echo(line)
        return

    def fill(aside: Path) -> None:
        with open(aside, "w", encoding="utf-8", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)

    try:
        write_aside(out, fill)
    except OSError as fault:
        raise DataError(f"{out}: cannot be written: {fault.strerror or fault}") from fault


def _written(results: Iterable[Any], form: str) -> Iterator[str]:
    head: list[str] = []
    for result in results:
        if form == "text":
            yield str(result)
        elif form == "jsonl":
            yield json.dumps(result.to_dict(), ensure_ascii=False)
        else:
            for row in result.rows():
                if not head:
                    head = list(row)
                    yield _csv_line(head)
                yield _csv_line([row[name] for name in head])


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


_SAMPLES = {"s16le": "<i2", "f32le": "<f4"}


@click.command("stream")
@click.argument("model", type=_PATH)
@click.option("--rate", type=click.IntRange(1000, 384_000), help="samples a second of the input  [the model's]")
@click.option(
    "--format", "form", type=click.Choice(list(_SAMPLES)), default="s16le", show_default=True, help="of samples"
)
@click.option("--chunk-ms", type=click.IntRange(1), default=100, show_default=True, help="read at once at most")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def stream(model: Path, rate: int | None, form: str, chunk_ms: int, device: str) -> None:
    """What a transcriber hears in raw mono samples on standard input, while they come in.

    Each line of standard output is the text so far, as soon as it has changed, after the second of sound it was heard
    at; the last one is the whole. How fast it was goes to standard error.

    \b
    arecord -q -f S16_LE -r 16000 -t raw | unrolled stream runs/transcribe/model.safetensors --rate 16000
    sox call.wav -t raw -e signed -b 16 -c 1 - | unrolled stream MODEL --rate 8000
    """
    kind = _model_of(model)
    if kind.item != "SOUND":
        raise click.UsageError(f"stream takes a transcriber; {model} is a model of the task {kind.task!r}")
    heard = kind.load(model, device=device).stream(rate)  # type: ignore[attr-defined]
    width = 2 if form == "s16le" else 4
    size, rest, shown = width * max(1, heard.rate * chunk_ms // 1000), b"", ""
    source: Any = sys.stdin.buffer
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the sound, not the answer
        while chunk := source.read1(size):
            rest += chunk
            whole = len(rest) // width * width
            text = heard.accept(np.frombuffer(rest[:whole], _SAMPLES[form]))
            rest = rest[whole:]
            if text != shown:
                click.echo(f"{heard.seconds:8.2f}  {text}")
                sys.stdout.flush()
                shown = text
    if not heard.seconds:
        raise DataError("standard input: holds no samples")
    click.echo(f"{heard.seconds:8.2f}  {heard.finish().text}")
    click.echo(
        f"{heard.seconds:.2f} s of sound in {heard.busy_s:.2f} s: real-time factor {heard.busy_s / heard.seconds:.3f}",
        err=True,
    )


@click.command("evaluate")
@click.argument("model", type=_PATH)
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE...")
@click.option("--encoding", default="utf-8", show_default=True, help="of the file")
@click.option(
    "--streams",
    type=click.IntRange(1),
    help="of a text model: pieces side by side; 1 is exact  [1 up to 200,000 units]",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def evaluate(model: Path, files: tuple[Path, ...], encoding: str, streams: int | None, device: str) -> None:
    """How well a model does on files with the answers, which it has not seen, beside its floor."""
    module = tasks.task(read_model(model).task)
    if not issubclass(module.Model, Estimator):
        if len(files) > 1:
            raise click.UsageError(f"{model}: a model of the task {module.Model.task!r} is evaluated on one file")
        click.echo("\n".join(module.evaluate_file(model, files[0], encoding, streams, device)))
        return
    loaded = module.Model.load(model, device=device)
    loaded.settings = dataclasses.replace(loaded.settings, encoding=encoding)
    figures = loaded.evaluate(list(files))
    click.echo("\n".join(loaded.table(figures)))
    click.echo(f"\n{loaded.last_line(figures)}")
