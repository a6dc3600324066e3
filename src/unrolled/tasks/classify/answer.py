"""The class of an item, with its probabilities."""

from dataclasses import dataclass
from typing import Any

from unrolled.tasks.answers import Shown
from unrolled.tasks.highlights import Highlight, in_words, with_highlights


@dataclass(frozen=True, repr=False)
class Classified(Shown):
    """A text with its class.

    Attributes:
        text: as given.
        labels: its class, as it was in the training; where a text may have several, those more likely than not.
        probabilities: of all classes, the likeliest first.
        highlights: if asked for, what each token did for the likeliest class: by how much, in nats, its log-probability
            falls when the token is hidden, with the token's place in the text.
    """

    text: str
    labels: list[Any]
    probabilities: dict[Any, float]
    highlights: list[Highlight] | None = None
    is_multiple: bool = False

    @property
    def value(self) -> object:
        """The label, or the list of labels where a text may have several."""
        return self.labels if self.is_multiple else self.labels[0]

    def to_dict(self) -> dict[str, object]:
        result: dict[str, object] = {"text": self.text, "labels": self.labels, "probabilities": self.probabilities}
        return with_highlights(result, self.highlights)

    def rows(self) -> list[dict[str, object]]:
        """One row: the text, its labels, and the probability of each class."""
        named = {f"p({name})": round(self.probabilities[name], 6) for name in sorted(self.probabilities)}
        return [{"text": self.text, "labels": ";".join(map(str, self.labels)), **named}]

    def __str__(self) -> str:
        names = self.labels or [next(iter(self.probabilities))]
        shown = ", ".join(f"{name} ({100 * self.probabilities[name]:.0f} %)" for name in names)
        if not self.labels:
            shown = f"none; likeliest {shown}"
        if self.highlights:
            shown += in_words(self.highlights, "token", "nats")
        return shown
