"""The network that transcribes.

Inputs: log-mel features. Outputs: what the decoders need. Frames are joined in groups (time reduction). Recurrent
layers read them in one or both directions. A head gives class scores for each step: for CTC by themselves, for the
transducer together with a network that reads the labels so far.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unrolled.data.fbank import STEP_S, WINDOW_S
from unrolled.engine.trees import Tree
from unrolled.nn.label_axes import LabelAxes
from unrolled.nn.named_layers import LAYER_NAMES, make_layers
from unrolled.nn.token_encoder import run_recurrent
from unrolled.nn.torch_layers import GRU
from unrolled.search.transducer import transducer_loss
from unrolled.settings import Settings, option

LOSSES = ("ctc", "transducer")
_BLOCK = 3000  # steps that are heard at once
_MOST_NUMBERS = 1 << 26  # of a lattice at once: 256 MB, and a few times that on the way


@dataclass(frozen=True)
class SpeechNetSettings(Settings):
    """What the network is."""

    loss: str = option("ctc", "ctc, or a recurrent transducer", choices=LOSSES, with_start="fixed")
    direction: str = option(
        "both", "both, or forward: such a model can stream", choices=("both", "forward"), with_start="fixed"
    )
    cell: str = option("lstm", "recurrent layer", choices=LAYER_NAMES, with_start="fixed")
    layers: int = option(2, "recurrent layers", least=1, most=20, with_start="fixed")
    hidden: int = option(128, "features of a layer's state, in each direction", least=1, most=16384, with_start="fixed")
    mels: int = option(40, "bands of the log-mel features", least=8, most=256, with_start="fixed")
    reduction: int = option(2, "frames of 10 ms that become one step", least=1, most=16, with_start="fixed")
    predictor: int = option(
        64, "features of what a transducer has written, and of its joiner", least=1, most=4096, with_start="fixed"
    )
    dropout: float = option(0.3, "share of features dropped in training", least=0, most=0.95)

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return self.reduction * STEP_S

    def n_steps(self, seconds: float) -> int:
        """Of a sound."""
        return max(1, int((seconds - WINDOW_S) / STEP_S) + 1) // self.reduction

    def least_samples(self, rate: int) -> int:
        """Of one step; a shorter sound is heard with silence after it."""
        return math.ceil((WINDOW_S + (self.reduction - 1) * STEP_S) * rate) + 1


class SpeechNet(nn.Module):
    """Encoder and head; class 0 is the blank.

    Buffers `mean` and `spread`, [mels], are the features' over the training part.
    """

    mean: Tensor
    spread: Tensor
    label_axes: ClassVar[LabelAxes] = {
        "output.weight": ("characters", None),
        "output.bias": ("characters",),
        "labels.weight": ("characters", None),
    }

    def __init__(self, n_classes: int, settings: SpeechNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(settings.mels))
        self.register_buffer("spread", torch.ones(settings.mels))
        width = settings.mels * settings.reduction
        self.recurrent = make_layers(
            settings.cell,
            width,
            settings.hidden,
            settings.layers,
            bidirectional=settings.direction == "both",
            dropout=settings.dropout,
        )
        size = settings.hidden * (2 if settings.direction == "both" else 1)
        self.dropout = nn.Dropout(settings.dropout)
        if settings.loss == "ctc":
            self.output = nn.Linear(size, n_classes)
        else:
            joined = settings.predictor  # each cell of the lattice has so many
            self.labels = nn.Embedding(n_classes, settings.predictor)
            self.predictor = GRU(settings.predictor, settings.predictor)
            self.of_heard = nn.Linear(size, joined)
            self.of_written = nn.Linear(settings.predictor, joined, bias=False)
            self.output = nn.Linear(joined, n_classes)

    def grouped(self, frames: Tensor) -> Tensor:
        """Normalized frames [time, batch, mels] → steps [time / reduction, batch, mels · reduction]; a rest is left."""
        n, reduction = len(frames) // self.settings.reduction, self.settings.reduction
        scaled = (frames[: n * reduction] - self.mean) / self.spread
        return scaled.view(n, reduction, *scaled.shape[1:]).transpose(1, 2).flatten(2)

    def encode(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Steps [time, batch, ...] → what was heard, [time, batch, size]: for a transducer as its joiner takes it."""
        return self._heard(self.dropout(run_recurrent(self.recurrent, steps, lengths)))

    def encode_on(self, steps: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """The same for a stream, of forward networks: takes a state, None at first; returns the next."""
        outputs, state = self.recurrent(steps, state)
        return self._heard(outputs), state

    def heard(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """As `encode`, in prediction: a long sound in blocks, where the network hears forward only."""
        if self.settings.direction == "both" or len(steps) <= _BLOCK:
            return self.encode(steps, lengths)
        state, parts = None, []
        for block in steps.split(_BLOCK):  # what lies beyond a row's end comes after all that counts
            outputs, state = self.encode_on(block, state)
            parts.append(outputs)
        return torch.cat(parts)

    def _heard(self, outputs: Tensor) -> Tensor:
        return outputs if self.settings.loss == "ctc" else self.of_heard(outputs)

    def class_log_p(self, heard: Tensor) -> Tensor:
        """Of a CTC network: log-probabilities of classes, [..., classes]."""
        return self.output(heard).log_softmax(-1)

    def written(self, labels: Tensor) -> Tensor:
        """Of a transducer: labels int64 [labels, batch] → what is known before each and after the last, [batch,
        labels + 1, joined].
        """
        known, _ = self.predictor(self.labels(nn.functional.pad(labels, (0, 0, 1, 0))))
        return self.of_written(self.dropout(known)).transpose(0, 1)

    def first_written(self) -> Tree:
        """The predictor's state and what is known before any label."""
        return self.predict((torch.zeros(1, self.settings.predictor, device=self.mean.device), None), [0])

    def predict(self, state: Tree, labels: list[int]) -> Tree:
        """The predictor's state [rows, predictor], and what is known, after a label for each row."""
        vectors = self.labels(torch.tensor([labels], device=state[0].device))
        known, hidden = self.predictor(vectors, state[0].unsqueeze(0))
        return hidden[0], self.of_written(known[0])

    def join(self, heard: Tensor, state: Tree) -> Tensor:
        """Log-probabilities of classes [rows, classes] at one step for each row."""
        return self.output((heard + state[1]).tanh()).log_softmax(1)

    def forward(self, steps: Tensor, lengths: Tensor, labels: Tensor, n_labels: Tensor) -> Tensor:
        """The loss, per label.

        Args:
            steps: of `grouped`, [time, batch, ...].
            lengths: int64 [batch].
            labels: int64 [batch, labels], padded with zeros.
            n_labels: int64 [batch].
        """
        heard = self.encode(steps, lengths)
        total = n_labels.sum().clamp_min(1)
        if self.settings.loss == "ctc":
            log_p = self.class_log_p(heard)
            return nn.functional.ctc_loss(log_p, labels, lengths, n_labels, reduction="sum", zero_infinity=True) / total
        heard, known = heard.transpose(0, 1), self.written(labels.t())
        cells = heard.shape[1] * known.shape[1] * heard.shape[2]
        n_rows = max(1, _MOST_NUMBERS // cells)
        losses = []
        for i in range(0, len(heard), n_rows):
            part = tuple(each[i : i + n_rows] for each in (heard, known, labels, lengths, n_labels))
            if n_rows < len(heard):  # one part's lattice at a time, forward and backward
                losses.append(checkpoint(self._lattice_loss, *part, use_reentrant=False))
            else:
                losses.append(self._lattice_loss(*part))
        return torch.cat(losses).sum() / total

    def _lattice_loss(self, heard: Tensor, known: Tensor, labels: Tensor, lengths: Tensor, n_labels: Tensor) -> Tensor:
        heard = heard[:, : int(lengths.max())]
        labels, known = labels[:, : int(n_labels.max())], known[:, : int(n_labels.max()) + 1]
        scores = self.output((heard.unsqueeze(2) + known.unsqueeze(1)).tanh())
        return transducer_loss(scores, labels, lengths, n_labels)
