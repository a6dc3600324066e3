"""A model's score, as scikit-learn asks for it.

Inputs: items and answers. Outputs: the metric that decides. A file of its own, as it asks the task's report.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from unrolled import tasks
from unrolled.data.in_memory import as_list, same_number
from unrolled.report.metrics import Metrics


class Scored(ABC):
    """A model with metrics on data that have the answers."""

    task: ClassVar[str]

    @abstractmethod
    def evaluate(self, data: Any) -> Metrics:
        """Metrics on data with the answers, the model's and the baseline's."""

    @abstractmethod
    def as_data(self, data: Any) -> Any:
        """Data of the task, from files, from examples in memory, or as it is."""

    def _data_of(self, data: Any) -> Any:
        """Data that `evaluate` was given, as it reads them."""
        return self.as_data(data)

    @abstractmethod
    def is_flattered_by(self, data: object, learnt: str = "") -> bool:
        """Whether metrics on data would be too good, as the model learnt from them."""

    def paired(self, data: object, answers: object) -> Any:
        """Items and their answers, each a list, an array or a series, as data that `as_data` takes.

        Raises:
            DataError: they are not as many.
        """
        items, found = as_list(data), as_list(answers)
        same_number(items, found)
        return list(zip(items, found, strict=True))

    def report(self, data: object = None, answers: object = None) -> Any:
        """Metrics beside the baseline's and the verdict, in words: `print` it, or let a notebook show it.

        Args:
            data: with the answers, as `evaluate` takes them; or items alone. The part that `fit` kept apart if None.
            answers: of the items.

        Returns:
            A `TaskReport`, whose verdict says where the model learnt from these data.
        """
        if data is None:
            return self._report(None)
        found = self._data_of(data if answers is None else self.paired(data, answers))
        return self._report(self.evaluate(found), is_flattered=self.is_flattered_by(found))

    def _report(self, metrics: Metrics | None, *, is_flattered: bool = False) -> Any:
        return tasks.task(self.task).Report(self, metrics, is_flattered=is_flattered)

    def score(self, data: object, answers: object = None) -> float:
        """The metric that decides in the report, an error with its sign turned: the larger the better.

        Args:
            data: with the answers, as `evaluate` takes them; or items alone.
            answers: of the items.
        """
        metrics = self.evaluate(data if answers is None else self.paired(data, answers))
        found = self._report(metrics).comparison()
        return float(-found.model if found.is_error else found.model)
