"""What a page is about: a run folder or a model file, with whatever of it is there.

Inputs: a path. Outputs: its settings, record, model and validation part; what is missing, in words. A file of its own,
as the pages of one run and of several both begin here.
"""

import csv
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled import tasks
from unrolled.errors import DataError, ModelFileError, RunError, SettingsError, UnrolledError
from unrolled.files.model_file import ModelFile, read_model
from unrolled.json_values import JsonObject, table, texts, whole
from unrolled.tasks.checksums import checksums_of
from unrolled.tasks.estimator import Estimator
from unrolled.tasks.report import TaskReport
from unrolled.training.job import Curve
from unrolled.training.run_folder import CHECKPOINT, LOG, MODEL, Run

# what a damaged model file may raise beside our own errors, as `info` knows too
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


LoggedRow = Mapping[str, float | str]  # of a log, which may hold texts


@dataclass
class Source:
    """A run, a model, or both.

    Attributes:
        path: as given.
        task: name of the task.
        run: the run folder; None of a model file by itself.
        file: the model file; None before a run's first evaluation.
        model: what is in it.
        record: rows of the evaluations, oldest first.
        is_on: whether a process trains the run now.
        missing: what is not there, and why, in words.
        files: to take examples from, in place of those of the run.
        reading: options of the command line by which these files are read.
    """

    path: Path
    task: str
    run: Run | None
    file: ModelFile | None
    model: Estimator | None
    record: Sequence[LoggedRow]
    is_on: bool = False
    missing: list[str] = field(default_factory=list)
    files: Sequence[Path] = ()
    reading: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Of the run folder, or of the file."""
        path = self.path.absolute()
        return path.parent.name if self.run is not None and path.name == MODEL else path.name

    @property
    def report(self) -> TaskReport | None:
        """The model's metrics; None where it has none, as amid a training."""
        if self.model is None or "comparison" not in self.model.metrics:
            return None
        found: TaskReport = tasks.task(self.task).Report(self.model)
        return found

    @property
    def curve(self) -> Curve:
        """What the learning curve shows; the loss in files that do not say."""
        return Curve.from_data(self.training.get("curve"))

    @property
    def training(self) -> JsonObject:
        """Settings of the training and amounts of data."""
        if self.file is not None:
            return dict(self.file.settings.get("training", {}))
        return dict(table(self.run.config.get("train", {}))) if self.run is not None else {}

    @property
    def settings(self) -> JsonObject:
        """Settings of the model."""
        if self.file is not None:
            return dict(self.file.settings.get("model", {}))
        return dict(table(self.run.config.get("settings", {}))) if self.run is not None else {}

    @functools.cached_property
    def held(self) -> Any:
        """Data that the network did not learn from; None where they cannot be had, which `missing` says."""
        if self.model is None:
            return None
        try:
            if self.files:
                return self.model.read(list(self.files))
            if self.run is None:
                self.missing.append(
                    "no examples: a model file does not have its data, so give some: unrolled report MODEL --data FILE"
                )
                return None
            return validation_part(self.model, self.run)
        except UnrolledError as fault:
            if self.files:
                raise
            self.missing.append(f"no examples: {fault}")
        except (*DAMAGED, OSError) as fault:
            if self.files:
                raise
            self.missing.append(f"no examples: {type(fault).__name__}: {fault}")
        return None


def source(path: Path, files: Sequence[Path] = (), *, device: str = "cpu") -> Source:
    """What there is at a path.

    Args:
        path: of a run folder or a model file.
        files: with examples, in place of those of the run.
        device: where the model predicts.

    Raises:
        ModelFileError: there is neither run nor model, or the only thing there is damaged.
    """
    folder = path if path.is_dir() else path.parent if path.name == MODEL else None
    missing: list[str] = []
    run = None
    if folder is not None and (folder / CHECKPOINT).is_file():
        try:
            run = Run.open(folder)
        except RunError as fault:
            missing.append(str(fault))
    file = model = None
    try:
        file = read_model(path)
        model = tasks.task(file.task).Model.load(path if path.is_file() else path / MODEL, device=device)
    except ModelFileError as fault:
        if run is None:
            raise
        is_there = (folder or path).joinpath(MODEL).exists()
        missing.append(str(fault) if is_there else "no model yet: the run's first evaluation was not reached")
        file = None
    task = file.task if file is not None else str(run.config.get("task", "")) if run is not None else ""
    tasks.task(task)  # a name out of a file is one of ours, or refused
    found = Source(path, task, run, file, model, [], run is not None and run.is_held(), missing, files)
    found.record = record_of(found)
    return found


def record_of(found: Source) -> Sequence[LoggedRow]:
    """The evaluations: those of the log, else of the checkpoint, else of the model file."""
    if found.run is not None:
        try:
            rows = read_log(found.run.folder / LOG)
        except (OSError, ValueError) as fault:
            found.missing.append(
                f"{LOG}: cannot be read ({fault})" if not isinstance(fault, FileNotFoundError) else f"no {LOG}"
            )
            rows = []
        state = found.run.state if isinstance(found.run.state, dict) else {}
        if rows or not isinstance(state.get("position"), dict):
            return rows or (found.file.record if found.file is not None else [])
        return list(state["position"].get("record", []))
    return found.file.record if found.file is not None else []


def read_log(path: Path) -> Sequence[LoggedRow]:
    """The rows of a log, numbers as numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no log.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [{name: _value(cell) for name, cell in row.items() if name and cell} for row in csv.DictReader(lines)]
    if any(not isinstance(row.get("step"), float) for row in rows):
        raise ValueError("a row has no step")
    return rows


def _value(cell: str | list[str]) -> float | str:
    try:
        return float(str(cell))
    except ValueError:
        return str(cell)


def validation_part(model: Estimator, run: Run) -> Any:
    """The part of a run's data that its model was validated on, read anew.

    Raises:
        RunError: the files changed since the run began.
        DataError: they cannot be read.
    """
    config = run.config
    files, valid = (texts(config.get(part) or []) or None for part in ("files", "valid"))
    data, held = model._data(files, valid, None)
    if checksums_of(data, held) != config.get("sha256"):
        raise RunError(f"{', '.join(map(str, files or ()))}: changed since the run began")
    if held is not None:
        return held
    try:
        return model.split(data, whole(table(config["train"])["seed"]))[1]
    except SettingsError as fault:
        raise DataError(str(fault)) from fault


def column(rows: Sequence[LoggedRow], name: str) -> tuple[list[float], list[float]]:
    """Steps and the numbers of a column, of the rows that have one."""
    kept = [row for row in rows if isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool)]
    pairs = [(float(row["step"]), float(row[name])) for row in kept if isinstance(row.get("step"), int | float)]
    finite = [pair for pair in pairs if math.isfinite(pair[1])]
    return [step for step, _ in finite], [value for _, value in finite]
