"""What an instruction of a step does, in words for the step's author.

Input: an instruction that torch's capture is about to follow, with what lies on its stack. Output: words such as "it
calls time.time". Refusals have no words of their own for most of what a step may do in Python; these are for the rest.
"""

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Mapping, MappingView, Set
from typing import Any

import torch
from torch._dynamo.variables import (
    ConstantVariable,
    GetAttrVariable,
    LazyVariableTracker,
    NumpyNdarrayVariable,
    StringFormatVariable,
    SymNodeVariable,
    TensorVariable,
)
from torch._dynamo.variables.ctx_manager import WithEnterFunctionVariable
from torch._dynamo.variables.lists import BaseListVariable
from torch._dynamo.variables.misc import NullVariable
from torch._dynamo.variables.user_defined import UserDefinedObjectVariable

from unrolled.engine.source_lines import is_of_a_step, shown_line

CANNOT = ", which a graph of torch's operations cannot hold"
NOT_CAPTURED = "it does what cannot be captured as a graph"
TEXT = "it turns a tensor into text"
READS = "it reads a number off a tensor, which a graph cannot: keep it a tensor"
RANDOM = "it draws from Python's or numpy's random numbers; draw from torch's, as torch.rand(n) does"
_PRINTS = "it prints, which a fused loop does not; print what the scan returns"
LOGS = "it writes to a log or warns, which a fused loop does not"
_CLOCK = "it asks for the time, which differs from step to step"
_SYSTEM = "it uses files or asks the operating system; do that before the scan"
_SEEDS = "it sets the state of random numbers, or asks for it; call torch.manual_seed before the scan"
_THREADS = "it uses threads or locks, which a fused loop does not"
_COROUTINE = "it runs async code, which a fused loop does not"
_CLASS = "it makes a class, which a fused loop does not; make it outside of the step"
#: how a function's name begins → what it does
_DEEDS = {
    "print": _PRINTS,
    "io.TextIOWrapper.write": _PRINTS,
    "logging.": LOGS,
    "warnings.warn": LOGS,
    "time.": _CLOCK,
    "datetime.datetime.now": _CLOCK,
    "datetime.datetime.utcnow": _CLOCK,
    "datetime.datetime.today": _CLOCK,
    "datetime.date.today": _CLOCK,
    "open": _SYSTEM,
    "io.open": _SYSTEM,
    "os.": _SYSTEM,
    "genericpath.": _SYSTEM,
    "posixpath.": _SYSTEM,
    "pathlib.": _SYSTEM,
    "tempfile.": _SYSTEM,
    "torch.save": _SYSTEM,
    "torch.load": _SYSTEM,
    "torch.random.": _SEEDS,
    "torch.manual_seed": _SEEDS,
    "threading.": _THREADS,
    "queue.": _THREADS,
    "multiprocessing.": _THREADS,
    "concurrent.": _THREADS,
    "asyncio.": _COROUTINE,
    "numpy.random.": RANDOM,
    "random.": RANDOM,
    "__build_class__": _CLASS,
}
# modules of C by the names that users import
_MODULES = {"posix": "os", "nt": "os", "_thread": "threading", "_pydecimal": "decimal"}
_PLAIN_VALUES = (str, int, float, bool, complex, type(None), torch.dtype, torch.device)
_WITHOUT_TEXTS = (Mapping, MappingView, Set, types.FunctionType, types.MethodType, type)
_SIZE_WORDS = "it compares a size with an object, or by `is`; compare with a plain number by `==`"
_PLAIN = (bool, int, float, str, type(None))
_CALLS = ("CALL", "CALL_FUNCTION", "CALL_FUNCTION_EX", "CALL_KW", "PRECALL")
#: instructions that look an attribute up of what lies on top
ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR")
_SUBSCRIPT = 26  # the number of [] among the operators of BINARY_OP, since Python 3.14
# where on the stack lies what an instruction changes, and what it takes an item of
_CHANGED_AT = {"STORE_ATTR": -1, "DELETE_ATTR": -1, "STORE_SUBSCR": -2, "DELETE_SUBSCR": -2, "STORE_SLICE": -3}
_TAKEN_AT = {"BINARY_SUBSCR": -2, "BINARY_SLICE": -3}


class Doing:
    """An instruction of the step's code, and what lay on the stack before it.

    Attributes:
        line: where it stands, as reasons end with it.
        depth: how many functions call each other there.
    """

    def __init__(self, translator: Any, instruction: Any) -> None:
        kind, stack = instruction.opname, translator.stack
        is_item = kind == "BINARY_OP" and instruction.arg == _SUBSCRIPT
        self._kind, self._argument = "BINARY_SUBSCR" if is_item else kind, instruction.argval
        self._n = _taken_by(instruction)
        self._stack = (stack[:-1] if kind == "CALL_KW" else stack)[-(self._n + 1) :]  # without names of arguments
        self._translator, self._instruction = translator, instruction

    @property
    def line(self) -> str:
        """Where the instruction stands."""
        return line_of(self._translator)

    @property
    def depth(self) -> int:
        """How many functions call each other there."""
        n, translator = 0, self._translator
        while translator is not None:
            n, translator = n + 1, getattr(translator, "parent", None)
        return n

    @property
    def words_of_an_error(self) -> str:
        """Why torch's capture raises an error here that Python would not; empty if Python may raise it."""
        for text in (_realized(each) for each in self._stack if _is(each, StringFormatVariable)):
            parts = [*text.sym_args, *text.sym_kwargs.values()]
            if any(_is(each, TensorVariable) for each in parts):
                return TEXT
            if any(_is(each, SymNodeVariable) for each in parts):
                return READS
            return f"it turns {self._odd_of(parts)} into text{CANNOT}"
        if self._kind in ATTRIBUTES and self._stack:
            found = inspect.getattr_static(_value_of(self._stack[-1]), self._name(), None)
            return "" if found is None else self.words()
        return ""

    @property
    def is_random(self) -> bool:
        """Whether it calls a function of Python's or numpy's random numbers."""
        return self._kind in _CALLS and _deed_of(self._called()) == RANDOM

    @property
    def is_of_numpy(self) -> bool:
        """Whether it takes a number or an array of numpy's."""
        return bool(self._stack) and _is(self._stack[-1], NumpyNdarrayVariable)

    def words(self) -> str:
        """What it does."""
        kind, last = self._kind, type_of(self._stack[-1]) if self._stack else ""
        entered = self._entered()
        if entered is not None:
            is_lock = _kind_of(entered).startswith("threading.")
            return _THREADS if is_lock else f"it enters {type_of(entered)} by `with`{CANNOT}"
        if kind in _CALLS:
            name = self._called()
            return _deed_of(name) or f"it calls {self._written() or name or 'an object'}{self._of_what()}{CANNOT}"
        if kind in ATTRIBUTES:
            return f"it reads .{self._name()} of {last}{CANNOT}"
        if kind in _CHANGED_AT:
            return f"it changes {type_of(self._stack[_CHANGED_AT[kind]])}{CANNOT}"
        if kind in _TAKEN_AT:
            return f"it takes an item of {type_of(self._stack[_TAKEN_AT[kind]])}{CANNOT}"
        if kind.startswith(("BINARY", "COMPARE", "UNARY", "INPLACE", "IS_OP", "TO_BOOL", "POP_JUMP")):
            return f"it computes with {self._odd_of(self._stack[-2:])}{CANNOT}"
        if kind == "CONTAINS_OP":
            return f"it looks for something in {last}{CANNOT}"
        if kind in ("GET_ITER", "FOR_ITER", "UNPACK_SEQUENCE", "UNPACK_EX", "LIST_EXTEND", "SET_UPDATE"):
            return f"it loops over {last}{CANNOT}"
        if kind.startswith(("FORMAT", "CONVERT")):
            return TEXT if _is(self._stack[-1], TensorVariable) else f"it turns {last} into text{CANNOT}"
        return NOT_CAPTURED

    def _entered(self) -> Any:
        """What a `with` enters: by an instruction of its own, or since Python 3.14 by a call; None elsewhere."""
        if self._kind in ("BEFORE_WITH", "LOAD_SPECIAL"):
            return self._stack[-1]
        called = self._given() if self._kind in _CALLS else []
        return called[0].ctx if called and _is(called[0], WithEnterFunctionVariable) else None

    def _given(self) -> list[Any]:
        """The function that is called, and its arguments."""
        return [each for each in self._stack[-self._n :] if not _is(each, NullVariable)]

    def _name(self) -> str:
        argument = self._argument
        return str(argument[-1] if isinstance(argument, tuple) else argument)

    def _called(self) -> str:
        """The name of the function that is called."""
        given = self._given()
        return name_of(given[0]) if given else ""

    def _written(self) -> str:
        """The function that is called as the step writes it, if that is a name."""
        at, code = self._instruction.positions, self._translator.f_code
        if at is None or at.lineno is None or at.lineno != at.end_lineno:
            return ""
        line = linecache.getline(code.co_filename, at.lineno).encode()[at.col_offset : at.end_col_offset]
        try:
            call = ast.parse(line.decode(), mode="eval").body
        except (SyntaxError, UnicodeDecodeError):
            return ""
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        return name if name.replace(".", "").isidentifier() else ""

    def _of_what(self) -> str:
        """What a builtin function is called with that is neither a tensor nor a constant."""
        given = self._given()
        is_builtin = given and getattr(_value_of(given[0]), "__module__", None) == "builtins"
        odd = [each for each in given[1:] if not (_is(each, ConstantVariable) or _is(each, TensorVariable))]
        return f" of {type_of(odd[0])}" if is_builtin and odd else ""

    def _odd_of(self, operands: list[Any]) -> str:
        """The operand that is neither a tensor nor a constant."""
        operands = [each for each in operands if not _is(each, ConstantVariable)]
        others = [each for each in operands if not _is(each, TensorVariable)]
        return type_of((others or operands or self._stack)[0])


def _taken_by(instruction: Any) -> int:
    """How many values a call takes: the function, a null or an object, the arguments."""
    if instruction.opname == "CALL_FUNCTION_EX":  # arguments by keyword too, or, since Python 3.14, a null
        return 4 if sys.version_info >= (3, 14) else 3 + (instruction.arg & 1)
    is_call = instruction.opname in _CALLS and isinstance(instruction.arg, int)
    return 2 + (instruction.arg if is_call else 0)


def line_of(translator: Any) -> str:
    """The step's line that a capture is at; within a library, the line that calls it."""
    at = translator
    while at is not None and not is_of_a_step(at.f_code.co_filename):
        at = getattr(at, "parent", None)
    if at is None:
        return ""
    number = at.lineno if at.lineno and at.lineno > 0 else at.f_code.co_firstlineno
    return shown_line(at.f_code.co_filename, number)


def _deed_of(name: str) -> str:
    for start, words in _DEEDS.items():
        if name == start or (start.endswith(".") and name.startswith(start)):
            return words
    return ""


def _is(variable: Any, kind: type) -> bool:
    """As `isinstance`, which has torch look at what it has not looked at yet."""
    return issubclass(type(_realized(variable)), kind)


def _realized(variable: Any) -> Any:
    is_lazy = issubclass(type(variable), LazyVariableTracker)
    return variable.realize() if is_lazy and variable.is_realized() else variable


def _value_of(variable: Any) -> Any:
    """What torch knows a variable to be; None where it does not tell."""
    variable = _realized(variable)
    if issubclass(type(variable), LazyVariableTracker):
        return variable.peek_value()
    try:
        found = getattr(variable, "value", None)
        return getattr(variable, "fn", None) if found is None else found
    except Exception:  # of a list, which is of variables itself, and whose value is asked for in vain
        return None


def name_of(variable: Any) -> str:
    """The name of a function, a method or a class, as users write it."""
    variable = _realized(variable)
    if issubclass(type(variable), GetAttrVariable):
        return f"{_kind_of(variable.obj)}.{variable.name}"
    if hasattr(variable, "descriptor") and hasattr(variable, "obj"):  # a method of a class of C
        return f"{_kind_of(variable.obj)}.{variable.descriptor.__name__}"
    value = _value_of(variable)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return f"an object of {_kind_of(variable)}" if value is not None else ""
    of = getattr(value, "__self__", None)
    if isinstance(of, type):  # a method of the class
        return f"{_shown(of.__module__)}{of.__qualname__}.{name.rpartition('.')[2]}"
    return _shown(getattr(value, "__module__", None) or "") + name.replace(".<locals>", "")


def type_of(variable: Any) -> str:
    """The type of a value, with its article."""
    kind = _kind_of(variable)
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def _kind_of(variable: Any) -> str:
    value = _value_of(variable)
    if value is None:
        try:
            kind: Any = _realized(variable).python_type()
        except Exception:  # torch knows no type of some
            return "value"
    else:
        kind = value if isinstance(value, type) else type(value)
    return _shown(kind.__module__) + kind.__qualname__.rpartition("<locals>.")[2]


def _shown(module: str) -> str:
    """A module's name before that of a function: of Python's, torch's and numpy's alone."""
    first, *rest = _MODULES.get(module, module).lstrip("_").split(".")
    if first == "builtins" or first not in {*sys.stdlib_module_names, "torch", "numpy"}:
        return ""
    public: list[str] = []
    for part in rest:
        if part.startswith("_"):
            break
        public.append(part)
    return ".".join([first, *public]) + "."


def words_of_compared(variable: Any, how: str) -> str:
    """What prevents a loop where an object is compared, `how` being "__eq__" or the like: torch compares one that the
    step did not make by its code in C, as it finds it, and guards its class alone.
    """
    kind = type(variable.value)
    found = next(vars(each)[how] for each in kind.__mro__ if how in vars(each))
    is_by_c = not isinstance(found, types.FunctionType) and found is not vars(object)[how]
    is_unguarded = is_by_c and variable.source is not None and variable._base_vt is None
    return f"it compares a {kind.__name__} that it holds, whose changes no guard sees" if is_unguarded else ""


def words_of_size(operands: list[Any], *, by_address: bool = False) -> str:
    """What prevents a loop where a number that sizes give is compared with an object, or by `is`: torch takes both for
    different.
    """
    if not any(_is(each, SymNodeVariable) for each in operands):
        return ""
    if by_address:
        return "" if any(_realized(each).is_constant_none() for each in operands) else _SIZE_WORDS
    plain = [_is(each, SymNodeVariable) or _is(each, TensorVariable) or _is_plain(each) for each in operands]
    return "" if all(plain) else _SIZE_WORDS


def _is_plain(variable: Any) -> bool:
    """Whether it is a constant, and one that is not of a class of the user's."""
    return _is(variable, ConstantVariable) and type(_value_of(variable)) in _PLAIN


def words_of_sought(sought: Any, items: list[Any]) -> str:
    """What prevents a loop where something is looked for: torch passes over all but constants if it is one."""
    is_passed = sought.is_python_constant() and not all(each.is_python_constant() for each in items)
    return "it looks for a constant among values that are none; compare with each by `==`" if is_passed else ""


def words_of_text(variable: Any, how: Callable[[Any], str] | None = None, *, has_form: bool = False) -> str:
    """What prevents a loop where it is turned into text: torch guards no keys that a dictionary may get, no names of
    functions and classes, and takes the text of an object without a `__str__` for a constant. `how` is `str` or `repr`;
    None where torch refuses such an object by itself. Of what `str.format` takes it guards plain values alone. A size
    in a form, as `f"{n:b}"`, becomes an object of torch's own that is no text yet.
    """
    variable = variable.realize() if isinstance(variable, LazyVariableTracker) else variable
    if isinstance(variable, BaseListVariable) and how is not str.format:
        return next(filter(None, (words_of_text(each, repr) for each in variable.items)), "")
    if has_form and isinstance(variable, SymNodeVariable):
        return f"it formats the number of rows of the batch as text{CANNOT}"
    is_object = isinstance(variable, UserDefinedObjectVariable)
    if isinstance(variable, TensorVariable) or (is_object and variable.source is None):  # one that the step makes
        return ""
    try:
        kind = variable.python_type()
    except Exception:  # of some that torch knows no kind of
        return ""
    has_text = kind.__str__ is not object.__str__ or (how is repr and kind.__repr__ is not object.__repr__)
    is_constant = is_object and how is not None and not has_text
    is_unguarded = kind not in _PLAIN_VALUES if how is str.format else is_constant or issubclass(kind, _WITHOUT_TEXTS)
    return f"it turns a {kind.__name__} into text, whose changes no guard sees" if is_unguarded else ""
