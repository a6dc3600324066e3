"""The network that tags."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.nn.heads import TagHead, TagPrior, best_tags
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder


class TagNet(nn.Module):
    """An ensemble of networks of one kind: encoder and tag head each, which start from what tags each word had."""

    label_axes: ClassVar[LabelAxes] = {
        **TagHead.label_axes,
        **TagPrior.label_axes,
        **TokenEncoder.label_axes,
    }

    def __init__(
        self,
        vocabulary: TokenVocabulary,
        tags: Sequence[str],
        settings: EncoderSettings,
        *,
        has_scheme: bool,
        has_prior: bool,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(TokenEncoder(vocabulary, settings) for _ in range(settings.ensemble))
        size = 2 * settings.hidden
        self.heads = nn.ModuleList(
            TagHead(size, tags, has_scheme=has_scheme, has_prior=has_prior) for _ in range(settings.ensemble)
        )
        self.prior = TagPrior(len(vocabulary.words), len(tags)) if has_prior else None

    def forward(self, batch: TokenBatch, known: Tensor | None, tags: Tensor) -> Tensor:
        """The mean of the networks' losses.

        Args:
            batch: of sentences.
            known: log P(tag | word) by sentences other than these, [time, batch, tags]; None without a prior.
            tags: int64 [time, batch].
        """
        prior = None if self.prior is None or known is None else self.prior.scale * known
        losses = [
            head.loss(encoder(batch), prior, tags, batch.lengths)  # type: ignore[operator]
            for encoder, head in zip(self.encoders, self.heads, strict=True)
        ]
        return torch.stack(losses).mean()

    def best(self, batch: TokenBatch) -> list[list[int]]:
        """Numbers of the best tags of each sentence."""
        features = [encoder(batch) for encoder in self.encoders]
        prior = None if self.prior is None else self.prior(batch.words)
        return best_tags(list(self.heads), features, prior, batch.lengths)  # type: ignore[arg-type]
