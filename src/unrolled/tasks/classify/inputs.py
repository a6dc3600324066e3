"""The inputs of a classifier: texts, or windows of numbers.

Inputs: a user's items. Outputs: batches for a network. An input layer is fitted on the training part only. It can be
written to the model file as plain data, and read from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.tokens import Token, ends_of
from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.errors import DataError, ModelFileError
from unrolled.json_values import JsonObject
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder, recurrent_over, run_recurrent
from unrolled.tasks.highlights import Encoded


class Batch(Protocol):
    """Encoded items side by side.

    Attributes:
        lengths: int64 [batch].
    """

    lengths: Tensor

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...


T = TypeVar("T")  # an item: a text, or a window
Q = TypeVar("Q", bound=Sized)  # an item as a sequence over time: tokens, or a scaled window
E = TypeVar("E")  # an encoded sequence
B = TypeVar("B", bound=Batch)


class InputLayer(ABC, Generic[T, Q, E, B]):
    """How items are read.

    Attributes:
        kind: "text" or "numbers".
    """

    kind: str

    @abstractmethod
    def sequence(self, item: T) -> Q:
        """An item as a sequence over time; its `len` is its length."""

    @abstractmethod
    def encode(self, sequence: Q) -> E:
        """The same as numbers."""

    @abstractmethod
    def batch(self, encoded: Sequence[E]) -> B:
        """Encoded items, none of them empty, side by side."""

    @abstractmethod
    def synthetic(self, draw: np.random.Generator, length: int) -> T:
        """An item of some length at random."""

    @abstractmethod
    def encoder(self, settings: EncoderSettings) -> "TokenEncoder | NumberEncoder":
        """A network from a batch to features [time, batch, size]."""

    @abstractmethod
    def to_data(self) -> JsonObject:
        """Plain data for the model file; `input_layer_from_data` takes it."""


class TextInput(InputLayer[str, list[str], Encoded, TokenBatch]):
    """Texts as tokens; of a long text the begin and the end."""

    kind = "text"

    def __init__(self, vocabulary: TokenVocabulary, most_tokens: int) -> None:
        self.vocabulary, self.most_tokens = vocabulary, most_tokens

    @classmethod
    def fit(cls, texts: Sequence[str], settings: EncoderSettings, most_tokens: int) -> "TextInput":
        """With the vocabulary of some texts."""
        cut = [[token.text for token in ends_of(text, most_tokens)] for text in texts]
        return cls(settings.vocabulary_of(cut), most_tokens)

    def tokens(self, text: str) -> list[Token]:
        """The tokens that are read, with their places."""
        return ends_of(text, self.most_tokens)

    def sequence(self, item: str) -> list[str]:
        return [token.text for token in self.tokens(item)]

    def encode(self, sequence: list[str]) -> Encoded:
        return self.vocabulary.encode(sequence)

    def batch(self, encoded: Sequence[Encoded]) -> TokenBatch:
        return self.vocabulary.batch(encoded)

    def synthetic(self, draw: np.random.Generator, length: int) -> str:
        return " ".join(self.vocabulary.synthetic(draw, length))

    def encoder(self, settings: EncoderSettings) -> TokenEncoder:
        return TokenEncoder(self.vocabulary, settings)

    def to_data(self) -> JsonObject:
        return {"front": "text", "most_tokens": self.most_tokens, **self.vocabulary.to_data()}


@dataclass
class NumberBatch:
    """Windows side by side.

    Attributes:
        values: float32 [time, batch, features], padded with zeros at the end.
        lengths: int64 [batch].
    """

    values: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "NumberBatch":
        return NumberBatch(self.values.to(device), self.lengths)


class NumberInput(InputLayer[object, np.ndarray, np.ndarray, NumberBatch]):
    """Windows of numbers [time, features], each feature less its mean and over its spread in the training part."""

    kind = "numbers"

    def __init__(self, means: np.ndarray, spreads: np.ndarray) -> None:
        self.means, self.spreads = means, spreads

    @classmethod
    def fit(cls, windows: Sequence[np.ndarray]) -> "NumberInput":
        whole = np.concatenate(list(windows))
        spreads = whole.std(0)
        return cls(whole.mean(0), np.where(spreads > 0, spreads, 1.0))

    @property
    def n_features(self) -> int:
        """Of a window at each time."""
        return len(self.means)

    def sequence(self, item: object) -> np.ndarray:
        window = np.asarray(item, dtype=np.float64)
        if window.ndim != 2 or window.shape[1] != len(self.means) or not np.isfinite(window).all():
            raise DataError(
                f"a window must be [time, {len(self.means)}], of finite numbers; got {list(window.shape)} "
                "or numbers that are not finite"
            )
        return (window - self.means) / self.spreads

    def encode(self, sequence: np.ndarray) -> np.ndarray:
        return sequence.astype(np.float32)

    def batch(self, encoded: Sequence[np.ndarray]) -> NumberBatch:
        lengths = torch.tensor([len(each) for each in encoded])
        values = np.zeros((int(lengths.max()), len(encoded), len(self.means)), dtype=np.float32)
        for i, each in enumerate(encoded):
            values[: len(each), i] = each
        return NumberBatch(torch.from_numpy(values), lengths)

    def synthetic(self, draw: np.random.Generator, length: int) -> np.ndarray:
        return self.means + self.spreads * draw.normal(size=(length, self.n_features))

    def encoder(self, settings: EncoderSettings) -> "NumberEncoder":
        return NumberEncoder(len(self.means), settings)

    def to_data(self) -> JsonObject:
        return {"front": "numbers", "means": self.means.tolist(), "spreads": self.spreads.tolist()}


class NumberEncoder(nn.Module):
    """From a `NumberBatch` to features [time, batch, 2 · hidden]."""

    def __init__(self, n_features: int, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings, self.size = settings, 2 * settings.hidden
        self.recurrent = recurrent_over(n_features, settings)

    def forward(self, batch: NumberBatch) -> Tensor:
        return run_recurrent(self.recurrent, batch.values, batch.lengths)


def input_layer_from_data(data: object) -> InputLayer:
    """The input layer that `to_data` described.

    Raises:
        ModelFileError: it is no such description.
    """
    match data:
        case {"front": "text", "most_tokens": int(most)} if most > 1:
            return TextInput(TokenVocabulary.from_data(data), most)
        case {"front": "numbers", "means": list(means), "spreads": list(spreads)} if len(means) == len(spreads) > 0:
            return NumberInput(np.array(means, dtype=np.float64), np.array(spreads, dtype=np.float64))
    raise ModelFileError("its vocabulary is damaged or of a kind that this version does not know")
