"""What a task and the training loop are to each other: a `Job` goes in, a `TrainResult` comes out.

A file of its own, as tasks and loop both name it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from unrolled.errors import SettingsError
from unrolled.training.settings import TrainSettings


class Job(Protocol):
    """What a task gives the loop.

    Attributes:
        module: what is trained, on its device.
        items_per_step: how many items a step of all processes takes, for the display of speed.
        item: their name, such as "char".
        steps_per_epoch: updates in which each example occurs once, at least 1; `patience` counts from a number of them.
        baseline_loss: what `evaluate` would return as "loss" for the baseline, which `most_minutes` needs; None where
            there is none.
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

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        """The loss of update `step`, and the state to carry to the next. `module` is the one given, or its wrapper for
        several processes; `carried` is None before the first step, later a tree of tensors and numbers.
        """
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures of the validation part; "loss" decides which weights are best. Must draw no random numbers."""
        ...

    def describe(self, figures: dict[str, float]) -> str:
        """The figure that the user knows, in words, such as "2.31 bits/char"."""
        ...

    def save(self, path: Path, record: list[dict[str, Any]]) -> None:
        """Writes the model file with the weights as they are, aside and renamed."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        reason: why it stopped, in words.
        steps: updates made.
        seconds: time spent, over all sittings.
        best_step, best_loss: where the best weights come from; the job's module holds them now.
        record: a row an evaluation: step, seconds, the figures, learning rate, gradient norm.
    """

    reason: str
    steps: int
    seconds: float
    best_step: int
    best_loss: float
    record: list[dict[str, Any]]


def check_baseline(job: Job, settings: TrainSettings) -> None:
    """Holds a job whose run may be extended to say what its baseline's loss is.

    Raises:
        SettingsError: it does not.
    """
    if settings.most_minutes and job.baseline_loss is None:
        raise SettingsError("most_minutes: nothing says what the baseline's loss is here; set minutes alone")
