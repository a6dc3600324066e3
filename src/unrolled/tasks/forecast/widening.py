"""How much wider the intervals of few errors are.

Inputs: origins whose errors an interval comes from. Outputs: factors of its quantiles. A file of its own: it needs
neither a network nor data.
"""

import functools
from collections import Counter
from statistics import NormalDist

import numpy as np

from unrolled.data.windows import Origins
from unrolled.report.comparison import two_tails
from unrolled.tasks.forecast.net import LEVELS

_MOST = 1000  # errors apart, from which on Student's t is normal
_FARTHEST = 100.0  # of Student's t at a quantile


def widening(origins: Origins, horizon: int) -> np.ndarray:
    """Factors [levels] by which quantiles of errors lie farther from their middle than among the errors themselves.

    They are Student's t over the normal quantile. Forecasts less than a horizon apart tell of the same time, so the
    errors from `horizon` origins of a series count as one.

    Args:
        origins: that the errors come from, of steps one after the other.
        horizon: of the forecasts.
    """
    counts = Counter(i for i, _ in origins)
    apart = sum(-(-n // horizon) for n in counts.values())
    return np.array([_factor(level, min(max(1, apart - 1), _MOST)) for level in LEVELS])


@functools.cache
def _factor(level: float, freedom: int) -> float:
    """Student's t over the normal quantile at a level; 1 in the middle."""
    normal, beyond = abs(NormalDist().inv_cdf(level)), 2 * min(level, 1 - level)
    if normal < 1e-9:
        return 1.0
    low, high = normal, _FARTHEST
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if two_tails(middle, freedom) > beyond else (low, middle)
    return low / normal
