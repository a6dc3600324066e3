"""What a step is made of: a key that is equal where tracing gives the same graph, and the tensors that it holds.

A plan made for one step serves every step of the same key, with that step's own tensors: so a closure made anew at
every call, or a module whose parameters were exchanged, is neither traced again nor run with another's tensors.

A step is walked at every call. Of a module that holds modules, tensors and plain values alone the walk is remembered,
with what tells that nothing in it was exchanged since.
"""

import functools
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.engine import sources

_OF_TORCH = frozenset(nn.Module().__dict__)
_TENSORS = frozenset((Tensor, nn.Parameter))
_HOOKS = tuple(name for name in sorted(_OF_TORCH) if name.endswith("_hooks"))
_PLAIN = (int, float, str, bool, bytes, complex, type(None), torch.dtype, torch.device, type, types.ModuleType)


_MOST_WALKS = 256
_walks: "dict[int, tuple[weakref.ref, Walk]]" = {}  # by the address of the step


def walk_over(step: Callable) -> "Walk":
    """The walk over all that a step holds now."""
    known = _walks.get(id(step))
    if known is not None and known[0]() is step and known[1].is_true_still(step):
        return known[1]
    walk = Walk()
    walk.key = walk.of(step)
    if walk.is_plain and isinstance(step, nn.Module):
        at = id(step)
        _walks[at] = weakref.ref(step, lambda _: _walks.pop(at, None)), walk
        if len(_walks) > _MOST_WALKS:
            _walks.pop(next(iter(_walks)), None)  # another thread may have been the sooner
    return walk


class Walk:
    """A walk over what a step holds.

    Attributes:
        key: of the step, once it is walked over.
        tensors: those met, in a fixed order.
        held: objects that are told apart by their address: whoever keeps the key must keep them too.
        containers: what a step might write to (attributes of modules, lists, dicts, sets), for `restore`.
        is_plain: whether it met modules without hooks, tensors, plain values and what never changes alone.
    """

    def __init__(self) -> None:
        self.key: Hashable = None
        self.is_plain = True
        self._root: tuple[type, dict[str, Any]] = (type(None), {})
        self._modules: list[tuple[nn.Module, type, dict[str, Any]]] = []
        self._sizes: list[tuple[dict[str, Any], int]] = []
        self._items: list[tuple[dict[str, Any], str, Any]] = []
        self._kinds: list[tuple[Any, ...]] = []
        self.tensors: list[Tensor] = []
        self.held: list[Any] = []
        self.containers: list[Any] = []
        self.seen: dict[int, int] = {}

    def is_true_still(self, step: nn.Module) -> bool:
        """Whether a plain walk over the step would meet the same again."""
        for module, kind, names in ((step, *self._root), *self._modules):
            if type(module) is not kind or module.__dict__ is not names:
                return False
        for names, size in self._sizes:
            if len(names) != size:
                return False
        for names, name, item in self._items:
            if names.get(name) is not item:
                return False
        for tensor, shape, dtype, device, learns in self._kinds:
            is_same = tensor.requires_grad is learns and tensor.dtype is dtype and tensor.shape == shape
            if not (is_same and tensor.device == device):
                return False
        return True

    def snapshot(self) -> list[tuple[Any, Any]]:
        """The containers, and what they hold now."""
        return [(container, container.copy()) for container in self.containers]

    def of(self, value: Any) -> Hashable:
        # in the order of what steps hold most: a step is walked at every call
        if value is None:
            return None
        is_tensor = type(value) in _TENSORS or isinstance(value, Tensor)
        if not is_tensor and isinstance(value, _PLAIN):
            # 1, 1.0 and True are equal, and make different graphs
            return (type(value), value)
        at = self.seen.get(id(value))
        if at is not None:
            self.is_plain = self.is_plain and at > 0
            return ("again", at)
        self.seen[id(value)] = len(self.seen)
        if is_tensor:
            self.tensors.append(value)
            kind = (value.shape, value.dtype, value.device, value.requires_grad)
            self._kinds.append((value, *kind))
            return kind
        if type(value) is types.BuiltinFunctionType:
            self.held.append(value)
            return ("id", id(value))
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if type(value) is tuple:
            return (tuple, *map(self.of, value))
        self.is_plain = False
        if isinstance(value, types.MethodType):
            return ("method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, functools.partial):
            return ("partial", self.of(value.func), self.of(value.args), self.of(value.keywords))
        if isinstance(value, list | dict | set):
            self.containers.append(value)
        if isinstance(value, list | tuple | set | frozenset):
            return (type(value), *map(self.of, value))
        if isinstance(value, dict):
            return ("dict", *((self.of(key), self.of(item)) for key, item in value.items()))
        if hasattr(value, "__dict__") and not callable(getattr(value, "__self__", None)):
            self.containers.append(vars(value))
            return ("object", type(value), *((name, self.of(item)) for name, item in vars(value).items()))
        self.held.append(value)
        return ("id", id(value))

    def _module(self, module: nn.Module) -> Hashable:
        names = module.__dict__
        groups = (names["_parameters"], names["_buffers"], names["_modules"])
        self.containers += (names, *groups)
        if len(self.seen) == 1:  # the step itself, which a remembered walk does not hold
            self._root = type(module), names
        else:
            self._modules.append((module, type(module), names))
        self._sizes += [(each, len(each)) for each in (names, *groups)]
        self._items += [(each, name, item) for each in (names, *groups) for name, item in each.items()]
        parts: list[Any] = ["module", type(module), names["training"]]
        for name, item in names.items():
            if name not in _OF_TORCH:
                parts += (name, self.of(item))
        for name in _HOOKS:
            self._sizes.append((names[name], 0))
            if item := names[name]:
                self.is_plain = False
                self.held += item.values()
                parts.append((name, *map(id, item.values())))
        for group in groups:
            for name, item in group.items():
                parts += (name, self.of(item))
        return tuple(parts)

    def _function(self, function: types.FunctionType) -> Hashable:
        code = function.__code__
        own: list[Hashable] = ["function", code]
        for cell in function.__closure__ or ():
            try:
                contents = cell.cell_contents
            except ValueError:
                continue  # it is empty
            own.append(self.of(contents))
        own += (self.of(function.__defaults__), self.of(function.__kwdefaults__))
        names = _globals(code)
        self.is_plain = self.is_plain and not names and not function.__closure__
        if not names:
            return tuple(own)
        used = [(name, function.__globals__[name]) for name in names if name in function.__globals__]
        return (
            *own,
            *((name, self.of(value)) for name, value in used),
            # settings that are read off a module, such as config.RATE
            *(
                (name, attribute, self.of(vars(value)[attribute]))
                for name, value in used
                if isinstance(value, types.ModuleType)
                for attribute in names
                if isinstance(vars(value).get(attribute), int | float | str | Tensor)
            ),
        )


@functools.lru_cache(maxsize=4096)
def _globals(code: types.CodeType) -> tuple[str, ...]:
    """The names that a function, and those within it, may look up among its globals; of Unrolled's and torch's own
    functions none, whose globals do not change.
    """
    if sources.is_own(code):
        return ()
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _globals(const)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def held_by(module: nn.Module) -> list[dict[str, Any]]:
    """The dictionaries of what a module holds: parameters, buffers, modules, and what its class has added."""
    own = {name: item for name, item in module.__dict__.items() if name not in _OF_TORCH}
    return [module._parameters, module._buffers, module._modules, *([module.__dict__] if own else [])]


def restore(snapshot: list[tuple[Any, Any]]) -> None:
    """Puts containers back to what they held."""
    for container, copy in snapshot:
        if isinstance(container, list):
            container[:] = copy
        else:
            container.clear()
            container.update(copy)
