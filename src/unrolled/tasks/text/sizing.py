"""The size of a language model, by the speed of the machine and the length of the training .

Inputs: settings, minutes, a device. Outputs: settings with the largest size that makes enough updates in that time.
"""

import time
from dataclasses import replace

import torch
from torch import nn

from unrolled.randomness import set_aside
from unrolled.tasks.text.net import TextNet
from unrolled.tasks.text.settings import TextSettings
from unrolled.training import processes
from unrolled.training.settings import TrainSettings

# layers, hidden, batch, dropout: the last one is the default without a bound of minutes
SIZES = ((1, 128, 8, 0.0), (1, 256, 8, 0.0), (1, 384, 8, 0.0), (2, 512, 32, 0.3))
LEAST_UPDATES = 1500
_N_TIMED = 2


def sized(
    settings: TextSettings, n_units: int, training: TrainSettings, device: torch.device
) -> tuple[TextSettings, list[str]]:
    """Settings of a size, and a note for the user; the smallest size where none makes 1,500 updates in the minutes. A
    size that the user chose is kept, and so is the default one where no minutes bound the run.
    """
    if settings.size == "given" or training.minutes is None or not settings.is_of_default_size:
        return replace(settings, size="given"), []
    chosen, updates = None, 0.0
    for layers, hidden, batch, dropout in SIZES:
        tried = replace(settings, size="given", layers=layers, hidden=hidden, batch=batch, dropout=dropout)
        expected = 60 * training.minutes / processes.agreed(seconds_of_update(tried, n_units, device))
        if chosen is not None and expected < LEAST_UPDATES:
            break
        chosen, updates = tried, expected
    assert chosen is not None
    words = f"{chosen.layers} layer{'s' if chosen.layers > 1 else ''} of {chosen.hidden}, batch {chosen.batch}"
    return chosen, [f"size: {words}; about {updates:,.0f} updates in {training.minutes:g} minutes on this machine"]


def seconds_of_update(settings: TextSettings, n_units: int, device: torch.device) -> float:
    """What a loss and its gradient take, measured; the first one, which may build a kernel, is not counted."""
    with set_aside(device, 0):
        net = TextNet(n_units, settings).to(device)
        units = torch.randint(n_units, (settings.k1, settings.batch)).to(device)
        times = []
        for _ in range(1 + _N_TIMED):
            start = time.perf_counter()
            logits, _ = net(units, None)
            nn.functional.cross_entropy(logits.flatten(0, 1), units.flatten()).backward()
            times.append(time.perf_counter() - start)
    return sum(times[1:]) / _N_TIMED
