"""The tokenizer, for texts in any script.

Inputs: a text. Outputs: its tokens with their places. Words are runs of letters and digits. Scripts without spaces
(Chinese, Japanese, Thai ...) are split into characters, so that no outside tokenizer is needed. Each other character
that is not space is a token by itself.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(rf"[{_NO_SPACES}]")
_TOKEN = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+(?:['’][^\W{_NO_SPACES}]+)*|[^\w\s]")


@dataclass(frozen=True)
class Token:
    """A word or a mark of a text.

    Attributes:
        text: its characters.
        start, end: its place, in characters: `whole[start:end] == text`.
    """

    text: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, in their order."""
    return [Token(found[0], found.start(), found.end()) for found in _TOKEN.finditer(text)]


def ends_of(text: str, most: int) -> list[Token]:
    """The tokens of a text; of a long one half of `most` from its begin, half from its end; the rest is not cut."""
    first = list(itertools.islice(_TOKEN.finditer(text), most + 1))
    n_last = most - most // 2
    if len(first) > most:
        # a word that is cut in two may be a mark and a word: the two first ones of such a word are not counted
        size = 16 * n_last
        while len(last := tokens_of(text[-size:])) < n_last + 2 and size < len(text):
            size *= 4
        shift = max(0, len(text) - size)
        tail = [Token(each.text, each.start + shift, each.end + shift) for each in last[-n_last:]]
        return [*(Token(each[0], each.start(), each.end()) for each in first[: most // 2]), *tail]
    return [Token(each[0], each.start(), each.end()) for each in first]


def words_of(text: str) -> list[Token]:
    """The words between spaces, for texts that were cut into tokens before."""
    return [Token(found[0], found.start(), found.end()) for found in re.finditer(r"\S+", text)]


_GLUED = re.compile(r"\s+([.,;:!?%)\]}…])")
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”’」』]*|\n|$)", re.DOTALL)


def in_sentences(text: str) -> list[str]:
    """The sentences of a text, by the marks at their ends; none of them empty."""
    return [found for each in _SENTENCE.findall(text) if (found := each.strip())]


def is_without_spaces(text: str) -> bool:
    """Whether a text is mostly in scripts that are written without spaces."""
    return 2 * len(_CHARACTER.findall(text)) > len("".join(text.split()))


def joined(words: Iterable[str], *, is_spaced: bool) -> str:
    """Words as a text: with spaces, but before the marks that stand without, or with none at all."""
    return _GLUED.sub(r"\1", " ".join(words)) if is_spaced else "".join(words)
