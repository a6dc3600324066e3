"""The way that a capture takes through a step's code.

Inputs: the instructions that torch follows. Output: the functions that it went through, and a reason where the
step did something there that no guard can tell. A way that is too long ends the capture.
"""

import abc
import contextlib
import enum
import inspect
import operator
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch._dynamo.external_utils
from torch import fx
from torch._dynamo import symbolic_convert, utils
from torch._dynamo.variables import (
    LazyVariableTracker,
    TensorVariable,
    UserDefinedClassVariable,
    builtin,
    functions,
    lists,
    nn_module,
)
from torch._dynamo.variables.builder import VariableBuilder
from torch._dynamo.variables.hashable import HashableTracker
from torch._dynamo.variables.user_defined import FrozenDataClassVariable, UserDefinedObjectVariable

from unrolled.engine.source_lines import is_of_a_step, is_of_torch
from unrolled.engine.step.doing import (
    ATTRIBUTES,
    RANDOM,
    Doing,
    line_of,
    words_of_compared,
    words_of_size,
    words_of_sought,
    words_of_text,
)
from unrolled.engine.step.extra_guards import OPERATORS, Frame
from unrolled.engine.step.grad_mode import GradMode
from unrolled.engine.step.origin import ORIGIN, ORIGIN_WORDS, READS, noting_attributes
from unrolled.engine.step.refusals import ADDRESS, SCRIPT
from unrolled.engine.step.sources import guard_classes, realized
from unrolled.engine.step.undisturbed import patched_here

MOST_OPERATIONS = 2_000  # of a graph; a step of the library's largest cells has 60
MOST_INSTRUCTIONS = 100_000  # of Python, which torch follows at 20,000 a second
_store_as_constant = functions.invoke_and_store_as_constant
_METACLASSES = (type, abc.ABCMeta, enum.EnumMeta, type(torch.Tensor), type(torch.nn.Parameter))
_WITHOUT_GUARDS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType)  # of which names they have
_COMPUTES = ("BINARY_OP", "COMPARE_OP", "UNARY_NEGATIVE", "UNARY_INVERT", "UNARY_NOT", "BINARY_SUBSCR")
_LOADS = 2  # values that an instruction puts on the stack at most, or one that is called and a null on it
_PLAIN_DICTIONARIES = ("builtins", "collections")
_PLAIN = ("builtins", "enum", "numpy")  # modules whose classes keep to the operators of numbers
_OWN_WORDS = "it asks a tensor for an attribute of its own, which the first state alone may have"
_KEY_WORDS = "it looks for a tensor among keys, which depends on which object it is"
_SHARED_WORDS = "it goes through all parameters or buffers of a module; no guard sees which of them become one"
_EQUAL_WORDS = "it looks for a key of a class that has __eq__ or __hash__ of its own, which a capture does not call"
_IS_WORDS = "it compares tensors by `is`, which may differ from step to step"
_FORMATS = ("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "CONVERT_VALUE")
_TEXTS = ("__str__", "__repr__", "__format__")
[_COMPARE] = {"richcompare_impl", "tp_richcompare_impl"} & {
    *dir(UserDefinedObjectVariable)
}  # as torch's version has it
_compare = getattr(UserDefinedObjectVariable, _COMPARE)
# functions that a step may have, by whatever name
_ASKS: dict[Any, str] = {
    **dict.fromkeys(
        (
            torch.compiler.is_compiling,
            torch.compiler.is_dynamo_compiling,
            torch.compiler.is_exporting,
            torch._utils.is_compiling,
            torch._dynamo.is_compiling,
            torch._dynamo.external_utils.is_compiling,
        ),
        "it asks whether it is being compiled",
    ),
    id: ADDRESS,
    hash: ADDRESS,
    operator.is_: _IS_WORDS,
    operator.is_not: _IS_WORDS,
}
# of modules of random numbers, which torch's capture may draw from itself
_ASKS |= dict.fromkeys(
    [
        value
        for module in (random, np.random)
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and not isinstance(value, type)
    ],
    RANDOM,
)
_COMPARES = ("IS_OP", "COMPARE_OP")
_COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type(np.random.rand))
_ALL_AT_ONCE = "it reads all attributes of an object at once, of which no guard sees new ones"
# what a step's code may ask, by the name it asks for
_ASKED = {
    **dict.fromkeys(("vars", "__dict__"), _ALL_AT_ONCE),
    "__annotations__": "it reads the annotations of a function, whose changes no guard sees",
}
_HIDDEN = {
    "WrapperUserFunctionVariable": "it calls a function that keeps its results, or that wraps another in C",
    "WrapperUserMethodVariable": "it calls a method that keeps its results, or that wraps another in C",
}

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_ASYNC_WORDS = "it calls an async function, whose result is there only after an await"
_SETS = ("set_", "enable_", "use_deterministic")
_SETS_WORDS = "it changes a setting of torch; set it before the scan"


class Ended(Exception):  # noqa: N818 - no fault
    """A capture must not go on; its text is for the step's author."""


class Path:
    """The way of one capture.

    Attributes:
        frames: the functions that it goes through.
        globals: of their codes.
        classes: that its code named.
        reason: why no guard can tell what the step did there; empty where they can.
        doing: the instruction of the step's own that the capture came to last.
        grad_mode: what it asked of gradients.
    """

    def __init__(self) -> None:
        self.frames: dict[int, Frame] = {}
        self.globals: dict[Any, dict[str, Any]] = {}
        self.classes: dict[type, None] = {}
        self.reason = ""
        self.doing: Doing | None = None
        self.grad_mode = GradMode()
        self._translator: Any = None
        self._n_instructions = self._n_operations = 0

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Within, a capture is followed; one of too many operations or instructions ends in `Ended`."""
        step, add = symbolic_convert.InstructionTranslatorBase.step, fx.Graph.create_node

        def follow_step(translator: Any) -> bool:
            self._follow(translator)
            return step(translator)

        def follow_add(graph: fx.Graph, *args: Any, **options: Any) -> fx.Node:
            self._n_operations += 1
            if self._n_operations > MOST_OPERATIONS:
                raise Ended(
                    f"it has more than {MOST_OPERATIONS:,} operations, too many for one loop; "
                    "a loop within the step is better a tensor operation"
                )
            return add(graph, *args, **options)

        with contextlib.ExitStack() as stack:
            patch = lambda *what: stack.enter_context(patched_here(*what))
            stack.enter_context(self.grad_mode.followed())
            patch(symbolic_convert.InstructionTranslatorBase, "step", follow_step)
            patch(fx.Graph, "create_node", follow_add)
            # a mark on parameters, for graphs of GPUs, that would stay on the user's tensors
            patch(VariableBuilder, "mark_static_input", lambda *_, **__: None)
            for name, words in _HIDDEN.items():
                kind: Any = getattr(functions, name)
                patch(kind, "call_function", self._noting(kind.call_function, words))
            for kind in (builtin.GetAttrBuiltinVariable, builtin.HasAttrBuiltinVariable):
                patch(
                    kind,
                    "call_function",
                    self._refusing_absent(kind.call_function, refuses_all=kind is builtin.HasAttrBuiltinVariable),
                )
            texts = builtin.BuiltinVariable
            patch(texts, "call_function", self._refusing_texts(texts.call_function))
            patch(TensorVariable, READS, noting_attributes(self._note))
            patch(UserDefinedObjectVariable, _COMPARE, self._noting_compared())
            for module in (lists, utils):  # dictionaries take it from there when they are asked
                patch(module, "iter_contains", self._noting_sought(utils.iter_contains))
            patch(HashableTracker, "__init__", self._refusing_keys(HashableTracker.__init__))
            for module in (functions, nn_module):
                patch(module, "invoke_and_store_as_constant", self._refusing_assumed)
            yield

    def _note(self, words: str | None, translator: Any) -> None:
        """Notes what no guard can tell, if given, with the step's line; of a library, that the step calls it."""
        if self.reason or not words:
            return
        if self.doing is not None and not is_of_a_step(translator.f_code.co_filename):
            words = self.doing.words()
        self.reason = words + (line_of(translator) or (self.doing.line if self.doing else ""))

    def _noting_compared(self) -> Any:
        def compared(variable: Any, translator: Any, other: Any, how: str) -> Any:
            words = words_of_compared(variable, how)
            self._note(words, translator)
            return _compare(variable, translator, other, how)

        return compared

    def _noting_sought(self, contains: Any) -> Any:
        def contained(items: Any, search: Any, translator: Any) -> Any:
            items = list(items)
            words = words_of_sought(search, items)
            self._note(words, translator)
            return contains(items, search, translator)

        return contained

    def _refusing_keys(self, make: Any) -> Any:
        def hashed(tracker: Any, variable: Any) -> None:
            words = _words_of_key(variable)
            at = self._translator
            if words is _KEY_WORDS and at is not None and is_of_torch(at.f_code.co_filename):
                self.reason = self.reason or _SHARED_WORDS + line_of(at)
            elif words and at is not None:
                self._note(words, at)
            make(tracker, variable)

        return hashed

    def _refusing_texts(self, call: Any) -> Any:
        def called(variable: Any, translator: Any, arguments: Any, *options: Any) -> Any:
            if variable.fn in (str, repr, str.format) and not is_of_torch(translator.f_code.co_filename):
                words = next(filter(None, (words_of_text(each, variable.fn) for each in arguments)), "")
                self._note(words, translator)
            words = words_of_size(arguments) if variable.fn in _COMPARISONS else ""
            self._note(words, translator)
            return call(variable, translator, arguments, *options)

        return called

    def _refusing_absent(self, call: Any, *, refuses_all: bool) -> Any:
        """What `getattr` and `hasattr` find of a module or a function is guarded by its value, if there is one."""

        def asked(variable: Any, translator: Any, arguments: Any, *options: Any) -> Any:
            of, name = (_value_of(each) for each in arguments[:2])
            if _is_tensor(arguments[0]):
                words = ORIGIN_WORDS if name in ORIGIN else _OWN_WORDS if not hasattr(torch.Tensor, name) else ""
                self._note(words, translator)
            is_guarded = not isinstance(of, _WITHOUT_GUARDS) or (hasattr(of, name) and not refuses_all)
            if not is_guarded and not is_of_torch(translator.f_code.co_filename):
                self._note("it asks whether a module or a function has an attribute, which no guard sees", translator)
            return call(variable, translator, arguments, *options)

        return asked

    def _refusing_assumed(self, translator: Any, function: Any, *args: Any) -> Any:
        if getattr(function, "_dynamo_marked_constant", False):
            self._note("it calls a function whose result is assumed to be constant", translator)
        return _store_as_constant(translator, function, *args)

    def _noting(self, call: Any, words: str) -> Any:
        def noted(variable: Any, translator: Any, *args: Any, **options: Any) -> Any:
            wrapper = variable.wrapper_obj
            of_script = isinstance(wrapper, torch.jit.ScriptFunction) or hasattr(wrapper, "_c")
            # a function that torch.compile made is the one that it was made of
            is_compiled = not of_script and hasattr(wrapper, "_torchdynamo_orig_callable")
            if not is_compiled and not is_of_torch(translator.f_code.co_filename):
                self._note(SCRIPT if of_script else words, translator)
            return call(variable, translator, *args, **options)

        return noted

    def _follow(self, translator: Any) -> None:
        self._n_instructions += 1
        if self._n_instructions > MOST_INSTRUCTIONS:
            raise Ended(
                f"it runs more than {MOST_INSTRUCTIONS:,} instructions of Python, too many to capture; "
                "a loop over numbers is better a tensor operation"
            )
        self._translator = translator
        code, at = translator.f_code, translator.instruction_pointer
        if at is not None and is_of_a_step(code.co_filename):
            self.doing = Doing(translator, translator.instructions[at])
        if self.globals.get(code, translator.f_globals) is not translator.f_globals:
            self._note("it calls two functions of one code that have different globals", translator)
        if id(code) not in self.frames:
            self.frames[id(code)] = Frame(code, translator.f_globals)
            self.globals[code] = translator.f_globals
            if code.co_name in ("__getattr__", "__getattribute__") and not is_of_torch(code.co_filename):
                self._note(f"it looks an attribute up by a {code.co_name} of its own", translator)
            if code.co_flags & _ASYNC:
                self._note(_ASYNC_WORDS, translator)
        if at is not None and not is_of_torch(code.co_filename):
            loaded = list(map(_function_of, translator.stack[-_LOADS:]))
            self.classes |= dict.fromkeys(each for each in loaded if isinstance(each, type))
            guard_classes(translator.stack[-_LOADS:])
            if any(map(_is_setter, loaded)):  # which torch calls while it captures
                raise Ended(_SETS_WORDS + line_of(translator))
            words = _words_of(translator, translator.instructions[at])
            self._note(words, translator)


def _words_of(translator: Any, instruction: Any) -> str | None:
    """What an instruction does that no guard can tell."""
    kind = instruction.opname
    if kind in _FORMATS:
        has_form = kind == "FORMAT_WITH_SPEC" or (kind == "FORMAT_VALUE" and instruction.arg & 4)
        return words_of_text(translator.stack[-2 if has_form else -1], has_form=bool(has_form))
    if kind in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval in _TEXTS:
        return words_of_text(translator.stack[-1])
    if kind == "PUSH_EXC_INFO":
        return "it handles an exception, whose cause no guard sees"
    if kind == "IS_OP" and all(map(_is_tensor, translator.stack[-2:])):
        return _IS_WORDS
    of_size = words_of_size(translator.stack[-2:], by_address=kind == "IS_OP") if kind in _COMPARES else ""
    if of_size:
        return of_size
    if kind not in _COMPUTES and translator.f_code.co_filename != enum.__file__:
        asks = next(filter(None, map(_words_of_function, translator.stack[-_LOADS:])), None)
        if asks:
            return asks
    if kind in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval in ORIGIN and _is_tensor(translator.stack[-1]):
        return ORIGIN_WORDS
    if kind in ("LOAD_ATTR", "LOAD_METHOD") and _is_of_a_dictionary(translator.stack[-1], instruction.argval):
        return "it reads an attribute of a dictionary of a class of its own, whose changes no guard sees"
    if kind == "CONTAINS_OP" and _is_tensor(translator.stack[-2]) and not _is_tensor(translator.stack[-1]):
        return _KEY_WORDS
    if kind in ("LOAD_ATTR", "LOAD_METHOD") and _has_metaclass(translator.stack[-1]):
        return "it reads an attribute of a class that has a metaclass of its own, whose changes no guard sees"
    if kind in _COMPUTES and any(map(_has_operators, translator.stack[-2:])):
        return "it computes with a number or a text of a class that has operators of its own"
    return _ASKED.get(instruction.argval) if kind in ("LOAD_GLOBAL", *ATTRIBUTES) else None


def _words_of_key(variable: Any) -> str:
    """What prevents a loop where it is a key; nothing if that is one by its value, or by being the object it is."""
    if isinstance(variable, TensorVariable):
        return _KEY_WORDS
    kind = type(_value_of(variable))
    own = [vars(each) for each in kind.__mro__ if each.__module__.split(".")[0] not in (*_PLAIN, "torch")]
    found = [space[name] for name in ("__eq__", "__hash__") for space in own if name in space]
    codes = [function.__code__ for function in found if isinstance(function, types.FunctionType)]
    is_plain = isinstance(variable, FrozenDataClassVariable) and all(code.co_filename == "<string>" for code in codes)
    return _EQUAL_WORDS if codes and not is_plain else ""


def _is_of_a_dictionary(variable: Any, name: str) -> bool:
    """Whether an attribute is data of a dictionary of a class of the user's."""
    value = _value_of(variable)
    if not isinstance(value, dict) or type(value).__module__ in _PLAIN_DICTIONARIES:
        return False
    found = inspect.getattr_static(type(value), name, None)
    return not hasattr(type(found), "__get__")  # else it is a method, a property, a slot


def _is_setter(value: Any) -> bool:
    """Whether it is a function of torch that changes a setting."""
    is_torchs = isinstance(value, _FUNCTIONS) and (getattr(value, "__module__", None) or "").startswith("torch")
    return is_torchs and value.__name__.startswith(_SETS)


def _function_of(variable: Any) -> Any:
    if isinstance(variable, LazyVariableTracker) and not variable.is_realized():
        return variable.peek_value()
    return _value_of(variable)


def _words_of_function(variable: Any) -> str | None:
    """What a function that is about to be used asks for, if no guard can tell."""
    value = _function_of(variable)
    return _ASKS.get(value) if isinstance(value, _FUNCTIONS) else None


def _is_tensor(variable: Any) -> bool:
    return isinstance(realized(variable), TensorVariable)


def _has_operators(variable: Any) -> bool:
    """Whether it is a number or a text whose class has operators of its own, which torch takes for the plain ones."""
    value = _value_of(variable)
    if not isinstance(value, int | float | complex | str):
        return False
    own = [each for each in type(value).__mro__ if each.__module__ not in _PLAIN]
    return any(name in vars(each) for each in own for name in OPERATORS)


def _value_of(variable: Any) -> Any:
    """What torch knows a variable to be; None where it does not tell."""
    variable = realized(variable)
    try:
        return getattr(variable, "value", getattr(variable, "fn", None))
    except Exception:  # of a list, which is of variables itself, and whose value is asked for in vain
        return None


def _has_metaclass(variable: Any) -> bool:
    variable = realized(variable)
    return isinstance(variable, UserDefinedClassVariable) and type(variable.value) not in _METACLASSES
