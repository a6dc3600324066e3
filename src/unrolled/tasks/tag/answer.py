"""A text with the spans or tags that were found in it."""

from dataclasses import dataclass

from unrolled.data import schemes
from unrolled.tasks.answers import Shown


@dataclass(frozen=True, repr=False)
class TaggedText(Shown):
    """A text with what was found in it.

    Attributes:
        text: as given; tokens joined by spaces where tokens were given.
        tokens, tags: its tokens and the tag of each, in the scheme of the training files.
        spans: start and end in `text`, in characters, label, and the words themselves; empty for plain tags.
    """

    text: str
    tokens: list[str]
    tags: list[str]
    spans: list[schemes.LocatedSpan]

    @property
    def value(self) -> list[str]:
        """The tags."""
        return self.tags

    def to_dict(self) -> dict[str, object]:
        return {"text": self.text, "tokens": self.tokens, "tags": self.tags, "spans": self.spans}

    def rows(self, sentence: int = 1) -> list[dict[str, object]]:
        """A row for each token, with the numbers of the sentence and of the token in it, from 1."""
        return [
            {"sentence": sentence, "number": number, "token": token, "tag": tag}
            for number, (token, tag) in enumerate(zip(self.tokens, self.tags, strict=True), 1)
        ]

    def __str__(self) -> str:
        if any(tag != "O" for tag in self.tags) and not self.spans:
            return " ".join(f"{token}/{tag}" for token, tag in zip(self.tokens, self.tags, strict=True))
        return "; ".join(f"{span['label']}: {span['text']}" for span in self.spans) or "(nothing found)"
