"""Synthetic items with numbers, for a look at a regression without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.tasks.regress.fitted import RegressFitted

N_ITEMS, LENGTH = 16, 40


def synthetic(fitted: RegressFitted, draw: np.random.Generator) -> list[tuple[object, float]]:
    """Texts of words that the model knows, or windows of noise, with numbers at random."""
    return [(fitted.input_layer.synthetic(draw, LENGTH), float(fitted.spread * draw.normal())) for _ in range(N_ITEMS)]
