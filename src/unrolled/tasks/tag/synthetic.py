"""Synthetic sentences with tags, for a look at a tagger without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged
from unrolled.tasks.tag.fitted import TagFitted

N_SENTENCES, LENGTH = 16, 20


def synthetic(fitted: TagFitted, draw: np.random.Generator) -> Tagged:
    """Words that the model knows, with tags at random: single tokens, or none."""
    known = [tag for tag in fitted.tags if fitted.scheme == "plain" or tag[:2] in ("O", "S-")]
    sentences = [fitted.vocabulary.synthetic(draw, LENGTH) for _ in range(N_SENTENCES)]
    tags = [[str(tag) for tag in draw.choice(known, len(each))] for each in sentences]
    if fitted.scheme not in ("plain", "BIOES"):
        tags = [tags_of(spans_of(each, "BIOES"), len(each), fitted.scheme) for each in tags]
    return Tagged(sentences, tags, fitted.scheme, [])
