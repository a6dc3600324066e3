"""How a file is read that a model is given later: as the training files were, unless an option says otherwise.

Inputs: the tasks' settings, words of a command line. Outputs: the same options for every verb that reads files, made
from the settings, and a model that reads by them. A file of its own, as no verb may fall behind the others.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from unrolled import tasks
from unrolled.cli.models import encoding_for
from unrolled.cli.options import declared, flag
from unrolled.tasks.capabilities import ShowsUnits
from unrolled.tasks.estimator import Estimator

#: verbs that read files, and whether they read the answers in them too
VERBS = {"evaluate": True, "checkup": True, "report": True, "predict": False, "units": False}
_OF_TEXTS = ("text", "header", "encoding")  # `predict` finds texts in any table, for models of every task
_OPTION_OF = {"targets": "target"}  # of what a model learnt by reading, where it has another name
_AS_BEFORE = "  [as in the training]"
_ENCODING = "of the files  [utf-8, or that of the training files]"


def kinds(verb: str) -> list[type[Estimator]]:
    """The models that a verb is for."""
    found = [tasks.task(name).Model for name in tasks.names()]
    return [kind for kind in found if verb != "units" or issubclass(kind, ShowsUnits)]


def reading_options(verb: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb the options by which the files of some task are read."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for name, fields in reversed(_fields(verb).items()):
            field = next(iter(fields.values()))
            command = click.option(
                flag(field), name, type=declared(field), default=None, help=_help(verb, name, fields)
            )(command)
        return command

    return decorate


def read_by(model: Estimator, path: Path, verb: str, options: Mapping[str, object], files: Sequence[Path]) -> None:
    """Makes a model read some files together: by the options that a user gave, and by what it learnt where none was
    given. The encoding is that of the first file.

    Args:
        model: as loaded from `path`.
        path: of the model.
        verb: that reads.
        options: by name, None where not given.
        files: that are read.

    Raises:
        UsageError: an option makes no difference for this model or without files; it would be ignored.
    """
    take_options(model, path, verb, options)
    check_files(options, files)
    if files and options["encoding"] is None:
        model.settings = dataclasses.replace(model.settings, encoding=encoding_for(files[0], model))


def take_options(model: Estimator, path: Path, verb: str, options: Mapping[str, object]) -> None:
    """Makes a model read by the options that a user gave; arguments as of `read_by`.

    Raises:
        UsageError: an option makes no difference for this model; it would be ignored.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in _names(verb, model):
            fields = _fields(verb)[name]
            raise click.UsageError(f"{_shown(name)} {_misfit(model, fields)}; {path} is {_described(model)}")
    own = {name: value for name, value in given.items() if name in model.reading(of_answers=True)}
    model.settings = dataclasses.replace(model.settings, **own)
    model.read_as = {name: value for name, value in model.read_as.items() if _OPTION_OF.get(name, name) not in own}


def words_of(verb: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """The options that a user gave, as words of a command line."""
    given = {name: value for name, value in options.items() if value is not None}
    flags = {name: flag(next(iter(_fields(verb)[name].values()))).split("/") for name in given}
    return tuple(
        word
        for name, value in given.items()
        for word in ([flags[name][not value]] if isinstance(value, bool) else [*flags[name], str(value)])
    )


def check_files(options: Mapping[str, object], files: Sequence[object]) -> None:
    """Refuses options of reading where there are no files.

    Raises:
        UsageError: there is one.
    """
    name = next((name for name, value in options.items() if value is not None), None)
    if name is not None and not files:
        raise click.UsageError(f"{_shown(name)} says how files are read; none is named")


def _names(verb: str, model: Estimator) -> set[str]:
    """The options that make a difference for a model."""
    own = model.reads_by(of_answers=VERBS[verb])
    if verb != "predict" or bool(getattr(model, "needs_table", "")):
        return own
    return own | set(_OF_TEXTS if model.takes == "TEXT" else ("header",))


def _fields(verb: str) -> dict[str, dict[str, dataclasses.Field]]:
    """The options of a verb: by name, and by which models have them, the settings that they stand for."""
    found: dict[str, dict[str, dataclasses.Field]] = {}
    for kind in kinds(verb):
        for name, field in kind.reading(of_answers=VERBS[verb]).items():
            found.setdefault(name, {})[kind.who] = field
    return found


def _help(verb: str, name: str, fields: Mapping[str, dataclasses.Field]) -> str:
    """The help of an option, said of each kind of models where they differ."""
    if name == "encoding":
        return _ENCODING
    whose: dict[str, list[str]] = {}
    for who, field in fields.items():
        whose.setdefault(re.sub(r"  \[.*\]$", "", field.metadata["help"]), []).append(who)
    if verb == "predict" and name in _OF_TEXTS:
        return f"{next(iter(whose))}{_AS_BEFORE}"
    return "; ".join(f"of {' or '.join(who)}: {text}" for text, who in whose.items()) + _AS_BEFORE


def _shown(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _misfit(model: Estimator, fields: Mapping[str, dataclasses.Field]) -> str:
    if model.who in fields:
        return "makes no difference here"
    return f"goes with {' or '.join(fields)}"


def _described(model: Estimator) -> str:
    """What a model is, and what it reads, where models of its task read one of two things."""
    told, needs_table = f"a model of the task {model.task!r}", getattr(model, "needs_table", None)
    if needs_table is None or model.takes == "TABLE":
        return told
    return f"{told} that reads {'windows of numbers' if needs_table else 'texts'}"
