"""A step becomes a graph of ATen operations.

Comes in: any step, and the shapes of its inputs and state. Goes out: an FX graph whose placeholders are the captured
tensors (parameters, buffers, whatever a closure holds), the inputs and the state. Nothing is computed.
"""

import functools
import linecache
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unrolled.engine.reasons import NotTraceable

aten = torch.ops.aten

# a batch size that no other axis has: wherever it stands in the graph, it means the batch
BATCH = 10_007


_NOT_OF_A_STEP = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<eval_with_key>")


@dataclass(frozen=True)
class Traced:
    """A step as a graph.

    Attributes:
        graph: placeholders captured..., inputs..., states... in this order; it returns outputs..., next states...
        captured: the tensors that the step uses beside its arguments, in the order of their placeholders.
        n_inputs, n_states, n_outputs: how many of each.
        outputs_spec: the structure of y_t.
    """

    graph: fx.GraphModule
    captured: list[Tensor]
    n_inputs: int
    n_states: int
    n_outputs: int
    outputs_spec: pytree.TreeSpec


@functools.cache
def decompositions() -> dict[Any, Callable]:
    """What is taken apart: everything that has a decomposition, but for products and the two squashing functions."""
    table = dict(core_aten_decompositions())
    names = (
        "native_layer_norm native_layer_norm_backward _softmax _softmax_backward_data _log_softmax "
        "_log_softmax_backward_data gelu gelu_backward var_mean var std _fused_rms_norm _fused_rms_norm_backward lerp "
        "elu elu_backward leaky_relu leaky_relu_backward hardtanh hardtanh_backward hardsigmoid hardsigmoid_backward "
        "hardswish hardswish_backward silu silu_backward softplus softplus_backward mish mish_backward "
        "log_sigmoid_forward log_sigmoid_backward prelu addcmul addcdiv masked_fill glu glu_backward logaddexp "
        "logsumexp linalg_vector_norm norm celu selu threshold slice_backward select_backward _fused_dropout "
        "softshrink hardshrink native_batch_norm native_batch_norm_backward"
    )
    table |= get_decompositions([getattr(aten, name) for name in names.split() if hasattr(aten, name)])
    for kept in (
        aten.select_scatter.default,
        aten.roll.default,
        aten.addmm.default,
        aten.sigmoid_backward.default,
        aten.tanh_backward.default,
        aten.mm.default,
    ):
        table.pop(kept, None)
    return table


def trace(step: Callable, xs: Any, state: Any) -> Traced:
    """Traces a step on inputs and states of the given shapes, with a batch of `BATCH` rows.

    Args:
        step: the step.
        xs: the inputs of one step, a tree of tensors [batch, ...].
        state: a tree of tensors [batch, ...].

    Raises:
        NotTraceable: it cannot be traced faithfully.
    """
    leaves, spec = pytree.tree_flatten((xs, state))
    n_inputs, n_states = len(pytree.tree_leaves(xs)), len(pytree.tree_leaves(state))
    specs: list[pytree.TreeSpec] = []

    def flat(*leaves: Tensor) -> list[Tensor]:
        x, state = pytree.tree_unflatten(list(leaves), spec)
        with _Watch():
            result = step(x, state)
        if not isinstance(result, tuple) or len(result) != 2:
            raise NotTraceable("it does not return a pair (y_t, state)")
        outputs, outputs_spec = pytree.tree_flatten(result[0])
        next_states, next_spec = pytree.tree_flatten(result[1])
        if next_spec != pytree.tree_structure(state):
            raise NotTraceable("its state does not keep its structure")
        if not all(isinstance(leaf, Tensor) for leaf in (*outputs, *next_states)):
            raise NotTraceable("it returns something that is no tensor")
        specs.append(outputs_spec)
        for new, old in zip(next_states, leaves[n_inputs:], strict=True):
            if new.shape != old.shape or new.dtype != old.dtype:
                raise NotTraceable("its state does not keep its shape and dtype")
        return [*outputs, *next_states]

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fakes = [torch.empty((BATCH, *leaf.shape[1:]), dtype=leaf.dtype, device=leaf.device) for leaf in leaves]
    # not taken apart yet: what the derivative of an operation is, torch knows of the whole one
    graph = make_graph(flat, fakes, table={})
    again = make_graph(flat, fakes, table={})
    if _text(graph) != _text(again):
        raise NotTraceable("it does something else each time it is called")
    captured = lift_captured(graph)
    for node in list(graph.graph.nodes):
        if node.target is aten.copy_.default:
            raise NotTraceable("it changes one of its arguments, or a tensor that it holds, in place")
        # what is written to a part of a tensor, as wide as that
        if node.target in (aten.copy.default, aten.fill.Tensor):
            to, source = (arg.meta["val"] for arg in node.args[:2])
            if source.dtype == to.dtype:
                node.target, node.args = aten.expand.default, (node.args[1], list(to.shape))
    return Traced(graph, captured, n_inputs, n_states, specs[-1].num_leaves, specs[-1])


class _Watch(TorchFunctionMode):
    """Refuses, while a step is traced, what a graph of forward operations does not show: gradients turned off, hooks,
    and backward functions of one's own. Notes the line of the step that each operation comes from.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch._C._set_grad_enabled, Tensor.register_hook, Tensor.backward, Tensor.requires_grad_):
            raise NotTraceable(f"it calls {getattr(func, '__name__', func)}, which changes how gradients flow")
        fx.traceback.current_meta["stack_trace"] = _line_of_step()
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Any:
        self._apply = torch.autograd.Function.__dict__["apply"]
        setattr(torch.autograd.Function, "apply", classmethod(_refuse))  # noqa: B010 - it is put back below
        return super().__enter__()

    def __exit__(self, *fault: Any) -> None:
        setattr(torch.autograd.Function, "apply", self._apply)  # noqa: B010
        super().__exit__(*fault)


def _line_of_step() -> str:
    """The innermost line that is neither torch's nor the engine's, as a traceback shows it."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_OF_A_STEP):
        frame = frame.f_back
    name, line = frame.f_code.co_filename, frame.f_lineno
    return f'File "{name}", line {line}, in {frame.f_code.co_name}\n  {linecache.getline(name, line).strip()}'


def _refuse(cls: type, *_: Any, **__: Any) -> Any:
    raise NotTraceable(f"it calls the autograd function {cls.__name__}, whose backward tracing does not see")


def make_graph(function: Callable, inputs: list[Any], *, table: dict[Any, Callable]) -> fx.GraphModule:
    """The function as a graph without changes in place, taken apart by a table."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own forward-mode machinery
            whole = torch.func.functionalize(function, remove="mutations")
            with fx.traceback.preserve_node_meta():
                graph = make_fx(whole, decomposition_table=table)(*inputs)
    except NotTraceable:
        raise
    except Exception as fault:  # whatever a step raises under tracing, the eager loop tells better
        raise NotTraceable(f"tracing it raises {type(fault).__name__}: {str(fault).splitlines()[0][:200]}") from fault
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def lift_captured(graph: fx.GraphModule) -> list[Tensor]:
    """Turns the tensors that the graph holds into placeholders, put first; returns them."""
    found: dict[int, tuple[fx.Node, Tensor]] = {}
    first = next(iter(graph.graph.nodes))
    for node in list(graph.graph.nodes):
        if node.op != "get_attr":
            continue
        tensor = getattr(graph, str(node.target))
        if id(tensor) not in found:
            with graph.graph.inserting_before(first):
                placeholder = graph.graph.placeholder(f"captured_{len(found)}")
            placeholder.meta = dict(node.meta)
            placeholder.meta["val"] = _without_numbers(tensor)
            found[id(tensor)] = (placeholder, tensor)
        node.replace_all_uses_with(found[id(tensor)][0])
        graph.graph.erase_node(node)
    # the graph outlives the step that it was made of, and must not keep its tensors alive
    for name in [name for name in (*graph._parameters, *graph._buffers, *vars(graph)) if "_constant" in name]:
        delattr(graph, name)
    graph.recompile()
    return [tensor for _, tensor in found.values()]


def _text(graph: fx.GraphModule) -> str:
    return str(graph.graph) + str(
        [getattr(graph, str(n.target)).shape for n in graph.graph.nodes if n.op == "get_attr"]
    )


def operation_shape(node: fx.Node) -> tuple[int, ...]:
    """The traced shape of one row: without the batch."""
    return shape_of(node)[1:]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The traced shape."""
    return tuple(int(size) for size in node.meta["val"].shape)


def fake_like(node: fx.Node) -> Tensor:
    """A tensor without numbers, of the node's traced shape."""
    return _without_numbers(node.meta["val"])


def _without_numbers(value: Tensor) -> Tensor:
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(tuple(value.shape), dtype=value.dtype, device=value.device)
