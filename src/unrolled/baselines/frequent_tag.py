"""The baseline of taggers: each word gets the tag that it had most often in the training part.

Beside it the same as log-probabilities, from which a network starts.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject


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

    def to_data(self) -> JsonObject:
        return {"tags": self.tags, "other": self.other}

    @classmethod
    def from_data(cls, data: object) -> "FrequentTag":
        """What `to_data` gave.

        Raises:
            ModelFileError: it is not that.
        """
        match data:
            case {"tags": dict(tags), "other": str(other)} if all(isinstance(tag, str) for tag in tags.values()):
                return cls(tags, other)
        raise ModelFileError("its baseline is damaged")


def tag_log_p(words: Sequence[np.ndarray], tags: Sequence[np.ndarray], n_words: int, n_tags: int) -> np.ndarray:
    """log P(tag | word), float32 [words, tags]: how often each word had each tag, smoothed by one occurrence of the
    average tag of words that occur once. A word that is not in the sentences has that average.

    Args:
        words: numbers of the words of each sentence, int64 [length].
        tags: numbers of their tags, likewise.
        n_words: how many words there are.
        n_tags: how many tags there are.
    """
    pairs = np.concatenate([n_tags * a + b for a, b in zip(words, tags, strict=True)])
    counts = np.bincount(pairs, minlength=n_words * n_tags).astype(np.float32).reshape(n_words, n_tags)
    totals = counts.sum(1, keepdims=True)
    single = counts[totals[:, 0] == 1].sum(0) + 1e-3 * counts.sum(0) + 1e-2
    average = single / single.sum()
    return np.log((counts + average) / (totals + 1))


def _first(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))
