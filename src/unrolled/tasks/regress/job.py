"""The training of a regression, as the loop takes it: loss, metrics and learning curve."""

from collections.abc import Sequence, Sized

import numpy as np
import torch

from unrolled.data.numbered import Numbered
from unrolled.tasks.classify.sequences import SequenceJob
from unrolled.tasks.regress.fitted import RegressFitted
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

_PRECISION = 4.0  # over few items the share stays near one half


class RegressJob(SequenceJob):
    """A regression's training, as a `Job`."""

    def __init__(
        self,
        model: object,
        fitted: RegressFitted,
        sequences: Sequence[Sized],
        scaled: np.ndarray,
        valid: Numbered,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, fitted, sequences, valid.items, training, device)
        self.targets = torch.from_numpy(scaled[self.kept]).float()
        self.left = (valid.targets - fitted.baseline.numbers(self.valid)) / fitted.spread

    def evaluate(self) -> dict[str, float]:
        found = self.model._network(self.valid)
        share = best_share(found, self.left)
        rmse = float(np.sqrt(np.square(self.left - share * found).mean()))
        # the network learns long before it adds anything to the baseline
        of_network = float(np.sqrt(np.square(self.left - found).mean()))
        return {"loss": rmse + 1e-3 * of_network, "rmse": rmse * self.model.fitted.spread}

    @property
    def curve(self) -> Curve:
        """RMSE beside the baseline's."""
        fitted = self.model.fitted
        baseline = fitted.spread * float(np.sqrt(np.square(self.left).mean()))
        return Curve("rmse", "RMSE", baseline, fitted.baseline.in_words)

    def describe(self, metrics: dict[str, float]) -> str:
        return f"RMSE {metrics['rmse']:.6g}"


def best_share(network: np.ndarray, left: np.ndarray) -> float:
    """The share of the network, 0 to 1, that leaves the smallest squared error of what the baseline left; both
    [items], scaled. Over few items it stays near one half.
    """
    size = float(np.square(network).mean()) * _PRECISION
    share = (float(network @ left) + size / 2) / max(float(network @ network) + size, 1e-30)
    return min(1.0, max(0.0, share))
