"""What tags words had in other sentences of the training part, for a network that starts from that.

Inputs: sentences and tags as numbers. Outputs: a table for new sentences, and tables for the training's own, each made
without the sentences that it is for.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.cross_fitted import folds_of
from unrolled.baselines.frequent_tag import tag_log_p

MOST_NUMBERS = 20_000_000  # of a table: a larger one costs more than it gains


class KnownTags:
    """log P(tag | word), by fold.

    Attributes:
        whole: float32 [words, tags], by all sentences.
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
        n_folds = int(self._folds.max()) + 1
        # one sentence alone knows itself only
        others = [[i for i in places if self._folds[i] != fold] or [0] for fold in range(n_folds)]
        self._tables = torch.stack([table(each) for each in others])

    def at(self, words: Tensor, places: np.ndarray) -> Tensor:
        """[time, batch, tags] for words int64 [time, batch] of the sentences at some places, by other sentences."""
        return self._tables[torch.from_numpy(self._folds[places]), words]
