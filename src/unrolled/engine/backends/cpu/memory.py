"""A memory pool for large tensors.

`new_tensor` borrows a block of memory, and the block returns to the pool when the last tensor, view or graph that uses
it is gone. A page that is touched for the first time costs more than most uses of it, and the C library returns large
blocks to the system at once.

A block is private memory: after a fork neither process sees what the other one writes. The child starts with an empty
pool, and keeps no block that it has from its parent: each page of such a block would be copied at the first write.
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
_Pool = dict[int, list[mmap.mmap]]
_free: _Pool = {}  # by size; each change is one operation, so that threads need no lock, and a fork finds it whole


def new_tensor(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor of another's dtype, contiguous.

    Raises:
        RuntimeError: torch's own, there is no memory left.
    """
    count, dtype = math.prod(shape), like.dtype
    n_bytes = count * dtype.itemsize
    if n_bytes < LEAST:
        return like.new_empty(*shape)  # torch reads a tuple of sizes at twice the cost
    size = _rounded(n_bytes)
    pool = _free
    try:
        block = pool[size].pop()
    except (KeyError, IndexError):
        try:
            block = _new_block(size)
        except OSError:
            pool.clear()
            return like.new_empty(*shape)  # if that fails as well, torch says how much it asked for
    borrowed = _kind(size).from_buffer(block)
    borrowed.block, borrowed.pool = block, pool
    return torch.frombuffer(borrowed, dtype=dtype, count=count).resize_(
        *shape
    )  # a view could not be written to in a graph


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
    block = _map(size)
    if size >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _map(size: int) -> mmap.mmap:
    """Memory of this process alone. Python's default is shared with forked processes, and has no huge pages."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)  # Windows, where nothing forks
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@functools.cache
def _kind(size: int) -> Any:
    """The type of a borrowed buffer of a size; `__del__` runs when nothing uses it any longer."""
    return type("Borrowed", (ctypes.c_byte * size,), {"__del__": _give_back})


def _give_back(borrowed: Any) -> None:
    if borrowed.pool is not _free:  # it is from before a fork
        return
    _free.setdefault(ctypes.sizeof(borrowed), []).append(borrowed.block)
    while kept_bytes() > most_bytes():
        for blocks in list(_free.values()):
            with contextlib.suppress(IndexError):  # another thread has taken it
                blocks.pop(0)
                break


def kept_bytes() -> int:
    """How much is kept now."""
    return sum(size * len(blocks) for size, blocks in list(_free.items()))


def _start_anew() -> None:
    global _free
    _free.clear()
    _free = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
