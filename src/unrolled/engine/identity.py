"""What a step is made of: a key that is equal where tracing gives the same graph, and the tensors that it holds.

A plan made for one step serves every step of the same key, with that step's own tensors: so a closure made anew at
every call, or a module whose parameters were exchanged, is neither traced again nor run with another's tensors.

What a walk met is watched, as far as it can be (watch.py): then the walk over a step is remembered, and serves until
something in it was exchanged.
"""

import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.engine import sources
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.watch import HOOKS, Watch, kind_of, remember, remembered

_OF_TORCH = frozenset(nn.Module().__dict__)
_TENSORS = frozenset((Tensor, nn.Parameter))
_PLAIN = (int, float, str, bool, bytes, complex, type(None), torch.dtype, torch.device, type, types.ModuleType)


def walk_over(step: Callable) -> "Walk":
    """The walk over all that a step holds now."""
    walk = remembered(step)
    if walk is not None:
        walk.is_remembered = True
        return walk
    walk = Walk()
    walk.key = walk.of(step)
    remember(step, walk)
    return walk


class Walk:
    """A walk over what a step holds.

    Attributes:
        key: of the step, once it is walked over.
        tensors: those met, in a fixed order.
        held: objects that are told apart by their address: whoever keeps the key must keep them too.
        containers: what a step might write to (attributes of modules, lists, dicts, sets), for `restore`.
        watch: of all that it met.
        is_remembered: whether it is one from a call before.
        known: what is known of calls of such a step.
    """

    def __init__(self) -> None:
        self.key: Hashable = None
        self.watch = Watch()
        self.is_remembered = False
        self.known: dict[Hashable, Any] = {}
        self.tensors: list[Tensor] = []
        self.held: list[Any] = []
        self.containers: list[Any] = []
        self.seen: dict[int, int] = {}

    def snapshot(self) -> list[tuple[Any, Any]]:
        """The containers, and what they hold now."""
        return [(container, container.copy()) for container in self.containers]

    def of(self, value: Any) -> Hashable:
        """The key of a value.

        Raises:
            NotTraceable: no key can tell it.
        """
        # in the order of what steps hold most: a step is walked at every call
        if value is None:
            return None
        is_tensor = type(value) in _TENSORS or isinstance(value, Tensor)
        if not is_tensor and isinstance(value, _PLAIN):
            # 1, 1.0 and True are equal, and make different graphs
            return (type(value), value)
        at = self.seen.get(id(value))
        if at is not None:
            self.watch.is_whole &= at > 0  # who remembers a step's walk must not hold the step itself
            return ("again", at)
        self.seen[id(value)] = len(self.seen)
        if is_tensor:
            self.tensors.append(value)
            kind = kind_of(value)
            self.watch.tensor(value, kind)
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
        self.watch.is_whole = False
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
        if isinstance(module, torch.jit.ScriptModule):
            raise NotTraceable("it holds a module of TorchScript, in which no change can be seen")
        names = module.__dict__
        groups = (names["_parameters"], names["_buffers"], names["_modules"])
        self.containers += (names, *groups)
        own = [name for name in names if name not in _OF_TORCH]
        self.watch.module(module, own, is_root=len(self.seen) == 1)
        parts: list[Any] = ["module", type(module), names["training"]]
        for name in own:
            parts += (name, self.of(names[name]))
        for name in HOOKS:
            if item := names[name]:
                self.held += item.values()
                parts.append((name, *map(id, item.values())))
        for group in groups:
            for name, item in group.items():
                parts += (name, self.of(item))
        return tuple(parts)

    def _function(self, function: types.FunctionType) -> Hashable:
        code = function.__code__
        self.watch.function(function, is_root=len(self.seen) == 1)
        own: list[Hashable] = ["function", code]
        for cell in function.__closure__ or ():
            try:
                contents = cell.cell_contents
            except ValueError:
                continue  # it is empty
            own.append(self.of(contents))
        own += (self.of(function.__defaults__), self.of(function.__kwdefaults__))
        names, around = _globals(code), function.__globals__
        for name in names:
            value = self.watch.item(around, name)
            if name in around:
                own.append((name, self.of(value)))
        for name in [name for name in names if isinstance(around.get(name), types.ModuleType)]:
            for attribute in names:  # settings that are read off a module, such as config.RATE
                value = self.watch.item(vars(around[name]), attribute)
                if isinstance(value, int | float | str | Tensor):
                    own.append((name, attribute, self.of(value)))
        return tuple(own)


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
