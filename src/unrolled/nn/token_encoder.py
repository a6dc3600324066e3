"""The network that reads sentences, for all tasks on tokens.

Inputs: tokens. Outputs: a vector for each token. A token's features are its word embedding, a convolution over its
characters, and an embedding of the bigram with the next token; bidirectional recurrent layers read the sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled.data.vocabulary import PAD, UNKNOWN, TokenBatch, TokenVocabulary
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.named_layers import LAYER_NAMES, make_layers, start_orthogonal
from unrolled.settings import Settings, option


def ensemble_option() -> int:
    """The option for the number of networks of an ensemble."""
    words = "networks trained side by side, which answer together"
    return option(1, words, least=1, most=20, was="members", with_start="fixed")


@dataclass(frozen=True)
class EncoderSettings(Settings):
    """How sentences are read."""

    cell: str = option("lstm", "recurrent layer", choices=LAYER_NAMES, with_start="fixed")
    layers: int = option(2, "recurrent layers, each in both directions", least=1, most=20, with_start="fixed")
    hidden: int = option(
        96, "features of a layer's hidden state, in each direction", least=1, most=16384, with_start="fixed"
    )
    words: int = option(100, "features of a word's vector", least=1, most=16384, with_start="fixed")
    chars: int = option(
        50, "features found in a word's characters; 0: do not look at them", least=0, most=4096, with_start="fixed"
    )
    pairs: int = option(
        0, "features of a pair of neighbors; 0: do not look at pairs", least=0, most=4096, with_start="fixed"
    )
    most_pairs: int = option(
        100_000, "pairs that are known, the most frequent", least=1, most=10**8, with_start="fixed"
    )
    least: int = option(1, "occurrences from which on a word is known", least=1, most=10**6, with_start="fixed")
    dropout: float = option(0.5, "share of features dropped in training", least=0, most=0.95)
    word_dropout: float = option(0.05, "share of words shown as unknown in training", least=0, most=0.95)
    ensemble: int = ensemble_option()

    def vocabulary_of(self, sentences: Sequence[Sequence[str]]) -> TokenVocabulary:
        """The vocabulary of some sentences of tokens."""
        return TokenVocabulary.fit(sentences, least=self.least, most_pairs=self.most_pairs if self.pairs else 0)


class TokenEncoder(nn.Module):
    """From a `TokenBatch` to features [time, batch, 2 · hidden]."""

    label_axes: ClassVar[LabelAxes] = {
        "words.weight": ("words", None),
        "chars.weight": ("chars", None),
        "pairs.weight": ("pairs", None),
    }

    def __init__(self, vocabulary: TokenVocabulary, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.words = nn.Embedding(len(vocabulary.words), settings.words, padding_idx=PAD)
        nn.init.normal_(self.words.weight, std=0.3)
        width = settings.words
        if settings.chars:
            self.chars = nn.Embedding(len(vocabulary.chars), 30, padding_idx=PAD)
            self.found = nn.Conv1d(30, settings.chars, 3, padding=1)
            width += settings.chars
        if settings.pairs:
            self.pairs = nn.Embedding(len(vocabulary.pairs), settings.pairs, padding_idx=PAD)
            nn.init.normal_(self.pairs.weight, std=0.1)
            width += settings.pairs
        self.recurrent = recurrent_over(width, settings)
        self.size = 2 * settings.hidden

    def forward(self, batch: TokenBatch) -> Tensor:
        settings, words = self.settings, batch.words
        if self.training and settings.word_dropout:
            is_dropped = torch.rand(words.shape, device=words.device) < settings.word_dropout
            words = words.masked_fill(is_dropped & (words != PAD), UNKNOWN)
        parts = [self.words(words)]
        if settings.chars:
            # the convolution as a product over three neighbors: for 20 words 37 us, torch's own 131
            around = nn.functional.pad(self.chars(batch.chars), (0, 0, 1, 1)).unfold(1, 3, 1).flatten(2)
            found = nn.functional.linear(around, self.found.weight.flatten(1), self.found.bias)
            # what is found in padding must not count
            found = found.masked_fill((batch.chars == PAD).unsqueeze(2), -torch.inf).amax(1)
            parts.append(nn.functional.embedding(batch.forms, found.relu()))
        if settings.pairs:
            parts.append(self.pairs(batch.pairs))
        inputs = self._dropped(torch.cat(parts, 2))
        return self._dropped(run_recurrent(self.recurrent, inputs, batch.lengths))

    def _dropped(self, xs: Tensor) -> Tensor:
        """The same features at all time steps (Y. Gal and Z. Ghahramani, NeurIPS 2016)."""
        if not self.training or not self.settings.dropout:
            return xs
        kept = 1 - self.settings.dropout
        return xs * (torch.rand(1, *xs.shape[1:], device=xs.device) < kept) / kept


def recurrent_over(width: int, settings: EncoderSettings) -> nn.Module:
    """The recurrent layers of the settings over inputs of a width; a drop-in's recurrent weights start orthogonal."""
    recurrent = make_layers(settings.cell, width, settings.hidden, settings.layers, bidirectional=True)
    start_orthogonal(recurrent)
    return recurrent


def run_recurrent(recurrent: nn.Module, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Outputs [time, batch, size] over a variable-length batch; zeros beyond its rows' ends."""
    if bool((lengths == len(inputs)).all()):
        return recurrent(inputs)[0]
    packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    return pad_packed_sequence(recurrent(packed)[0])[0]
