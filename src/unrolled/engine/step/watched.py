"""What a captured step depends on and torch's guards do not see: methods exchanged on classes, and global hooks.

Input: the guards of a capture and the code that it went through. Output: whether all of it is as it was.
"""

import types
from collections.abc import Iterable
from operator import is_
from typing import Any

from torch import nn
from torch.nn.modules import module as of_torch

_ABSENT = object()
_HOOKS = tuple(
    vars(of_torch)[name]
    for name in (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
)
# what an attribute is looked up with, whichever name the code asks for
_LOOKUPS = ("__call__", "__getattr__", "__getattribute__")


def has_global_hooks() -> bool:
    """Whether hooks are set that run in each module of the process."""
    return any(map(len, _HOOKS))


class Watched:
    """Attributes of classes, as they were."""

    def __init__(self, guards: Iterable[Any], codes: Iterable[types.CodeType]) -> None:
        names = dict.fromkeys((*_LOOKUPS, *(name for code in codes for name in code.co_names)))
        self._spaces: list[Any] = []
        self._names: list[str] = []
        self._values: list[Any] = []
        for kind in _classes(guards):
            for name in names:
                self._watch(kind, name)

    def _watch(self, kind: type, name: str) -> None:
        """A name, in each class where it might come to hide the one that is found, and in the one where it is found."""
        hiding = []
        for each in kind.__mro__[:-1]:
            space = vars(each)
            hiding.append(space)
            if name in space:
                for one in hiding:
                    self._spaces.append(one)
                    self._names.append(name)
                    self._values.append(one.get(name, _ABSENT))
                return

    def is_as_it_was(self) -> bool:
        """Whether no such attribute was exchanged, added or taken away."""
        found = [space.get(name, _ABSENT) for space, name in zip(self._spaces, self._names, strict=True)]
        return all(map(is_, found, self._values)) and not has_global_hooks()


def _classes(guards: Iterable[Any]) -> list[type]:
    """The classes of the objects that are guarded, but for those of C, which cannot be changed."""
    found: dict[type, None] = {}
    for guard in guards:
        value = None if guard.obj_weakref is None else guard.obj_weakref()
        if value is not None:
            for kind in (type(value), value):
                if isinstance(kind, type) and kind.__flags__ & _IS_HEAP and kind is not nn.Parameter:
                    found[kind] = None
    return list(found)


_IS_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
