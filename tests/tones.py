"""Sounds of two tones, which a few steps of a training need not tell apart."""

import numpy as np
import pytest


def write_tones(folder, n=12):
    """Writes 0.wav, 1.wav and so on: half a second each, high and low in turn."""
    soundfile = pytest.importorskip("soundfile")
    for i in range(n):
        soundfile.write(folder / f"{i}.wav", np.sin(np.arange(4000) * (0.1 + 0.02 * (i % 2))), 8000)
