"""Synthetic pairs of texts, for a look at a translator without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.data.subwords import UNKNOWN, Subwords
from unrolled.tasks.translate.fitted import TranslateFitted

N_PAIRS, LENGTH = 16, 20


def synthetic(fitted: TranslateFitted, draw: np.random.Generator) -> list[tuple[str, str]]:
    """Texts of subwords that the model knows, each beside another that is no translation."""

    def text(subwords: Subwords) -> str:
        return subwords.join((UNKNOWN + 1 + draw.integers(max(1, len(subwords) - UNKNOWN - 1), size=LENGTH)).tolist())

    return [(text(fitted.source), text(fitted.target)) for _ in range(N_PAIRS)]
