"""The baseline of classifiers: multinomial naive Bayes over tokens and pairs of neighbors."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

_SMOOTHING = 1.0
_LEAST_TEXTS = 0.5  # of a class that the texts have none of


class NaiveBayes:
    """log P(class | text) = log P(class) + Σ log P(feature | class), add-one smoothed.

    With several labels for a text, each label stands against its absence.
    """

    name = "naive Bayes on words and pairs"
    in_words = "naive Bayes"  # within a sentence

    def __init__(self, features: dict[str, int], weights: np.ndarray, priors: np.ndarray) -> None:
        self.features, self.weights, self.priors = features, weights, priors  # weights [features, classes]

    @classmethod
    def fit(
        cls,
        texts: Sequence[Sequence[str]],
        labels: Sequence[Sequence[str]],
        classes: Sequence[str],
        *,
        is_multiple: bool = False,
    ) -> "NaiveBayes":
        """Texts as tokens, and the labels of each."""
        features: dict[str, int] = {}
        rows = [[features.setdefault(each, len(features)) for each in features_of(text)] for text in texts]
        place = {name: i for i, name in enumerate(classes)}
        counts = np.zeros((len(features), len(classes)))
        n_texts = np.zeros(len(classes))
        of_class: dict[str, list[list[int]]] = {name: [] for name in classes}
        for row, names in zip(rows, labels, strict=True):
            for name in names:
                of_class[name].append(row)
        for name, those in of_class.items():
            counts[:, place[name]] = _occurrences(those, len(features))
            n_texts[place[name]] = len(those)
        weights = np.log(counts + _SMOOTHING) - np.log(counts.sum(0) + _SMOOTHING * len(features))
        priors = np.log(np.maximum(n_texts, _LEAST_TEXTS) / len(texts))
        if is_multiple:
            others = np.maximum(_occurrences(rows, len(features))[:, None] - counts, 0)
            weights -= np.log(others + _SMOOTHING) - np.log(others.sum(0) + _SMOOTHING * len(features))
            priors -= np.log(np.maximum(1 - n_texts / len(texts), 1e-9))
        return cls(features, weights.astype(np.float32), priors.astype(np.float32))

    def scores(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """[texts, classes]; the largest wins, or each above 0 where a text has several labels."""
        result = np.tile(self.priors.astype(np.float64), (len(texts), 1))
        for i, text in enumerate(texts):
            known = [self.features[each] for each in features_of(text) if each in self.features]
            result[i] += self.weights[known].sum(0)
        return result

    def to_parts(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """Plain data, and tensors under "baseline."."""
        tensors = {"baseline.weights": torch.from_numpy(self.weights), "baseline.priors": torch.from_numpy(self.priors)}
        return {"features": list(self.features)}, tensors

    @classmethod
    def from_parts(cls, data: object, tensors: dict[str, Tensor], n_classes: int) -> "NaiveBayes":
        """What `to_parts` gave.

        Raises:
            ModelFileError: it is not that.
        """
        names = data.get("features") if isinstance(data, dict) else None
        weights, priors = tensors.get("baseline.weights"), tensors.get("baseline.priors")
        if not isinstance(names, list) or weights is None or priors is None:
            raise ModelFileError("its baseline is missing")
        if tuple(weights.shape) != (len(names), n_classes) or tuple(priors.shape) != (n_classes,):
            raise ModelFileError("its baseline is damaged")
        return cls({name: i for i, name in enumerate(names)}, weights.numpy(), priors.numpy())


def _occurrences(rows: Sequence[Sequence[int]], n_features: int) -> np.ndarray:
    """How often each feature occurs in texts, float64 [features]."""
    whole = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)
    return np.bincount(whole, minlength=n_features).astype(np.float64)


def features_of(tokens: Sequence[str]) -> list[str]:
    """Words of a text, and pairs of neighbors, lower-cased."""
    lowered = [token.lower() for token in tokens]
    return lowered + [f"{a} {b}" for a, b in zip(lowered, lowered[1:], strict=False)]
