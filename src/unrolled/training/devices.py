"""The device and the precision that a training runs in.

Inputs: their names, as settings have them. Outputs: the device, the precision, and the random state of a device.
"""

import os
import time

import torch
from torch import Tensor

from unrolled.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one.

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as fault:
        raise SettingsError(f"device={name!r}: not to be had here ({str(fault).splitlines()[0]})") from fault
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of a name; "auto" is bfloat16 where this machine's products are at least 1.5 times faster in it."""
    if name != "auto":
        return name
    if device.type not in ("cpu", "cuda"):
        return "float32"
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, 512, dtype=dtype)
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            torch.mm(a, a)
            runs.append(time.perf_counter() - start)
        seconds[dtype] = min(runs)
    return "bfloat16" if seconds[torch.float32] >= 1.5 * seconds[torch.bfloat16] else "float32"


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators that a training on the device draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states
