"""Synthetic items with classes, for a look at a classifier without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.data.in_memory import LABEL_KINDS
from unrolled.tasks.classify.fitted import ClassifyFitted

N_ITEMS, LENGTH = 16, 40


def synthetic(fitted: ClassifyFitted, draw: np.random.Generator) -> list[tuple[object, object]]:
    """Texts of words that the model knows, or windows of noise, with classes at random."""
    items = [fitted.input_layer.synthetic(draw, LENGTH) for _ in range(N_ITEMS)]
    kind = LABEL_KINDS[fitted.label_kind]
    names = [kind(str(name)) for name in draw.choice(fitted.classes, N_ITEMS)]
    return [(item, [name] if fitted.is_multiple else name) for item, name in zip(items, names, strict=True)]
