"""The network that finds what the baseline leaves, in units of its spread; and its loss."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from unrolled.nn.heads import Pooling
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.token_encoder import TokenEncoder
from unrolled.tasks.classify.inputs import Batch, InputLayer
from unrolled.tasks.regress.settings import RegressSettings


class _Member(nn.Module):
    def __init__(self, input_layer: InputLayer, settings: RegressSettings) -> None:
        super().__init__()
        self.encoder = input_layer.encoder(settings)
        self.pooling = Pooling(self.encoder.size)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(2 * self.encoder.size, 1)
        with torch.no_grad():  # it starts as the baseline
            self.output.weight *= 0.1
            nn.init.zeros_(self.output.bias)

    def forward(self, batch: Batch) -> Tensor:
        pooled, _ = self.pooling(self.encoder(batch), batch.lengths)
        return self.output(self.dropout(pooled)).squeeze(1)


class RegressNet(nn.Module):
    """An ensemble: takes a batch of the input layer, returns the loss, or the mean of its networks' numbers."""

    label_axes: ClassVar[LabelAxes] = TokenEncoder.label_axes

    def __init__(self, input_layer: InputLayer, settings: RegressSettings) -> None:
        super().__init__()
        self.loss = settings.loss
        self.members = nn.ModuleList(_Member(input_layer, settings) for _ in range(settings.ensemble))

    def forward(self, batch: Batch, targets: Tensor) -> Tensor:
        """The mean of the networks' losses; targets float32 [batch], scaled."""
        return torch.stack([loss_of(member(batch), targets, self.loss) for member in self.members]).mean()

    def numbers(self, batch: Batch) -> Tensor:
        """[batch], scaled."""
        return torch.stack([member(batch) for member in self.members]).mean(0)


def loss_of(found: Tensor, targets: Tensor, loss: str) -> Tensor:
    """The mean squared error, or Huber's (P. Huber, Annals of Mathematical Statistics 35, 1964)."""
    return (nn.functional.huber_loss if loss == "huber" else nn.functional.mse_loss)(found, targets)
