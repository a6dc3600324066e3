"""An n-gram model of characters or words, which guides the search of a transcriber.

Inputs: lines of text. Outputs: what a label adds to the score of the labels before it.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from unrolled.baselines.ngram import NGram
from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

KINDS = ("char", "word")
_END = "\n"


class LanguageModel:
    """log P of a label after others, labels being characters."""

    def __init__(self, kind: str, symbols: list[str], ngram: NGram) -> None:
        self.kind, self.symbols, self.ngram = kind, symbols, ngram
        self._numbers = {symbol: i for i, symbol in enumerate(symbols, 1)}  # 0: any other
        self._known: dict[tuple[str, ...], float] = {}

    @classmethod
    def fit(cls, lines: Sequence[str], kind: str, *, order: int | None = None) -> "LanguageModel":
        """Of lines of text, each a sentence; of the order that is best on their last tenth if none is given."""
        cut = [list(line) if kind == "char" else line.split() for line in lines]
        symbols = sorted({symbol for line in cut for symbol in line} | {_END})
        numbers = {symbol: i for i, symbol in enumerate(symbols, 1)}
        ids = np.array([numbers[symbol] for line in cut for symbol in (_END, *line)] + [numbers[_END]], dtype=np.int64)
        return cls(kind, symbols, NGram.fit(ids, len(symbols) + 1, order=order))

    def log_p(self, before: Sequence[str], symbol: str) -> float:
        """Of a symbol after those of its line, in nats."""
        key = (*before[-(self.ngram.order - 1) :], symbol)
        if len(before) < self.ngram.order - 1:
            key = (_END, *key)
        if key not in self._known:
            ids = np.array([self._numbers.get(each, 0) for each in key], dtype=np.int64)
            self._known[key] = -self.ngram.nats(ids[-1:], context=ids[:-1])
        return self._known[key]

    def added(self, text: str, character: str) -> float:
        """What a character adds after a text; the empty one is the end. A model of words adds at their ends."""
        if self.kind == "char":
            return self.log_p(list(text), character or _END)
        if character not in ("", " "):
            return 0.0
        *before, word = text.split(" ")
        total = self.log_p(before, word) if word else 0.0
        return total + (self.log_p([*before, word] if word else before, _END) if not character else 0.0)

    def to_parts(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """Plain data, and tensors."""
        tensors = {f"language.{name}": tensor for name, tensor in self.ngram.to_tensors().items()}
        return {"kind": self.kind, "symbols": self.symbols}, tensors

    @classmethod
    def from_parts(cls, data: object, tensors: dict[str, Tensor]) -> "LanguageModel":
        match data:
            case {"kind": str(kind), "symbols": list(symbols)} if kind in KINDS and symbols:
                own = {
                    name.removeprefix("language."): tensor
                    for name, tensor in tensors.items()
                    if name.startswith("language.")
                }
                return cls(kind, symbols, NGram.from_tensors(len(symbols) + 1, own))
        raise ModelFileError("its language model is damaged")
