"""Sentences of a training with their tags, and what tags their words had in other sentences.

Inputs: sentences and tags. Outputs: batches; a table for new sentences, and tables for the training's own, each made
without the sentences that it is for. Tagging and understanding train on the same.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.cross_fitted import folds_of
from unrolled.baselines.frequent_tag import tag_log_p
from unrolled.data.tagging import padded
from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.errors import DataError
from unrolled.nn.heads import TagPrior
from unrolled.nn.token_encoder import EncoderSettings

_SCHEME_WORDS = {True: "plain ones", False: "of a scheme with spans, such as B-city and I-city"}
_MOST_NUMBERS = 20_000_000  # of a table: a larger one costs more than it gains


def common_scheme(scheme: str, of_start: str | None) -> str:
    """The scheme of the tags that a model writes: that of the model that training starts from, if there is one.

    Raises:
        DataError: one of both has spans, the other has none.
    """
    if of_start is not None and (scheme == "plain") != (of_start == "plain"):
        raise DataError(
            f"the tags here are {_SCHEME_WORDS[scheme == 'plain']}; those of the model that training starts from are "
            f"{_SCHEME_WORDS[of_start == 'plain']}"
        )
    return of_start or scheme


def vocabulary_and_prior(
    settings: EncoderSettings, sentences: Sequence[Sequence[str]], tags: Sequence[str], start: "HasTags | None"
) -> tuple[TokenVocabulary, bool]:
    """The vocabulary of a training, with that of the model it starts from, and whether its network has a prior."""
    vocabulary = settings.vocabulary_of(sentences)
    if start is not None:
        return start.vocabulary.with_new(vocabulary), start.net.prior is not None
    return vocabulary, len(vocabulary.words) * len(tags) <= _MOST_NUMBERS


class CrossFittedPrior:
    """log P(tag | word) for each sentence, by the sentences of the other folds (cross-fitted).

    Attributes:
        whole: float32 [words, tags], by all sentences.
        is_known: bool [words], which words there are in them.
    """

    def __init__(
        self, words: Sequence[np.ndarray], tags: Sequence[np.ndarray], shape: Sequence[int], seed: int
    ) -> None:
        n_words, n_tags = shape

        def table(places: Sequence[int]) -> Tensor:
            log_p = tag_log_p([words[i] for i in places], [tags[i] for i in places], n_words, n_tags)
            return torch.from_numpy(log_p)

        self._folds = folds_of(len(words), seed)
        places = range(len(words))
        self.whole = table(places)
        self.is_known = torch.zeros(shape[0], dtype=torch.bool)
        self.is_known[torch.from_numpy(np.concatenate(list(words)))] = True
        n_folds = int(self._folds.max()) + 1
        # one sentence alone knows itself only
        others = [[i for i in places if self._folds[i] != fold] or [0] for fold in range(n_folds)]
        self._tables = torch.stack([table(each) for each in others])

    def put_into(self, prior: TagPrior) -> None:
        """Makes the table a prior's. Of a word that is not in the sentences one that knows something keeps it: a model
        that training starts from knows words of its own.
        """
        is_new = self.is_known | ~prior.table.any(1).cpu()
        prior.table.copy_(torch.where(is_new.unsqueeze(1), self.whole, prior.table.cpu()))

    def at(self, words: Tensor, places: np.ndarray) -> Tensor:
        """[time, batch, tags] for words int64 [time, batch] of the sentences at some places, by other sentences."""
        return self._tables[torch.from_numpy(self._folds[places]), words]


class _HasPrior(Protocol):
    @property
    def prior(self) -> TagPrior | None: ...


class HasTags(Protocol):
    """What is fitted of a task that tags tokens."""

    @property
    def net(self) -> _HasPrior:
        """The network."""
        ...

    @property
    def vocabulary(self) -> TokenVocabulary:
        """Of tokens."""
        ...

    @property
    def tags(self) -> list[str]:
        """By number."""
        ...


class TaggedSentences:
    """Sentences of a training as numbers; their known tags, if the network has a prior, are put into it."""

    def __init__(
        self, fitted: HasTags, sentences: Sequence[list[str]], tags: Sequence[Sequence[str]], seed: int
    ) -> None:
        self._vocabulary = fitted.vocabulary
        self._encoded = [fitted.vocabulary.encode(sentence) for sentence in sentences]
        numbers = {tag: i for i, tag in enumerate(fitted.tags)}
        self._tags = [np.array([numbers[tag] for tag in each]) for each in tags]
        self._known: CrossFittedPrior | None = None
        if fitted.net.prior is not None:
            words = [of_words for of_words, _, _ in self._encoded]
            self._known = CrossFittedPrior(words, self._tags, fitted.net.prior.table.shape, seed)
            self._known.put_into(fitted.net.prior)

    def batch(self, places: np.ndarray, device: torch.device) -> tuple[TokenBatch, Tensor | None, Tensor]:
        """Sentences at some places side by side; what is known of their tags, [time, batch, tags]; and their tags."""
        batch = self._vocabulary.batch([self._encoded[i] for i in places])
        known = None if self._known is None else self._known.at(batch.words, places).to(device)
        return batch.to(device), known, padded([self._tags[i] for i in places]).to(device)
