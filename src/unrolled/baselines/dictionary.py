"""The baseline of translation: each word by itself, through a dictionary learnt from the pairs.

IBM model 1, P. Brown et al., Computational Linguistics 19(2), 1993.
"""

from collections.abc import Sequence

import numpy as np

from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

_ROUNDS = 5
_MOST_PAIRS = 30_000_000  # pairs of words that are counted: what bounds memory


class Dictionary:
    """The likeliest word for each source word; one that training never saw stays as it is."""

    name = "word by word (IBM model 1)"

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words

    @classmethod
    def fit(cls, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> "Dictionary":
        """Sentences of words, and their translations."""
        places: tuple[dict[str, int], dict[str, int]] = ({}, {})
        rows, columns, n_of_sentence = [], [], []
        total = 0
        for source, target in zip(sources, targets, strict=True):
            a = np.array([places[0].setdefault(word.lower(), len(places[0])) for word in source], dtype=np.int64)
            b = np.array([places[1].setdefault(word, len(places[1])) for word in target], dtype=np.int64)
            total += len(a) * len(b)
            if total > _MOST_PAIRS:
                break
            rows.append(np.repeat(a, len(b)))
            columns.append(np.tile(b, len(a)))
            n_of_sentence.append((len(a), len(b)))
        n_targets = max(1, len(places[1]))
        links, at = np.unique(np.concatenate(rows) * n_targets + np.concatenate(columns), return_inverse=True)
        # one group for each target word of each sentence: what its source words share
        groups, offset = [], 0
        for n, m in n_of_sentence:
            groups.append(np.tile(np.arange(m), n) + offset)
            offset += m
        group = np.concatenate(groups)
        of_source = links // n_targets
        chance = np.ones(len(links))
        for _ in range(_ROUNDS):
            share = chance[at]
            share /= np.bincount(group, share, offset)[group]
            counts = np.bincount(at, share, len(links))
            chance = counts / np.bincount(of_source, counts, len(places[0]))[of_source]
        names = (list(places[0]), list(places[1]))
        order = np.lexsort((chance, of_source))
        last = order[np.append(np.diff(of_source[order]) > 0, True)]  # the likeliest of each source word
        words = {names[0][i]: names[1][j] for i, j in zip(of_source[last], links[last] % n_targets, strict=True)}
        return cls(words)

    def translate(self, words: Sequence[str]) -> list[str]:
        """A word for each."""
        return [self.words.get(word.lower(), word) for word in words]

    def to_data(self) -> JsonObject:
        return {"words": self.words}

    @classmethod
    def from_data(cls, data: object) -> "Dictionary":
        match data:
            case {"words": dict(words)} if all(isinstance(word, str) for word in words.values()):
                return cls(words)
        raise ModelFileError("its dictionary is damaged")
