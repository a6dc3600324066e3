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
from unittest import mock

import numpy as np
import torch
from torch._dynamo import graph_bytecode_inputs, guards
from torch._dynamo.utils import clear_torch_function_mode_stack, set_torch_function_mode_stack
from torch._guards import TracingContext
from torch._subclasses.meta_utils import MetaTensorDescriber
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

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


def unforked(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The check, during which no other thread forks."""

    def checked(given: Any) -> Any:
        with _CHECKING:
            if not torch._C._len_torch_function_stack():
                return check(given)
            with _without_default_cpu():
                return check(given)

    return checked


@contextlib.contextmanager
def patched_here(owner: Any, name: str, new: Callable[..., Any]) -> Iterator[None]:
    """Within, a function of torch's is another one for this thread alone: others may be within torch.compile."""
    old, here = getattr(owner, name), threading.get_ident()

    def called(*args: Any, **options: Any) -> Any:
        return (new if threading.get_ident() == here else old)(*args, **options)

    with mock.patch.object(owner, name, called):
        yield


@contextlib.contextmanager
def _without_default_cpu() -> Iterator[None]:
    """Takes `torch.device("cpu")` as a context, and as the default device, off the modes of this thread: it changes
    nothing that is made on a CPU, and torch's capture fails to look into it.
    """
    modes = _get_current_function_mode_stack()
    if not all(isinstance(mode, DeviceContext) and mode.device == torch.device("cpu") for mode in modes):
        yield
        return
    clear_torch_function_mode_stack()
    try:
        yield
    finally:
        set_torch_function_mode_stack(modes)


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


def _untimed(*_: Any) -> float:
    """Stands for torch's timing of guards, which flushes the processor's caches for a line of its log: 20 ms."""
    return 0.0


@contextlib.contextmanager
def _without_references() -> Iterator[None]:
    """Torch notes the tensors that a capture has met, and refers to them weakly for as long as the graph is there;
    `torch.utils.swap_tensors`, by which modules may be converted, refuses a tensor that something refers to.
    """
    made: dict[type, list[Any]] = {MetaTensorDescriber: [], TracingContext: []}

    def noting(kind: Any) -> Any:
        init = kind.__init__

        def noted(self: Any, *arguments: Any, **options: Any) -> None:
            init(self, *arguments, **options)
            made[kind].append(self)

        return patched_here(kind, "__init__", noted)  # what another thread compiles is its own

    with noting(MetaTensorDescriber), noting(TracingContext):
        try:
            yield
        finally:
            for describer in made[MetaTensorDescriber]:
                describer.lookup_tensor.clear()
                describer.lookup_storage.clear()
            for context in made[TracingContext]:
                context.tensor_to_context.clear()
                for guard in context.guards_context.dynamo_guards:
                    guard.obj_weakref = None


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """One capture at a time, which leaves no warning and no changed random state behind."""
    with (
        making,
        _within_another(),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        _random_states(),
        _without_references(),
        _without_default_cpu(),
        torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.Functionalize, False),  # within torch.compile
        mock.patch.object(guards, "profile_guard_manager", _untimed),
    ):
        warnings.simplefilter("ignore")
        yield
