"""What a capture must leave as it was: random states, warnings, and the objects of a capture around it.

Inputs: none. Outputs: a context manager, in which one capture runs at a time; and a check of guards beside forks.
"""

import contextlib
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch._dynamo import graph_bytecode_inputs

from unrolled.engine.context import making

_TABLES: tuple[Any, ...] = (
    graph_bytecode_inputs.index_to_bytecode_constructor,
    graph_bytecode_inputs.index_to_external_object_weakref,
    graph_bytecode_inputs.keep_alive,
)

# torch's check of guards holds a lock of C++, which would stay locked in a child that is forked meanwhile
_CHECKING = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_CHECKING.acquire, after_in_parent=_CHECKING.release, after_in_child=_CHECKING.release)


def unforked(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The check, during which no other thread forks."""

    def checked(given: Any) -> bool:
        with _CHECKING:
            return check(given)

    return checked


@contextlib.contextmanager
def _within_another() -> Iterator[None]:
    """A capture that torch.compile may be in the midst of finds its objects again: a second one forgets them."""
    kept = [(table, table.copy()) for table in _TABLES]
    try:
        yield
    finally:
        for table, items in kept:
            table.clear()
            (table.update if isinstance(table, dict) else table.extend)(items)


@contextlib.contextmanager
def _random_states() -> Iterator[None]:
    """Python's and numpy's own, which torch may draw from where a step does."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """One capture at a time, which leaves no warning and no changed random state behind."""
    with (
        making,
        _within_another(),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        _random_states(),
        torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.Functionalize, False),  # within torch.compile
    ):
        warnings.simplefilter("ignore")
        yield
