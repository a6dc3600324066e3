"""Variable-length batches: a padded batch becomes packed rows, and back (rows.cpp)."""

import ctypes
import functools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.memory import new_tensor

_SOURCE = Path(__file__).with_name("rows.cpp")
_ALONE = 1 << 16  # bytes that one thread moves sooner than a second one wakes
_of_take, _of_arrange = struct.Struct("6q").pack, struct.Struct("9q").pack


def rows_at(places: Tensor, rows: Tensor) -> Tensor:
    """Rows [n, ...] of any dtype → [len(places), ...]: the row at each place, int64, and zeros where that is -1."""
    rows, n = rows.contiguous(), len(places)
    taken = new_tensor(rows, n, *rows.shape[1:])
    n_bytes = taken.numel() * taken.element_size()
    n_threads = 1 if n_bytes < _ALONE else torch.get_num_threads()
    addresses = places.data_ptr(), rows.data_ptr(), taken.data_ptr()
    _function("take")(ctypes.c_char_p(_of_take(n, n_bytes // n, n_threads, *addresses)))
    return taken


def arranged(active: Tensor) -> list[Tensor]:
    """From bool [time, batch], true in each row up to its length: counts and offsets, int64 [time], of a `BatchLayout`;
    order, ranks, places and packed_places of a `Packed`.
    """
    active, (n_steps, n_rows) = active.contiguous(), active.shape
    n = n_steps * n_rows
    made = list(
        torch.empty(2 * (n_steps + n_rows + n), dtype=torch.int64).split([n_steps] * 2 + [n_rows] * 2 + [n] * 2)
    )
    addresses = [each.data_ptr() for each in made]
    _function("arrange")(ctypes.c_char_p(_of_arrange(n_steps, n_rows, active.data_ptr(), *addresses)))
    counts, offsets = made[:2]
    made[4] = made[4][: counts[-1] + offsets[-1]]
    return made


@functools.cache
def _function(name: str) -> Callable[[Any], Any]:
    return build(_SOURCE.read_text(encoding="utf-8"), str(torch.float32), name)
