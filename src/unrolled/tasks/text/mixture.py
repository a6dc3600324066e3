"""The mixture of a network and an n-gram model: P = (1 - share) · P_network + share · P_n-gram.

Inputs: log-probabilities of both. Outputs: those of the mixture, and the share that fits a text best. So a language
model is never worse than its baseline on the text that the share was fitted on.
"""

import math

import numpy as np

_MOST_SHARE = 0.999
_LEAST_GAIN = 1e-4  # nats per unit: below that the n-gram model is not worth its time


def mixed(by_net: np.ndarray, by_baseline: np.ndarray, share: float) -> np.ndarray:
    """log-probabilities of the mixture, of the shape of both."""
    if not share:
        return by_net
    return np.logaddexp(math.log1p(-share) + by_net, math.log(share) + by_baseline)


def best_share(by_net: np.ndarray, by_baseline: np.ndarray) -> float:
    """The share of the n-gram model at which a text is the likeliest, from log-probabilities of its units [length].

    The likelihood is concave in the share, so halving the interval finds its largest value.
    """
    ratio = np.exp(np.minimum(by_baseline - by_net, 50.0)) - 1
    low, high = 0.0, _MOST_SHARE
    for _ in range(30):
        middle = (low + high) / 2
        rises = float((ratio / (1 + middle * ratio)).mean()) > 0
        low, high = (middle, high) if rises else (low, middle)
    gain = float((mixed(by_net, by_baseline, low) - by_net).mean())
    return low if gain > _LEAST_GAIN else 0.0
