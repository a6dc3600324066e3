"""What commands read: a model file, what they ask of its model, and standard input."""

import contextlib
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from unrolled import tasks
from unrolled.data.items import is_utf8
from unrolled.data.table import SUFFIXES
from unrolled.errors import DataError, SettingsError
from unrolled.tasks import capabilities
from unrolled.tasks.capabilities import Generates, Predicts, PredictsTables
from unrolled.tasks.estimator import Estimator

# suffixes of texts and sounds, and of what holds them
_OTHERS = r"txt|text|conll|log|md|wav|flac|mp3|ogg|m4a|gz|zip|bz2|xz|zst|7z|rar|tar|tgz|pdf|docx?|odt|html?|xml|rtf"
_OTHERS += r"|safetensors|pkl|np[yz]|py|ya?ml"
_FILE_NAMES = re.compile(
    rf"\S+(?:{'|'.join(map(re.escape, SUFFIXES))}|\.(?:{_OTHERS}))(?:\.(?:gz|zip|bz2|xz|zst))?", re.IGNORECASE
)


def is_named_as_file(text: str) -> bool:
    """Whether a text looks like the name of a file."""
    return _FILE_NAMES.fullmatch(text) is not None


def tell(notes: Iterable[str]) -> None:
    """Says how files are read, and what of them is left out."""
    for note in notes:
        click.echo(note, err=True)


@contextlib.contextmanager
def about(files: Sequence[Path]) -> Iterator[None]:
    """A block in which every fault of the data names the files that they are from."""
    try:
        yield
    except DataError as fault:
        if not files or any(str(file) in str(fault) for file in files):
            raise
        raise DataError(f"{', '.join(map(str, files))}: {fault}") from fault


def opened(path: Path, device: str) -> tuple[ModuleType, Estimator]:
    """A model, and the folder of its task."""
    model = tasks.load(path, device=device)
    return tasks.task(model.task), model


def answering(path: Path, device: str) -> Estimator:
    """A model that answers items.

    Raises:
        SettingsError: it writes.
    """
    _, model = opened(path, device)
    if isinstance(model, Generates) and not isinstance(model, Predicts | PredictsTables):
        raise SettingsError(f"{path}: a model of the task {model.task!r} writes; use: unrolled generate {path}")
    return model


def encoding_for(path: Path, model: Estimator) -> str:
    """The encoding of a file that a user told nothing of: utf-8 where it fits, else that of the training files."""
    of_training = str(model.settings.to_dict().get("encoding", "utf-8"))
    if of_training.lower() in ("utf-8", "utf8") or not path.is_file():
        return of_training
    return "utf-8" if is_utf8(path) else of_training


def given(path: Path, model: Estimator, verb: str, options: Mapping[str, object]) -> dict[str, object]:
    """The options of a verb that a user gave: those that are neither None nor false.

    Raises:
        UsageError: the model's verb does not take one; it would be ignored.
    """
    chosen = {name: value for name, value in options.items() if value not in (None, False)}
    for name in chosen:
        if not capabilities.takes(type(model), verb, name):
            who, shown = capabilities.who(name), name.removeprefix("n_")
            raise click.UsageError(f"--{shown} goes with {who}; {path} is a model of the task {model.task!r}")
    return chosen


def standard_input() -> io.BufferedReader:
    """Standard input, as bytes.

    Raises:
        DataError: it is closed.
    """
    if sys.stdin is None:
        raise DataError("standard input is closed; expected something to read there")
    stream: Any = sys.stdin.buffer
    return stream
