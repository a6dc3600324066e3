"""The network that reads and writes text."""

from typing import ClassVar

from torch import Tensor, nn

from unrolled.engine.trees import Tree
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.named_layers import make_layers, start_orthogonal
from unrolled.tasks.text.settings import TextSettings


class TextNet(nn.Module):
    """Embedding, recurrent layers, output product. It takes units int64 [time, batch] and a state (None at
    first), and returns logits [time, batch, size] and the next state.
    """

    label_axes: ClassVar[LabelAxes] = {
        "embedding.weight": ("units", None),
        "output.weight": ("units", None),
        "output.bias": ("units",),
    }

    def __init__(self, size: int, settings: TextSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.embedding = nn.Embedding(size, hidden)
        self.recurrent = make_layers(settings.cell, hidden, hidden, settings.layers, dropout=settings.dropout)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(hidden, size)
        self._initialize(settings)

    def _initialize(self, settings: TextSettings) -> None:
        start_orthogonal(self.recurrent)
        for name, parameter in self.recurrent.named_parameters():
            if settings.cell == "lstm" and name.startswith("bias_hh"):
                # forget gates start open: R. Jozefowicz, W. Zaremba and I. Sutskever, ICML 2015
                parameter.data[settings.hidden : 2 * settings.hidden] += 1

    def forward(self, units: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        hidden, state = self.recurrent(self.embedding(units), state)
        return self.output(self.dropout(hidden)), state
