"""What stands on the encoder: a tag for each token, or one vector for the sentence."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data import schemes
from unrolled.nn.crf import CRF
from unrolled.nn.label_axes import LabelAxes


class TagHead(nn.Module):
    """Tags in BIOES from features of tokens, by a conditional random field that holds them to the scheme.

    With a prior, scores of another source, the features are read twice: `output` finds tags by itself, `correction`
    what the prior lacks. Each learns by a loss of its own, and the mean of their scores answers. So tags are good from
    the first minute on, and no worse in the end for it (docs/design/tasks.md).
    """

    label_axes: ClassVar[LabelAxes] = {
        "output.weight": ("tags", None),
        "output.bias": ("tags",),
        "correction.weight": ("tags", None),
        "correction.bias": ("tags",),
        "crf.transition": ("tags", "tags"),
        "crf.start": ("tags",),
        "crf.end": ("tags",),
        "crf.allowed": (),
    }

    def __init__(self, size: int, tags: Sequence[str], *, has_scheme: bool, has_prior: bool) -> None:
        super().__init__()
        self.output = nn.Linear(size, len(tags))
        self.correction: nn.Linear | None = None
        if has_prior:
            self.correction = nn.Linear(size, len(tags))
            nn.init.zeros_(self.correction.weight)
            nn.init.zeros_(self.correction.bias)
        around = [*tags, ""]
        rows = [[not has_scheme or schemes.follows(before, after) for after in around] for before in around]
        self.crf = CRF(len(tags), torch.tensor(rows, device="cpu"))

    def loss(self, features: Tensor, prior: Tensor | None, tags: Tensor, lengths: Tensor) -> Tensor:
        """-log P(tags), per token; with a prior the mean of both readings. features [time, batch, size], prior [time,
        batch, tags], tags int64 [time, batch].
        """
        readings = self.readings(features, prior)
        n = len(readings)
        found = self.crf.log_likelihood(torch.cat(readings, 1), tags.repeat(1, n), lengths.repeat(n))
        return -found.sum() / (n * lengths.sum())

    def readings(self, features: Tensor, prior: Tensor | None) -> list[Tensor]:
        """Scores [time, batch, tags]: without the prior, and with it."""
        alone = self.output(features)
        if self.correction is None or prior is None:
            return [alone]
        return [alone, self.correction(features) + prior]


def best_tags(
    heads: Sequence[TagHead], features: Sequence[Tensor], prior: Tensor | None, lengths: Tensor
) -> list[list[int]]:
    """The best tags of each row, of an ensemble: of the mean of all scores and potentials."""
    readings = [each for head, of_head in zip(heads, features, strict=True) for each in head.readings(of_head, prior)]
    scores = torch.stack(readings).mean(0)
    potentials = [head.crf.potentials() for head in heads]
    means = tuple(sum(parts).cpu().numpy() / len(heads) for parts in zip(*potentials, strict=True))
    return heads[0].crf.best(np.asarray(scores.cpu()), lengths.numpy(), means)


class TagPrior(nn.Module):
    """What tags a word had in training, as scores: `scale` · log P(tag | word), of a table float32 [words, tags]."""

    table: Tensor
    label_axes: ClassVar[LabelAxes] = {"prior.table": ("words", "tags")}

    def __init__(self, n_words: int, n_tags: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(n_words, n_tags))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, words: Tensor) -> Tensor:
        """words int64 [time, batch] → [time, batch, tags]."""
        return self.scale * self.table[words]


class Pooling(nn.Module):
    """One vector for a sentence: its largest features, and a mean weighted by attention (J. Cheng et al., EMNLP 2016).

    [time, batch, size] → [batch, 2 · size] and the weights [time, batch].
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(size, size // 2), nn.Tanh(), nn.Linear(size // 2, 1, bias=False))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        is_padding = torch.arange(len(features), device=features.device).unsqueeze(1) >= lengths.to(features.device)
        weights = self.score(features).squeeze(2).masked_fill(is_padding, -torch.inf).softmax(0)
        mean = (weights.unsqueeze(2) * features).sum(0)
        largest = features.masked_fill(is_padding.unsqueeze(2), -torch.inf).amax(0)
        return torch.cat((mean, largest), 1), weights
