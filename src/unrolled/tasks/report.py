"""The report of a model: tables, verdict, picture, and what a training came to.

Inputs: a fitted model, and what its `evaluate` returned. Outputs: lines of text, and picture files.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from unrolled.errors import UnrolledError
from unrolled.tasks.estimator import Estimator
from unrolled.training.job import TrainResult

M = TypeVar("M", bound=Estimator)


class TaskReport(ABC, Generic[M]):
    """A model's metrics in words.

    Attributes:
        model: fitted.
        figures: what `model.evaluate` returned; by default the metrics on the validation part.
    """

    def __init__(self, model: M, figures: dict[str, Any] | None = None) -> None:
        self.model = model
        self.figures = model.fitted.figures if figures is None else figures

    @abstractmethod
    def table(self) -> list[str]:
        """The metrics, in lines."""

    @abstractmethod
    def verdict(self) -> tuple[str, float, float]:
        """The figure that decides: its name, the model's and the best baseline's; larger is better."""

    def in_words(self, figure: float) -> str:
        """A figure that `verdict` returned."""
        return f"{100 * figure:.2f} %"

    def last_line(self) -> str:
        """Whether the model is worth anything, in words."""
        name, model, baseline = self.verdict()
        shown, beside = self.in_words(model), self.in_words(baseline)
        if model > baseline:
            return f"The model beats the baseline: {name} {shown} against {beside}."
        if model == baseline:
            return f"The model is no better than the baseline: {name} {shown} both."
        return (
            f"The model LOSES to the baseline: {name} {shown} against {beside}. Train longer, or give it more examples."
        )

    def picture(self, folder: Path) -> Path | None:
        """Draws what the metrics say into a folder; None where there is nothing to draw.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return None

    def of_evaluation(self, source: str) -> Iterator[str]:
        """What an evaluation came to, in lines; `source` names the data."""
        yield from self.table()
        yield ""
        yield self.last_line()

    def of_training(self, result: TrainResult, path: Path, test: Any = None) -> Iterator[str]:
        """What a training came to, in lines: the metrics beside the baseline's, where the model is, the verdict.

        Args:
            result: of the training.
            path: the model file; a picture is drawn beside it.
            test: data of the task; its metrics are computed, and decide.
        """
        yield f"stopped  {result.reason}; best at step {result.best_step}"
        yield f"\n{self.figures.get('part', 'validation')} part"
        yield from (f"  {line}" for line in self.table())
        last = self
        if test is not None:
            last = type(self)(self.model, self.model.evaluate(test))
            yield "\ntest file"
            yield from (f"  {line}" for line in last.table())
        try:
            if picture := last.picture(path.parent):
                yield f"\npicture  {picture}"
        except UnrolledError as fault:  # a picture is no reason to fail
            yield f"\npicture  none: {fault}"
        yield f"file     {path}\npredict  unrolled predict {path} {self.model.takes}"
        yield f"\n{last.last_line()}"
