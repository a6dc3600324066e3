"""The interface between a task and the training loop, which takes a `Job` and returns a `TrainResult`.

A file of its own, as tasks and loop both name it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from unrolled import markup
from unrolled.engine.trees import Tree
from unrolled.errors import SettingsError
from unrolled.files.model_file import EvaluationRow
from unrolled.json_values import Json
from unrolled.report import pictures
from unrolled.training.settings import TrainSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """What a learning curve shows.

    Attributes:
        metric: its name in the rows of the record.
        label: in words, such as "accuracy".
        baseline: the same of the baseline; None where it is not known.
        name: of the baseline.
    """

    metric: str = "loss"
    label: str = "validation loss"
    baseline: float | None = None
    name: str = "baseline"

    @classmethod
    def from_data(cls, data: Json) -> "Curve":
        """The curve that a model file describes; the loss where a file describes none."""
        if not isinstance(data, dict):
            return cls()
        # earlier files call the metric "figure"
        metric, label, name = data.get("metric", data.get("figure")), data.get("label"), data.get("name")
        baseline = data.get("baseline")
        if not (isinstance(metric, str) and isinstance(label, str) and isinstance(name, str)):
            return cls()
        return cls(metric, label, float(baseline) if isinstance(baseline, int | float) else None, name)

    def chart(self, record: list[EvaluationRow]) -> str:
        """The curve of a record beside the baseline, as HTML; nothing for fewer than two rows."""
        rows = [row for row in record if self.metric in row]
        if len(rows) < 2:
            return ""
        steps = [float(row["step"]) for row in rows]
        lines = [markup.Line(f"{self.label}, validation part", steps, [float(row[self.metric]) for row in rows])]
        if self.baseline is not None:
            lines.append(
                markup.Line(self.name, (steps[0], steps[-1]), [self.baseline] * 2, markup.GRAY, is_dashed=True)
            )
        ends = (f"step {steps[0]:,.0f}", f"step {steps[-1]:,.0f}")
        return markup.chart(lines, ends=ends, label=f"{self.label} by step")


class Job(Protocol):
    """What a task gives the loop.

    Attributes:
        module: what is trained, on its device.
        items_per_step: how many items a step of all processes takes, for the display of speed.
        item: their name, such as "char".
        steps_per_epoch: updates in which each example occurs once, at least 1; `patience` counts from a number of them.
        baseline_loss: what `evaluate` would return as "loss" for the baseline, which `most_minutes` needs; None where
            there is none.

    A job may also have `curve`, a `Curve`, if another of its metrics than the loss shows how it learns.
    """

    @property
    def items_per_step(self) -> int: ...

    @property
    def item(self) -> str: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def baseline_loss(self) -> float | None: ...

    @property
    def module(self) -> nn.Module: ...

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        """The loss of update `step`, and the state to carry to the next. `module` is the one given, or its wrapper for
        several processes; `carried` is None before the first step, later a tree of tensors and numbers.
        """
        ...

    def evaluate(self) -> dict[str, float]:
        """Metrics of the validation part; "loss" decides which weights are best. Must draw no random numbers."""
        ...

    def describe(self, metrics: dict[str, float]) -> str:
        """The metric that the user knows, with its unit, such as "2.31 bits/char"."""
        ...

    def save(self, path: Path, record: list[EvaluationRow]) -> None:
        """Writes the model file with the weights as they are, aside and renamed."""
        ...


@dataclass(frozen=True, repr=False)
class TrainResult:
    """How a training ended.

    Attributes:
        reason: why it stopped, in words.
        steps: updates made.
        seconds: time spent, over all sittings.
        best_step, best_loss: where the best weights come from; the job's module holds them now.
        record: a row an evaluation: step, seconds, the metrics, learning rate, gradient norm.
        curve: which of the metrics shows how it learned, and the baseline's.
        has_begun: whether it ended after three epochs, with the training loss off its starting level.
    """

    reason: str
    steps: int
    seconds: float
    best_step: int
    best_loss: float
    record: list[EvaluationRow]
    curve: Curve = field(default_factory=Curve)
    has_begun: bool = True

    def __str__(self) -> str:
        return f"{self.reason} after {clock(self.seconds)}; best at step {self.best_step:,} of {self.steps:,}"

    def __repr__(self) -> str:
        return f"<TrainResult: {self}>"

    def _repr_html_(self) -> str:
        return markup.block(markup.heading("TrainResult", str(self)), self.curve.chart(self.record))

    def plot(self) -> "Figure":
        """The learning curve beside the baseline, as a figure of matplotlib's; a notebook shows it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return pictures.learning(
            self.record, self.curve.metric, self.curve.label, baseline=self.curve.baseline, name=self.curve.name
        )


def check_baseline(job: Job, settings: TrainSettings) -> None:
    """Holds a job whose run may be extended to say what its baseline's loss is.

    Raises:
        SettingsError: it does not.
    """
    if settings.most_minutes and job.baseline_loss is None:
        raise SettingsError("most_minutes: nothing says what the baseline's loss is here; set minutes alone")


def curve_of(job: Job) -> Curve:
    """What its learning curve shows; the loss where a job does not say."""
    curve: Curve | None = getattr(job, "curve", None)
    return curve or Curve(baseline=job.baseline_loss)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, such as "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
