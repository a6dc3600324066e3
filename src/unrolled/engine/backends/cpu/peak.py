"""What the processor can do at most."""

import ctypes
import struct
import time
from pathlib import Path

import torch

from unrolled.engine.backends.cpu.build import build

_SOURCE = Path(__file__).with_name("peak.cpp")
_REPEATS = 1_000_000


def peak(dtype: torch.dtype = torch.float32) -> float:
    """Peak of multiplications and additions with torch's number of threads, in GFLOP a second, as measured now."""
    run, threads = build(_SOURCE.read_text(encoding="utf-8"), str(dtype)), torch.get_num_threads()
    result = torch.zeros(threads + 1, dtype=dtype)
    arguments = ctypes.c_char_p(struct.pack("3q", _REPEATS, threads, result.data_ptr()))
    times = []
    for _ in range(50):  # two threads may begin on one core
        start = time.perf_counter()
        run(arguments)
        times.append(time.perf_counter() - start)
    return result[-1].item() * _REPEATS * threads / min(times) / 1e9
