"""Whether what a walk met (identity.py) is as it was, and the walks that are remembered for it."""

import types
import weakref
from collections.abc import Callable, Iterable
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from unrolled.engine.identity import Walk

#: shape, dtype, device of a tensor, and whether it learns
kind_of = attrgetter("shape", "dtype", "device", "requires_grad")

_MOST = 256
_GROUPS = ("_parameters", "_buffers", "_modules")
_groups = itemgetter(*_GROUPS)
#: the hooks of a module that run in a step
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF_MODULE = ("training", *_GROUPS, *HOOKS)
_ABSENT = object()
_remembered: "dict[int, tuple[weakref.ref, Walk]]" = {}  # by the address of the step


class Watch:
    """What a walk met, as it was. All of it is held, until the step is gone or is walked anew.

    Attributes:
        is_whole: whether all of it can be watched: modules without hooks, functions, tensors, and what never changes.
    """

    def __init__(self) -> None:
        self.is_whole = True
        self._root: tuple[Any, ...] = ()  # what may be exchanged in the step itself, which is not held
        self._others: list[tuple[Any, tuple[Any, ...]]] = []
        self._dictionaries: list[tuple[dict[str, Any], list[str], list[Any]]] = []
        self._empty: list[Any] = []
        self._modules: list[tuple[dict[str, Any], int, Callable, tuple[Any, ...]]] = []
        self._items: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._tensors: list[Tensor] = []
        self._kinds: list[tuple[Any, ...]] = []

    def module(self, module: nn.Module, names: Iterable[str], *, is_root: bool) -> None:
        """A module: its class, its parameters, buffers and modules, and the attributes of these names."""
        attributes = vars(module)
        self._dictionaries += [(each, list(each), list(each.values())) for each in _groups(attributes)]
        hooks = [attributes[name] for name in HOOKS]
        self._empty += hooks
        self.is_whole &= not any(hooks)
        read = itemgetter(*_OF_MODULE, *names)
        self._modules.append((attributes, len(attributes), read, read(attributes)))
        self._met(module, is_root=is_root)

    def function(self, function: types.FunctionType, *, is_root: bool) -> None:
        """A function, but for what its globals hold."""
        try:
            self._cells += [(cell, cell.cell_contents) for cell in function.__closure__ or ()]
        except ValueError:  # one is empty
            self.is_whole = False
        self.is_whole &= function.__kwdefaults__ is None
        self._met(function, is_root=is_root)

    def _met(self, value: Any, *, is_root: bool) -> None:
        if is_root:
            self._root = _parts(value)
        else:
            self._others.append((value, _parts(value)))

    def item(self, dictionary: dict[str, Any], name: str) -> Any:
        """One item of a dictionary, which is returned, or its absence."""
        value = dictionary.get(name, _ABSENT)
        self._items.append((dictionary, name, value))
        return value

    def tensor(self, tensor: Tensor, kind: tuple[Any, ...]) -> None:
        """A tensor of a shape, dtype and device, and whether it learns; not its numbers."""
        self._tensors.append(tensor)
        self._kinds.append(kind)

    def is_true_still(self, step: Callable) -> bool:
        """Whether a walk over the step would meet the same again."""
        if not all(map(is_, _parts(step), self._root)) or any(self._empty):
            return False
        for value, parts in self._others:
            if not all(map(is_, _parts(value), parts)):
                return False
        try:
            for attributes, count, read, then in self._modules:
                if len(attributes) != count or not all(map(is_, read(attributes), then)):
                    return False
        except KeyError:  # one was deleted
            return False
        for names, keys, values in self._dictionaries:
            if list(names) != keys or not all(map(is_, names.values(), values)):
                return False
        for names, name, item in self._items:
            if names.get(name, _ABSENT) is not item:
                return False
        try:
            for cell, contents in self._cells:
                if cell.cell_contents is not contents:
                    return False
        except ValueError:  # it was emptied
            return False
        return list(map(kind_of, self._tensors)) == self._kinds


def _parts(value: Any) -> tuple[Any, ...]:
    if isinstance(value, types.FunctionType):
        return value.__code__, value.__defaults__, value.__kwdefaults__
    return type(value), value.__dict__


def remembered(step: Callable) -> "Walk | None":
    """The walk over a step that was remembered, if it is true still."""
    known = _remembered.get(id(step))
    return known[1] if known is not None and known[0]() is step and known[1].watch.is_true_still(step) else None


def remember(step: Callable, walk: "Walk") -> None:
    """Keeps a walk, if it can be watched; the one kept longest goes."""
    if walk.watch.is_whole and isinstance(step, nn.Module | types.FunctionType):
        at = id(step)
        _remembered[at] = weakref.ref(step, lambda _: _remembered.pop(at, None)), walk
        for oldest in list(_remembered)[:-_MOST]:
            _remembered.pop(oldest, None)  # another thread may have been the sooner
