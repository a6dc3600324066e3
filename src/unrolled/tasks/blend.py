"""A network's scores of classes and a baseline's, together: a sum with two weights.

Inputs: both scores of a validation part, and its answers. Outputs: the weights, and calibrated scores. So a model
begins as its baseline, and a network adds to it as much as it proves to know.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.cross_fitted import best_scale, cross_fitted, folds_of
from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject

Weights = tuple[float, float]
Loss = Callable[[Tensor, Tensor], Tensor]
NETWORK_ALONE: Weights = (1.0, 0.0)
# of a normal distribution around one half each, where the weights are sought: over few answers they stay near it
_PRECISION = 4.0


def calibration(
    n: int,
    seed: int,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    targets: Tensor,
    *,
    is_multiple: bool = False,
) -> float:
    """The scale at which a baseline's scores tell best what it did not learn from; arguments as of `cross_fitted`."""
    scores = cross_fitted(n, seed, score, n_scores=targets.shape[1])
    return best_scale(scores, targets.numpy(), is_multiple=is_multiple)


def calibrated(scores: np.ndarray, scale: float, *, is_multiple: bool = False) -> Tensor:
    """A baseline's scores [items, classes] as log-probabilities or, of several classes, log-odds; float32.

    Those of one class are less the best one's, which changes no probability and keeps the digits.
    """
    if not is_multiple and len(scores):
        scores = scores - scores.max(1, keepdims=True)
    return torch.from_numpy(scale * scores).float()


def blended(network: Tensor, baseline: Tensor, weights: Weights) -> Tensor:
    """Logits of both together, [items, classes]."""
    if weights == NETWORK_ALONE:
        return network
    return weights[0] * network + weights[1] * baseline


def blend_from_data(data: JsonObject) -> tuple[float, Weights]:
    """Scale and weights, as they stand in a model file; in one of 0.1.0 the network answers alone.

    Raises:
        ModelFileError: they are damaged.
    """
    scale, weights = data.get("scale", 1.0), data.get("weights", list(NETWORK_ALONE))
    given = [scale, *weights] if isinstance(weights, list) else []
    numbers = [float(each) for each in given if isinstance(each, int | float) and 0 <= each < math.inf]
    if len(given) != 3 or len(numbers) != 3:
        raise ModelFileError("the weights of its network and of its baseline are damaged")
    return numbers[0], (numbers[1], numbers[2])


def cross_blended(network: Tensor, baseline: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Logits of both together [items, classes], of each item by weights that were fitted on the others, fold by fold:
    what weights gain on the items that they were fitted on is no gain. Arguments as of `best_weights`.
    """
    folds, logits = folds_of(len(network), 0), torch.empty_like(network)
    for fold in np.unique(folds):
        held = torch.from_numpy(folds == fold)
        weights = best_weights(network[~held], baseline[~held], targets[~held], loss)
        logits[held] = blended(network[held], baseline[held], weights)
    return logits


def best_weights(network: Tensor, baseline: Tensor, targets: Tensor, loss: Loss) -> Weights:
    """The likeliest weights of a network and of a baseline, none below 0.

    Stacked regressions, L. Breiman, Machine Learning 24, 1996: a convex problem of two numbers.

    Args:
        network: logits [items, classes].
        baseline: calibrated scores, likewise.
        targets: what is right, as `loss` takes it.
        loss: the mean over items of logits and targets.
    """
    if not len(targets):
        return (0.5, 0.5)
    both = torch.stack((network, baseline)).double()
    weights = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = (weights.view(2, 1, 1) * both).sum(0)
        total = len(targets) * loss(logits, targets) + _PRECISION / 2 * (weights - 0.5).square().sum()
        total.backward()
        return total

    with torch.inference_mode(mode=False), torch.enable_grad():
        optimizer.step(closure)
    found = weights.detach().clamp_min(0).tolist()
    return (found[0], found[1])
