"""The units of a text model: characters, bytes or subwords.

Inputs: text. Outputs: integers; and text of integers. Units are fitted on the training part only. Each kind can be
written to the model file as plain data, and read from it.
"""

import codecs
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import ModuleType

import numpy as np

from unrolled import optional_libraries
from unrolled.data.subwords import read_tokenizer
from unrolled.errors import DataError, ModelFileError
from unrolled.json_values import JsonObject

KINDS = ("char", "byte", "subword")
_UNICODE_SIZE = 0x110000


class Units(ABC):
    """A vocabulary with its way of cutting text.

    Attributes:
        size: number of distinct units.
    """

    size: int

    @abstractmethod
    def encode(self, text: str | bytes) -> np.ndarray:
        """int64 [length]."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of the units, in parts, as soon as each is complete."""

    @abstractmethod
    def to_data(self) -> JsonObject:
        """Plain data for the model file; `from_data` takes it."""

    def check(self, text: str, name: str) -> None:
        """Raises DataError, which names the text, where it holds what the model cannot read."""

    def with_new(self, text: str) -> "Units":
        """The same, and behind its units those that a text has beside them; itself where they can write any text."""
        return self

    @property
    def rows(self) -> list[str]:
        """What each number stands for; their numbers, of units that are always the same."""
        return [str(i) for i in range(self.size)]

    def extra_nats(self, ids: np.ndarray) -> float:
        """What the units leave untold, in nats: to be added to a model's loss over them."""
        return 0.0


class Chars(Units):
    """Unicode characters that occurred in the training part; unit 0 stands for any other.

    An unknown character costs the model's loss for unit 0, and the loss of naming it among all other characters of
    Unicode, each as likely: so the figure per character is one of a model that can write any text.
    """

    def __init__(self, chars: list[str]) -> None:
        self.chars = chars
        self.size = len(chars) + 1
        self._sorted = np.array(sorted(map(ord, chars)), dtype=np.int64)
        place = {char: i + 1 for i, char in enumerate(chars)}
        self._ids = np.array([place[chr(code)] for code in self._sorted], dtype=np.int64)

    @classmethod
    def fit(cls, text: str) -> "Chars":
        return cls(sorted(set(text)))

    def encode(self, text: str | bytes) -> np.ndarray:
        assert isinstance(text, str)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
        at = np.searchsorted(self._sorted, codes).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == codes, self._ids[at], 0)

    def decode(self, ids: Iterable[int]) -> Iterator[str]:
        for unit in ids:
            yield self.chars[unit - 1] if unit else "\N{REPLACEMENT CHARACTER}"

    def to_data(self) -> JsonObject:
        return {"kind": "char", "chars": "".join(self.chars)}

    def check(self, text: str, name: str) -> None:
        unknown = sorted(set(text) - set(self.chars))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
            raise DataError(
                f"{name}: {shown} did not occur in the text the model was trained on. Leave it out, "
                "or train with --units byte or subword, which know every character"
            )

    def with_new(self, text: str) -> "Chars":
        return Chars([*self.chars, *sorted(set(text) - set(self.chars))])

    @property
    def rows(self) -> list[str]:
        return ["\0unknown", *self.chars]

    def extra_nats(self, ids: np.ndarray) -> float:
        return int((ids == 0).sum()) * math.log(_UNICODE_SIZE - len(self.chars))


class Bytes(Units):
    """The 256 bytes; text goes through UTF-8."""

    size = 256

    def encode(self, text: str | bytes) -> np.ndarray:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Iterable[int]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for unit in ids:
            if part := decoder.decode(bytes([unit])):
                yield part
        if part := decoder.decode(b"", final=True):
            yield part

    def to_data(self) -> JsonObject:
        return {"kind": "byte"}


class Subwords(Units):
    """Subwords of a byte-level BPE, learnt from the training part; they know every text.

    R. Sennrich, B. Haddow and A. Birch, ACL 2016; made by the tokenizers library (extra: subword).
    """

    def __init__(self, description: str) -> None:
        self._tokenizer = read_tokenizer(_tokenizers(), description)
        self.size = self._tokenizer.get_vocab_size()
        self._bytes = _byte_alphabet()

    @classmethod
    def fit(cls, text: str, size: int) -> "Subwords":
        tokenizers = _tokenizers()
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            show_progress=False,
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        )
        tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls(tokenizer.to_str())

    def encode(self, text: str | bytes) -> np.ndarray:
        assert isinstance(text, str)
        # line by line: the library's time is more than linear in the length of one text
        lines = self._tokenizer.encode_batch(text.splitlines(keepends=True), add_special_tokens=False)
        return np.array([unit for line in lines for unit in line.ids], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for unit in ids:
            token = self._tokenizer.id_to_token(unit) or ""
            if part := decoder.decode(bytes(self._bytes[char] for char in token if char in self._bytes)):
                yield part
        if part := decoder.decode(b"", final=True):
            yield part

    def to_data(self) -> JsonObject:
        return {"kind": "subword", "tokenizer": json.loads(self._tokenizer.to_str())}


def fit_units(kind: str, text: str, n_subwords: int) -> Units:
    """The units of a kind, fitted on a text."""
    if kind == "char":
        return Chars.fit(text)
    return Bytes() if kind == "byte" else Subwords.fit(text, n_subwords)


def units_from_data(data: object) -> Units:
    """The units that `to_data` described.

    Raises:
        ModelFileError: it is no such description.
    """
    match data:
        case {"kind": "byte"}:
            return Bytes()
        case {"kind": "char", "chars": str(chars)} if chars and len(set(chars)) == len(chars):
            return Chars(list(chars))
        case {"kind": "subword", "tokenizer": dict(tokenizer)}:
            return Subwords(json.dumps(tokenizer))
    raise ModelFileError("its vocabulary is damaged or of a kind that this version does not know")


def _byte_alphabet() -> dict[str, int]:
    """The byte that each character of byte-level BPE stands for: printable ones for themselves, the others shifted
    past U+0100 in their order (GPT-2's convention, A. Radford et al., 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _tokenizers() -> ModuleType:
    return optional_libraries.library("tokenizers", "--units subword needs", "subword")
