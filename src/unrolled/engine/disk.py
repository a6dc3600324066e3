"""Plans on the disk, so that a process that starts anew need not trace again, nor load what tracing needs.

The name of a file is a hash of all that the plan depends on: the step's key, the code that the step may run
(sources.py), Unrolled's source, torch's version. A step whose code cannot be told for certain is not kept. A file is
plain data: programs, and graphs of ATen operations by name; one that is damaged is made anew.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import operator
import os
import sys
import tempfile
import types
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine import sources
from unrolled.engine.backends.cpu.build import cache_folder, is_whole
from unrolled.engine.plan import Plan
from unrolled.engine.products import product, product_plus
from unrolled.engine.program import Program, Value, verify
from unrolled.engine.programs import Gradient, LoopPrograms, Place, Product

_PACKAGE = Path(__file__).parent.parent
_FUNCTIONS: dict[str, Callable] = {
    "getitem": operator.getitem, "mul": operator.mul, "t": torch.t, "product": product, "product_plus": product_plus,
}  # fmt: skip
_OF_TORCH = (torch.dtype, torch.layout, torch.memory_format)


class _NotPlain(Exception):  # noqa: N818 - no fault
    """Something that a file cannot hold."""


def name_of(key: Hashable, held: Sequence[Any], step: Callable) -> str | None:
    """The name under which a plan of a step may be kept; None if it may not.

    Args:
        key: of `plans.key_of`.
        held: the objects that the key tells apart by their address.
        step: the step.
    """
    try:
        words = (_text(key, {id(each): each for each in held}), sources.told(step), _versions())
    except (sources.Unknown, ValueError):  # an empty cell has no contents
        return None
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]


def load(name: str) -> tuple[Plan, list[int]] | None:
    """The plan of a name and where its captured tensors lie; None where there is none that is whole."""
    path = _path(name)
    if not is_whole(path):
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _plan(data["plan"]), [int(place) for place in data["places"]]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError):
        return None  # it is made anew, and written over


def save(name: str, plan: Plan, places: Sequence[int | Tensor]) -> None:
    """Keeps a plan, where plain data can tell it; a disk that cannot be written is no fault."""
    if not all(isinstance(place, int) for place in places):
        return
    try:
        text = json.dumps({"plan": _plan_data(plan), "places": list(places)})
    except _NotPlain:
        return
    path = _path(name)
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        aside = Path(folder) / path.name
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)


def _path(name: str) -> Path:
    return cache_folder() / f"{name}.json"


@functools.cache
def _versions() -> str:
    """Of what makes plans: Unrolled's source, torch, Python."""
    sources = [file.read_bytes() for file in sorted(_PACKAGE.rglob("*.py"))]
    return f"{hashlib.sha256(b''.join(sources)).hexdigest()} {torch.__version__} {sys.version}"


def _text(key: Any, held: dict[int, Any]) -> str:
    """A key in words that mean the same in every process."""
    if isinstance(key, tuple):
        if len(key) == 2 and key[0] == "id":
            return sources.of_torch(held.get(key[1]))
        return f"{type(key).__name__}({', '.join(_text(each, held) for each in key)})"
    if isinstance(key, type):
        return f"{key.__module__}.{key.__qualname__}"
    if isinstance(key, types.ModuleType):
        return key.__name__
    if isinstance(key, types.CodeType):
        return key.co_qualname
    if key is None or type(key) in sources.PLAIN:
        return repr(key)
    raise sources.Unknown


# ---- a plan as plain data, and back; a field that is plain itself stays as it is


def _plan_data(plan: Plan) -> dict[str, Any]:
    if not (plan.outputs_form is None or isinstance(plan.outputs_form, int)):
        raise _NotPlain  # a tree of the user's
    names = ("outputs_form", "ys", "constant_sources", "constants", "states", "kept", "previous", "sequences")
    graphs = {name: getattr(plan, name) for name in ("invariant", "before", "loop", "after")}
    return {
        **{name: getattr(plan, name) for name in (*names, "read_states", "n_before", "n_after", "traced")},
        **{name: None if part is None else _graph_data(part.graph) for name, part in graphs.items()},
        "dtype": _argument_data(plan.dtype, {}),
        "sources": [dataclasses.asdict(each) if isinstance(each, Product) else each for each in plan.sources],
        "steps": [[_argument_data(dtype, {}), shape] for dtype, shape in plan.steps],
        "programs": _programs_data(plan.programs),
    }


def _plan(data: dict[str, Any]) -> Plan:
    fields: dict[str, Any] = dict(data)
    for name in ("ys", "constant_sources", "constants", "states", "kept"):
        fields[name] = [tuple(each) for each in data[name]]
    fields["sources"] = [_source(each) for each in data["sources"]]
    for name in ("invariant", "before", "loop", "after"):
        fields[name] = None if data[name] is None else _graph(data[name])
    fields["dtype"] = _argument(data["dtype"], [])
    fields["steps"] = [(_argument(dtype, []), tuple(shape)) for dtype, shape in data["steps"]]
    fields["programs"] = _programs(data["programs"])
    return Plan(**fields)


def _source(data: Any) -> Place | Product:
    if not isinstance(data, dict):
        return tuple(data)
    places: dict[str, Any] = {name: None if place is None else tuple(place) for name, place in data.items()}
    return Product(**places)


def _programs_data(made: LoopPrograms) -> dict[str, Any]:
    def gradient(one: Gradient | tuple[Gradient, ...] | None) -> Any:
        if one is None or isinstance(one, Gradient):
            return None if one is None else {"parts": one.parts, "is_transposed": one.is_transposed}
        return [gradient(each) for each in one]

    return {
        **{name: _program_data(getattr(made, name)) for name in ("forward", "training", "backward")},
        "backward_inputs": made.backward_inputs,
        "step_gradients": made.step_gradients,
        "constant_gradients": [gradient(each) for each in made.constant_gradients],
        "constants": made.constants,
        "n_kept": made.n_kept,
    }


def _programs(data: dict[str, Any]) -> LoopPrograms:
    def factor(each: Any) -> Any:
        return None if each is None else (each[0], each[1])

    def gradient(each: Any) -> Any:
        if isinstance(each, list):
            return tuple(gradient(one) for one in each)
        if each is None:
            return None
        return Gradient(tuple((factor(a), factor(b)) for a, b in each["parts"]), each["is_transposed"])

    fields: dict[str, Any] = dict(data)
    for name in ("forward", "training", "backward"):
        fields[name] = _program(data[name])
    for name in ("backward_inputs", "constants"):
        fields[name] = [tuple(each) for each in data[name]]
    fields["constant_gradients"] = [gradient(each) for each in data["constant_gradients"]]
    return LoopPrograms(**fields)


def _program_data(program: Program) -> dict[str, Any]:
    values = program.values()
    place = {id(value): i for i, value in enumerate(values)}
    return {
        **{name: getattr(program, name) for name in ("steps", "states", "rows", "weights", "shifted")},
        "values": [[v.op, [place[id(a)] for a in v.args], v.attribute, v.width, v.per_row] for v in values],
        "next_states": [place[id(value)] for value in program.next_states],
        "outputs": [place[id(value)] for value in program.outputs],
    }


def _program(data: dict[str, Any]) -> Program:
    values: list[Value] = []
    for op, args, attribute, width, per_row in data["values"]:
        values.append(Value(op, tuple(values[i] for i in args), attribute, width, per_row))
    fields: dict[str, Any] = {name: tuple(data[name]) for name in ("steps", "states", "rows", "shifted")}
    fields |= {name: tuple(values[i] for i in data[name]) for name in ("next_states", "outputs")}
    return verify(Program(**fields, weights=tuple((rows, columns) for rows, columns in data["weights"])))


def _graph_data(graph: fx.Graph) -> list[Any]:
    """Each node as (operation, arguments, keyword arguments); the last one is the output."""
    nodes = list(graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    return [
        [
            _target_data(node),
            [_argument_data(each, place) for each in node.args],
            {name: _argument_data(each, place) for name, each in node.kwargs.items()},
        ]
        for node in nodes
    ]


def _graph(data: list[Any]) -> fx.GraphModule:
    graph = fx.Graph()
    nodes: list[fx.Node] = []
    for i, (target, given, named) in enumerate(data):
        args = tuple(_argument(each, nodes) for each in given)
        kwargs = {name: _argument(each, nodes) for name, each in named.items()}
        if target == "placeholder":
            nodes.append(graph.placeholder(f"in_{i}"))
        elif target == "output":
            graph.output(*args)
        else:
            nodes.append(graph.call_function(_target(target), args, kwargs))
    return fx.GraphModule(torch.nn.Module(), graph)


def _target_data(node: fx.Node) -> str:
    if node.op in ("placeholder", "output"):
        return node.op
    for name, function in _FUNCTIONS.items():
        if node.target is function:
            return name
    if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten":
        return str(node.target)
    raise _NotPlain


def _target(name: str) -> Callable:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    namespace, packet, overload = name.split(".")
    if namespace != "aten":
        raise ValueError(name)
    return getattr(getattr(torch.ops.aten, packet), overload)


def _argument_data(value: Any, place: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return {"node": place[value]}
    if isinstance(value, list | tuple):
        return [_argument_data(each, place) for each in value]
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, _OF_TORCH):
        return {"torch": str(value).removeprefix("torch.")}
    if value is None or type(value) in (int, float, bool, str):
        return value
    raise _NotPlain


def _argument(data: Any, nodes: list[fx.Node]) -> Any:
    if isinstance(data, list):
        return [_argument(each, nodes) for each in data]
    if isinstance(data, dict):
        if "node" in data:
            return nodes[data["node"]]
        if "device" in data:
            return torch.device(data["device"])
        value = getattr(torch, data["torch"])
        if not isinstance(value, _OF_TORCH):
            raise ValueError(data["torch"])
        return value
    return data
