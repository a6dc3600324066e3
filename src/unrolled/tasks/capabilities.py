"""What a model can do: the command line asks for these, and knows no task.

A model has a capability by having its methods; nothing is declared. Options of a verb are the arguments it takes.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unrolled import tasks
from unrolled.data.items import ItemForm, Items
from unrolled.insight.units import UnitActivity
from unrolled.settings import Settings, option
from unrolled.tasks.estimator import Estimator


class Answer(Protocol):
    """What a model says of one item; `str` shows it to a person."""

    def to_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        ...

    def rows(self) -> list[dict[str, object]]:
        """As rows of a table."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Answers texts or sounds."""

    @property
    def predict_all(self) -> Callable[..., list[Answer]]:
        """Takes items, and options of its own; returns an answer for each."""
        ...


@runtime_checkable
class PredictsTables(Protocol):
    """Answers tables."""

    @property
    def needs_table(self) -> str:
        """Why this model takes a table, for a user who gave none; empty where it takes texts."""
        ...

    @property
    def predict_table(self) -> Callable[..., list[Answer]]:
        """Takes paths of tables, and options of its own; returns answers."""
        ...


@runtime_checkable
class TellsBeside(Protocol):
    """Tells what stood beside the items of the last table that it answered."""

    beside: Sequence[dict[str, str]]


@runtime_checkable
class ReadsItems(Protocol):
    """Takes items out of files of its task; of others the command line takes texts."""

    def items_of(self, path: Path, form: ItemForm) -> Items | None:
        """Items in a file of the form that the task learns from; None if it has another form."""
        ...


@dataclass(frozen=True)
class GenerateSettings(Settings):
    """How to write text."""

    length: int = option(500, "units to write", least=0)
    temperature: float = option(1.0, "below 1: likelier text, above 1: wilder; 0: the likeliest unit always", least=0)
    top_k: int = option(0, "draw from the k likeliest units only; 0: from all", least=0)
    top_p: float = option(1.0, "draw from the fewest units that together are this likely", above=0, most=1)


@runtime_checkable
class ShowsUnits(Protocol):
    """Shows what its single units do as they read a text."""

    def activity(self, text: str, *, name: str = "text") -> UnitActivity:
        """The value of every unit after each character; errors call the text by its name."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Writes text."""

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Text after the prompt, as it comes; see `GenerateSettings`."""
        ...


class HasText(Protocol):
    """A transcript."""

    @property
    def text(self) -> str:
        """What was said."""
        ...


class AudioStream(Protocol):
    """Sound that comes in chunk by chunk.

    Attributes:
        rate: samples a second of what comes in.
        busy_s: seconds that the machine took.
    """

    rate: int
    busy_s: float

    @property
    def seconds(self) -> float:
        """Of sound that came in."""
        ...

    def accept(self, samples: np.ndarray) -> str:
        """Takes samples; returns the text so far."""
        ...

    def finish(self) -> HasText:
        """The sound is over; returns the whole transcript."""
        ...


@runtime_checkable
class Streams(Protocol):
    """Transcribes sound while it comes in."""

    def stream(self, rate: int | None = None) -> AudioStream:
        """Takes samples a second of what will come; the model's own if None."""
        ...


def takes(kind: type, verb: str, option: str) -> bool:
    """Whether models, or answers, of a class have a verb that takes an option."""
    return option in inspect.signature(getattr(kind, verb, _nothing)).parameters


def has(verb: str) -> str:
    """Which models have a verb, in words."""
    return " or ".join(kind.who for kind in _kinds() if hasattr(kind, verb))


def who(option: str) -> str:
    """Which models have a verb that takes an option, in words, such as "a classifier"."""
    verbs = ("predict_all", "predict_table", "evaluate")
    return " or ".join(kind.who for kind in _kinds() if any(takes(kind, verb, option) for verb in verbs))


def _kinds() -> list[type[Estimator]]:
    return [tasks.task(name).Model for name in tasks.names()]


def _nothing() -> None:
    """Takes no options."""
