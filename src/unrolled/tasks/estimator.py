"""What the models of all tasks share: fit, resume, save and load; a task fills in what is special to it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from unrolled.errors import DataError, ModelFileError, RunError, SettingsError
from unrolled.files.model_file import ModelFile, load_weights, read_model, without_numbers, write_model
from unrolled.randomness import set_aside
from unrolled.settings import Settings
from unrolled.training import processes
from unrolled.training.batches import Batches
from unrolled.training.display import Display
from unrolled.training.loop import Job, TrainResult, TrainSettings, choose_device, choose_precision, train
from unrolled.training.run_folder import Run

Files = Sequence[Path | str] | Path | str


class Estimator(ABC):
    """A model with a task's verbs.

    Attributes:
        settings: as given.
        net: the network; None before `fit`.
        figures: of the validation part, the model's and the floor's.
        record: the evaluations of the training.
        notes: what was noticed on preparing a training, for the user.
    """

    task: ClassVar[str]
    kind: ClassVar[type[Settings]]
    item: ClassVar[str] = "TEXT"  # what the command line's `predict` takes

    default_training: ClassVar[TrainSettings] = TrainSettings(minutes=5, precision="float32")

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = settings or self.kind()
        self.net: nn.Module | None = None
        self.figures: dict[str, Any] = {}
        self.record: list[dict[str, Any]] = []
        self.training: dict[str, Any] = {}
        self.notes: list[str] = []

    @abstractmethod
    def read(self, files: Files) -> Any:
        """Data of the task, from files; with `sha256`, and `notes` for the user."""

    @abstractmethod
    def split(self, data: Any, seed: int) -> tuple[Any, Any]:
        """A part for training and one for validation."""

    def folds(self, data: Any, n: int, seed: int) -> Iterator[tuple[Any, Any]]:
        """`n` parts for training, each with the part that it is validated on.

        Raises:
            SettingsError: there are too few examples.
        """
        if len(data) < n:
            raise SettingsError(f"folds: {n} of {len(data)} examples; take fewer")
        order = np.random.default_rng((seed, 0xF01D)).permutation(len(data))
        for i in range(n):
            held = np.sort(order[i::n])
            rest = np.setdiff1d(np.arange(len(data)), held)
            yield data.part(rest.tolist()), data.part(held.tolist())

    @abstractmethod
    def prepare(self, data: Any, valid: Any, training: TrainSettings, device: torch.device) -> Job:
        """Fits vocabulary and floor on the training part, and makes the network."""

    @abstractmethod
    def evaluate(self, data: Any) -> dict[str, Any]:
        """Figures on data with the answers, the model's and the floor's."""

    @abstractmethod
    def make_net(self) -> nn.Module:
        """The network, for the settings and the vocabulary that the model has."""

    @abstractmethod
    def to_parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
        """Vocabulary and floor as plain data, and tensors beside the network's."""

    @abstractmethod
    def from_parts(self, file: ModelFile) -> None:
        """Takes vocabulary and floor from a file."""

    @abstractmethod
    def as_data(self, data: Any) -> Any:
        """Data of the task, from files, from examples in memory, or as it is."""

    def fit(
        self,
        data: Any,
        answers: Any = None,
        *,
        valid: Any = None,
        train: TrainSettings | None = None,
        run: Path | str | None = None,
        display: Display | None = None,
    ) -> TrainResult:
        """Learns from files or from data in memory; the best weights on the validation part are left in the model.

        Args:
            data: files, or examples in memory: see `as_data`.
            answers: of the examples, where `data` has them without.
            valid: the validation part, files or pairs of examples and answers; a share of `data` if None.
            train: bounds, optimizer, schedule; the task's own if None.
            run: a new folder for checkpoints, the best model and the log, to resume from; needs files.
            display: told of the progress.

        Raises:
            DataError: a file cannot be used.
            SettingsError: settings contradict each other or the data.
            DivergedError: the loss became NaN or infinite.
        """
        train = train or self.default_training
        if answers is not None:
            data = list(zip(data, answers, strict=True))
        if run is not None and not are_files(data):
            raise SettingsError("fit: run goes with files, from which it resumes")
        device = choose_device(train.device)
        train = replace(train, precision=choose_precision(train.precision, device))
        processes.join(device)
        whole, held = self._data(data, valid)
        if display is not None:
            for note in whole.notes:
                display.note(note)
        job = self._job(whole, held, train, device)
        kept = None
        if run is not None:
            config = {
                "task": self.task,
                "settings": self.settings.to_dict(),
                "train": train.to_dict(),
                "files": _paths(data),
                "valid": None if valid is None else _paths(valid),
                "sha256": self.sha256,
            }
            if processes.rank() == 0:
                Run.create(run, config)
            processes.barrier()
            kept = Run.open(run)
        return self._train(job, train, kept, display)

    @classmethod
    def resume(cls, run: Run, *, display: Display | None = None) -> tuple[Self, TrainResult]:
        """Goes on with a run that was cut off, to the same weights, bit for bit where it is bounded by steps.

        Raises:
            RunError: its files have changed since.
            DataError: a file cannot be read any more.
        """
        model = cls(cls.kind.from_dict(run.config["settings"]))
        training = TrainSettings.from_dict(run.config["train"])
        whole, held = model._data(run.config["files"], run.config["valid"])
        if model.sha256 != run.config["sha256"]:
            raise RunError(
                f"{run.folder}: {', '.join(run.config['files'])} changed since the run began. Train anew on it"
            )
        device = choose_device(training.device)
        processes.join(device)
        job = model._job(whole, held, training, device)
        return model, model._train(job, training, run, display)

    def _data(self, data: Any, valid: Any) -> tuple[Any, Any]:
        whole = self.as_data(data)
        held = None if valid is None else self.as_data(valid)
        self.sha256 = whole.sha256 + (held.sha256 if held is not None else "")
        return whole, held

    def _job(self, whole: Any, held: Any, training: TrainSettings, device: torch.device) -> Job:
        part, self.held = (whole, held) if held is not None else self.split(whole, training.seed)
        with set_aside(device, training.seed):
            self.notes = []
            job = self.prepare(part, self.held, training, device)
        self.training = training.to_dict() | {"n_examples": len(part)}
        return job

    def _train(self, job: Job, training: TrainSettings, run: Run | None, display: Display | None) -> TrainResult:
        display = display or Display()
        for note in self.notes:
            display.note(note)
        display.start(items_per_step=job.items_per_step, item=job.item)
        try:
            result = train(job, training, run=run, display=display)
        finally:
            display.stop()
        self.record = result.record
        self.finish(self.held)
        self.figures = self.evaluate(self.held)
        if run is not None and processes.rank() == 0:
            self.save(run.model_path)
        return result

    def finish(self, valid: Any) -> None:
        """What is fitted on the validation part once the network is trained."""

    def save(self, path: Path | str) -> None:
        """Writes the model file: one .safetensors file with all that the verbs need, aside and renamed."""
        vocabulary, floor, tensors = self.to_parts()
        settings = {"model": self.settings.to_dict(), "training": self.training}
        weights = {f"model.{name}": value for name, value in self.fitted().state_dict().items()}
        write_model(
            path,
            ModelFile(
                self.task, settings, vocabulary, floor | {"figures": self.figures}, self.record, weights | tensors
            ),
        )

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> Self:
        """Reads a model file.

        Raises:
            ModelFileError: it cannot be used; nothing in it is executed.
        """
        file = read_model(path, task=cls.task)
        try:
            model = cls(cls.kind.from_dict(file.settings.get("model")))
            model.from_parts(file)
            with without_numbers():
                net = model.make_net()
            load_weights(net, file.tensors)
            model.net = net.to(choose_device(device)).eval()
        except (ModelFileError, SettingsError) as fault:
            raise ModelFileError(f"{path}: {fault}") from fault
        except (KeyError, TypeError, ValueError) as fault:
            raise ModelFileError(f"{path}: its description is damaged ({fault!r})") from fault
        model.figures = file.floor.get("figures", {})
        model.record, model.training = file.record, file.settings.get("training", {})
        return model

    @abstractmethod
    def table(self, figures: dict[str, Any]) -> list[str]:
        """What `evaluate` gave, in lines for the eye."""

    @abstractmethod
    def verdict(self, figures: dict[str, Any]) -> tuple[str, float, float]:
        """The figure that decides: its name, the model's and the best floor's; larger is better."""

    def in_words(self, figure: float) -> str:
        """A figure that `verdict` gave."""
        return f"{100 * figure:.2f} %"

    def last_line(self, figures: dict[str, Any]) -> str:
        """Whether the model is worth anything, in words."""
        name, model, floor = self.verdict(figures)
        shown, beside = self.in_words(model), self.in_words(floor)
        if model > floor:
            return f"The model beats the floor: {name} {shown} against {beside}."
        if model == floor:
            return f"The model is no better than the floor: {name} {shown} both."
        return f"The model LOSES to the floor: {name} {shown} against {beside}. Train longer, or give it more examples."

    def picture(self, figures: dict[str, Any], folder: Path) -> Path | None:
        """Draws what figures say into a folder; None where there is nothing to draw.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return None

    def fitted(self) -> Any:
        """The network.

        Raises:
            ModelFileError: there is none yet.
        """
        if self.net is None:
            raise ModelFileError(f"the model is not fitted yet. Call fit, or {type(self).__name__}.load")
        return self.net

    def ready(self) -> Any:
        """The network, set to predict."""
        net = self.fitted()
        return net.eval() if net.training else net  # eval walks all of its parts, at every prediction


class ExampleJob:
    """A training on examples of different lengths, as the training loop sees it; a task adds loss and figures."""

    item = "token"

    def __init__(self, model: Estimator, lengths: Sequence[int], training: TrainSettings, device: torch.device) -> None:
        self.model: Any = model
        self.device = device
        self.batches = Batches(lengths, model.settings.batch, training.seed)
        self.items_per_step = round(self.batches.batch * sum(lengths) / len(lengths))

    @property
    def module(self) -> nn.Module:
        return self.model.fitted()

    def save(self, path: Path, record: list[dict[str, Any]]) -> None:
        self.model.record = record
        self.model.save(path)


def split_in_two(data: Any, share: float, seed: int) -> tuple[Any, Any]:
    """A part for training and one for validation, drawn by the seed."""
    n_valid = max(1, round(share * len(data)))
    if len(data) - n_valid < 1:
        raise DataError(f"there is {len(data)} example only; expected at least 2, better hundreds")
    order = np.random.default_rng((seed, 0x5917)).permutation(len(data))
    return data.part(sorted(order[n_valid:])), data.part(sorted(order[:n_valid]))


def are_files(data: Any) -> bool:
    """Whether data is named by files, and not there itself."""
    return isinstance(data, str | Path) or (
        isinstance(data, list | tuple) and bool(data) and all(isinstance(each, str | Path) for each in data)
    )


def _paths(files: Files) -> list[str]:
    return [str(Path(file).absolute()) for file in ([files] if isinstance(files, str | Path) else files)]
