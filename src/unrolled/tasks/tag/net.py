"""The network that tags."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.nn.heads import TagHead, best_tags
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder


class TagNet(nn.Module):
    """Members of one kind: encoder and tag head each."""

    def __init__(
        self, vocabulary: TokenVocabulary, tags: Sequence[str], settings: EncoderSettings, has_scheme: bool
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(TokenEncoder(vocabulary, settings) for _ in range(settings.members))
        size = 2 * settings.hidden
        self.heads = nn.ModuleList(TagHead(size, tags, has_scheme=has_scheme) for _ in range(settings.members))

    def forward(self, batch: TokenBatch, tags: Tensor) -> Tensor:
        """The mean of the members' losses."""
        losses = [
            head.loss(encoder(batch), tags, batch.lengths)  # type: ignore[operator]
            for encoder, head in zip(self.encoders, self.heads, strict=True)
        ]
        return torch.stack(losses).mean()

    def best(self, batch: TokenBatch) -> list[list[int]]:
        """Numbers of the best tags of each sentence."""
        return best_tags(list(self.heads), [encoder(batch) for encoder in self.encoders], batch.lengths)  # type: ignore[arg-type]
