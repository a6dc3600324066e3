"""Training and evaluation side by side: does a model do in evaluation what it has learned?

Inputs: a model's copy. Outputs: how far the outputs of both modes lie apart.
"""

import copy
import math
from dataclasses import dataclass

import torch

from unrolled.insight.subject import Subject

_N_SAMPLES = 8  # of dropout, whose mean is about what evaluation has


@dataclass(frozen=True)
class Modes:
    """What changes between training and evaluation.

    Attributes:
        change: root mean square of the output's change over that of its spread between rows and steps.
        training, evaluation: the loss.
    """

    change: float
    training: float
    evaluation: float

    @property
    def is_unstable(self) -> bool:
        """Whether the change is more than half of the variance."""
        return not self.change**2 <= 0.5

    def losses(self) -> str:
        """The losses in words; nothing where they are alike."""
        if not all(map(math.isfinite, (self.training, self.evaluation))):
            return ""
        return f", loss {self.evaluation:.4g} in place of {self.training:.4g}"


def modes_of(subject: Subject) -> Modes | None:
    """Runs the model in both modes; None where nothing in it depends on the mode."""
    loss, output, _ = subject.output()
    if output is None:
        return None
    kept, model = subject.model, subject.model
    outputs, losses = [], []
    try:
        subject.model = copy.deepcopy(model)  # running means move in training mode
        for draw in range(_N_SAMPLES):
            found, other, _ = subject.output(is_training=True, draw=draw)
            if draw == 0 and other is not None and torch.equal(other, output):
                return None
            if other is None:
                return None
            outputs.append(other.double())
            losses.append(found)
    finally:
        subject.model = kept
    axes = [axis for axis in (subject.layout.time, subject.layout.rows) if axis is not None]
    mean, own = torch.stack(outputs).mean(0), output.double()
    if not axes:
        return None
    spread = (mean - mean.mean(axes, keepdim=True)).square().mean().sqrt().item()
    change = (own - mean).square().mean().sqrt().item()
    if not spread:
        return None
    return Modes(change / spread, sum(losses) / len(losses), loss)
