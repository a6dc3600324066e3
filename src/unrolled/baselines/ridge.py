"""The baseline of regressions: a ridge regression on words and pairs of texts, or on simple statistics of windows.

A. Hoerl and R. Kennard, Technometrics 12, 1970; on tf-idf, K. Spärck Jones, Journal of Documentation 28, 1972. The
normal equations are solved by conjugate gradients over the features that occur, so memory grows with the texts' length.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.naive_bayes import features_of
from unrolled.baselines.nearest_mean import statistics_of
from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

_MOST_FEATURES = 50_000  # the most frequent
_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
_HELD = 5  # each fifth example tells which strength is the best
_MOST_ROUNDS = 100

Entries = tuple[np.ndarray, np.ndarray, np.ndarray]  # item, feature and value of what is not zero


class Ridge:
    """number = intercept + Σ weight · feature.

    Attributes:
        names: words and pairs by number, for texts; empty for windows.
        centers, scales: float64 [features]; of texts zeros, and the inverse document frequency.
        weights: float64 [features].
        intercept: the mean of the targets.
    """

    in_words = "ridge regression"

    def __init__(
        self, names: Sequence[str], centers: np.ndarray, scales: np.ndarray, weights: np.ndarray, intercept: float
    ) -> None:
        self.names = {name: i for i, name in enumerate(names)}
        self.centers, self.scales, self.weights, self.intercept = centers, scales, weights, intercept

    @property
    def name(self) -> str:
        """For tables."""
        return f"ridge regression on {'words and pairs' if self.names else 'simple statistics'}"

    @classmethod
    def fit(cls, items: Sequence[Any], targets: np.ndarray) -> "Ridge":
        """Texts as tokens, or windows [time, features]; targets float64 [items]."""
        found = cls._of_windows(items) if isinstance(items[0], np.ndarray) else cls._of_texts(items)
        found.intercept = float(targets.mean())
        entries, centered = found._entries(items), targets - targets.mean()
        is_held = np.arange(len(items)) % _HELD == _HELD - 1
        strength = _STRENGTHS[1]
        if is_held.sum() > 1:
            shown = _rows(entries, ~is_held)
            errors = []
            for each in _STRENGTHS:
                weights = _solved(shown, np.where(is_held, 0.0, centered), len(found.scales), each)
                errors.append(np.square(centered - _product(entries, weights, len(items)))[is_held].mean())
            strength = _STRENGTHS[int(np.argmin(errors))]
        found.weights = _solved(entries, centered, len(found.scales), strength)
        return found

    @classmethod
    def _of_texts(cls, texts: Sequence[Sequence[str]]) -> "Ridge":
        counts = Counter(each for text in texts for each in set(features_of(text)))
        names = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_FEATURES]
        scales = np.array([1 + np.log((1 + len(texts)) / (1 + counts[name])) for name in names])
        return cls(names, np.zeros(len(names)), scales, np.zeros(len(names)), 0.0)

    @classmethod
    def _of_windows(cls, windows: Sequence[np.ndarray]) -> "Ridge":
        rows = np.stack([statistics_of(window) for window in windows])
        spreads = rows.std(0)
        return cls((), rows.mean(0), 1 / np.where(spreads > 0, spreads, 1.0), np.zeros(rows.shape[1]), 0.0)

    def _entries(self, items: Sequence[Any]) -> Entries:
        """Features: of a text tf-idf of length 1, of a window its scaled statistics."""
        if not self.names:
            rows = np.stack([statistics_of(window) for window in items])
            values = (rows - self.centers) * self.scales
            places = np.indices(values.shape)
            return places[0].ravel(), places[1].ravel(), values.ravel()
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for i, text in enumerate(items):
            counts = Counter(self.names[each] for each in features_of(text) if each in self.names)
            numbers = np.fromiter(counts, dtype=np.int64, count=len(counts))
            values = (1 + np.log(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))) * self.scales[
                numbers
            ]
            size = float(np.sqrt(np.square(values).sum()))
            parts.append((np.full(len(numbers), i), numbers, values / (size or 1.0)))
        whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return whole[0].astype(np.int64), whole[1].astype(np.int64), whole[2]

    def numbers(self, items: Sequence[object]) -> np.ndarray:
        """What the items come to, float64 [items]."""
        if not items:
            return np.zeros(0)
        return self.intercept + _product(self._entries(items), self.weights, len(items))

    def to_parts(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """Plain data, and tensors under "baseline."."""
        arrays = {"centers": self.centers, "scales": self.scales, "weights": self.weights}
        tensors = {f"baseline.{name}": torch.from_numpy(each) for name, each in arrays.items()}
        return {"features": list(self.names), "intercept": self.intercept}, tensors

    @classmethod
    def from_parts(cls, data: object, tensors: dict[str, Tensor]) -> "Ridge":
        """What `to_parts` gave.

        Raises:
            ModelFileError: it is not that.
        """
        found = [tensors.get(f"baseline.{name}") for name in ("centers", "scales", "weights")]
        arrays = [each.double().numpy() for each in found if each is not None and each.dim() == 1]
        match data:
            case {"features": list(names), "intercept": float(intercept)} if (
                len(arrays) == 3 and len({len(each) for each in arrays}) == 1 and len(names) in (0, len(arrays[0]))
            ):
                centers, scales, weights = arrays
                return cls(names, centers, scales, weights, intercept)
        raise ModelFileError("its baseline is missing or damaged")


def _rows(entries: Entries, is_kept: np.ndarray) -> Entries:
    kept = is_kept[entries[0]]
    return entries[0][kept], entries[1][kept], entries[2][kept]


def _product(entries: Entries, weights: np.ndarray, n_items: int) -> np.ndarray:
    return np.bincount(entries[0], entries[2] * weights[entries[1]], n_items)


def _solved(entries: Entries, targets: np.ndarray, n_features: int, strength: float) -> np.ndarray:
    """(XᵀX + strength) w = Xᵀy, by conjugate gradients."""

    def back(values: np.ndarray) -> np.ndarray:
        return np.bincount(entries[1], entries[2] * values[entries[0]], n_features)

    def whole(weights: np.ndarray) -> np.ndarray:
        return back(_product(entries, weights, len(targets))) + strength * weights

    return _conjugate_gradients(whole, back(targets))


def _conjugate_gradients(product: Callable[[np.ndarray], np.ndarray], right: np.ndarray) -> np.ndarray:
    """x of product(x) = right, of a symmetric positive map (M. Hestenes and E. Stiefel, 1952)."""
    found, rest = np.zeros_like(right), right.copy()
    direction, size = rest.copy(), float(rest @ rest)
    least = 1e-12 * size
    for _ in range(_MOST_ROUNDS):
        if size <= least:
            break
        turned = product(direction)
        step = size / float(direction @ turned)
        found, rest = found + step * direction, rest - step * turned
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return found
