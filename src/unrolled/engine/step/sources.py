"""Where torch reads the classes and functions that a step uses, by which it guards them.

Inputs: the variables of a capture. Outputs: guards and sources that torch leaves out. An object that the step itself
makes has no source; so torch guards neither which class is called nor what the functions of that class hold.
"""

import contextlib
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch._dynamo import guards
from torch._dynamo.source import AttrSource, GlobalSource
from torch._dynamo.variables import LazyVariableTracker, TensorVariable, UserDefinedClassVariable, functions
from torch._dynamo.variables.builder import VariableBuilder
from torch._dynamo.variables.nn_module import UnspecializedNNModuleVariable

from unrolled.engine.source_lines import is_of_torch
from unrolled.engine.step.extra_guards import NO_PART
from unrolled.engine.step.undisturbed import patched_here

HELPERS: dict[str, Any] = guards._get_closure_vars()  # by which torch words what it reads
# what torch itself defines of parameters; all of a later Python's and torch's
_OF_PARAMETERS = {
    f"__{name}__"
    for name in (
        "annotations", "deepcopy", "dict", "doc", "firstlineno", "hash", "module", "new", "reduce_ex", "repr",
        "slotnames", "static_attributes", "torch_function", "weakref",
    )
}  # fmt: skip
# attributes of tensors that torch's capture tells by itself
_TOLD = {
    "__len__",
    *(name.removeprefix("method_").removeprefix("attr_") for name in dir(TensorVariable) if name.startswith("method_")),
} - NO_PART
_METHODS_OF_C = (types.MethodDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
_UNGUARDED = (*_METHODS_OF_C, types.MethodWrapperType)  # of which torch guards none, wherever a step finds them
_OF_C = (*_METHODS_OF_C, types.BuiltinFunctionType)


def exchanged_methods(called: Iterable[Any] = ()) -> str:
    """Why no graph stands for a step, if a class of tensors has methods that torch's capture does not call: those of
    parameters, which are plain tensors where a graph is traced, and those whose results the capture tells by itself;
    or those of tensors that a graph has `called` by name.
    """
    found = [
        ("nn.Parameter", name)
        for name in vars(nn.Parameter).keys() - _OF_PARAMETERS - NO_PART
        if hasattr(torch.Tensor, name)
    ]
    found += [
        ("Tensor", name)
        for name in vars(torch.Tensor).keys() & {*_TOLD, *called}
        if not _is_torchs(vars(torch.Tensor)[name])
    ]
    if not found:
        return ""
    kind, name = min(found)
    return f"torch.{kind} has an attribute {name} that is not torch's, which a capture does not ask"


def _is_torchs(attribute: Any) -> bool:
    code = getattr(attribute, "__code__", None)
    return isinstance(attribute, _OF_C) or (code is not None and is_of_torch(code.co_filename))


def realized(variable: Any) -> Any:
    """A variable that torch has looked at."""
    return variable.realize() if isinstance(variable, LazyVariableTracker) else variable


def guard_classes(variables: Iterable[Any]) -> None:
    """Guards which classes they are, those that are classes; of others torch looks at none before it has to."""
    for variable in variables:
        is_new = isinstance(variable, LazyVariableTracker) and not variable.is_realized()
        if not is_new or isinstance(variable.peek_value(), type):
            _guard_class(realized(variable))


def _guard_class(variable: Any) -> None:
    if isinstance(variable, UserDefinedClassVariable) and variable.source is not None:
        guards.install_guard(variable.source.make_guard(guards.GuardBuilder.CLASS_MATCH))


def _guard_what_hides(variable: Any, name: str) -> None:
    """Guards that nothing comes before what a module has by that name, where a module looks: its own attributes, then
    its parameters, buffers and submodules.
    """
    absent = functools.partial(guards.GuardBuilder.NOT_PRESENT_IN_GENERIC_DICT, attr=name)
    guards.install_guard(variable.source.make_guard(absent))
    for registry in ("_parameters", "_buffers", "_modules"):
        held = vars(variable.value).get(registry)
        if held is None or name in held:
            break
        absent = functools.partial(guards.GuardBuilder.DICT_NOT_CONTAINS, key=name)
        guards.install_guard(AttrSource(variable.source, registry).make_guard(absent))


@contextlib.contextmanager
def all_have_sources(read: dict[str, Any]) -> Iterator[None]:
    """Within, the class that a step calls is guarded, and which method of C it finds, as `torch.Tensor.tanh`, and that
    no attribute of a module itself hides a parameter, a buffer or a submodule that the step reads. Each function that
    it calls has a source.

    Args:
        read: what guards read: "L", the arguments of the capture; "G", its globals, to which functions are added.
    """
    call, source_of = UserDefinedClassVariable.call_function, functions.UserFunctionVariable.get_source
    registered = UnspecializedNNModuleVariable.manually_trace_nn_module_getattr
    look_at = VariableBuilder._wrap

    def called(variable: Any, *arguments: Any) -> Any:
        _guard_class(variable)
        return call(variable, *arguments)

    def found(variable: Any) -> Any:
        source, function = source_of(variable), variable.fn
        holds = function.__defaults__ or function.__kwdefaults__ or function.__closure__
        if not holds or is_of_torch(function.__code__.co_filename) or _is_at(function, source, read):
            return source
        name = f"__function_{id(function)}"
        read["G"][name] = function
        return GlobalSource(name)

    def looked_up(variable: Any, translator: Any, name: str) -> Any:
        if variable.source is not None:
            _guard_what_hides(variable, name)
        return registered(variable, translator, name)

    def looked_at(builder: Any, value: Any) -> Any:
        if isinstance(value, _UNGUARDED) and _is_at(value, builder.source, read):
            guards.install_guard(builder.source.make_guard(guards.GuardBuilder.ID_MATCH))
        return look_at(builder, value)

    with (
        patched_here(UnspecializedNNModuleVariable, "manually_trace_nn_module_getattr", looked_up),
        patched_here(VariableBuilder, "_wrap", looked_at),
        patched_here(UserDefinedClassVariable, "call_function", called),
        patched_here(functions.UserFunctionVariable, "get_source", found),
    ):
        yield


def _is_at(function: Any, source: Any, read: dict[str, Any]) -> bool:
    """Whether a source leads to the function or method: torch takes that of a method by the function's own name."""
    if source is None:
        return False
    try:
        return eval(source.name, HELPERS, read) is function
    except Exception:  # there is nothing, or something else
        return False
