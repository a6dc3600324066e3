"""Recurrent layers under `torch.jit.script`: it compiles torch's own forward.

Input: a layer whose class derives from one of torch's. Output: the attributes that the compiler reads. TorchScript
cannot compile the source of this library's forward. It can compile torch's, but finds the types of its arguments by the
name and the line numbers of torch's own class, not of a class that derives from it; so they are handed over here.
"""

import functools
from typing import Any

from torch import _jit_internal, nn
from torch.jit import _recursive

# one for a tensor and one for a PackedSequence, with the names that torch makes for them
NAMES = ("forward__0", "forward__1")


class _Stub(_recursive.ScriptMethodStub):
    """A method as the compiler takes it, marked as one that it is to compile."""

    _torchscript_modifier = _jit_internal.FunctionModifiers.EXPORT

    def __call__(self) -> None:  # the compiler looks for what can be called
        raise TypeError("a method for TorchScript alone; call the layer itself")


class TorchsForward:
    """Class attribute: one of the forwards of torch's layer, which differ in the types of their arguments."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __get__(self, layer: nn.Module | None, kind: type[nn.RNNBase]) -> Any:
        if layer is None or not _is_ours(kind):
            return None
        return _stubs(torchs(kind))[self.place]  # type: ignore[arg-type]


class Overloads:
    """Class attribute `__overloads__`: the methods that stand for `forward`; a user's own forward stands for itself."""

    def __get__(self, layer: nn.Module | None, kind: type[nn.Module]) -> dict[str, list[str]]:
        return {"forward": list(NAMES)} if _is_ours(kind) else {}


def torchs(kind: type[nn.Module]) -> type[nn.RNNBase]:
    """The class of torch that a layer's class derives from."""
    return next(base for base in kind.__mro__ if base.__module__ == nn.RNNBase.__module__)


def _is_ours(kind: type[nn.Module]) -> bool:
    """Whether the class has this library's forward, not one that a user wrote."""
    return kind.forward.__module__ == "unrolled.nn.torch_layers"


@functools.cache
def _stubs(kind: type[nn.RNNBase]) -> list[_Stub]:
    forward = kind.forward
    overloads = _jit_internal._get_overloaded_methods(forward, kind)
    named = {forward: list(zip(NAMES, overloads, strict=True))}
    return [_Stub(*stub) for stub in _recursive.make_stubs_for_overloads(named)]
