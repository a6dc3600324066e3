"""The products, compiled once: those of loops, and the large ones outside."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unrolled.engine.backends.cpu.build import build

SOURCE = Path(__file__).with_name("products.cpp")


@functools.cache
def multiply(dtype: torch.dtype) -> Callable[[Any], None]:
    """The large product, which takes a pointer to a `Product` (products.cpp)."""
    return build(SOURCE.read_text(encoding="utf-8"), str(dtype), "multiply")


@functools.cache
def of_loops(dtype: torch.dtype) -> int:
    """The address of the `Products` (products.h) that loops call."""
    function: Any = build(SOURCE.read_text(encoding="utf-8"), str(dtype), "products")
    function.restype = ctypes.c_void_p
    return function()
