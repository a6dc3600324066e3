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

    What it finds in the features is added to scores of another source, its prior, if it has one.
    """

    label_axes: ClassVar[LabelAxes] = {
        "output.weight": ("tags", None),
        "output.bias": ("tags",),
        "crf.transition": ("tags", "tags"),
        "crf.start": ("tags",),
        "crf.end": ("tags",),
        "crf.allowed": (),
    }

    def __init__(self, size: int, tags: Sequence[str], *, has_scheme: bool, has_prior: bool) -> None:
        super().__init__()
        self.output = nn.Linear(size, len(tags))
        if has_prior:  # it starts there
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)
        around = [*tags, ""]
        rows = [[not has_scheme or schemes.follows(before, after) for after in around] for before in around]
        self.crf = CRF(len(tags), torch.tensor(rows, device="cpu"))

    def loss(self, features: Tensor, prior: Tensor | None, tags: Tensor, lengths: Tensor) -> Tensor:
        """-log P(tags), per token. features [time, batch, size], prior [time, batch, tags], tags int64 [time,
        batch].
        """
        scores = self.output(features) if prior is None else self.output(features) + prior
        return -self.crf.log_likelihood(scores, tags, lengths).sum() / lengths.sum()


def best_tags(
    heads: Sequence[TagHead], features: Sequence[Tensor], prior: Tensor | None, lengths: Tensor
) -> list[list[int]]:
    """The best tags of each row, of an ensemble: of its mean scores and potentials."""
    scores = sum(head.output(each) for head, each in zip(heads, features, strict=True)) / len(heads)
    if prior is not None:
        scores = scores + prior
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
