"""The network that finds intents and slots."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unrolled.data.vocabulary import TokenBatch, TokenVocabulary
from unrolled.nn.heads import Pooling, TagHead, TagPrior, best_tags
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder
from unrolled.tasks.understand.settings import UnderstandSettings


class _Member(nn.Module):
    """Encoder, intent from the whole sentence, slots from each token and from what the intent seems to be.

    After stack propagation, L. Qin et al., EMNLP 2019.
    """

    def __init__(
        self,
        vocabulary: TokenVocabulary,
        tags: Sequence[str],
        n_intents: int,
        settings: EncoderSettings,
        *,
        has_prior: bool,
    ) -> None:
        super().__init__()
        self.encoder = TokenEncoder(vocabulary, settings)
        size = self.encoder.size
        self.pooling = Pooling(size)
        self.dropout = nn.Dropout(settings.dropout)
        self.intent = nn.Linear(2 * size, n_intents)
        self.hint = nn.Linear(n_intents, size, bias=False)
        self.slots = TagHead(size, tags, has_scheme=True, has_prior=has_prior)

    def forward(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Logits of intents [batch, intents], features for the slots [time, batch, size]."""
        features = self.encoder(batch)
        pooled, _ = self.pooling(features, batch.lengths)
        logits = self.intent(self.dropout(pooled))
        return logits, features + self.hint(logits.softmax(1))


class UnderstandNet(nn.Module):
    """An ensemble of networks of one kind, whose slots start from what tags each word had."""

    label_axes: ClassVar[LabelAxes] = {
        "intent.weight": ("intents", None),
        "intent.bias": ("intents",),
        "hint.weight": (None, "intents"),
        **TagHead.label_axes,
        **TagPrior.label_axes,
        **TokenEncoder.label_axes,
    }

    def __init__(
        self,
        vocabulary: TokenVocabulary,
        tags: Sequence[str],
        n_intents: int,
        settings: UnderstandSettings,
        *,
        has_prior: bool,
    ) -> None:
        super().__init__()
        self.smoothing = settings.smoothing
        self.members = nn.ModuleList(
            _Member(vocabulary, tags, n_intents, settings, has_prior=has_prior) for _ in range(settings.ensemble)
        )
        self.prior = TagPrior(len(vocabulary.words), len(tags)) if has_prior else None

    def forward(
        self, batch: TokenBatch, known: Tensor | None, tags: Tensor, intents: Tensor, weights: Tensor
    ) -> Tensor:
        """The mean of the networks' losses, per sentence.

        Args:
            batch: of sentences.
            known: log P(tag | word) by sentences other than these, [time, batch, tags]; None without a prior.
            tags: int64 [time, batch].
            intents: int64 [batch].
            weights: float32 [batch], how much each sentence's intent counts.
        """
        of_tags = None
        if self.prior is not None and known is not None:
            of_tags = self.prior.scale * known
        losses = []
        for member in self.members:
            logits, features = member(batch)
            of_slots = member.slots.loss(features, of_tags, tags, batch.lengths)  # type: ignore
            of_slots = of_slots * batch.lengths.float().mean()
            of_intents = nn.functional.cross_entropy(logits, intents, label_smoothing=self.smoothing, reduction="none")
            losses.append(of_slots + (weights * of_intents).mean())
        return torch.stack(losses).mean()

    def best(self, batch: TokenBatch) -> tuple[Tensor, list[list[int]]]:
        """Probabilities of intents [batch, intents], numbers of the best tags of each sentence."""
        results = [member(batch) for member in self.members]
        probabilities = torch.stack([logits.softmax(1) for logits, _ in results]).mean(0)
        heads = [member.slots for member in self.members]
        of_tags = None if self.prior is None else self.prior(batch.words)
        features = [each for _, each in results]
        return probabilities, best_tags(heads, features, of_tags, batch.lengths)  # type: ignore[arg-type]
