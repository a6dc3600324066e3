"""Memory of large tensors, kept when they die and lent again.

A page that is touched for the first time costs more than most uses of it, and the C library gives large blocks back to
the system at once. A block is lent as the buffer of an ordinary tensor, and comes back when the last tensor, view or
graph that holds the buffer is gone.
"""

import contextlib
import ctypes
import functools
import math
import mmap
import os
from typing import Any

import torch
from torch import Tensor

LEAST = 1 << 18
_HUGE_PAGE = 1 << 21
_free: dict[int, list[mmap.mmap]] = {}  # by size; each change is one operation, so that threads need no lock


def new_tensor(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor of another's dtype, contiguous."""
    count, dtype = math.prod(shape), like.dtype
    n_bytes = count * dtype.itemsize
    if n_bytes < LEAST:
        return like.new_empty(*shape)  # torch reads a tuple of sizes at twice the cost
    size = _rounded(n_bytes)
    try:
        block = _free[size].pop()
    except (KeyError, IndexError):
        block = _new_block(size)
    lent = _kind(size).from_buffer(block)
    lent.block = block
    return torch.frombuffer(lent, dtype=dtype, count=count).resize_(*shape)  # a view could not be written to in a graph


@functools.cache
def most_bytes() -> int:
    """The most that is kept: an eighth of the machine's memory, 2 GiB at most."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        memory = 1 << 32
    return min(memory // 8, 2 << 30)


def _rounded(n_bytes: int) -> int:
    """Up to one of four sizes for each power of two, so that lengths that vary share blocks."""
    quarter = max(mmap.PAGESIZE, 1 << (n_bytes.bit_length() - 3))
    return -(-n_bytes // quarter) * quarter


def _new_block(size: int) -> mmap.mmap:
    block = mmap.mmap(-1, size)
    if size >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


@functools.cache
def _kind(size: int) -> Any:
    """The type of a lent buffer of a size; the last holder's end calls `__del__`."""
    return type("Lent", (ctypes.c_byte * size,), {"__del__": _come_back})


def _come_back(lent: Any) -> None:
    _free.setdefault(ctypes.sizeof(lent), []).append(lent.block)
    while kept_bytes() > most_bytes():
        for blocks in list(_free.values()):
            with contextlib.suppress(IndexError):  # another thread has taken it
                blocks.pop(0)
                break


def kept_bytes() -> int:
    """How much is kept now."""
    return sum(size * len(blocks) for size, blocks in list(_free.items()))
