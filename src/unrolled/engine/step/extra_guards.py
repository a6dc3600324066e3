"""What a captured step depends on and torch's guards do not see.

Inputs: the objects that torch's guards met, and the frames that the capture went through. Output: whether all of it is
as it was: methods and special methods of classes, functions of modules, imported modules, names that hide a builtin,
the environment, registered abstract classes, what `==` does not tell apart, as 0.0 and -0.0, global hooks.
"""

import abc
import ast
import builtins
import dis
import functools
import os
import re
import sys
import types
from collections.abc import Callable, Iterable, Set
from operator import attrgetter, is_, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as of_torch

_ABSENT: Any = object()
_HOOKS = tuple(
    vars(of_torch)[name]
    for name in (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
)
# what is looked up although no code names it
_LOOKUPS = ("forward", "__call__", "__getattr__", "__getattribute__")
# by which operators go
OPERATORS = [
    f"__{name}__"
    for name in (
        "abs", "add", "and", "bool", "contains", "divmod", "eq", "float", "floordiv", "ge", "getitem", "gt", "iadd",
        "iand", "ifloordiv", "ilshift", "imatmul", "imod", "imul", "index", "int", "invert", "ior", "ipow", "irshift",
        "isub", "iter", "itruediv", "ixor", "le", "len", "lshift", "lt", "matmul", "mod", "mul", "ne", "neg", "or",
        "pos", "pow", "radd", "rand", "rdivmod", "reversed", "rfloordiv", "rlshift", "rmatmul", "rmod", "rmul", "ror",
        "round", "rpow", "rrshift", "rshift", "rsub", "rtruediv", "rxor", "setitem", "sub", "truediv", "xor",
    )
]  # fmt: skip
# attributes of classes of tensors that no result of a step comes from: what happens after it, and what Python keeps
NO_PART = frozenset(
    (
        "__annotations__", "__annotations_cache__", "__slotnames__", "backward", "record_stream", "register_hook",
        "register_post_accumulate_grad_hook", "retain_grad", "share_memory_",
    )
)  # fmt: skip
# whose base is of C, and cannot be changed
_TENSORS = (torch.Tensor, nn.Parameter)
_FUNCTIONS = (types.FunctionType, property, staticmethod, classmethod, functools.cached_property)
_NUMBERS = (bool, int, float, complex)
# that two values are equal may leave out what tells them apart
_HAS_SUCH = re.compile(r" == .*(\b0\.0\b|\dj\b|[\[({])")
_IMPORTS = dis.opmap["IMPORT_NAME"]
_TORCH = str(Path(torch.__file__).parent)
_IS_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


def _autocast_dtypes() -> list[torch.dtype]:
    return [torch.get_autocast_dtype(device) for device in ("cpu", "cuda")]


def _processes() -> tuple[int, int]:
    """This one of how many that compute together; -1 of 0 where it is by itself."""
    together = torch.distributed
    is_one_of_several = together.is_available() and together.is_initialized()
    return (together.get_rank(), together.get_world_size()) if is_one_of_several else (-1, 0)


# functions whose results torch takes for constants → what these are
_STATES: dict[str, Callable[[], Any]] = {
    "getrecursionlimit": sys.getrecursionlimit,
    **dict.fromkeys(("get_autocast_dtype", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype"), _autocast_dtypes),
    **dict.fromkeys(("is_initialized", "get_rank", "get_world_size"), _processes),
}


class Frame(NamedTuple):
    """A function that a capture went through: its code, and its globals."""

    code: types.CodeType
    names: dict[str, Any]


def has_global_hooks() -> bool:
    """Whether hooks are set that run in each module of the process."""
    return any(map(len, _HOOKS))


class ExtraGuards:
    """All that, as it was.

    Args:
        met: objects that guards compare by address, or whose class they compare.
        conditions: of guards, as torch words them.
        frames: that the capture went through.
        scope: what conditions read.
        helpers: of torch, which conditions may call.
    """

    def __init__(
        self,
        met: Iterable[Any],
        conditions: Iterable[str],
        frames: Iterable[Frame],
        scope: dict[str, Any],
        helpers: dict[str, Any],
    ) -> None:
        frames, self._helpers = list(frames), helpers
        self._items: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._views: dict[type, Any] = {}
        self._functions: dict[types.FunctionType, types.CodeType] = {}  # what else they hold torch guards
        self._codes: dict[types.FunctionType, types.CodeType] = {}  # of torch's own functions
        self._classes: list[tuple[Any, list[Any]]] = []
        self._orders: dict[type, tuple[type, ...]] = {}
        names = dict.fromkeys((*_LOOKUPS, *(name for frame in frames for name in frame.code.co_names)))
        met = list(met)
        registered = _registered(met)
        for kind in _classes(met):
            self._class(kind, names, registered.get(kind, frozenset()))
        for kind in _TENSORS:
            self._tensors(kind, [*names, *OPERATORS])
        own = [frame for frame in frames if not frame.code.co_filename.startswith(_TORCH)]
        for frame in own:  # functions of torch are compared by its guards
            self._frame(frame)
        asked = {name for frame in own for name in frame.code.co_names}
        self._environment = dict(os.environ) if {"environ", "getenv"} & asked else None
        self._states = [(state, state()) for state in {_STATES[name] for name in _STATES.keys() & asked}]
        self._registered = abc.get_cache_token() if {"isinstance", "issubclass"} & asked else None
        readable = {"L", "G", *vars(builtins), *helpers}
        found = (_blurred(condition, readable) for condition in conditions)
        self._values = [compile(each, "<guard>", "eval") for each in found if each]
        self._texts = self._read(scope)
        self._group()

    def _group(self) -> None:
        """Items by where they are, so that a check, which each call makes, is mostly C."""
        spaces: dict[int, Any] = {}
        present: dict[int, dict[str, Any]] = {}
        absent: dict[int, set[str]] = {}
        for (at, name), (space, value) in self._items.items():
            spaces[at] = space
            if value is _ABSENT:
                absent.setdefault(at, set()).add(name)
            else:
                present.setdefault(at, {})[name] = value
        self._present = [
            (
                itemgetter(*values),
                spaces[at],
                tuple(values.values()) if len(values) > 1 else next(iter(values.values())),
            )
            for at, values in present.items()
        ]
        self._absent = [(spaces[at].keys(), frozenset(names)) for at, names in absent.items()]

    def _class(self, kind: type, names: Iterable[str], registered: Set[str]) -> None:
        """A class: all of it where it is the user's, else what is looked up; and what it comes from.

        Args:
            kind: the class.
            names: what is looked up.
            registered: what modules of the class have in a registry, as their weights.
        """
        self._orders[kind] = kind.__mro__
        for each in kind.__mro__[:-1]:
            if each.__flags__ & _IS_HEAP and not _is_torchs(each):
                self._classes.append((vars(each), list(vars(each).values())))
                for value in vars(each).values():
                    self._function(value)
        for name in names:
            hiding = []  # those in which it might come to hide the one that is found
            for each in kind.__mro__[:-1]:
                hiding.append(self._space_of(each))
                if name in vars(each):
                    for space in hiding:
                        self._item(space, name)
                    break
            else:
                if name in registered:  # hidden by what the class comes to have
                    for space in hiding:
                        self._item(space, name)

    def _tensors(self, kind: type, names: Iterable[str]) -> None:
        """All of a class of tensors: operators and functions of torch call its methods by names that no code has, and a
        new one hides what it inherits.
        """
        self._classes.append((vars(kind), list(vars(kind).values())))
        for name in names:
            self._function(vars(kind).get(name))

    def _space_of(self, kind: type) -> Any:
        """The attributes of a class, one object for a class."""
        return self._views.setdefault(kind, vars(kind))

    def _frame(self, frame: Frame) -> None:
        """Names that are builtins as no global hides them; functions, and those of modules, by name; what an import
        within the function finds.
        """
        packages = _packages_of(frame.names) if _IMPORTS in frame.code.co_code[::2] else ()
        for name in frame.code.co_names:
            for module in (f"{package}{name}" for package in packages):
                if module in sys.modules:
                    self._item(sys.modules, module)
            if name in frame.names:
                value = frame.names[name]
                if isinstance(value, types.FunctionType):
                    self._item(frame.names, name)
                if isinstance(value, types.ModuleType):
                    self._module(value, frame.code.co_names)
            elif name in (found := _builtins_of(frame.names)):
                self._item(frame.names, name)
                self._item(found, name)

    def _module(self, module: types.ModuleType, names: Iterable[str]) -> None:
        for name in names:
            if isinstance(vars(module).get(name), types.FunctionType | types.BuiltinFunctionType | type):
                self._item(vars(module), name)

    def _item(self, space: Any, name: str) -> None:
        value = space.get(name, _ABSENT)
        self._items[id(space), name] = space, value
        self._function(value)

    def _function(self, value: Any) -> None:
        function = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType):
            code = function.__code__
            (self._codes if code.co_filename.startswith(_TORCH) else self._functions)[function] = code

    def hold(self, scope: dict[str, Any]) -> bool:
        """Whether nothing of it was exchanged, added or taken away; `scope` is what conditions of guards read."""
        return (
            self._are_present()
            and all([keys.isdisjoint(names) for keys, names in self._absent])  # noqa: C419 - a generator takes longer
            and list(map(_code, self._codes)) == list(self._codes.values())
            and list(map(_code, self._functions)) == list(self._functions.values())
            and all(len(s) == len(then) and all(map(is_, s.values(), then)) for s, then in self._classes)
            and list(map(_order, self._orders)) == list(self._orders.values())
            and not has_global_hooks()
            and all([state() == then for state, then in self._states])  # noqa: C419 - a generator takes longer
            and (self._environment is None or self._environment == os.environ)
            and (self._registered is None or self._registered == abc.get_cache_token())
            and (not self._values or self._texts == self._read(scope))
        )

    def _are_present(self) -> bool:
        for get, space, then in self._present:
            try:
                now = get(space)
            except KeyError:  # one was taken away
                return False
            if now is not then and not (type(then) is tuple and all(map(is_, now, then))):
                return False
        return True

    def _read(self, scope: dict[str, Any]) -> list[str]:
        """As text, in which 0.0 is not -0.0, nor 1 True."""
        return [repr(eval(each, self._helpers, scope)) for each in self._values]


_code, _order = attrgetter("__code__"), attrgetter("__mro__")


def _blurred(condition: str, readable: set[str]) -> str | None:
    """What a condition compares by `==` alone with numbers that others equal: 0.0 and -0.0 are equal, and within a set
    or keys 1 and True, or sets of another order.
    """
    if not _HAS_SUCH.search(condition):
        return None
    try:
        compared = ast.parse(condition, mode="eval").body
    except SyntaxError:  # torch's words for what it compares by itself
        return None
    if not isinstance(compared, ast.Compare) or not isinstance(compared.ops[0], ast.Eq):
        return None
    [other] = compared.comparators
    numbers = [
        each.value for each in ast.walk(other) if isinstance(each, ast.Constant) and type(each.value) in _NUMBERS
    ]
    is_within = any(isinstance(each, ast.Set | ast.List | ast.Tuple | ast.Dict) for each in ast.walk(other))
    is_such = is_within or any(isinstance(each, complex) or (isinstance(each, float) and not each) for each in numbers)
    names = {each.id for each in ast.walk(compared.left) if isinstance(each, ast.Name)}
    has_order = any(isinstance(each, ast.Set) for each in ast.walk(other))
    return ast.unparse(compared.left) if (has_order or (numbers and is_such)) and names <= readable else None


def _builtins_of(names: dict[str, Any]) -> dict[str, Any]:
    """What a function with these globals takes for builtins: code that was made by `exec` may have its own."""
    found = names.get("__builtins__", builtins)
    return found if isinstance(found, dict) else vars(found)


def _packages_of(names: dict[str, Any]) -> list[str]:
    """What an import in a function with these globals may put before a module's name: nothing, or its packages."""
    parts = list(filter(None, (names.get("__package__") or "").split(".")))
    return ["", *(".".join(parts[: n + 1]) + "." for n in range(len(parts)))]


def _is_torchs(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("torch", "builtins", "collections", "typing", "abc", "enum")


def _registered(met: Iterable[Any]) -> dict[type, set[str]]:
    """Of each class of modules, the names of their parameters, buffers and submodules."""
    found: dict[type, set[str]] = {}
    for module in met:
        if isinstance(module, nn.Module):
            space = vars(module)
            registries = (space.get(name) or () for name in ("_parameters", "_buffers", "_modules"))
            found.setdefault(type(module), set()).update(*registries)
    return found


def _classes(met: Iterable[Any]) -> list[type]:
    """The classes of objects, and theirs, but for those of C, which cannot be changed."""
    found: dict[type, None] = {nn.Module: None}
    for value in met:
        for kind in (value, type(value)):
            if isinstance(kind, type) and kind.__flags__ & _IS_HEAP and kind not in _TENSORS:
                found[kind] = None
                if not _is_torchs(type(kind)):
                    found[type(kind)] = None
    return list(found)
