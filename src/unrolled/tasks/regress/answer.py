"""The number of an item, with an interval."""

from dataclasses import dataclass
from typing import Any

from unrolled.tasks.answers import Shown


@dataclass(frozen=True, repr=False)
class Estimated(Shown):
    """A text or window with its number.

    Attributes:
        text: as given; the name of a window.
        number: what it comes to.
        low, high: between them the truth was for 80 % of the validation part; None where that had too few items.
    """

    text: str
    number: float
    low: float | None = None
    high: float | None = None

    @property
    def value(self) -> float:
        """The number."""
        return self.number

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "number": self.number, "low": self.low, "high": self.high}

    def rows(self) -> list[dict[str, Any]]:
        """One row."""
        return [self.to_dict()]

    def __str__(self) -> str:
        around = "" if self.low is None else f"  ({self.low:.6g} to {self.high:.6g})"
        return f"{self.number:.6g}{around}"
