"""What the models of all tasks share: fit, resume, save and load; a task fills in what is special to it."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from torch import nn

from unrolled.data.table import NOTHING, Learnt
from unrolled.errors import DataError, RunError, SettingsError
from unrolled.files.model_file import EvaluationRow
from unrolled.json_values import JsonObject, number, texts
from unrolled.randomness import set_aside
from unrolled.report.metrics import Metrics
from unrolled.settings import Settings
from unrolled.tasks.arguments import check_no_texts, checked_training
from unrolled.tasks.checksums import checksums_of
from unrolled.tasks.fitted import F, HasFitted, versions
from unrolled.tasks.notebook_view import NotebookView
from unrolled.tasks.parameters import Parameters
from unrolled.tasks.scored import Scored
from unrolled.tasks.starting import START, StartModel
from unrolled.training import processes
from unrolled.training.batches import Batches, batch_for
from unrolled.training.devices import choose_device, choose_precision
from unrolled.training.display import Display
from unrolled.training.interrupts import ending_signals_interrupt
from unrolled.training.job import Job, TrainResult, check_baseline, curve_of
from unrolled.training.loop import train
from unrolled.training.notebook import display_of_call
from unrolled.training.run_folder import Run
from unrolled.training.settings import TrainSettings
from unrolled.training.trackers import Callback, Log, flat, listed, tracked, with_rows

Files = Sequence[Path | str] | Path | str
Start = StartModel | None  # what a training starts from
S = TypeVar("S", bound=Settings)  # its settings
D = TypeVar("D")  # its data


class Splittable(Protocol):
    """Examples of which a part can be taken."""

    def __len__(self) -> int: ...

    def part(self, places: list[int]) -> Self: ...


P = TypeVar("P", bound=Splittable)
_ADVICE = {
    True: "Texts go with their answers: fit(texts, answers)",
    False: "Write the texts to a file, and name it",
}  # on texts in place of files, by whether the validation part may be a file


def _read_as(data: object) -> Learnt:
    """What reading data found out by itself; nothing of data in memory."""
    return {name: value for name, value in getattr(data, "read_as", NOTHING).items() if value}


def _read_both(reader: Any, data: object, valid: object) -> tuple[Any, Any]:
    """Data, and as they were read the validation part if one is given, by a model that learnt nothing yet."""
    whole = reader.as_data(data)
    reader.read_as = _read_as(whole)
    held = None if valid is None else reader.as_data(valid)
    return whole, held


def _tell(display: Display, notes: Sequence[str]) -> None:
    for note in notes:
        display.note(note)


class Estimator(Parameters[S], HasFitted[F], Scored, NotebookView, Generic[S, D, F]):
    """A model with a task's verbs. It takes settings, keywords such as `hidden=64` and `steps=200`, or both.

    Attributes:
        settings: as given.
        result: how the last training here ended; None before `fit`.
        notes: what was noticed on preparing a training, for the user.
        held: the validation part of the training; None where there was none in this process.
        read_as: what reading the training data found out, such as the column of texts; other data are read so too.
    """

    task: ClassVar[str]
    fits: ClassVar[type[Any]]  # F
    who: ClassVar[str]  # such as "a tagger"
    validates_on_files: ClassVar[bool] = True  # else the validation part is cut from the data, by time
    has_folds: ClassVar[bool] = True
    chunk: ClassVar[int] = 1000  # items that the command line predicts at once: what bounds the memory
    takes: ClassVar[str] = "TEXT"  # what the command line's `predict` takes
    source: ClassVar[str] = ""  # what it learns from where no file is given, if it does
    default_training: ClassVar[TrainSettings] = TrainSettings(minutes=5, precision="float32")

    def __init__(self, settings: S | None = None, **values: object) -> None:
        super().__init__(settings, values)
        self.result: TrainResult | None = None
        self.notes: list[str] = []
        self.held: D | None = None
        self.read_as: Learnt = {}
        self._fitted = None

    def set_params(self, **values: object) -> Self:
        """Sets settings by name, the model's or its training's. What was fitted with others is dropped.

        Raises:
            SettingsError: there is no setting of a name, or a value is out of its range; nothing is set then.
        """
        self._take(values)
        if values:
            self._fitted, self.held, self.result, self.read_as = None, None, None, {}
        return self

    @abstractmethod
    def read(self, files: Files) -> D:
        """Data of the task, from files; with `sha256`, and `notes` for the user."""

    def split(self, data: Any, seed: int) -> tuple[D, D]:
        """A part for training and one for validation."""
        return split_in_two(data, number(self.settings.to_dict()["validation"]), seed)

    def folds(self, data: Any, n: int, seed: int) -> Iterator[tuple[D, D | None]]:
        """`n` parts for training, each with the part that it is validated on; None where that is cut from the first.

        Raises:
            SettingsError: there are too few examples.
        """
        yield from drawn_folds(data, n, seed)

    @abstractmethod
    def prepare(
        self, data: D, valid: D, training: TrainSettings, device: torch.device, start: F | None = None
    ) -> tuple[F, Job]:
        """What is fitted on the training part, with a new network, and its training. From what `start` has fitted come
        weights, vocabulary and scalers; what it does not know is added, and the baseline is fitted anew.
        """

    def _check_given(self, answers: object, valid: object) -> None:
        """Refuses what the task's `fit` has no use for.

        Raises:
            SettingsError: one of these is given, and the task takes none.
        """

    def fit(
        self,
        data: object,
        answers: object = None,
        *,
        valid: object = None,
        train: TrainSettings | None = None,
        start: object = None,
        run: Path | str | None = None,
        display: Display | None = None,
        log: Log = (),
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Learns from files or from data in memory; the best weights on the validation part are left in the model.

        Args:
            data: files, or examples in memory: see `as_data`.
            answers: of the examples, where `data` has them without.
            valid: the validation part, files or pairs of examples and answers; a share of `data` if None.
            train: bounds, optimizer, schedule; `train_settings` if None, with a quarter of the learning rate if
                there is `start`.
            start: a fitted model of the task, or the path of its file or run folder: the training starts from its
                weights. Its sizes and scalers are kept, new labels, words and characters are added, and settings that
                are not given here are the model's.
            run: a new folder for checkpoints, the best model and the log, to resume from; needs files.
            display: told of the progress; if None, a notebook shows it, and all else is silent.
            log: trackers that get its rows: "tensorboard", "mlflow", "wandb", "trackio", or objects as `Tracker` says.
            callbacks: each gets step and metrics of every row, and stops the training by returning True.

        Returns:
            The model itself; `result` has how its training ended.

        Raises:
            DataError: a file cannot be used, or data do not fit `start`.
            ModelFileError: `start` cannot be used, or is of another task.
            SettingsError: settings contradict each other, the data, or `start`.
            DivergedError: the loss became NaN or infinite.
        """
        self._check_given(answers, valid)
        base = None if start is None else StartModel.of(start, type(self))
        train = checked_training(train, self.training_of(self._training_values, has_start=base is not None))
        if base is not None:
            self.settings = base.settings(self.settings, self._named)
        if answers is not None:
            data = self.paired(data, answers)
        if run is not None and not self.is_of_files(data):
            raise SettingsError("fit: run goes with files, from which it resumes")
        display = with_rows(display or display_of_call(), log, callbacks, run, self.task)
        device = choose_device(train.device)
        train = replace(train, precision=choose_precision(train.precision, device))
        processes.join(device)
        whole, held = self._data(data, valid, base)
        _tell(display, whole.notes)
        job = self._job(whole, held, train, device, base)
        kept = None
        if run is not None:
            files, of_valid = self.files_of(data), None if valid is None else self.files_of(valid)
            config: JsonObject = {"settings": self.settings.to_dict(), "train": train.to_dict(), "files": files}
            config |= {"task": self.task, "valid": of_valid, "sha256": checksums_of(whole, held)}
            kept = _new_run(run, config, log, base)
        self._train(job, train, kept, display)
        return self

    @classmethod
    def resume(cls, run: Run, *, display: Display | None = None) -> tuple[Self, TrainResult]:
        """Goes on with a run that was cut off, to the same weights, bit for bit where it is bounded by steps.

        Raises:
            RunError: its files have changed since.
            DataError: a file cannot be read any more.
        """
        with run.held():
            with run.restoring():
                model, config = cls(cls.kind.from_dict(run.config["settings"])), run.config
                training = TrainSettings.from_dict(config["train"])
                files, digest = texts(config["files"]), config["sha256"]
                valid = None if config.get("valid") is None else texts(config["valid"])
            base = StartModel.of_run(run.folder, config.get("start"), cls)
            whole, held = model._data(files or None, valid, base)
            if checksums_of(whole, held) != digest:
                raise RunError(
                    f"{run.folder}: {', '.join(files) or cls.source} changed since the run began. Train anew on it"
                )
            device = choose_device(training.device)
            processes.join(device)
            display = with_rows(display or display_of_call(), texts(config.get("log", [])), (), run.folder, cls.task)
            job = model._job(whole, held, training, device, base)
            return model, model._train(job, training, run, display)

    def is_of_files(self, data: object) -> bool:
        """Whether `fit` was given files, and not data in memory."""
        return are_files(data)

    def files_of(self, data: Any) -> list[str]:
        """Absolute paths of the files that `fit` was given."""
        return [str(Path(file).absolute()) for file in ([data] if isinstance(data, str | Path) else data)]

    def _data(self, data: object, valid: object, base: Start) -> tuple[Any, Any]:
        """Data, and the validation part if one is given."""
        for given in (data, valid):
            check_no_texts(given, _ADVICE[self.validates_on_files])
        return _read_both(type(self)(self.settings), data, valid)

    def _job(self, whole: D, held: D | None, training: TrainSettings, device: torch.device, base: Start = None) -> Job:
        part, self.held = (whole, held) if held is not None else self.split(whole, training.seed)
        with set_aside(device, training.seed):
            self.notes = [] if base is None else [f"starts from {base.name}, whose sizes are kept"]
            fitted, job = self.prepare(part, self.held, training, device, None if base is None else base.model.fitted)
        check_baseline(job, training)
        described: JsonObject = {} if base is None else {"start": base.name, "start_notes": list(self.notes)}
        self.read_as = _read_as(whole)
        described |= {"read_as": self.read_as} if self.read_as else {}
        described |= {"sha256": checksums_of(base, whole, held)}
        self._fitted = replace(fitted, training=training.to_dict() | self.amounts(part, self.held) | described)
        return job

    def amounts(self, part: Any, held: Any) -> JsonObject:
        """How much data a training has, for the model file."""
        return {"n_examples": len(part)}

    def _train(self, job: Job, training: TrainSettings, run: Run | None, display: Display) -> TrainResult:
        _tell(display, self.notes)
        n_shown = len(self.notes)
        with run.held() if run is not None else contextlib.nullcontext(), ending_signals_interrupt():
            display.start(items_per_step=job.items_per_step, item=job.item, curve=(curve := curve_of(job)))
            course: JsonObject = {"curve": asdict(curve), "item": job.item, "items_per_step": job.items_per_step}
            self._fitted = self.fitted.noting(course | {"versions": versions()})
            with tracked(display, {"task": self.task, **self.settings.to_dict(), **training.to_dict()}) as summary:
                try:
                    result = train(job, training, run=run, display=display)
                finally:
                    display.stop()
                fitted = self._fitted = replace(self.finish(cast("D", self.held)), record=result.record)
                self._fitted = replace(fitted.noting({"has_begun": result.has_begun}), metrics=self.judge(job))
                report = self.report()
                self.result = result = replace(result, curve=report.curve(curve))
                self._fitted = self.fitted.noting({"curve": asdict(result.curve)})
                _tell(display, self.notes[n_shown:])  # of `finish`
                display.judged(result, report.verdict())
                summary |= {"reason": result.reason, "steps": result.steps, "best_step": result.best_step}
                summary |= {"best_loss": result.best_loss, **flat(self.metrics)}
            if run is not None and processes.rank() == 0:
                self.save(run.model_path)
        return result

    def finish(self, valid: D) -> F:
        """What is fitted, with what the trained network needs from the validation part; with its metrics there where
        they would be too good by what is fitted on the same examples.
        """
        return self.fitted

    def judge(self, job: Any) -> Metrics:
        """Metrics of the trained model on the validation part, unless `finish` found them."""
        return self.fitted.metrics or self.evaluate(self.held)

    def keep(self, path: Path, record: list[EvaluationRow], metrics: Metrics | None = None) -> None:
        """Writes the model file amid a training, with the metrics so far."""
        self._fitted = replace(self.fitted, record=record, metrics=self.metrics if metrics is None else metrics)
        self.save(path)

    def save(self, path: Path | str) -> None:
        """Writes the model file: one .safetensors file with all that the verbs need, aside and renamed."""
        self.fitted.write(path, self.task, self.settings)

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> Self:
        """Reads a model file.

        Raises:
            ModelFileError: it cannot be used; nothing in it is executed.
        """
        settings, fitted = cls.fits.read(path, cls.task, cls.kind, device=device)
        model = cls(settings)
        model._fitted, model.read_as = fitted, fitted.read_as
        return model


def _new_run(folder: Path | str, config: JsonObject, log: Log, base: Start) -> Run:
    """A new run folder, made by the first process."""
    noted: JsonObject = {"start": None if base is None else base.name}
    noted["log"] = [each for each in listed(log) if isinstance(each, str)]
    if processes.rank() == 0:
        Run.create(folder, config | noted, {} if base is None else {START: base.model.save})
    processes.barrier()
    return Run.open(folder)


class ExampleJob:
    """A training on examples of different lengths, as the training loop sees it; a task adds loss and metrics."""

    item = "token"
    baseline_loss: float | None = None  # of a loss that the baseline has not

    def __init__(self, model: Any, lengths: Sequence[int], training: TrainSettings, device: torch.device) -> None:
        self.model = model
        self.device = device
        batch = model.settings.batch or batch_for(len(lengths), model.settings.most_batch)
        self.batches = Batches(lengths, batch, training.seed)
        self.steps_per_epoch = self.batches.n_batches
        self.items_per_step = round(self.batches.batch * sum(lengths) / len(lengths))

    @property
    def module(self) -> nn.Module:
        return self.model.fitted.net

    def save(self, path: Path, record: list[EvaluationRow]) -> None:
        self.model.keep(path, record)


def drawn_folds(data: P, n: int, seed: int) -> Iterator[tuple[P, P]]:
    """Parts for training and for validation, `n` times, drawn by the seed."""
    if len(data) < n:
        raise SettingsError(f"folds: {n} of {len(data)} examples; take fewer")
    order = np.random.default_rng((seed, 0xF01D)).permutation(len(data))
    for i in range(n):
        held = np.sort(order[i::n])
        rest = np.setdiff1d(np.arange(len(data)), held)
        yield data.part(rest.tolist()), data.part(held.tolist())


def split_in_two(data: P, share: float, seed: int) -> tuple[P, P]:
    """A part for training and one for validation, drawn by the seed."""
    n_valid = max(1, round(share * len(data)))
    if len(data) - n_valid < 1:
        raise DataError(f"there is {len(data)} example only; expected at least 2, better hundreds")
    order = np.random.default_rng((seed, 0x5917)).permutation(len(data))
    return data.part(sorted(order[n_valid:])), data.part(sorted(order[:n_valid]))


def paths_of(files: Files) -> list[Path | str]:
    """Files as a list."""
    return [files] if isinstance(files, str | Path) else list(files)


def are_files(data: object) -> bool:
    """Whether data is named by files, and not there itself."""
    return isinstance(data, str | Path) or (
        isinstance(data, list | tuple) and bool(data) and all(isinstance(each, str | Path) for each in data)
    )
