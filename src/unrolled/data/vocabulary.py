"""The vocabulary of tokens, of their characters, and of bigrams.

Inputs: tokens. Outputs: ids for the network. A vocabulary is fitted on the training part only. It can be written to the
model file as plain data, and read from it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

PAD, UNKNOWN = 0, 1
_MOST_CHARS = 24  # of a word that are looked at: more tell nothing new


class Vocabulary:
    """Names with numbers from 2 on; 0 is padding, 1 any other name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.ids = {name: i + 2 for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names) + 2

    @classmethod
    def fit(cls, names: Iterable[str], *, least: int = 1, most: int | None = None) -> "Vocabulary":
        """Of the names that occur `least` times or more, the `most` frequent."""
        counts = Counter(names)
        kept = sorted(
            (name for name, count in counts.items() if count >= least), key=lambda name: (-counts[name], name)
        )
        return cls(kept[:most])

    def numbers(self, names: Iterable[str]) -> list[int]:
        return [self.ids.get(name, UNKNOWN) for name in names]

    @property
    def rows(self) -> list[str]:
        """What each number stands for."""
        return ["\0padding", "\0unknown", *self.names]

    def with_new(self, other: "Vocabulary") -> "Vocabulary":
        """The same, and behind its names those that another one has beside them."""
        return Vocabulary([*self.names, *(name for name in other.names if name not in self.ids)])

    @classmethod
    def from_data(cls, data: object) -> "Vocabulary":
        """From a list of names, as read from a file.

        Raises:
            ModelFileError: it is no such list.
        """
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            raise ModelFileError("its vocabulary is damaged: expected a list of names")
        if len(set(data)) != len(data):
            raise ModelFileError("its vocabulary is damaged: a name occurs twice")
        return cls(data)


@dataclass
class TokenBatch:
    """Sentences as a network reads them; time first, padded at the end.

    Attributes:
        words: int64 [time, batch].
        pairs: int64 [time, batch], of each token with the next.
        forms: int64 [time, batch], the row of `chars` that has the token's characters.
        chars: int64 [distinct tokens, characters].
        lengths: int64 [batch].
    """

    words: Tensor
    pairs: Tensor
    forms: Tensor
    chars: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        # lengths stay where packing wants them
        words, pairs, forms, chars = (part.to(device) for part in (self.words, self.pairs, self.forms, self.chars))
        return TokenBatch(words, pairs, forms, chars, self.lengths)


@dataclass(frozen=True)
class TokenVocabulary:
    """What a network knows of tokens.

    Attributes:
        words: lower-cased words.
        chars: characters, as they are.
        pairs: neighbors, lower-cased, joined by a space.
    """

    words: Vocabulary
    chars: Vocabulary
    pairs: Vocabulary

    @classmethod
    def fit(cls, sentences: Sequence[Sequence[str]], *, least: int = 1, most_pairs: int = 0) -> "TokenVocabulary":
        """From the training part: words that occur `least` times, and the most frequent pairs that occur twice."""
        lowered = [[token.lower() for token in sentence] for sentence in sentences]
        words = Vocabulary.fit((token for sentence in lowered for token in sentence), least=least)
        chars = Vocabulary.fit(char for sentence in sentences for token in sentence for char in token)
        pairs = Vocabulary.fit((pair for sentence in lowered for pair in _pairs(sentence)), least=2, most=most_pairs)
        return cls(words, chars, pairs)

    def with_new(self, other: "TokenVocabulary") -> "TokenVocabulary":
        """The same, and behind what it has what another one has beside it: no number changes."""
        pairs = zip((self.words, self.chars, self.pairs), (other.words, other.chars, other.pairs), strict=True)
        return TokenVocabulary(*(mine.with_new(its) for mine, its in pairs))

    def synthetic(self, draw: np.random.Generator, length: int) -> list[str]:
        """A sentence of `length` known words at random."""
        known = [word for word in self.words.names if word.strip()] or ["a"]
        return [known[i] for i in draw.integers(len(known), size=length)]

    def encode(self, sentence: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Words, pairs and the tokens themselves, of one sentence."""
        lowered = [token.lower() for token in sentence]
        words = np.array(self.words.numbers(lowered), dtype=np.int64)
        return words, np.array(self.pairs.numbers(_pairs(lowered)), dtype=np.int64), list(sentence)

    def batch(self, encoded: Sequence[tuple[np.ndarray, np.ndarray, list[str]]]) -> TokenBatch:
        """Encoded sentences, none of them empty, side by side."""
        lengths = np.array([len(words) for words, _, _ in encoded])
        shape = (int(lengths.max()), len(encoded))
        words, pairs, forms = (np.zeros(shape, dtype=np.int64) for _ in range(3))
        seen: dict[str, int] = {}
        for i, (of_words, of_pairs, tokens) in enumerate(encoded):
            words[: lengths[i], i], pairs[: lengths[i], i] = of_words, of_pairs
            forms[: lengths[i], i] = [seen.setdefault(token, len(seen)) for token in tokens]
        width = max(3, min(_MOST_CHARS, max(map(len, seen))))
        chars = np.zeros((len(seen), width), dtype=np.int64)
        for token, row in seen.items():
            numbers = self.chars.numbers(token[:width])
            chars[row, : len(numbers)] = numbers
        tensor = torch.from_numpy
        return TokenBatch(tensor(words), tensor(pairs), tensor(forms), tensor(chars), tensor(lengths))

    def to_data(self) -> JsonObject:
        return {"words": self.words.names, "chars": self.chars.names, "pairs": self.pairs.names}

    @classmethod
    def from_data(cls, data: object) -> "TokenVocabulary":
        """What `to_data` gave.

        Raises:
            ModelFileError: it is not that.
        """
        if not isinstance(data, dict) or not {"words", "chars", "pairs"} <= data.keys():
            raise ModelFileError("its vocabulary is damaged")
        return cls(*(Vocabulary.from_data(data[name]) for name in ("words", "chars", "pairs")))


def _pairs(tokens: Sequence[str]) -> list[str]:
    return [f"{a} {b}" for a, b in zip(tokens, [*tokens[1:], ""], strict=False)]  # none of no tokens
