"""What a training leaves: a frozen value, which is also what a model file holds.

Inputs: a network, and all that a task learned from the training data. Outputs: the parts of a model file, and back.
"""

import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from unrolled.data.table import Learnt
from unrolled.errors import ModelFileError, SettingsError
from unrolled.files.model_file import EvaluationRow, ModelFile, load_weights, read_model, write_model
from unrolled.json_values import Json, JsonObject, table
from unrolled.report.metrics import Metrics
from unrolled.settings import Settings
from unrolled.tasks.checksums import apart, checksums_of
from unrolled.training.devices import choose_device

S = TypeVar("S", bound=Settings)
Parts = tuple[JsonObject, JsonObject, dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Fitted(ABC):
    """What is fitted; a task adds its vocabulary, its scalers and its baseline.

    Attributes:
        net: the network. Its weights change while it trains; nothing else here does.
        metrics: metrics on the validation part, the model's and the baseline's.
        record: the evaluations of the training, oldest first.
        training: the training's settings, and how much data it had.
    """

    net: nn.Module
    metrics: Metrics = field(default_factory=dict)
    record: list[EvaluationRow] = field(default_factory=list)
    training: JsonObject = field(default_factory=dict)

    @abstractmethod
    def to_parts(self) -> Parts:
        """Vocabulary and baseline as plain data, and tensors beside the network's."""

    @classmethod
    @abstractmethod
    def from_parts(cls, file: ModelFile, settings: Any) -> Self:
        """The same from a file, with a network that has no weights yet, for settings of the task's kind.

        Raises:
            ModelFileError: a part is damaged. KeyError, TypeError and ValueError mean the same.
        """

    def write(self, path: Path | str, task: str, settings: Settings) -> None:
        """Writes the model file, aside and renamed."""
        vocabulary, baseline, tensors = self.to_parts()
        chosen = {"model": settings.to_dict(), "training": self.training}
        weights = {f"model.{name}": value for name, value in self.net.state_dict().items()}
        baseline = baseline | self.metrics_part()
        write_model(path, ModelFile(task, chosen, vocabulary, baseline, self.record, weights | tensors))

    @classmethod
    def read(cls, path: Path | str, task: str, kind: type[S], *, device: str) -> tuple[S, Self]:
        """Settings of a kind and what is fitted, from a model file of the task, its network on a device.

        Raises:
            ModelFileError: it cannot be used; nothing in it is executed.
        """
        file = read_model(path, task=task)
        try:
            settings = kind.from_dict(file.settings.get("model"))
            fitted = cls.from_parts(file, settings)
            load_weights(fitted.net, file.tensors)
            fitted.net.to(choose_device(device)).eval()
            metrics = fitted.metrics_of(file.baseline)
        except (ModelFileError, SettingsError) as fault:
            raise ModelFileError(f"{path}: {fault}") from fault
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
            raise ModelFileError(f"{path}: its description is damaged ({fault!r})") from fault
        return settings, replace(
            fitted, metrics=metrics, record=file.record, training=file.settings.get("training", {})
        )

    @property
    def read_as(self) -> Learnt:
        """What reading the training data found out by itself: texts, or lists of them, by name. Earlier model files
        note the column of texts alone.
        """
        noted = self.training.get("read_as", {"text": self.training.get("text_column")})
        return {name: value for name, value in noted.items() if _is_text(value)} if isinstance(noted, dict) else {}

    def noting(self, more: Mapping[str, Json]) -> Self:
        """The same, with more said of its training."""
        return replace(self, training={**self.training, **more})

    def without(self, name: str) -> Self:
        """The same, without one thing that is said of its training."""
        return replace(self, training={each: value for each, value in self.training.items() if each != name})

    def metrics_part(self) -> Metrics:
        """The metrics, as they stand beside the baseline in the file."""
        return {"figures": self.metrics}

    @classmethod
    def metrics_of(cls, baseline: JsonObject) -> Metrics:
        """The metrics, from there."""
        return table(baseline.get("figures", {}))


F = TypeVar("F", bound=Fitted)  # what a model fits


def _is_text(value: object) -> bool:
    """Whether a value out of a file is a text, or a list of those."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def versions() -> str:
    """What runs here, for the file of a model that is trained now."""
    from unrolled import __version__

    return f"unrolled {__version__}, torch {torch.__version__}, Python {platform.python_version()}"


class HasFitted(Generic[F]):
    """A model that is fitted, or not yet."""

    _fitted: F | None

    @property
    def fitted(self) -> F:
        """What is fitted. Every verb that needs it asks here first.

        Raises:
            ModelFileError: nothing is yet.
        """
        if self._fitted is None:
            raise ModelFileError(f"the model is not fitted yet. Call fit, or {type(self).__name__}.load")
        return self._fitted

    def ready(self) -> F:
        """What is fitted, its network set to predict."""
        fitted = self.fitted
        if fitted.net.training:  # eval walks all of its parts, at every prediction
            fitted.net.eval()
        return fitted

    @property
    def net(self) -> Any:
        """The network; None before `fit`."""
        return None if self._fitted is None else self._fitted.net

    @property
    def metrics(self) -> Metrics:
        """Metrics on the validation part, the model's and the baseline's; empty before `fit`."""
        return {} if self._fitted is None else self._fitted.metrics

    @property
    def figures(self) -> Metrics:
        """The metrics, by the name that they had in 0.1.0."""
        return self.metrics

    @property
    def record(self) -> list[EvaluationRow]:
        """The evaluations of the training; empty before `fit`."""
        return [] if self._fitted is None else self._fitted.record

    @property
    def training(self) -> JsonObject:
        """The training's settings, and how much data it had; empty before `fit`."""
        return {} if self._fitted is None else self._fitted.training

    def is_flattered_by(self, data: object, learnt: str = "") -> bool:
        """Whether metrics on data would be too good: each of their files is one that the model learnt from, or they are
        what it was given in memory, to learn from or to validate on, as a whole.

        Args:
            data: as `read` and `as_data` return them.
            learnt: checksums of the files of the training, for a model of an earlier version, which does not note them.
        """
        found, known = checksums_of(data), self.fitted.training.get("sha256", learnt)
        return bool(found) and apart(found) <= apart(known)

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None
