"""Where a scan runs as its definition, whatever its step: what is around it reads each operation by itself."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext


def why_definition() -> str | None:
    """The reason, None where the compiled loop may run."""
    if torch._C._are_functorch_transforms_active():
        return "it runs under a transform of torch.func"
    if torch._C._is_tracing():
        return "it runs within torch.jit.trace"
    if forward_ad._current_level >= 0:
        return "it runs in forward-mode differentiation"
    if torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack() and _is_within_mode():
        return "it runs under a mode that sees each operation of torch"
    return None


def is_transformed() -> bool:
    """Where neither the compiled loop nor all of torch's own functions have a rule, outside of torch.compile."""
    return not torch.compiler.is_compiling() and why_definition() is not None


def _is_within_mode() -> bool:
    """Whether modes are set, beside that of torch.device; within torch.compile they are its own."""
    if torch.compiler.is_compiling():
        return False
    modes = [torch._C._get_function_stack_at(i) for i in range(torch._C._len_torch_function_stack())]
    return torch._C._len_torch_dispatch_stack() > 0 or not all(isinstance(mode, DeviceContext) for mode in modes)


class _Making:
    """One thread makes plans at a time: torch's capture and tracing keep state of their own. Hooks on saved tensors,
    as those of a checkpoint, see none that tracing saves.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """In a forked process, whose other threads are gone, nobody holds the lock."""
        self._lock = threading.RLock()
        self._levels: list[int] = []
        self._hooks: list[list[tuple[Any, Any]]] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._levels.append(logging.root.manager.disable)
        logging.disable(logging.CRITICAL)  # torch logs what it cannot trace, which the reason tells
        self._hooks.append(list(_popped_hooks()))

    def __exit__(self, *_: object) -> None:
        _push(self._hooks.pop())
        logging.disable(self._levels.pop())
        self._lock.release()


@contextlib.contextmanager
def without_saved_tensor_hooks() -> Iterator[None]:
    """Within the block hooks on saved tensors of this thread, as those of a checkpoint, see nothing."""
    hooks = list(_popped_hooks())
    try:
        yield
    finally:
        _push(hooks)


def _push(hooks: list[tuple[Any, Any]]) -> None:
    for pack, unpack in reversed(hooks):
        torch._C._autograd._push_saved_tensors_default_hooks(pack, unpack)


def _popped_hooks() -> Iterator[tuple[Any, Any]]:
    """The hooks on saved tensors of this thread, the last one first; none where hooks are not allowed."""
    of_torch: Any = torch._C._autograd  # whose types torch does not tell whole
    while of_torch._saved_tensors_hooks_is_enabled() and (
        hooks := of_torch._top_saved_tensors_default_hooks(True)  # also while torch traces
    ):
        of_torch._pop_saved_tensors_default_hooks()
        yield hooks


making = _Making()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Holds Ctrl-C back while parts of torch are loaded, which else stay half loaded in the process for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, Any]] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda *which: waiting.append(which))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            before(*waiting[0])


def is_batched(tensor: Any) -> bool:
    """Whether it stands for several tensors at once, as gradients with `is_grads_batched`."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


@contextlib.contextmanager
def of_single_gradients() -> Iterator[None]:
    """Leaves the mode of `is_grads_batched`, under which guards of a step do not hold: what a checkpoint runs again in
    such a backward is not batched.
    """
    mode: Any = torch._C  # whose functions torch does not tell whole
    n_levels = mode._vmapmode_increment_nesting()
    for _ in range(n_levels):
        mode._vmapmode_decrement_nesting()
    try:
        yield
    finally:
        for _ in range(n_levels - 1):
            mode._vmapmode_increment_nesting()


def is_autocast() -> bool:
    """Whether it runs under torch.autocast."""
    return torch._C._is_any_autocast_enabled() and (
        torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    )


def has_values(tensor: torch.Tensor) -> bool:
    """Whether the numbers in a tensor can be read: torch.vmap and torch.jit.trace keep them to themselves."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return False
        tensor = functorch.get_unwrapped(tensor)
    return not torch._C._is_tracing()
