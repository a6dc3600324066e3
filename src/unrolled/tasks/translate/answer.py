"""A text and its translation."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unrolled.report import pictures
from unrolled.tasks.answers import Shown
from unrolled.tasks.fallback import MODEL
from unrolled.tasks.highlights import Highlight, in_words, with_highlights


@dataclass(frozen=True, repr=False)
class Translation(Shown):
    """A text and its translation.

    Attributes:
        text: the source, as given.
        translation: of it.
        score: mean log-probability of a subword by the network, in nats; None of a baseline's translation.
        source, target: the subwords; of a baseline's, the words.
        attention: float32 [target + 1, source], what was read for each subword and for the end.
        by: who answers: "model", or the name of a baseline.
        highlights: if asked for, of the network's translation what each word of the source, or subword where no spaces
            part words, adds to its log-probability, in `nats`; None of a baseline's.
        ids: of each part that was translated by itself, the numbers of its source and its target subwords.
    """

    text: str
    translation: str
    score: float | None
    source: list[str] = field(repr=False)
    target: list[str] = field(repr=False)
    attention: np.ndarray = field(repr=False)
    by: str = MODEL
    highlights: list[Highlight] | None = field(default=None, repr=False)
    ids: list[tuple[list[int], list[int]]] = field(default_factory=list, repr=False, compare=False)

    @property
    def value(self) -> str:
        """The translation."""
        return self.translation

    @property
    def confidence(self) -> float:
        """Geometric mean of the subwords' probabilities; 0 of a baseline's translation."""
        return 0.0 if self.score is None else math.exp(self.score)

    def to_dict(self) -> dict[str, object]:
        result = {"text": self.text, "translation": self.translation, "score": self.score, "by": self.by}
        return with_highlights(result, self.highlights)

    def rows(self) -> list[dict[str, object]]:
        return [{"text": self.text, "translation": self.translation, "score": self.score, "by": self.by}]

    def __str__(self) -> str:
        return self.translation + (in_words(self.highlights, "token", "nats") if self.highlights else "")

    def picture(self, path: Path | str) -> Path:
        """Draws what was read in the source for each subword."""
        return pictures.attention(self.source, [*self.target, "(end)"], self.attention, Path(path))
