"""What each token of a text did for an answer, found by hiding it.

Inputs: tokens, and what an answer comes to for versions of the text. Outputs: the tokens with their effects. Hiding
tells of the whole answer, the baseline's part in it too, which has no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unrolled.data.tokens import Token
from unrolled.data.vocabulary import UNKNOWN, TokenVocabulary

_ROWS = 64  # of a batch
_MOST = 5  # that are shown
Encoded = Any  # of a vocabulary


def hidden_versions(vocabulary: TokenVocabulary, pieces: Sequence[str]) -> list[tuple[Any, Any, list[str]]]:
    """A text, encoded, and after it the same with each token hidden."""
    words, pairs, forms = vocabulary.encode(list(pieces))
    versions = [(words, pairs, list(forms))]
    for i in range(len(pieces)):
        hidden_words, hidden_pairs, hidden_forms = words.copy(), pairs.copy(), list(forms)
        hidden_words[i] = hidden_pairs[i] = hidden_pairs[max(0, i - 1)] = UNKNOWN
        hidden_forms[i] = "\N{REPLACEMENT CHARACTER}"
        versions.append((hidden_words, hidden_pairs, hidden_forms))
    return versions


def in_batches(versions: Sequence[Any], answer: Callable[[Sequence[Any]], np.ndarray]) -> np.ndarray:
    """What `answer` returns for some versions at a time, one below the other."""
    return np.concatenate([answer(versions[i : i + _ROWS]) for i in range(0, len(versions), _ROWS)])


def effects(tokens: Sequence[Token], values: np.ndarray, unit: str) -> list[dict[str, Any]]:
    """Each token with its place in the text and, named by its unit, by how much the first value is above that without
    the token.
    """
    moved = (values[0] - values[1:]).tolist()
    return [
        {"token": token.text, "start": token.start, "end": token.end, unit: value}
        for token, value in zip(tokens, moved, strict=True)
    ]


def in_words(highlights: Sequence[dict[str, Any]], name: str, unit: str) -> str:
    """The largest effects in a line; `name` is the key of what has them."""
    moved = sorted(highlights, key=lambda each: -abs(each[unit]))[:_MOST]
    return "  " + ", ".join(f"{each[name]} {_signed(each[unit])}" for each in moved)


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+.4g}"
