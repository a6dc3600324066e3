"""Synthetic noise with transcripts, for a look at a transcriber without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.tasks.transcribe.fitted import TranscribeFitted

N_SOUNDS, SECONDS, N_CHARACTERS = 8, 2.0, 4


def synthetic(fitted: TranscribeFitted, draw: np.random.Generator) -> list[tuple[tuple[np.ndarray, int], str]]:
    """Two seconds of noise each, with some characters that the model knows."""
    known = [each for each in fitted.characters if each.strip()]
    samples = [draw.normal(size=round(SECONDS * fitted.rate)).astype(np.float32) / 10 for _ in range(N_SOUNDS)]
    return [((each, fitted.rate), "".join(draw.choice(known, N_CHARACTERS))) for each in samples]
