"""The commands of a run: to train it again, to use it, to go on with it.

Inputs: a run or a model. Outputs: command lines that a shell takes as they stand.
"""

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from unrolled import tasks
from unrolled.json_values import JsonObject, table, texts
from unrolled.pages.source import Source
from unrolled.settings import Settings
from unrolled.tasks.estimator import Estimator
from unrolled.training.settings import TrainSettings


def commands(found: Source) -> list[str]:
    """Each below a remark."""
    kind: type[Estimator] = tasks.task(found.task).Model
    model = shlex.quote(str(found.path))
    lines = []
    if found.run is not None:
        lines += ["# the same again", train_command(found)]
        if found.report is None and not found.is_on:
            lines += ["# go on with it", f"unrolled train --resume {shlex.quote(str(found.run.folder))}"]
    if found.file is not None:
        if hasattr(kind, "generate"):
            lines += ["# write", f'unrolled generate {model} --prompt "..."']
        else:
            lines += ["# what the model says", f"unrolled predict {model} {kind.takes}"]
        lines += ["# how good it is on files that it has not seen", f"unrolled evaluate {model} FILE"]
    return [*lines, "# this page again", report_command([found.path], found.files, found.reading)]


def report_command(paths: Sequence[Path], files: Sequence[Path], reading: Sequence[str]) -> str:
    """What writes the page again."""
    more = [word for file in files for word in ("--data", str(file))]
    return shlex.join(["unrolled", "report", *map(str, paths), *more, *reading])


def train_command(found: Source) -> str:
    """What trains the same again: files, and the options that are not the usual ones."""
    assert found.run is not None
    kind, config = tasks.task(found.task).Model, found.run.config
    words = ["unrolled", "train", found.task, *texts(config.get("files") or [])]
    for file in texts(config.get("valid") or []):
        words += ["--valid", file]
    usual = kind.default_training.to_dict()
    given = _training(table(config.get("train", {})), usual)
    for settings, values, defaults in (
        (kind.kind, table(config.get("settings", {})), {}),
        (TrainSettings, given, usual),
    ):
        words += _options(settings, values, defaults)
    if config.get("start"):
        words += ["--from", str(config["start"])]
    return shlex.join(words)


def _training(values: JsonObject, usual: JsonObject) -> JsonObject:
    """Settings of a training, of which the usual bound is left out where another one is given."""
    return {name: value for name, value in values.items() if value is not None or usual.get(name) is None}


def _options(kind: type[Settings], values: JsonObject, defaults: JsonObject) -> Iterator[str]:
    """The options of settings that are not the usual ones."""
    for each in dataclasses.fields(kind):
        if each.name not in values or values[each.name] == defaults.get(each.name, each.default):
            continue
        name, value = f"--{each.name.replace('_', '-')}", values[each.name]
        if isinstance(value, bool):
            yield name if value else f"--{each.metadata.get('against') or f'no-{name[2:]}'}"
        elif value is not None:
            yield from (name, str(value))
