"""The products, compiled once: those of loops, and the large ones outside."""

import atexit
import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unrolled.engine.backends.cpu.build import TYPES, build
from unrolled.engine.backends.cpu.compilers import NoCompiler
from unrolled.engine.backends.cpu.compiling import Batch, Stopped
from unrolled.engine.backends.cpu.status import raising

SOURCE = Path(__file__).with_name("products.cpp")
_MOST_END_S = 5.0
_begun: dict[tuple[torch.dtype, int], tuple[threading.Thread, Batch]] = {}


@functools.cache
def multiply(dtype: torch.dtype) -> Callable[[Any], None]:
    """The large product, which takes a pointer to a `Product` (products.cpp)."""
    return raising(_function(dtype, "multiply"))


@functools.cache
def of_loops(dtype: torch.dtype) -> int:
    """The address of the `Products` (products.h) that loops call."""
    function: Any = _function(dtype, "products")
    function.restype = ctypes.c_void_p
    return function()


def begin(dtype: torch.dtype) -> None:
    """Builds them on a thread of its own, where they are not there: it takes as long as all else that a first step
    needs.
    """
    place = dtype, os.getpid()  # a forked process has no such thread
    if str(dtype) in TYPES and place not in _begun:
        batch = Batch()
        # a daemon: who ends the program does not wait for it
        thread = threading.Thread(target=_build_quietly, args=(dtype, batch), name="products", daemon=True)
        _begun[place] = thread, batch
        thread.start()


def stop(dtype: torch.dtype) -> None:
    """Stops what `begin` has begun; the next one begins anew."""
    thread, batch = _begun.pop((dtype, os.getpid()), (None, None))
    if thread is not None and batch is not None:
        batch.stop()


@atexit.register
def _end() -> None:
    for (dtype, process), (thread, _) in list(_begun.items()):
        if process == os.getpid():
            stop(dtype)
            thread.join(_MOST_END_S)  # it removes the compiler's folder


def _build_quietly(dtype: torch.dtype, batch: Batch) -> None:
    with batch.taking(), contextlib.suppress(NoCompiler, Stopped):  # who needs them is told
        _build(dtype, "products")


def _function(dtype: torch.dtype, name: str) -> Callable[[Any], Any]:
    begun, _ = _begun.get((dtype, os.getpid()), (None, None))
    if begun is not None:
        try:
            begun.join()
        except BaseException:  # Ctrl-C reaches this thread alone
            stop(dtype)
            raise
    return _build(dtype, name)


def _build(dtype: torch.dtype, name: str) -> Callable[[Any], Any]:
    what = f"the products of {str(dtype).removeprefix('torch.')}"
    return build(SOURCE.read_text(encoding="utf-8"), str(dtype), name, what=what)
