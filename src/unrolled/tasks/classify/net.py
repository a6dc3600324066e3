"""The network that classifies, and its loss."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from unrolled.nn.heads import Pooling
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.token_encoder import EncoderSettings, TokenEncoder
from unrolled.tasks.classify.inputs import Batch, InputLayer


class _Member(nn.Module):
    def __init__(self, input_layer: InputLayer, n_classes: int, settings: EncoderSettings) -> None:
        super().__init__()
        self.encoder = input_layer.encoder(settings)
        self.pooling = Pooling(self.encoder.size)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(2 * self.encoder.size, n_classes)

    def forward(self, batch: Batch) -> Tensor:
        pooled, _ = self.pooling(self.encoder(batch), batch.lengths)
        return self.output(self.dropout(pooled))


class ClassifyNet(nn.Module):
    """An ensemble: takes a batch of the input layer, returns the loss, or the mean of the logits."""

    label_axes: ClassVar[LabelAxes] = {
        "output.weight": ("classes", None),
        "output.bias": ("classes",),
        **TokenEncoder.label_axes,
    }

    def __init__(
        self, input_layer: InputLayer, n_classes: int, settings: EncoderSettings, *, is_multiple: bool
    ) -> None:
        super().__init__()
        self.is_multiple = is_multiple
        self.members = nn.ModuleList(_Member(input_layer, n_classes, settings) for _ in range(settings.ensemble))

    def forward(self, batch: Batch, targets: Tensor) -> Tensor:
        """The mean of the networks' losses; targets [batch, classes], 0 or 1."""
        losses = [loss_of(member(batch), targets, is_multiple=self.is_multiple) for member in self.members]
        return torch.stack(losses).mean()

    def logits(self, batch: Batch) -> Tensor:
        """[batch, classes]."""
        return torch.stack([member(batch) for member in self.members]).mean(0)


def loss_of(logits: Tensor, targets: Tensor, *, is_multiple: bool) -> Tensor:
    """Cross-entropy; of each class against its absence where a text may have several. A target above 0 is the weight of
    its class.
    """
    if is_multiple:
        weights = torch.where(targets > 0, targets, 1.0)
        return nn.functional.binary_cross_entropy_with_logits(logits, (targets > 0).to(logits.dtype), weights)
    return nn.functional.cross_entropy(logits, targets)
