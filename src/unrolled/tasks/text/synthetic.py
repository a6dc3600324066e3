"""Synthetic text, for a look at a text model without data.

Inputs: a fitted model. Outputs: a text, as `as_data` takes it.
"""

import numpy as np

from unrolled.data.corpus import Corpus
from unrolled.tasks.text.fitted import TextFitted

N_UNITS = 12_000


def synthetic(fitted: TextFitted, draw: np.random.Generator) -> Corpus:
    """Units that the model knows, one after the other."""
    ids = draw.integers(1, fitted.net.output.out_features, size=N_UNITS)
    text = "".join(fitted.units.decode(ids.tolist()))
    return Corpus(text, text.encode(), (), "utf-8", "")
