"""The command line: words come in, a task's verbs are called, text goes out.

Options are made from the settings' dataclasses, so each is declared once. Every error that the library raises on
purpose is printed as one line and ends the command with exit code 2.
"""

import math
import sys
from pathlib import Path
from typing import Any

import click
import torch

from unrolled import tasks
from unrolled.cli import verbs
from unrolled.cli.verbs import options, settings_of
from unrolled.errors import UnrolledError
from unrolled.files.model_file import ModelFile, read_model
from unrolled.tasks.text.model import TextModel, describe, floor_name
from unrolled.tasks.text.settings import GenerateSettings, TextSettings
from unrolled.training import processes
from unrolled.training.display import display_for
from unrolled.training.loop import TrainResult, TrainSettings
from unrolled.training.run_folder import Run, free_folder


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="unrolled")
def cli() -> None:
    """Recurrent neural networks: train on your files, predict, look inside.

    \b
    unrolled train text book.txt --minutes 5           learn to write like a book
    unrolled generate MODEL --prompt "Once"            write
    unrolled train classify reviews.csv                sentiment, or any classes
    unrolled train tag corpus.conll                    named entities, or any tags
    unrolled train understand folder/                  intents and slots
    unrolled train forecast sales.csv --horizon 12     what comes next, and how sure
    unrolled train translate pairs.tsv                 one language into another
    unrolled train transcribe manifest.csv             speech into text
    unrolled predict MODEL ...                         what a model says
    unrolled stream MODEL                              what it hears, as sound comes in
    """


@cli.group(invoke_without_command=True)
@click.option("--resume", metavar="RUN", type=click.Path(path_type=Path), help="go on with a run that was cut off")
@click.pass_context
def train(context: click.Context, resume: Path | None) -> None:
    """Train a model: `unrolled train TASK FILE...`, or go on: `unrolled train --resume RUN`.

    Progress goes to standard error, the result to standard output. Ctrl-C stops and keeps the run; a run that was
    killed at any moment goes on with --resume.
    """
    if context.invoked_subcommand is None and resume is None:
        click.echo(context.get_help())
        context.exit(2)
    if resume is None:
        return
    if context.invoked_subcommand is not None:
        raise click.UsageError("--resume takes the task and its files from the run; leave them out")
    run = Run.open(resume)
    _hint_on_interrupt(resume)
    model, result = tasks.task(run.config["task"]).Model.resume(run, display=_display())
    show = _report if isinstance(model, TextModel) else verbs.report
    show(model, result, run.folder)


@train.command("text")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--folder", type=click.Path(path_type=Path), help="new folder for the run  [runs/text-DATE-TIME]")
@options(TextSettings, TrainSettings)
def train_text(files: tuple[Path, ...], folder: Path | None, **values: Any) -> None:
    """Train a language model of characters, bytes or subwords on text files.

    Without FILE it learns the source code of Python's standard library. The last tenth of the text is kept for
    validation; beside the model's figure stands the floor, an n-gram model on the same split.

    \b
    unrolled train text                              15 minutes on Python's source
    unrolled train text book.txt --minutes 5
    unrolled train text a.txt b.txt --units subword --steps 2000
    """
    if values["steps"] is None and values["minutes"] is None and values["schedule"] in ("cosine", "linear"):
        values["minutes"] = 15.0
    settings, training = settings_of(TextSettings, values), settings_of(TrainSettings, values)
    folder = Path(processes.same_text(str(folder or free_folder("text"))))
    _hint_on_interrupt(folder)
    model = TextModel(settings)
    result = model.fit(files, train=training, run=folder, display=_display())
    _report(model, result, folder)


def _display() -> Any:
    return display_for(sys.stderr) if processes.rank() == 0 else None


def _report(model: TextModel, result: TrainResult, folder: Path) -> None:
    """What a training came to: figures, floor, where the model is, and a taste of it."""
    if processes.rank() != 0:
        return
    nats, floor = model.figures["nats"], model.figures["floor_nats"]
    path = folder / "model.safetensors"
    click.echo(f"stopped     {result.reason}; best at step {result.best_step}")
    click.echo(f"model       {describe(nats, model.item)}")
    click.echo(f"floor       {describe(floor, model.item)}, {floor_name(model)} on the same split")
    click.echo(f"file        {path}")
    click.echo(f'write more  unrolled generate {path} --prompt "..."')
    click.echo("\n" + "".join(model.generate(length=300, temperature=0.7, seed=0)).strip("\n") + "\n")
    if nats < floor:
        click.echo(f"The model beats the floor by {floor - nats:.3f} nats/{model.item}.")
    else:
        click.echo(
            f"The model LOSES to the floor by {nats - floor:.3f} nats/{model.item}: "
            "train longer, or give it more text; until then the n-gram model is the better one."
        )
        if result.steps < 1000 and model.settings.layers * model.settings.hidden >= 2 * 384:
            click.echo(
                f"It made {result.steps} updates, few for its size; a smaller model may learn more in the same time: "
                "--layers 1 --hidden 384 --batch 8 --dropout 0."
            )


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--prompt", default="", help="text to go on from")
@click.option("--seed", type=int, help="same seed, same text  [a new one each time]")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
@options(GenerateSettings)
def generate(model: Path, prompt: str, seed: int | None, device: str, **values: Any) -> None:
    """Write text with a model, as it comes, after the prompt.

    \b
    unrolled generate runs/book/model.safetensors --prompt "Once upon" --temperature 0.7 --length 1000
    """
    settings = settings_of(GenerateSettings, values)
    pieces = TextModel.load(model, device=device).generate(prompt, seed=seed, **settings.to_dict())
    click.echo(prompt, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
def info(model: Path) -> None:
    """What a model file holds: task, settings, figures, training record."""
    file = read_model(model)
    n_weights = sum(value.numel() for name, value in file.tensors.items() if name.startswith("model."))
    click.echo(f"{model}: a model of the task {file.task!r}, {n_weights:,} weights")
    for part in ("model", "training"):
        click.echo(f"\n{part} settings")
        for name, value in (file.settings.get(part) or {}).items():
            click.echo(f"  {name:<14} {value}")
    click.echo("\nfigures of the validation part")
    for name, value in file.floor.items():
        click.echo(f"  {name:<14} {value:.4f}" if isinstance(value, float) else f"  {name:<14} {_short(value)}")
    click.echo("\nrecord")
    _print_record(file)


def _short(value: Any) -> str:
    """A value in a line: of a dictionary or a long list no more than its begin."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text):,} characters)"


def _print_record(file: ModelFile) -> None:
    names = list(dict.fromkeys(name for row in file.record for name in row))
    click.echo("  " + "".join(f"{name:>15}" for name in names))
    for row in file.record:
        cells = [row.get(name, math.nan) for name in names]
        click.echo("  " + "".join(f"{cell:>15.5g}" if isinstance(cell, float) else f"{cell:>15}" for cell in cells))


@cli.command()
def doctor() -> None:
    """What this machine has for the compiled loop, and what is missing and how to get it."""
    from unrolled.engine.backends.cpu import build

    click.echo(f"torch     {torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        click.echo(f"GPU       {name}: layers run on cuDNN, steps of your own eagerly, as loops in Python")
    click.echo(f"cache     {build.cache_folder() or 'none: no folder of yours can be written'}")
    try:
        path, version = build.compiler()
        click.echo(f"compiler  {path}: {version.splitlines()[0]}")
        function = 'extern "C" __attribute__((visibility("default"))) void run(const void*) {}'
        build.build(f'#include "loop.h"\n{function}', "torch.float32")
        click.echo("It compiles and loads: scans run as compiled loops.")
    except build.NoCompiler as fault:
        click.echo(f"compiler  {fault}.\nUntil then scans run eagerly, as loops in Python.")


cli.add_command(verbs.predict)
cli.add_command(verbs.evaluate)
cli.add_command(verbs.stream)

_interrupted_run: Path | None = None


def _hint_on_interrupt(folder: Path) -> None:
    global _interrupted_run
    _interrupted_run = folder


for _name, _module in verbs.estimators().items():
    train.add_command(verbs.train_command(_name, _module, _hint_on_interrupt))


def main() -> None:
    """Runs the command line; the exit code is 0, 2 for a fault told in one line, 130 for Ctrl-C."""
    try:
        code = cli.main(prog_name="unrolled", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as fault:
        click.echo(fault.format_message(), err=True)
        code = 2
    except click.ClickException as fault:
        click.echo(f"unrolled: {' '.join(fault.format_message().split())}", err=True)
        code = 2
    except UnrolledError as fault:
        click.echo(f"unrolled: {fault}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        is_there = _interrupted_run is not None and _interrupted_run.exists()
        hint = f" Go on: unrolled train --resume {_interrupted_run}" if is_there else ""
        click.echo(f"unrolled: interrupted.{hint}", err=True)
        code = 130
    except torch.OutOfMemoryError as fault:
        click.echo(
            f"unrolled: out of memory: {str(fault).splitlines()[0]} Take a smaller --batch or --hidden", err=True
        )
        code = 2
    finally:
        processes.leave()
    sys.exit(code)
