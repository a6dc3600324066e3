"""Random numbers that leave no trace."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def set_aside(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """What is drawn within on the CPU, or on the device, changes nothing that is drawn after; with a seed it is the
    same every time.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
