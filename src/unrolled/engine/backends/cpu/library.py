"""The products, compiled once: those of loops, and the large ones outside."""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unrolled.engine.backends.cpu.build import TYPES, NoCompiler, build
from unrolled.engine.backends.cpu.status import raising

SOURCE = Path(__file__).with_name("products.cpp")
_begun: dict[tuple[torch.dtype, int], threading.Thread] = {}


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
        _begun[place] = threading.Thread(target=_build_quietly, args=(dtype,), name="products")
        _begun[place].start()


def _build_quietly(dtype: torch.dtype) -> None:
    with contextlib.suppress(NoCompiler):  # who needs them is told
        build(SOURCE.read_text(encoding="utf-8"), str(dtype), "products")


def _function(dtype: torch.dtype, name: str) -> Callable[[Any], Any]:
    begun = _begun.get((dtype, os.getpid()))
    if begun is not None:
        begun.join()
    return build(SOURCE.read_text(encoding="utf-8"), str(dtype), name)
