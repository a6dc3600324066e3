"""What each token of a text did for an answer, found by hiding it.

Inputs: tokens, and what an answer comes to for versions of the text. Outputs: the tokens with their effects. Hiding
tells of the whole answer, the baseline's part in it too, which has no gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypedDict, TypeVar

import numpy as np

from unrolled.data.tokens import Token
from unrolled.data.vocabulary import UNKNOWN, TokenVocabulary

_ROWS = 64  # of a batch
_MOST = 5  # that are shown
Encoded = tuple[np.ndarray, np.ndarray, list[str]]  # words, pairs, and the forms of the words
V = TypeVar("V")
Unit = Literal["nats", "effect"]


class Highlight(TypedDict, total=False):
    """What a part of an input did: a token with its place in the text, or the stamp of a value; and its effect, named
    by its unit.
    """

    token: str
    start: int
    end: int
    stamp: str
    nats: float
    effect: float


def hidden_versions(vocabulary: TokenVocabulary, pieces: Sequence[str]) -> list[Encoded]:
    """A text, encoded, and after it the same with each token hidden."""
    words, pairs, forms = vocabulary.encode(list(pieces))
    versions = [(words, pairs, list(forms))]
    for i in range(len(pieces)):
        hidden_words, hidden_pairs, hidden_forms = words.copy(), pairs.copy(), list(forms)
        hidden_words[i] = hidden_pairs[i] = hidden_pairs[max(0, i - 1)] = UNKNOWN
        hidden_forms[i] = "\N{REPLACEMENT CHARACTER}"
        versions.append((hidden_words, hidden_pairs, hidden_forms))
    return versions


def in_batches(versions: Sequence[V], answer: Callable[[Sequence[V]], np.ndarray]) -> np.ndarray:
    """What `answer` returns for some versions at a time, one below the other."""
    return np.concatenate([answer(versions[i : i + _ROWS]) for i in range(0, len(versions), _ROWS)])


def effects(tokens: Sequence[Token], values: np.ndarray, unit: Unit) -> list[Highlight]:
    """Each token with its place in the text and, named by its unit, by how much the first value is above that without
    the token.
    """
    moved = (values[0] - values[1:]).tolist()
    found: list[Highlight] = []
    for token, value in zip(tokens, moved, strict=True):
        found.append({"token": token.text, "start": token.start, "end": token.end})
        found[-1][unit] = value
    return found


def with_highlights(answer: Mapping[str, object], highlights: Sequence[Highlight] | None) -> dict[str, object]:
    """An answer as plain data, with its highlights if they were asked for."""
    return {**answer, **({} if highlights is None else {"highlights": highlights})}


def in_words(highlights: Sequence[Highlight], name: Literal["token", "stamp"], unit: Unit) -> str:
    """The largest effects in a line; `name` is the key of what has them."""
    moved = sorted(highlights, key=lambda each: -abs(each[unit]))[:_MOST]
    return "  " + ", ".join(f"{each[name]} {_signed(each[unit])}" for each in moved)


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+.4g}"
