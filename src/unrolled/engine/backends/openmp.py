"""OpenMP's threads end before each fork.

A forked child has one thread, but libgomp there counts on all threads of its parent and waits for them without end, in
torch's operations as in the kernels. OpenMP has `omp_pause_resource_all` for this: it ends the threads of the thread
that calls it, and the next parallel region starts new ones, in the parent and in the child.
"""

import contextlib
import ctypes
import functools
import os
from typing import Any

_SOFT = 1  # omp_pause_soft: settings such as the number of threads stay


def end_threads() -> None:
    """Ends the OpenMP threads of the calling thread, if there are any."""
    library = _library()
    if library is not None:
        library.omp_pause_resource_all(_SOFT)


@functools.cache
def _library() -> Any:
    """The OpenMP library that the kernels use, or None."""
    libraries: list[Any] = [ctypes.CDLL(None)]  # the loader looks here first, and finds torch's library
    if hasattr(os, "RTLD_NOLOAD"):
        with contextlib.suppress(OSError):  # no kernel has loaded it
            libraries.append(ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD))
    return next((each for each in libraries if hasattr(each, "omp_pause_resource_all")), None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=end_threads)
