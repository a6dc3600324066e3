"""The code that a step may run, in words that mean the same in every process.

Comes in: a step. Goes out: text that differs wherever the step would do something else, or `Unknown`. A step's key
(identity.py) tells functions and classes apart by their address. Here they are told by what they do: byte code,
constants, and all that they may look up, to the end: other functions, the classes of modules with their bases, values
of modules that they name. What cannot be followed so (an import within a function, a file, the environment, an object
of a foreign kind) has no such words.
"""

import dis
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOTS = frozenset(
    ["unrolled", "torch", "builtins", "math", "operator", "functools", "itertools", "typing", "types", "collections"]
)
PLAIN = (int, float, bool, str, bytes, complex, torch.dtype, torch.device, torch.layout, torch.memory_format)
_FOLDERS = (Path(__file__).parent.parent, Path(torch.__file__).parent)
# what of Python's own reads files or input, finds things by names that no code shows, or differs between processes
_ESCAPES = {
    "__import__",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "globals",
    "hash",
    "id",
    "input",
    "locals",
    "open",
    "vars",
}


class Unknown(Exception):  # noqa: N818 - no fault
    """Something that has no words."""


def told(step: Callable) -> str:
    """What a step's code is.

    Raises:
        Unknown: it holds something that has no such words.
    """
    telling = _Telling()
    telling.of(step, None)
    return "\n".join(telling.words)


def is_known(module: str | None) -> bool:
    """Whether a module is Unrolled's, torch's or Python's own, which their versions tell."""
    return (module or "").split(".")[0] in ROOTS


def is_own(code: types.CodeType) -> bool:
    """Whether code is of a file of Unrolled's or torch's."""
    return any(folder in Path(code.co_filename).parents for folder in _FOLDERS)


def of_torch(value: Any) -> str:
    """The name of a function that torch or Python have in C.

    Raises:
        Unknown: it is none.
    """
    if isinstance(value, types.BuiltinFunctionType):
        if value.__self__ is None and value.__qualname__.startswith("_VariableFunctionsClass."):
            return f"torch.{value.__name__}"
        if isinstance(value.__self__, types.ModuleType) and is_known(value.__self__.__name__):
            return f"{value.__self__.__name__}.{value.__qualname__}"
    if isinstance(value, types.MethodDescriptorType) and is_known(value.__objclass__.__module__):
        return f"{value.__objclass__.__module__}.{value.__qualname__}"
    raise Unknown


class _Telling:
    """A walk over code. Values that the step's key holds are told once more: some are reached from here alone."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.seen: dict[Any, Any] = {}  # and kept, so that no address is used twice

    def of(self, value: Any, names: frozenset[str] | None) -> None:
        """`names`: what the code that reached the value looks up, where it is known: of a module that alone counts."""
        if value is None or type(value) in PLAIN:
            self.words.append(repr(value))
            return
        place = (id(value), names if isinstance(value, types.ModuleType) else None)
        if place in self.seen:
            return
        self.seen[place] = value
        match value:
            case Tensor():
                pass  # the plan's own keeping tells whether it is one of the step's
            case type():
                self._class(value)
            case types.FunctionType():
                self._function(value)
            case types.MethodType():
                self.of(value.__func__, names)
                self.of(value.__self__, names)
            case types.ModuleType():
                self._module(value, names)
            case staticmethod() | classmethod():
                self.of(value.__func__, names)
            case property():
                self._all("property", [value.fget, value.fset, value.fdel], names)
            case functools.partial():
                self._all("partial", [value.func, value.args, value.keywords], names)
            case list() | tuple():
                self._all(type(value).__name__, value, names)
            case dict():
                self._all("dict", [part for item in value.items() for part in item], names)
            case nn.Module():
                self.of(type(value), None)
                own = {name: item for name, item in vars(value).items() if name not in _OF_TORCH}
                self.of(own, None)
                self._all("modules", value._modules.values(), None)
                if any(item for name, item in vars(value).items() if name.endswith("_hooks")):
                    raise Unknown
            case _:
                self.words.append(of_torch(value))

    def _all(self, kind: str, values: Any, names: frozenset[str] | None) -> None:
        self.words.append(f"{kind} {len(values)}")
        for each in values:
            self.of(each, names)

    def _class(self, kind: type) -> None:
        for each in kind.__mro__:
            place = (id(each), None)
            if is_known(each.__module__) or (place in self.seen and each is not kind):
                continue
            self.seen[place] = each
            self.words.append(f"class {each.__qualname__}")
            for name, item in vars(each).items():
                is_code = isinstance(item, types.FunctionType | staticmethod | classmethod | property)
                if is_code or not (name.startswith("__") and name.endswith("__")):
                    self.words.append(name)
                    self.of(item, None)

    def _function(self, function: types.FunctionType) -> None:
        names: frozenset[str] | None = None
        if is_own(function.__code__):
            self.words.append(f"{function.__module__}.{function.__qualname__}")
        else:
            names = frozenset(_code(function.__code__, self.words))
            for name in sorted(names):
                if name in function.__globals__:
                    self.words.append(name)
                    self.of(function.__globals__[name], names)
                elif name in _ESCAPES:
                    raise Unknown
        for part in (*(cell.cell_contents for cell in function.__closure__ or ()), function.__defaults__):
            self.of(part, names)
        self.of(function.__kwdefaults__, names)

    def _module(self, module: types.ModuleType, names: frozenset[str] | None) -> None:
        self.words.append(module.__name__)
        if not is_known(module.__name__):
            if names is None:
                raise Unknown
            for name in sorted(names & vars(module).keys()):
                self.words.append(name)
                self.of(vars(module)[name], names)


_OF_TORCH = frozenset(vars(nn.Module()))


def _code(code: types.CodeType, words: list[str]) -> list[str]:
    """Tells a function's code, and that of those within it; returns the names that they look up."""
    if any(instruction.opname == "IMPORT_NAME" for instruction in dis.get_instructions(code)):
        raise Unknown
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    variables = (code.co_varnames, code.co_freevars, code.co_cellvars)
    words += [code.co_qualname, code.co_code.hex(), repr(counts), repr(code.co_names), repr(variables)]
    words.append(getattr(code, "co_exceptiontable", b"").hex())
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _code(constant, words)
        elif isinstance(constant, frozenset):
            words.append(repr(sorted(map(repr, constant))))
        else:
            words.append(repr(constant))
    return names
