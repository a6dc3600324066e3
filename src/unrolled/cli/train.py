"""`unrolled train`: a command for each task of the folder; and a run that goes on."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from unrolled import tasks
from unrolled.cli.models import about
from unrolled.cli.options import PATH, given_of, options
from unrolled.data.intents import sub_folder
from unrolled.tasks.estimator import Estimator
from unrolled.tasks.report import TaskReport, of_folds
from unrolled.training import processes
from unrolled.training.display import Display, display_for
from unrolled.training.run_folder import Run, free_folder
from unrolled.training.settings import TrainSettings
from unrolled.training.trackers import TRACKERS

_interrupted_run: Path | None = None


def hint_on_interrupt(folder: Path) -> None:
    """Ctrl-C leaves a run there from now on."""
    global _interrupted_run
    _interrupted_run = folder


def interrupt_hint() -> str:
    """How to go on after Ctrl-C; empty if no run is there."""
    is_there = _interrupted_run is not None and _interrupted_run.exists()
    return f" Go on: unrolled train --resume {_interrupted_run}" if is_there else ""


@click.group(invoke_without_command=True, short_help="Train a model, or continue a run.")
@click.option("--resume", metavar="RUN", type=PATH, help="continue a run that was cut off")
@click.pass_context
def train(context: click.Context, resume: Path | None) -> None:
    """Train a model: `unrolled train TASK FILE...`, or continue: `unrolled train --resume RUN`.

    Progress goes to standard error, the result to standard output. Ctrl-C stops and keeps the run; --resume
    continues a run, also one that was killed.
    """
    if context.invoked_subcommand is None and resume is None:
        click.echo(context.get_help())
        context.exit(2)
    if resume is None:
        return
    if context.invoked_subcommand is not None:
        raise click.UsageError("--resume takes the task and its files from the run; leave them out")
    run = Run.open(resume)
    hint_on_interrupt(resume)
    with run.held():  # before the data are read, which takes a while
        with run.restoring():
            module = tasks.task(str(run.config["task"]))
        model, _ = module.Model.resume(run, display=_display())
        _report(module, model, run.folder)


def _display() -> Display | None:
    return display_for(sys.stderr) if processes.rank() == 0 else None


def train_command(name: str, module: ModuleType) -> click.Command:
    """`unrolled train NAME FILE...`."""
    kind: type[Estimator] = module.Model
    usual = kind.default_training

    # bounds are filled in later: a run bounded by steps has no minutes
    @options(
        kind.kind,
        TrainSettings,
        defaults=usual.to_dict() | {"minutes": None, "steps": None},
        notes={
            "minutes": f"  [{usual.minutes:g}, unless --steps or --schedule plateau is given]",
            "lr": f"; with --from {kind.training_of({}, has_start=True).lr:g}",
        },
    )
    def command(files: tuple[Path, ...], folder: Path | None, start: Path | None, **values: Any) -> None:
        folds, log = values.pop("folds", None), list(values.pop("log"))
        valid, test_files = (list(values.pop(each, ())) for each in ("valid", "test_files"))
        settings = given_of(kind.kind, values)
        model = kind(**settings)
        training = kind.training_of(given_of(TrainSettings, values), has_start=start is not None)
        apart = {"--valid": valid, "--test-file": test_files, "--folder": folder, "--log": log}
        if folds is not None and (given := [name for name, each in apart.items() if each]):
            raise click.UsageError(
                f"--folds validates on parts of FILE and keeps no model; leave {', '.join(given)} out"
            )
        paths, found = _parts(list(files))
        valid, test_files = valid or found.get("valid", []), test_files or found.get("test", [])
        if folds is not None:
            _cross_validate(module, settings, training, start, paths, folds)
            return
        display = _display()
        for part, paths_of in (("validation", valid), ("test", test_files)):
            if paths_of and display is not None:
                display.note(f"{part} part: {', '.join(map(str, paths_of))}")
        with about(test_files):
            test = model.read(test_files) if test_files else None  # a fault in it must not cost a training
        run = Path(processes.same_text(str(folder or free_folder(name))))
        hint_on_interrupt(run)
        some = [paths] if paths else []  # without files a text model learns from Python's own source
        with about([*paths, *valid]):
            model.fit(*some, valid=valid or None, train=training, start=start, run=run, display=display, log=log)
        with about(test_files):
            if getattr(test, "read_as", model.read_as) != model.read_as:
                test = model.read(test_files)  # as the training files were read
            _report(module, model, run, test)

    for option in _options_of(kind, name):
        command = option(command)
    return click.command(name, help=_help(module), short_help=module.HELP.purpose)(command)


def _options_of(kind: type[Estimator], name: str) -> Iterator[Callable[..., Any]]:
    """Files and options of `unrolled train NAME` beside the settings, the last of the help first."""
    yield click.argument(
        "files", nargs=-1, required=not kind.source, type=PATH, metavar="[FILE]..." if kind.source else "FILE..."
    )
    if kind.validates_on_files:
        for option, shown in (
            (("--valid",), "file or folder to validate on; give it again for several  [a share of FILE]"),
            (("--test-file", "test_files"), "file or folder for the metrics at the end; likewise"),
        ):
            yield click.option(*option, type=PATH, multiple=True, help=shown)
    if kind.has_folds:
        yield click.option(
            "--folds",
            type=click.IntRange(2),
            help="train so many models, each judged on another part; report the spread",
        )
    yield click.option("--resume", hidden=True, expose_value=False, is_eager=True, callback=_refuse_resume)
    yield click.option(
        "--log", type=click.Choice(tuple(TRACKERS)), multiple=True, help="tracker that gets the rows; again for several"
    )
    yield click.option(
        "--from",
        "start",
        metavar="MODEL",
        type=PATH,
        help="fine-tune: start from the weights of a model file, or of a run, of this task. Its sizes "
        "are kept, new labels, words and characters are added; the baseline learns from FILE alone",
    )
    yield click.option("--folder", type=PATH, help=f"new folder for the run  [runs/{name}-DATE-TIME]")


def _refuse_resume(_: click.Context, __: click.Parameter, run: str | None) -> None:
    """Tells how a run goes on: it has its task and files."""
    if run is not None:
        raise click.UsageError(f"a run knows its task and its files. Go on: unrolled train --resume {run}")


def _help(module: ModuleType) -> str:
    """The task's own text, and its examples as they stand."""
    return f"{module.__doc__}\n\n\b\n{module.HELP.train.strip()}"


def _parts(files: list[Path]) -> tuple[list[Path], dict[str, list[Path]]]:
    """A folder with the sub-folders train, valid and test stands for those."""
    if len(files) == 1 and files[0].is_dir() and (train := sub_folder(files[0], "train")):
        valid, test = sub_folder(files[0], "valid", "dev"), sub_folder(files[0], "test")
        return [train], {name: [part] for name, part in (("valid", valid), ("test", test)) if part}
    return files, {}


def _report(module: ModuleType, model: Estimator, folder: Path, test: object = None) -> None:
    """What a training came to: metrics beside the baseline's, where the model is, and whether it is worth anything."""
    if processes.rank() == 0:
        for line in module.Report(model).of_training(model.result, folder / "model.safetensors", test):
            click.echo(line)


def _cross_validate(
    module: ModuleType,
    settings: Mapping[str, object],
    training: TrainSettings,
    start: Path | None,
    paths: list[Path],
    folds: int,
) -> None:
    """Trains a model for each part held out, and tells the mean and the spread of the metric that decides."""
    kind: type[Estimator] = module.Model
    parts = kind(**settings)
    reports: list[TaskReport] = []
    with about(paths):
        data = parts.read(paths)
        for i, (part, held) in enumerate(parts.folds(data, folds, training.seed), 1):
            model = kind(**settings)
            model.fit(part, train=training, start=start, display=display_for(sys.stderr), valid=held)
            reports.append(module.Report(model))
            click.echo(f"fold {i}  {reports[-1].metrics_line()}")
    for line in of_folds(reports):
        click.echo(line)


for _name in tasks.names():
    train.add_command(train_command(_name, tasks.task(_name)))
