"""What compiled functions return: 0, or how many bytes there was no memory for (scratch.h)."""

import ctypes
from typing import Any


def raising(function: Any) -> Any:
    """The same function, which raises MemoryError for such a number."""
    function.restype = ctypes.c_int64
    function.errcheck = _check
    return function


def _check(n_bytes: int, _function: Any, _arguments: Any) -> None:
    if n_bytes:
        raise MemoryError(
            f"scan: the compiled loop needs {n_bytes:,} bytes beside its tensors, and there is no memory for them. "
            "Make the batch smaller."
        )
