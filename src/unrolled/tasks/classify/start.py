"""What a classifier starts from: its baseline, and what the network adds to it.

Inputs: labeled examples, scores of both. Outputs: a baseline, and the weights of both.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.baselines.nearest_mean import NearestMean
from unrolled.tasks.blend import Loss, best_weights, cross_blended
from unrolled.tasks.classify.fitted import ClassifyFitted
from unrolled.tasks.classify.net import loss_of


def targets_of(
    labels: Sequence[Sequence[str]], classes: Sequence[str], class_weights: np.ndarray | None = None
) -> Tensor:
    """[texts, classes], 0 or 1; classes that training never saw are 0 everywhere. With weights of the classes, the
    weight in place of 1: so the cross-entropy of an item is weighted by its class.
    """
    place = {name: i for i, name in enumerate(classes)}
    targets = torch.zeros(len(labels), len(classes))
    for i, names in enumerate(labels):
        for name in names:
            if name in place:
                targets[i, place[name]] = 1
    return targets if class_weights is None else targets * torch.from_numpy(class_weights)


class BaselineOfExamples:
    """Fits the baseline on some of the examples, and scores others by it."""

    def __init__(
        self,
        sequences: list[Any],
        labels: Sequence[Sequence[str]],
        classes: list[str],
        *,
        is_multiple: bool,
        class_weights: np.ndarray | None = None,
    ) -> None:
        self.class_weights = class_weights
        self.sequences, self.labels, self.classes, self.is_multiple = sequences, labels, classes, is_multiple

    def baseline(self, places: np.ndarray) -> NaiveBayes | NearestMean:
        """What is learnt from the examples at some places."""
        sequences, labels = [self.sequences[i] for i in places], [self.labels[i] for i in places]
        if isinstance(self.sequences[0], np.ndarray):
            return NearestMean.fit(sequences, labels, self.classes)  # it knows of no class how frequent it is
        found = NaiveBayes.fit(sequences, labels, self.classes, is_multiple=self.is_multiple)
        if self.class_weights is not None:
            found.priors += np.log(self.class_weights)
        return found

    def scores(self, learnt: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Of the examples at places `held`, by what is learnt from those at `learnt`."""
        return self.baseline(learnt).scores([self.sequences[i] for i in held])


def weighted(fitted: ClassifyFitted, network: Tensor, baseline: Tensor, targets: Tensor) -> ClassifyFitted:
    """What is fitted, with the weights that are the likeliest on some items; scores and targets [items, classes]."""
    return replace(fitted, weights=best_weights(network, baseline, targets, _loss(fitted)))


def cross_weighted(fitted: ClassifyFitted, network: Tensor, baseline: Tensor, targets: Tensor) -> Tensor:
    """The logits of these items by weights that were fitted on others of them; see `cross_blended`."""
    return cross_blended(network, baseline, targets, _loss(fitted))


def _loss(fitted: ClassifyFitted) -> Loss:
    return lambda logits, targets: loss_of(logits, targets, is_multiple=fitted.is_multiple)


def chosen(scores: np.ndarray, fitted: ClassifyFitted, *, above: float) -> list[list[str]]:
    """The classes of items by scores [items, classes]: the best one, or all above a number."""
    if fitted.is_multiple:
        return [[fitted.classes[i] for i in np.flatnonzero(row > above)] for row in scores]
    return [[fitted.classes[int(i)]] for i in scores.argmax(1)]
