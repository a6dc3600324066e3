"""What stands on the encoder: a tag for each token, or one vector for the sentence."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data import schemes
from unrolled.nn.crf import CRF


class TagHead(nn.Module):
    """Tags in BIOES from features of tokens, by a conditional random field that holds them to the scheme."""

    def __init__(self, size: int, tags: Sequence[str], *, has_scheme: bool) -> None:
        super().__init__()
        self.output = nn.Linear(size, len(tags))
        around = [*tags, ""]
        rows = [[not has_scheme or schemes.follows(before, after) for after in around] for before in around]
        self.crf = CRF(len(tags), torch.tensor(rows, device="cpu"))

    def loss(self, features: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """-log P(tags), per token. features [time, batch, size], tags int64 [time, batch]."""
        return -self.crf.log_likelihood(self.output(features), tags, lengths).sum() / lengths.sum()


def best_tags(heads: Sequence[TagHead], features: Sequence[Tensor], lengths: Tensor) -> list[list[int]]:
    """The best tags of each row, of several members together: of their mean scores and potentials."""
    scores = sum(head.output(each) for head, each in zip(heads, features, strict=True)) / len(heads)
    potentials = [head.crf.potentials() for head in heads]
    means = tuple(sum(parts).cpu().numpy() / len(heads) for parts in zip(*potentials, strict=True))
    return heads[0].crf.best(np.asarray(scores.cpu()), lengths.numpy(), means)


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
