"""A plan as plain data, and plain data as a plan, checked whole.

Takes and returns what JSON can hold. The fields follow from the dataclasses' own types. A name is one of a closed set,
a number is in its range, nothing is unknown or missing, and what refers to something else fits it. Only then a `Plan`
is made. So a plan's data can be compiled and run, but never names code of its own.
"""

import dataclasses
import functools
import operator
import re
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import fx

from unrolled.engine.backends.products import product, product_plus
from unrolled.engine.cache.plan_check import Damaged, check_plan, need
from unrolled.engine.gradient_clip import CLIP
from unrolled.engine.ir.loop_programs import Gradient, InputProduct, LoopPrograms, RowGradient
from unrolled.engine.ir.program import OPERATIONS, Program, Value, verify
from unrolled.engine.run.plan import Plan

_MOST = 1 << 31  # of any index, width or size
_PARTS = (InputProduct, Gradient, RowGradient, LoopPrograms)
#: what the first of a pair such as ("captured", 2) may be
KINDS = frozenset(
    ("captured", "transposed", "invariant", "held", "input", "before", "step", "previous", "next", "saved", "output",
     "gradient", "row", "matrix", "sequence", "kept")
)  # fmt: skip
# functions that are no operations of ATen, and how many arguments each takes
_FUNCTIONS: dict[str, tuple[Callable, int]] = {
    "getitem": (operator.getitem, 2), "mul": (operator.mul, 2), "t": (torch.t, 1), "product": (product, 2),
    "product_plus": (product_plus, 3), "clip_gradient": (CLIP, 2),
}  # fmt: skip
#: of the operations in the passes' tables those that torch counts neither to its core set nor to the elementwise ones.
#: Written out, as the tables load torch's tracing, which takes seconds; a test holds the list to the tables.
ATEN = frozenset(
    """
    _efficientzerotensor.default _unsafe_view.default bernoulli.default bernoulli.p cauchy.default
    contiguous.default detach.default empty_like.default empty_permuted.default exponential.default geometric.default
    hardshrink_backward.default lift_fresh_copy.default log_normal.default normal_functional.default
    ones.default ones_like.default reshape.default roll.default rsub.Tensor softshrink_backward.default
    split.Tensor std.correction std_mean.correction sum.default t.default transpose.int uniform.default
    unsafe_split.Tensor var_mean.correction where.Scalar where.ScalarOther where.ScalarSelf zeros.default
    zeros_like.default
    """.split()  # noqa: SIM905 - a list would take a line for each
)
_STRINGS = ("floor", "trunc", "none", "tanh")  # roundings of a division, ways of a gelu
_OF_TORCH = {
    str(each).removeprefix("torch."): each
    for each in (
        torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool, torch.strided, torch.contiguous_format, torch.preserve_format,
    )
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_.<> -]{1,100}")  # of an operation, to be shown


class NotPlain(Exception):  # noqa: N818 - a fact within the engine
    """Something that a file cannot hold."""


def to_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data.

    Raises:
        NotPlain: it holds something else, such as an operation that is not of ATen.
    """
    return {name: _encoded(getattr(plan, name)) for name in _hints(Plan)}


def from_data(data: Any) -> Plan:
    """The plan of plain data.

    Raises:
        Damaged: the data is not what `to_data` makes.
    """
    fields = _fields(data, Plan)
    check_plan(fields)
    return Plan(**fields)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields that are given when one is made."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in dataclasses.fields(kind) if each.init}


def _fields(data: Any, kind: type) -> dict[str, Any]:
    hints = _hints(kind)
    need(isinstance(data, dict) and data.keys() == hints.keys(), f"a {kind.__name__} has other fields")
    return {name: _text(data[name]) if name == "traced" else _decoded(data[name], hints[name]) for name in hints}


def _text(data: Any) -> str:
    """Text for a reader: no control characters, which a terminal would obey."""
    need(isinstance(data, str) and all(each.isprintable() or each in "\n\t" for each in data), "a text is none")
    return data


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, Program):
        return _program_data(value)
    if isinstance(value, fx.GraphModule):
        return {"graph": _graph_data(value.graph)}
    kind: type = type(value)
    if kind in _PARTS:
        return {kind.__name__: {name: _encoded(getattr(value, name)) for name in _hints(kind)}}
    if isinstance(value, torch.dtype):
        return _argument_data(value, {})
    raise NotPlain(type(value).__name__)  # as a tree of the user's


def _decoded(data: Any, kind: Any) -> Any:
    """Data as a value of a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _decoded(data, _kind_of(data, inner))
    if origin in (list, tuple):
        need(isinstance(data, list), "a list is none")
        if origin is list or inner[-1] is Ellipsis:
            return origin(_decoded(each, inner[0]) for each in data)
        need(len(data) == len(inner), "a tuple has another length")
        return tuple(_decoded(each, one) for each, one in zip(data, inner, strict=True))
    if origin is dict:  # operations and their numbers, to be shown
        need(isinstance(data, dict) and all(map(_NAME.fullmatch, data)), "a name has other characters")
        return {name: _number(each) for name, each in data.items()}
    if kind is Any:  # the form of the step's outputs: a tensor, or a tuple of so many
        return None if data is None else _number(data)
    if kind is type(None):
        need(data is None, "it is there")
        return None
    if kind is bool:
        need(isinstance(data, bool), "it is neither true nor false")
        return data
    if kind is int:
        return _number(data)
    if kind is str:
        need(isinstance(data, str) and data in KINDS, "it is of no known kind")
        return data
    if kind is torch.dtype:
        dtype = _argument(data, [])
        need(isinstance(dtype, torch.dtype), "it is no dtype")
        return dtype
    if kind is Program:
        return _program(data)
    need(isinstance(data, dict) and len(data) == 1, "a part has no name")
    if kind is fx.GraphModule:
        return _graph(data.get("graph"))
    need(kind.__name__ in data, f"it is no {kind.__name__}")
    return kind(**_fields(data[kind.__name__], kind))


def _kind_of(data: Any, kinds: tuple[Any, ...]) -> Any:
    """Which of several types data is of."""
    if isinstance(data, dict):
        [name] = data if len(data) == 1 else [""]
        found = [
            kind
            for kind in kinds
            if getattr(kind, "__name__", "") == name or (name == "graph" and kind is fx.GraphModule)
        ]
    else:
        wanted = {type(None): type(None), int: int, list: tuple}.get(type(data))
        found = [kind for kind in kinds if wanted and (get_origin(kind) or kind) is wanted]
    need(len(found) == 1, "it is of no type that it may be of")
    return found[0]


def _number(data: Any, most: int = _MOST) -> int:
    need(type(data) is int and 0 <= data < most, "a number is out of its range")
    return data


# ---- programs


def _program_data(program: Program) -> dict[str, Any]:
    values = program.values()
    place = {id(value): i for i, value in enumerate(values)}
    fields: dict[str, Any] = {}
    for name, kind in _hints(Program).items():
        given = getattr(program, name)
        fields[name] = [place[id(value)] for value in given] if kind == tuple[Value, ...] else _encoded(given)
    fields["values"] = [[v.op, [place[id(arg)] for arg in v.args], v.attribute, v.width, v.per_row] for v in values]
    return fields


def _program(data: Any) -> Program:
    hints = _hints(Program)
    need(isinstance(data, dict) and data.keys() == {*hints, "values"}, "a program has other fields")
    need(isinstance(data["values"], list), "values are no list")
    values: list[Value] = []
    for each in data["values"]:
        need(isinstance(each, list) and len(each) == 5, "a value has other parts")
        op, args, attribute, width, per_row = each
        need(isinstance(op, str) and op in OPERATIONS, "an operation is unknown")
        need(isinstance(args, list) and isinstance(per_row, bool), "a value has other parts")
        need(attribute is None or type(attribute) in (int, float), "an attribute is no number")
        given = tuple(values[_number(i, len(values))] for i in args)
        values.append(Value(op, given, attribute, _number(width), per_row))
    fields: dict[str, Any] = {}
    for name, kind in hints.items():
        if kind == tuple[Value, ...]:
            need(isinstance(data[name], list), "results are no list")
            fields[name] = tuple(values[_number(i, len(values))] for i in data[name])
        else:
            fields[name] = _decoded(data[name], kind)
    program = Program(**fields)
    need(len(program.values()) == len(values), "a value is of no use")
    try:
        return verify(program)
    except (AssertionError, LookupError, ValueError) as fault:
        raise Damaged(f"a program is none: {fault}") from None


# ---- graphs


def _graph_data(graph: fx.Graph) -> list[Any]:
    """Each node as (operation, arguments, keyword arguments); the last one is the output."""
    nodes = list(graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    return [
        [
            _target_data(node),
            [_argument_data(each, place) for each in node.args] if node.op != "placeholder" else [],
            {name: _argument_data(each, place) for name, each in node.kwargs.items()},
        ]
        for node in nodes
    ]


def _graph(data: Any) -> fx.GraphModule:
    graph = fx.Graph()
    nodes: list[Any] = []
    need(isinstance(data, list), "a graph is no list")
    for i, each in enumerate(data):
        need(isinstance(each, list) and len(each) == 3, "a node has other parts")
        target, given, named = each
        need(isinstance(target, str) and isinstance(given, list) and isinstance(named, dict), "a node has other parts")
        args = tuple(_argument(one, nodes) for one in given)
        kwargs = {name: _argument(one, nodes) for name, one in named.items()}
        if target == "placeholder":
            need(
                not args and not kwargs and all(node.op == "placeholder" for node in nodes), "an input is out of place"
            )
            nodes.append(graph.placeholder(f"in_{i}"))
        elif target == "output":
            need(i == len(data) - 1 and len(args) == 1 and not kwargs, "an output is out of place")
            need(
                isinstance(args[0], list) and all(isinstance(node, fx.Node) for node in args[0]), "outputs are no list"
            )
            graph.output(args[0])
        else:
            nodes.append(graph.call_function(_target(target, args, kwargs), args, kwargs))
    need(len(nodes) == len(data) - 1, "a graph has no output")
    return fx.GraphModule(torch.nn.Module(), graph)


def _target_data(node: fx.Node) -> str:
    if node.op in ("placeholder", "output"):
        return node.op
    for name, (function, _) in _FUNCTIONS.items():
        if node.target is function:
            return name
    name = str(node.target).removeprefix("aten.")
    if not isinstance(node.target, torch._ops.OpOverload) or operation(name) is not node.target:
        raise NotPlain(str(node.target))
    return name


@functools.cache
def operation(name: str) -> Any:
    """The operation of ATen of that name, None where it is none that a plan may hold."""
    packet, _, overload = name.partition(".")
    if name not in ATEN:
        names = re.fullmatch(r"[a-z_0-9]+\.[A-Za-z_0-9]+", name)
        if not names or packet.startswith("__") or overload.startswith("__"):
            return None
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable:
        return None
    return found if name in ATEN or {torch.Tag.pointwise, torch.Tag.core} & set(found.tags) else None


def _target(name: str, args: tuple, kwargs: dict[str, Any]) -> Callable:
    if name in _FUNCTIONS:
        function, count = _FUNCTIONS[name]
        need(len(args) == count and not kwargs, "a function has other arguments")
        return function
    found = operation(name)
    need(found is not None, "an operation is unknown")
    taken = {each.name: each for each in found._schema.arguments}
    by_place = [each for each in taken.values() if not each.kwarg_only]
    need(len(args) <= len(by_place) and kwargs.keys() <= taken.keys(), "an operation has other arguments")
    given = {each.name for each in by_place[: len(args)]} | kwargs.keys()
    need(len(given) == len(args) + len(kwargs), "an argument is given twice")
    need(all(each.has_default_value() or each.name in given for each in taken.values()), "an argument is missing")
    return found


def _argument_data(value: Any, place: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return {"node": place[value]}
    if isinstance(value, list | tuple):
        return [_argument_data(each, place) for each in value]
    if value == torch.device("cpu"):
        return {"device": "cpu"}
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        name = str(value).removeprefix("torch.")
        if name in _OF_TORCH:
            return {"torch": name}
    if value is None or type(value) in (int, float, bool) or value in _STRINGS:
        return value
    raise NotPlain(str(value))


def _argument(data: Any, nodes: list[Any]) -> Any:
    if isinstance(data, list):
        return [_argument(each, nodes) for each in data]
    if isinstance(data, dict):
        need(len(data) == 1, "an argument has other parts")
        [(kind, value)] = data.items()
        if kind == "node":
            return nodes[_number(value, len(nodes))]
        if kind == "device":
            need(value == "cpu", "a device is unknown")
            return torch.device("cpu")
        need(kind == "torch" and isinstance(value, str) and value in _OF_TORCH, "a name of torch's is unknown")
        return _OF_TORCH[value]
    if isinstance(data, str):
        need(data in _STRINGS, "a word is unknown")
        return data
    need(data is None or isinstance(data, bool | float) or abs(data) < 1 << 62, "a number is out of its range")
    return data
