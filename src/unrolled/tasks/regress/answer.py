"""The number of an item, with an interval."""

from dataclasses import dataclass

from unrolled.tasks.answers import Shown
from unrolled.tasks.highlights import Highlight, in_words, with_highlights


@dataclass(frozen=True, repr=False)
class Estimated(Shown):
    """A text or window with its number.

    Attributes:
        text: as given; the name of a window.
        number: what it comes to.
        low, high: between them the truth was for 80 % of the validation part; None where that had too few items.
        highlights: if asked for, what each token of a text did: by how much the number falls when the token is hidden,
            with the token's place in the text.
    """

    text: str
    number: float
    low: float | None = None
    high: float | None = None
    highlights: list[Highlight] | None = None

    @property
    def value(self) -> float:
        """The number."""
        return self.number

    def to_dict(self) -> dict[str, object]:
        result = {"text": self.text, "number": self.number, "low": self.low, "high": self.high}
        return with_highlights(result, self.highlights)

    def rows(self) -> list[dict[str, object]]:
        """One row."""
        return [{"text": self.text, "number": self.number, "low": self.low, "high": self.high}]

    def __str__(self) -> str:
        around = "" if self.low is None else f"  ({self.low:.6g} to {self.high:.6g})"
        moved = in_words(self.highlights, "token", "effect") if self.highlights else ""
        return f"{self.number:.6g}{around}{moved}"
