"""Synthetic sentences with slots and intents, for a look at a model without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.data.intents import Intents
from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged
from unrolled.tasks.understand.fitted import UnderstandFitted

N_SENTENCES, LENGTH = 16, 20


def synthetic(fitted: UnderstandFitted, draw: np.random.Generator) -> Intents:
    """Words that the model knows, with slots and intents at random."""
    known = [tag for tag in fitted.tags if tag[:2] in ("O", "S-")]
    sentences = [fitted.vocabulary.synthetic(draw, LENGTH) for _ in range(N_SENTENCES)]
    tags = [[str(tag) for tag in draw.choice(known, len(each))] for each in sentences]
    if fitted.scheme != "BIOES":
        tags = [tags_of(spans_of(each, "BIOES"), len(each), fitted.scheme) for each in tags]
    intents = [str(intent) for intent in draw.choice(fitted.intents, N_SENTENCES)]
    return Intents(Tagged(sentences, tags, fitted.scheme, []), intents)
