"""The baseline of taggers: each word gets the tag that it had most often in the training part."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from unrolled.errors import ModelFileError


class FrequentTag:
    """Most frequent tag of a word, as it is written; words never seen get the most frequent tag of all."""

    name = "most frequent tag of the word"

    def __init__(self, tags: dict[str, str], other: str) -> None:
        self.tags, self.other = tags, other

    @classmethod
    def fit(cls, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> "FrequentTag":
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for tokens, of_tokens in zip(sentences, tags, strict=True):
            for token, tag in zip(tokens, of_tokens, strict=True):
                counts[token][tag] += 1
        total = sum(counts.values(), Counter())
        other = _first(total)
        # words with the tag of all others need no entry
        return cls({token: tag for token, each in counts.items() if (tag := _first(each)) != other}, other)

    def predict(self, tokens: Sequence[str]) -> list[str]:
        return [self.tags.get(token, self.other) for token in tokens]

    def to_data(self) -> dict[str, Any]:
        return {"tags": self.tags, "other": self.other}

    @classmethod
    def from_data(cls, data: Any) -> "FrequentTag":
        """What `to_data` gave.

        Raises:
            ModelFileError: it is not that.
        """
        match data:
            case {"tags": dict(tags), "other": str(other)} if all(isinstance(tag, str) for tag in tags.values()):
                return cls(tags, other)
        raise ModelFileError("its baseline is damaged")


def _first(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))
