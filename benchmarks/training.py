"""Trains a task's model for some minutes, as the benchmarks of quality do."""

import sys
import time

import unrolled
from unrolled.training.display import PlainDisplay


def trained(model, data, minutes, seed, valid=None, **training):
    """Seconds that it took."""
    settings = {"lr": 2e-3, "average": 0.999, "precision": "float32"} | training
    began = time.monotonic()
    model.fit(
        data,
        valid=valid,
        train=unrolled.TrainSettings(minutes=minutes, seed=seed, **settings),
        display=PlainDisplay(sys.stderr),
    )
    return time.monotonic() - began
