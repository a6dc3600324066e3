"""Subwords for translation.

Inputs: sentences. Outputs: ids with their places in the sentence; and sentences of ids. It is a byte-pair encoding
(R. Sennrich, B. Haddow and A. Birch, ACL 2016) that keeps spaces as part of its subwords. So any text survives the
round trip, and scripts without spaces need no tokenizer. The tokenizers library makes it (extra: translate). Characters
that are not in the training part become one unknown subword, which a translator may copy.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from unrolled import optional_libraries
from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BEGIN, END, UNKNOWN = range(4)
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # stands for a space within a subword
_HALVES = re.compile("[\ud800-\udfff]")
_SHIFT = UNKNOWN  # the library numbers from 0, its unknown subword first


@dataclass(frozen=True)
class Cut:
    """A text in subwords.

    Attributes:
        ids: int64 [subwords].
        texts: the text of each, without spaces.
    """

    ids: np.ndarray
    texts: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def read_tokenizer(library: ModuleType, description: str) -> "Tokenizer":
    """The tokenizer that a text describes, as the library writes it.

    Raises:
        ModelFileError: it describes none.
    """
    try:
        with optional_libraries.panics_as_errors():
            return library.Tokenizer.from_str(description)
    except Exception as fault:  # the library raises bare Exception for a description that it cannot read
        raise ModelFileError(f"its subwords cannot be read: {fault}") from fault


class Subwords:
    """A vocabulary of subwords, fitted on the training part only."""

    def __init__(self, description: str) -> None:
        self._tokenizer = read_tokenizer(_tokenizers(), description)
        if self._tokenizer.token_to_id("<unk>") != 0:
            raise ModelFileError("its subwords are damaged: the unknown subword is not the first")
        if set(self._tokenizer.get_vocab().values()) != set(range(self._tokenizer.get_vocab_size())):
            raise ModelFileError("its subwords are damaged: their numbers have gaps")
        self._texts = [self._tokenizer.id_to_token(i) or "" for i in range(self._tokenizer.get_vocab_size())]

    @classmethod
    def fit(cls, texts: Iterable[str], size: int) -> "Subwords":
        """Up to `size` subwords."""
        library = _tokenizers()
        tokenizer = library.Tokenizer(library.models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
            [library.pre_tokenizers.Metaspace(_SPACE), library.pre_tokenizers.Punctuation()]
        )
        trainer = library.trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<unk>"], show_progress=False, min_frequency=2, limit_alphabet=size // 2
        )
        tokenizer.train_from_iterator(map(_clean, texts), trainer)
        return cls(tokenizer.to_str())

    def __len__(self) -> int:
        """How many numbers there are, with padding, begin and end."""
        return len(self._texts) + _SHIFT

    def cut(self, texts: Sequence[str]) -> list[Cut]:
        """Each text in its subwords."""
        clean = [_clean(text) for text in texts]
        found = self._tokenizer.encode_batch(clean, add_special_tokens=False)
        return [
            Cut(np.array(each.ids, dtype=np.int64) + _SHIFT, [text[a:b].strip() for a, b in each.offsets])
            for text, each in zip(clean, found, strict=True)
        ]

    def join(self, ids: Iterable[int], copies: Sequence[str] = ()) -> str:
        """The text of subwords; `copies` are written for unknown ones, in their order, or a question mark in a box."""
        left = iter(copies)
        parts = [
            next(left, "\N{REPLACEMENT CHARACTER}") if i == UNKNOWN else self._texts[i - _SHIFT]
            for i in ids
            if i >= _SHIFT
        ]
        return "".join(parts).replace(_SPACE, " ").strip()

    def texts(self, ids: Iterable[int]) -> list[str]:
        """The subwords' own texts, for the eye."""
        return [self._texts[i - _SHIFT].replace(_SPACE, "") if i >= _SHIFT else "" for i in ids]

    def to_data(self) -> JsonObject:
        return json.loads(self._tokenizer.to_str())

    @classmethod
    def from_data(cls, data: object) -> "Subwords":
        if not isinstance(data, dict):
            raise ModelFileError("its subwords are damaged")
        return cls(json.dumps(data))


def fit_subwords(
    sources: Sequence[str], targets: Sequence[str], size: int, *, is_joint: bool
) -> tuple[Subwords, Subwords]:
    """Subwords of the sources and of the targets; the same for both where they are joint."""
    if is_joint:
        both = Subwords.fit([*sources, *targets], size)
        return both, both
    return Subwords.fit(sources, size), Subwords.fit(targets, size)


def _clean(text: str) -> str:
    """A text of the same length without what the library refuses: halves of surrogate pairs, as in JSON."""
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text.replace(_SPACE, " "))


def _tokenizers() -> ModuleType:
    return optional_libraries.library("tokenizers", "translation needs", "translate")
