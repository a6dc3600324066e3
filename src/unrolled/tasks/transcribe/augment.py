"""Data augmentation of sounds.

Inputs: sounds, and a random generator. Outputs: the same words, spoken a little differently.
"""

import numpy as np

from unrolled.data.sound import Sound


def augmented(samples: np.ndarray, rate: int, draw: np.random.Generator, *, speed: float, noise: float) -> np.ndarray:
    """Faster or slower by up to a share (T. Ko et al., Interspeech 2015), and with white noise 10 to 40 dB below, in a
    share of the cases.
    """
    steps = round(100 * draw.uniform(-speed, speed))
    if steps:
        # played at another rate: as if it had been recorded at it
        samples = Sound(samples, rate * (100 + steps)).at(rate * 100).samples
    if draw.random() < noise:
        power = float(np.square(samples, dtype=np.float64).mean())
        level = np.sqrt(power * 10 ** (-draw.uniform(1, 4)))
        samples = samples + (level * draw.standard_normal(len(samples))).astype(np.float32)
    return samples


def masked(frames: np.ndarray, mean: np.ndarray, draw: np.random.Generator, *, share: float) -> np.ndarray:
    """Two stretches of time and two of bands put to their mean, each up to a share of time, or twice that of the bands.

    SpecAugment, D. Park et al., Interspeech 2019.
    """
    frames = frames.copy()
    n_frames, n_mels = frames.shape
    for _ in range(2):
        width = draw.integers(int(share * n_frames) + 1)
        start = draw.integers(n_frames - width + 1)
        frames[start : start + width] = mean
        width = draw.integers(int(2 * share * n_mels) + 1)
        start = draw.integers(n_mels - width + 1)
        frames[:, start : start + width] = mean[start : start + width]
    return frames
