"""What a notebook shows of a model: what it is, what it learned from, and how good it is.

Inputs: a model, fitted or not. Outputs: HTML. A file of its own, as all tasks share it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from unrolled import markup, tasks
from unrolled.data.counted import counted
from unrolled.files.model_file import EvaluationRow
from unrolled.json_values import Json, JsonObject, texts, whole
from unrolled.training.job import TrainResult, clock

_SHAPE = ("cell", "encoder", "layers", "hidden", "units", "horizon")  # settings that are shown even if not changed
_MOST_CHARS = 300  # of the settings


class NotebookView(ABC):
    """A model as HTML in a notebook: its settings, and after `fit` its network and metrics."""

    task: ClassVar[str]
    result: TrainResult | None

    @abstractmethod
    def report(self, data: object = None, answers: object = None) -> Any:
        """Metrics beside the baseline's, and the verdict."""

    @abstractmethod
    def get_params(self, *, deep: bool = True) -> dict[str, object]:
        """All settings by name."""

    @property
    @abstractmethod
    def net(self) -> Any:
        """The network; None before `fit`."""

    @property
    @abstractmethod
    def record(self) -> list[EvaluationRow]:
        """The evaluations of the training."""

    @property
    @abstractmethod
    def training(self) -> JsonObject:
        """The training's settings, and how much data it had."""

    def _repr_html_(self) -> str:
        head = markup.heading(type(self).__name__, tasks.task(self.task).HELP.purpose)
        known = {"settings": _settings(self.get_params(), type(self)().get_params())}
        if self.net is None:
            return markup.block(head, markup.facts(known), markup.sentence("Not fitted yet: call fit."))
        report = self.report()
        known |= report.facts() | {
            "network": _size(self.net),
            **of_training(self.training, self.record),
        }
        curve = self.result.curve.chart(self.record) if self.result is not None else ""
        folded = markup.details("learning curve", curve) if curve else ""
        return markup.block(head, markup.facts(known), report.html(), folded)


def _settings(own: Mapping[str, object], usual: Mapping[str, object]) -> str:
    """Those that make the network's shape, and those that are not the usual ones."""
    shown = {name: value for name, value in own.items() if name in _SHAPE or value != usual[name]}
    text = ", ".join(f"{name}={value!r}" for name, value in shown.items())
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 3]}..."


def _size(net: nn.Module) -> str:
    tensors = list(net.parameters())
    kib = sum(each.numel() * each.element_size() for each in tensors) / 2**10
    size = f"{kib:,.1f} KiB" if kib < 1000 else f"{kib / 2**10:,.1f} MiB"
    return f"{sum(each.numel() for each in tensors):,} parameters, {size}"


def of_training(training: Mapping[str, Json], record: list[EvaluationRow]) -> dict[str, str]:
    """What a model file says of its training beside the settings, in words; "" where it says nothing.

    Args:
        training: see `Fitted`.
        record: the evaluations of the training.
    """
    read_as = training.get("read_as")
    return {
        "trained on": _amount(training),
        "read as": _read(read_as) if isinstance(read_as, dict) else "",
        "started from": str(training.get("start", "")),
        "training": _course(record),
        "trained with": str(training.get("versions", "")),
    }


def _read(read_as: JsonObject) -> str:
    """How the training data were read, and later ones are."""
    known = dict(read_as)
    parts = []
    match known.pop("time", None):
        case "row":
            parts.append("rows in their order")
        case str(time):
            parts.append(f"time in column {time!r}")
    if targets := texts(known.pop("targets", [])):
        parts.append(f"{counted(len(targets), 'target')} in {', '.join(map(repr, targets))}")
    if decimal := known.pop("decimal", None):
        parts.append(f"decimal mark {decimal!r}")
    if scheme := known.pop("scheme", None):
        parts.append(f"tags in the scheme {scheme}")
    if layout := texts(known.pop("layout", [])):
        parts.append(f"tokens in column {int(layout[1]) + 1} of {layout[0]}")
    return ", ".join([*(f"{name} in column {column!r}" for name, column in known.items()), *parts])


def _amount(training: Mapping[str, Json]) -> str:
    named = {
        "items": "character[|s] or bytes",
        "n_series": "[series|series]",
        "n_values": "value",
        "n_examples": "example",
    }
    data = [str(training["data"])] if training.get("data") else []
    amounts = [counted(whole(training[name]), words) for name, words in named.items() if training.get(name)]
    return ", ".join(data + amounts)


def _course(record: list[EvaluationRow]) -> str:
    """How long it was trained, and where the best weights come from."""
    if not record:
        return ""
    best, last = min(record, key=lambda row: row["loss"]), record[-1]
    return f"{last['step']:,} steps in {clock(last['seconds'])}, the best at step {best['step']:,}"
