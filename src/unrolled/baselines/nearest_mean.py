"""The baseline of classifiers of windows: the class whose windows have the nearest mean, in simple statistics."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject


class NearestMean:
    """Mean, spread, least, largest, first and last value of each feature; the class with the nearest mean of those
    wins, each in units of its spread over the training part.
    """

    name = "nearest class mean of simple statistics"
    in_words = "the nearest class mean"  # within a sentence

    def __init__(self, means: np.ndarray, spreads: np.ndarray) -> None:
        self.means, self.spreads = means, spreads  # [classes, statistics], [statistics]

    @classmethod
    def fit(
        cls, windows: Sequence[np.ndarray], labels: Sequence[Sequence[str]], classes: Sequence[str]
    ) -> "NearestMean":
        """Windows [time, features], and the one label of each."""
        rows = np.stack([statistics_of(window) for window in windows])
        spreads = rows.std(0)
        of_class = [np.array([names[0] == name for names in labels]) for name in classes]
        # a class without windows has the mean of all
        means = [(rows[chosen] if chosen.any() else rows).mean(0) for chosen in of_class]
        return cls(np.stack(means), np.where(spreads > 0, spreads, 1.0))

    def scores(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """[windows, classes]; the largest wins. They are -log of the squared distances: one statistic that is far off
        must not outweigh all others where scores become probabilities.
        """
        rows = np.stack([statistics_of(window) for window in windows])
        return -np.log(np.square((rows[:, None] - self.means) / self.spreads).sum(2) + 1e-12)

    def to_parts(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """Plain data, and tensors under "baseline."."""
        return {}, {"baseline.means": torch.from_numpy(self.means), "baseline.spreads": torch.from_numpy(self.spreads)}

    @classmethod
    def from_parts(cls, _: object, tensors: dict[str, Tensor], n_classes: int) -> "NearestMean":
        """What `to_parts` gave.

        Raises:
            ModelFileError: it is not that.
        """
        means, spreads = tensors.get("baseline.means"), tensors.get("baseline.spreads")
        if means is None or spreads is None or means.dim() != 2 or means.shape != (n_classes, len(spreads)):
            raise ModelFileError("its baseline is missing or damaged")
        return cls(means.numpy(), spreads.numpy())


def statistics_of(window: np.ndarray) -> np.ndarray:
    """Of a window [time, features], float64 [6 · features]; zeros if it is empty."""
    if not len(window):
        return np.zeros(6 * window.shape[1])
    return np.concatenate((window.mean(0), window.std(0), window.min(0), window.max(0), window[0], window[-1]))
