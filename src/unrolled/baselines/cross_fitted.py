"""What a baseline says of its own training examples when it did not learn from them.

Inputs: a baseline's fit, as a function of the places of examples. Outputs: scores of every example by a baseline that
learnt from others alone, and the scale that turns them into log-probabilities. A network that starts from a baseline
needs these: of examples that it learnt from, a baseline is surer than it ever is of new ones.
"""

from collections.abc import Callable

import numpy as np

FOLDS = 5
_SCALES = np.exp(np.linspace(np.log(1e-3), np.log(100), 80))


def folds_of(n: int, seed: int) -> np.ndarray:
    """The fold of each of `n` examples, int64 [n], drawn by the seed; the folds are of like size."""
    return np.random.default_rng((seed, 0xF01D)).permutation(n) % min(n, FOLDS)


def cross_fitted(
    n: int, seed: int, score: Callable[[np.ndarray, np.ndarray], np.ndarray], *, n_scores: int
) -> np.ndarray:
    """Scores [n, n_scores] of `n` examples.

    Args:
        n: how many there are.
        seed: draws the folds.
        score: places of the examples to learn from, and of those to score → scores of the latter.
        n_scores: of an example.
    """
    folds, scores = folds_of(n, seed), np.zeros((n, n_scores))
    for fold in range(int(folds.max()) + 1 if n > 1 else 0):
        held = np.flatnonzero(folds == fold)
        scores[held] = score(np.flatnonzero(folds != fold), held)
    return scores


def best_scale(scores: np.ndarray, targets: np.ndarray, *, is_multiple: bool = False) -> float:
    """What scores of classes [n, classes] are multiplied by, so that they tell the targets [n, classes] best, which are
    0 or the weight of the class.

    A temperature, C. Guo et al., ICML 2017; of each class against its absence where an example may have several.
    """
    losses = [_loss(scale * scores, targets, is_multiple=is_multiple) for scale in _SCALES]
    return float(_SCALES[int(np.argmin(losses))])


def _loss(logits: np.ndarray, targets: np.ndarray, *, is_multiple: bool) -> float:
    if is_multiple:
        is_there = targets > 0
        return float((np.where(is_there, targets, 1.0) * np.logaddexp(0, np.where(is_there, -logits, logits))).mean())
    largest = logits.max(1, keepdims=True)
    log_sum = largest + np.log(np.exp(logits - largest).sum(1, keepdims=True))
    return float((targets * (log_sum - logits)).sum(1).mean())
