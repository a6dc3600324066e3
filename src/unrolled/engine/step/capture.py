"""Captures a user's step as a graph with guards, by torch's own capture.

Inputs: a step, and example tensors of one time step. Output: a `Captured`: the graph, the guards under which it stands
for the step, and how to gather the tensors that the step reads. The step itself never runs. This file is apart because
it loads `torch._dynamo`, which takes seconds.
"""

import builtins
import contextlib
import re
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, fx
from torch._dynamo import convert_frame, guards
from torch._dynamo.output_graph import OutputGraphCommon
from torch._dynamo.utils import dynamo_timed, get_metrics_context
from torch._dynamo.variables.torch_function import torch_function_mode_stack_state_mgr
from torch.fx.experimental import _config as _shapes_config

from unrolled.engine.reasons import ROWS_MATTER, NotTraceable
from unrolled.engine.step.dict_keys import DictKeys
from unrolled.engine.step.extra_guards import ExtraGuards
from unrolled.engine.step.interpreter import Interpreter, Plain
from unrolled.engine.step.path import Ended, Path
from unrolled.engine.step.refusals import reason_of, refuse_nodes
from unrolled.engine.step.scopes import own_globals
from unrolled.engine.step.sources import HELPERS, all_have_sources, exchanged_methods
from unrolled.engine.step.undisturbed import undisturbed, unforked
from unrolled.engine.trees import flatten

_SETTINGS: dict[str, Any] = {
    "side_effect_replay_policy": "error",  # a graph alone does not write what the step writes
    "automatic_dynamic_shapes": False,  # else a size that changed once is left open, and not guarded
    "specialize_int": True,
    "specialize_float": True,
    "force_parameter_static_shapes": False,  # also a parameter may be a state
    "skip_nnmodule_hook_guards": False,
    "allow_empty_graphs": True,
    "use_numpy_random_stream": True,  # else numpy's random numbers would come from torch's generator
    "rewrite_assert_with_torch_assert": False,
    "capture_scalar_outputs": False,
    "capture_dynamic_output_shape_ops": False,
    "suppress_errors": False,
    "verbose": False,
    "disable": False,
    "fake_tensor_cache_enabled": False,  # of open sizes nothing is found again: a sixth of the time
}
shapes_config: Any = _shapes_config  # whose type torch does not tell
_DictGuards = torch._C._dynamo.guards.DictGuardManager
_OF_ONE_KIND = {"TYPE_MATCH", "ID_MATCH", "TENSOR_MATCH"}


def _call(step: Callable, x: Any, state: Any) -> Any:
    return step(x, state)


@dataclass(frozen=True)
class _Result:
    """Stands for result `index` of the graph, where a step's outputs are put together."""

    index: int

    def as_subclass(self, _: type) -> "_Result":
        """Is what torch does with a result of a subclass of torch.Tensor."""
        raise NotTraceable("its results are of a subclass of torch.Tensor")


class _Gathered(Exception):  # noqa: N818 - no fault: how the inputs of a graph come out of torch's own code
    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.inputs = inputs


_NOT_ITSELF = "it reads a value that is not equal to itself, as a nan of its own class"
_NEVER_HOLDS = "its capture does not hold for the very call that it was made of"


class Unguarded(Exception):  # noqa: N818 - no fault
    """A step cannot be captured, and for how long that holds cannot be told; its text says why.

    Attributes:
        owner: the step, where another of the same code may hold other values; None where its code cannot be captured.
    """

    def __init__(self, reason: str, owner: Callable | None = None) -> None:
        super().__init__(reason)
        self.owner = owner


def _gather(*inputs: Any) -> Any:
    raise _Gathered(inputs)


def children_of(node: Any) -> list[Any]:
    """Guards of what is read off the value of `node`."""
    pairs = node.get_key_value_managers().values() if isinstance(node, _DictGuards) else ()
    return [*node.get_child_managers(), *(child for pair in pairs for child in pair if child is not None)]


def checks_kind(node: Any) -> bool:
    """Whether guards compare the kind of a value before something is read off it."""
    return isinstance(node, _DictGuards) or any(type(each).__name__ in _OF_ONE_KIND for each in node.get_leaf_guards())


def _has_globals_of(names: dict[Any, dict[str, Any]]) -> Callable[[Any], bool]:
    """Whether a function has those that belong to its code; it holds nothing else, which would keep the step alive."""
    return lambda function: names.get(function.__code__, function.__globals__) is function.__globals__


class _Guards(guards.CheckFunctionManager):
    """Torch's guards; what they compare by address is noted."""

    def __init__(self, code: types.CodeType, output: OutputGraphCommon, path: Path) -> None:
        step: Any = output.local_scope["step"]
        try:
            super().__init__(code, output)
        except AssertionError as fault:  # no guard holds for the call that it was made of
            raise Unguarded(_NOT_ITSELF if re.search(r"\bnan\b", str(fault)) else _NEVER_HOLDS, step) from fault
        self._check_nodes(self.guard_manager.root, path.globals)

    def id_ref(self, obj: object, obj_str: str) -> int:
        vars(self).setdefault("by_address", []).append(obj)
        return id(obj)

    def _check_nodes(self, node: Any, names: dict[Any, dict[str, Any]]) -> None:
        """Has the kind of a value checked before something is read off it: torch takes for granted that what was a
        class is one, and reads what lies in memory where another step of the same code has something else. And of
        functions the globals: torch compares their code alone.
        """
        for child in children_of(node):
            kind = child.get_type_of_guarded_value()
            if kind is not None and child.get_accessors() and not checks_kind(child):
                child.add_type_match_guard(self.id_ref(kind, ""), [f"a {kind.__name__}"], None)
            if kind is types.FunctionType and child.get_accessors():
                child.add_lambda_guard(_has_globals_of(names), ["the globals of a function"], None)
            self._check_nodes(child, names)


class Guarded:
    """When what was found of a step holds for a step."""

    def __init__(self, output: OutputGraphCommon, scope: dict[str, Any], path: Path) -> None:
        made = _Guards(_call.__code__, output, path)
        self._scope = scope  # which torch's guards read, and do not keep
        self._manager = made.guard_manager
        self._check = unforked(made.guard_manager.root.check)
        by_address = vars(made).get("by_address", ())
        made_of: list[Any] = list(output.guards)
        objects = [guard.obj_weakref() for guard in made_of if guard.obj_weakref is not None]
        conditions = [part for guard in made_of for part in guard.code_list or ()]
        of_subclasses = [guard.name for guard in made_of if guard.create_fn_name() == "CONSTANT_SUBCLASS_MATCH"]
        read = {"L": output.local_scope, "G": scope}
        conditions += [
            f"float({name}) == 0.0" for name in of_subclasses if isinstance(eval(name, HELPERS, read), float)
        ]
        met = [*by_address, *objects, *path.classes]
        self._extra = ExtraGuards(met, conditions, path.frames.values(), read, HELPERS)
        self._is_dead = False
        self._held: list[Any] = []
        for each in by_address:
            self._hold(each)
        names = [guard.name for guard in made_of if guard.create_fn_name() == "TYPE_MATCH"]
        self._keys = DictKeys(names, read, HELPERS, self._hold)

    def _hold(self, value: Any) -> None:
        """Keeps an address from being another object's; what is no code may die, and ends the guards with it."""
        if not isinstance(value, types.CodeType | type):
            with contextlib.suppress(TypeError):  # it cannot be referred to weakly
                self._held.append(weakref.ref(value, self._end))
                return
        self._held.append(value)

    def _end(self, _: Any) -> None:
        self._is_dead = True

    def holds(self, step: Callable, x: Any, state: Any) -> bool:
        """Whether it holds for a step with inputs and states like these examples."""
        given = {"step": step, "x": x, "state": state}
        if self._is_dead or not self._check(given):
            return False
        scope = {"L": given, "G": self._scope}
        return self._extra.hold(scope) and self._keys.are_same(scope)

    def why_not(self, step: Callable, x: Any, state: Any) -> str:
        """The first guard that fails, as torch words it."""
        found = unforked(self._manager.check_verbose)({"step": step, "x": x, "state": state})
        return "" if found.result else "; ".join(found.verbose_code_parts)


class Refused(Guarded):
    """Why a step cannot be captured, and for how long that holds."""

    def __init__(self, reason: NotTraceable, output: OutputGraphCommon, scope: dict[str, Any], path: Path) -> None:
        super().__init__(output, scope, path)
        self.reason = reason


class Captured(Guarded):
    """A step's graph, and when and with which tensors it stands for a step.

    Attributes:
        graph: of torch's functions; None of a step without an operation.
        places: for each placeholder of the graph ("x", i), ("state", i), ("tensor", i), ("rows", 0) or ("size", n).
        outputs, states: the leaves of y_t and of the next state: `_Result`s, or places.
        outputs_form: the structure of y_t.
        by_row: of the tensors that the step reads beside its arguments, those with a row for each row of the batch.
        shares_rows: whether the sizes of those tensors are left open.
        is_for_all_rows: whether no condition of its guards is on the number of rows, from 2 on.
        asks_for_gradients: whether it may be another one with and without gradients.
    """

    def __init__(
        self,
        capture: convert_frame.CaptureOutput,
        scope: dict[str, Any],
        path: Path,
        step: Callable,
        examples: tuple[Any, Any],
        *,
        shares_rows: bool,
    ) -> None:
        self.shares_rows = shares_rows
        made, backend = capture.graph_capture_output, capture.backend_input
        super().__init__(made.output_graph, scope, path)
        if reason := path.reason or exchanged_methods():
            raise NotTraceable(reason)
        self.graph: fx.GraphModule | None = None if backend is None else backend.graph_module
        self.asks_for_gradients = path.grad_mode.matters(self.graph)
        name = "" if backend is None else backend.backend_id
        self._gather = types.FunctionType(made.bytecode, {**scope, name: _gather})
        self._read_tensors: Callable[[dict[str, Any], dict[str, Any]], list[Tensor]] | None = None
        if self.graph is not None:
            refuse_nodes(self.graph)
        self._read(types.FunctionType(made.bytecode, {**scope, name: self._results}), step, examples)
        self._shorten(made.output_graph.export_metadata.graph_input_idx_to_local_source, step, examples)
        self.by_row: set[int] = set()
        shapes: Any = made.output_graph.shape_env
        are_open = all(shapes.replace(size).free_symbols for size in shapes.var_to_sources)
        self.is_for_all_rows = are_open and not any(shapes.replace(each.expr).free_symbols for each in shapes.guards)
        if self.graph is not None:
            self._find_rows(self.graph, shapes)

    def _results(self, *inputs: Any) -> tuple[_Result, ...]:
        self._inputs = inputs
        assert self.graph is not None
        [output] = [node for node in self.graph.graph.nodes if node.op == "output"]
        return tuple(_Result(i) for i in range(len(output.args[0])))

    def _read(self, whole: Callable, step: Callable, examples: tuple[Any, Any]) -> None:
        """Finds what the placeholders are, and what the step returns."""
        result = whole(step, *examples)
        inputs = vars(self).pop("_inputs", ())
        if not isinstance(result, tuple) or len(result) != 2:
            raise NotTraceable("it does not return a pair (y_t, state)")
        known = {
            id(leaf): (kind, i)
            for kind, tree in zip(("x", "state"), examples, strict=True)
            for i, leaf in enumerate(flatten(tree)[0])
        }
        self.places: list[tuple[str, int]] = []
        self._at: list[int] = []
        for at, value in enumerate(inputs):
            if not isinstance(value, Tensor):
                self.places.append(("size", int(value)))
                continue
            if id(value) not in known:
                known[id(value)] = ("tensor", len(self._at))
                self._at.append(at)
            self.places.append(known[id(value)])

        def named(leaf: Any) -> Any:
            if isinstance(leaf, _Result):
                return leaf
            if not isinstance(leaf, Tensor):
                raise NotTraceable("it returns something that is no tensor")
            if id(leaf) not in known:
                raise NotTraceable("it returns a tensor that it holds, as it is")
            return known[id(leaf)]

        leaves, self.outputs_form = flatten(result[0])
        self.outputs = list(map(named, leaves))
        leaves, form = flatten(result[1])
        if form != flatten(examples[1])[1]:
            raise NotTraceable("its state does not keep its structure")
        self.states = list(map(named, leaves))

    def _find_rows(self, graph: fx.GraphModule, shapes: Any) -> None:
        """Which sizes are those of the batch."""
        batch = {
            shapes.replace(symbol)
            for symbol, sources in shapes.var_to_sources.items()
            if any(source.name.startswith(("L['x']", "L['state']")) for source in sources)
        }
        if any(expression.is_number for expression in batch):
            raise NotTraceable(ROWS_MATTER)
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        for at, (node, (kind, i)) in enumerate(zip(placeholders, self.places, strict=True)):
            value = node.meta["example_value"]
            if kind == "size" and isinstance(value, torch.SymInt) and shapes.replace(value.node.expr) in batch:
                self.places[at] = ("rows", 0)
            if kind == "tensor":
                sizes = [isinstance(s, torch.SymInt) and shapes.replace(s.node.expr) in batch for s in value.shape]
                if any(sizes[1:]):
                    raise NotTraceable("it holds a tensor that has a row of the batch on another axis than its first")
                if any(sizes):
                    self.by_row.add(i)

    def _shorten(self, sources: dict[int, Any], step: Callable, examples: tuple[Any, Any]) -> None:
        """One expression that reads the tensors, where torch's names for them are expressions."""
        names = [getattr(sources.get(at), "name", "") for at in self._at]
        if not all(re.fullmatch(r"[LG]\[[\w'\[\].]*", name) for name in names):
            return
        scope = {"L": {"step": step, "x": examples[0], "state": examples[1]}, "G": self._scope}
        read = eval(f"lambda L, G: [{', '.join(names)}]")  # torch's own words, of attributes and items
        if all(a is b for a, b in zip(read(**scope), self.tensors(step, *examples), strict=True)):
            self._read_tensors = read

    def tensors(self, step: Callable, x: Any, state: Any) -> list[Tensor]:
        """The tensors that a step for which the graph stands reads now, beside its arguments."""
        if not self._at:
            return []
        if self._read_tensors is not None:
            return self._read_tensors({"step": step, "x": x, "state": state}, self._scope)
        try:
            self._gather(step, x, state)
        except _Gathered as found:
            inputs = found.inputs
        return [inputs[at] for at in self._at]

    def run(
        self, tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int, *, is_traced: bool = True
    ) -> list[Tensor]:
        """The leaves of outputs and next states; in the form that tracing takes apart, or just as torch captured it."""
        pools: dict[str, Any] = {"x": xs, "state": states, "tensor": tensors, "rows": [n_rows]}
        results: Any = []
        if self.graph is not None:
            run = (Interpreter if is_traced else Plain)(self.graph).run
            results = run(*[i if kind == "size" else pools[kind][i] for kind, i in self.places])
        return [
            results[leaf.index] if isinstance(leaf, _Result) else pools[leaf[0]][leaf[1]]
            for leaf in (*self.outputs, *self.states)
        ]


def capture(step: Callable, x: Any, state: Any, *, shares_rows: bool = False) -> Captured | Refused:
    """Captures a step on examples that `examples_of` made.

    Args:
        step: any callable `(x, state) -> (y, state)`.
        x: the inputs of one time step.
        state: the state.
        shares_rows: whether tensors that the step holds may have a row for each row of the batch; else their sizes are
            fixed.

    Raises:
        Unguarded: it cannot be captured, and for how long cannot be told.
    """
    scope: dict[str, Any] = {"__name__": __name__, "__builtins__": builtins}
    frame, path = types.FunctionType(_call.__code__, scope), Path()
    config = torch._dynamo.config.patch(**_SETTINGS, assume_static_by_default=not shares_rows)
    shapes = shapes_config.patch(use_duck_shape=not shares_rows)
    read = {"L": {"step": step, "x": x, "state": state}, "G": scope}
    with undisturbed(), own_globals(), config, shapes, get_metrics_context(), dynamo_timed("unrolled"):
        try:
            with torch_function_mode_stack_state_mgr, path.followed(), all_have_sources(read):
                found = convert_frame.fullgraph_capture(frame, (step, x, state))
        except Exception as fault:  # torch raises what it finds in a step in many kinds
            reason = NotTraceable(str(fault)) if isinstance(fault, Ended) else reason_of(fault, path.doing, path.reason)
            return _refused(reason, fault, scope, path)
        try:
            return Captured(found, scope, path, step, (x, state), shares_rows=shares_rows)
        except NotTraceable as reason:
            return Refused(reason, found.graph_capture_output.output_graph, scope, path)


def _refused(reason: NotTraceable, fault: Exception, scope: dict[str, Any], path: Path) -> Refused:
    """The reason, guarded by what the capture had read until then."""
    traced = getattr(fault, "_torch_dynamo_tracer_output", None)
    if traced is None or traced.output_graph_for_cleanup is None:
        raise Unguarded(str(reason)) from fault
    output = traced.output_graph_for_cleanup
    try:
        with get_metrics_context(), dynamo_timed("unrolled"):
            common = OutputGraphCommon(
                output.dump_guards_state(),
                output.import_sources,
                output.shape_env,
                output.export_metadata,
                output.tracked_fakes_id_to_source,
            )
            return Refused(reason, common, scope, path)
    except Exception as unguarded:  # torch cannot guard what it met, as tensors that change their shape
        raise Unguarded(str(reason)) from unguarded
    finally:
        traced._cleanup_output_graph()
