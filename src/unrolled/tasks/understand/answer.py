"""The intent of a sentence, and its slots."""

import json
from dataclasses import dataclass

from unrolled.data import schemes
from unrolled.tasks.answers import Shown
from unrolled.tasks.highlights import Highlight, in_words, with_highlights


@dataclass(frozen=True, repr=False)
class Understood(Shown):
    """A sentence understood.

    Attributes:
        text: as given.
        intent: what it wants.
        probability: of that intent.
        slots: start and end in `text`, in characters, label, and the words themselves.
        highlights: if asked for, what each token did for the intent: by how much, in nats, its log-probability falls
            when the token is hidden, with the token's place in the text.
    """

    text: str
    intent: str
    probability: float
    slots: list[schemes.LocatedSpan]
    highlights: list[Highlight] | None = None

    @property
    def value(self) -> str:
        """The intent."""
        return self.intent

    def to_dict(self) -> dict[str, object]:
        result = {"text": self.text, "intent": self.intent, "probability": self.probability, "slots": self.slots}
        return with_highlights(result, self.highlights)

    def rows(self) -> list[dict[str, object]]:
        """One row; slots as JSON."""
        row = {"text": self.text, "intent": self.intent, "probability": self.probability}
        return [row | {"slots": json.dumps(self.slots, ensure_ascii=False)}]

    def __str__(self) -> str:
        slots = "".join(f"; {slot['label']}: {slot['text']}" for slot in self.slots)
        moved = in_words(self.highlights, "token", "nats") if self.highlights else ""
        return f"{self.intent} ({100 * self.probability:.0f} %){slots}{moved}"
