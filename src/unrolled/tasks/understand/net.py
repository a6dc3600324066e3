"""The network that finds intents and slots."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.nn.heads import Pooling, TagHead, best_tags
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder
from unrolled.tasks.understand.settings import UnderstandSettings


class _Member(nn.Module):
    """Encoder, intent from the whole sentence, slots from each token and from what the intent seems to be.

    After stack propagation, L. Qin et al., EMNLP 2019.
    """

    def __init__(
        self, vocabulary: TokenVocabulary, tags: Sequence[str], n_intents: int, settings: EncoderSettings
    ) -> None:
        super().__init__()
        self.encoder = TokenEncoder(vocabulary, settings)
        size = self.encoder.size
        self.pooling = Pooling(size)
        self.dropout = nn.Dropout(settings.dropout)
        self.intent = nn.Linear(2 * size, n_intents)
        self.hint = nn.Linear(n_intents, size, bias=False)
        self.slots = TagHead(size, tags, has_scheme=True)

    def forward(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Logits of intents [batch, intents], features for the slots [time, batch, size]."""
        features = self.encoder(batch)
        pooled, _ = self.pooling(features, batch.lengths)
        logits = self.intent(self.dropout(pooled))
        return logits, features + self.hint(logits.softmax(1))


class UnderstandNet(nn.Module):
    """Members of one kind."""

    def __init__(
        self, vocabulary: TokenVocabulary, tags: Sequence[str], n_intents: int, settings: UnderstandSettings
    ) -> None:
        super().__init__()
        self.smoothing = settings.smoothing
        self.members = nn.ModuleList(_Member(vocabulary, tags, n_intents, settings) for _ in range(settings.members))

    def forward(self, batch: TokenBatch, tags: Tensor, intents: Tensor) -> Tensor:
        """The mean of the members' losses, per sentence."""
        losses = []
        for member in self.members:
            logits, features = member(batch)
            of_slots = member.slots.loss(features, tags, batch.lengths) * batch.lengths.float().mean()  # type: ignore
            losses.append(of_slots + nn.functional.cross_entropy(logits, intents, label_smoothing=self.smoothing))
        return torch.stack(losses).mean()

    def best(self, batch: TokenBatch) -> tuple[Tensor, list[list[int]]]:
        """Probabilities of intents [batch, intents], numbers of the best tags of each sentence."""
        results = [member(batch) for member in self.members]
        probabilities = torch.stack([logits.softmax(1) for logits, _ in results]).mean(0)
        heads = [member.slots for member in self.members]
        return probabilities, best_tags(heads, [features for _, features in results], batch.lengths)  # type: ignore[arg-type]
