"""A step becomes a graph of ATen operations.

Inputs: a step as a function of leaves, and the shapes of its tensors. Output: an FX graph whose placeholders are the
tensors that the step reads beside its arguments, its inputs and its state. Nothing is computed.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from unrolled.engine.backends import eager
from unrolled.engine.gradient_clip import CLIP
from unrolled.engine.ir.taps import Taps
from unrolled.engine.passes.batch_sizes import BATCH as BATCH
from unrolled.engine.passes.batch_sizes import OTHER_BATCH as OTHER_BATCH
from unrolled.engine.passes.decompositions import decompositions
from unrolled.engine.passes.gradients_off import GradientsStay
from unrolled.engine.reasons import ROWS_MATTER, NotTraceable
from unrolled.engine.source_lines import line_of_node
from unrolled.engine.trees import Form, flatten, unflatten

aten = torch.ops.aten

# within, a tensor that is made has a shape and no memory
NO_NUMBERS = FakeTensorMode(allow_non_fake_inputs=True)

_NOT_TRACED = "torch cannot trace it as a graph of its own operations"
_NO_DERIVATIVE = re.compile(r"derivative for (\S+) is not implemented")

# what puts a tensor into a part of another → what takes that part
PARTS: dict[Any, Callable] = {
    aten.select_scatter.default: aten.select.int,
    aten.slice_scatter.default: aten.slice.Tensor,
    aten.diagonal_scatter.default: aten.diagonal.default,
}

# a step by leaves: tensors that it reads beside its arguments, inputs, states, rows of the batch → leaves of y_t, their
# form, leaves of the next state
StepFunction = Callable[[list[Tensor], list[Tensor], list[Tensor], int], tuple[list[Tensor], Form, list[Tensor]]]


@dataclass(frozen=True)
class Traced:
    """A step as a graph.

    Attributes:
        graph: placeholders captured..., inputs..., states... in this order; it returns outputs..., next states...
        n_captured, n_inputs, n_states, n_outputs: how many of each.
        made: tensors with numbers that the step itself makes; the last ones of the captured.
        outputs_form: the structure of y_t.
        taps: what a probe has added, which is none of y_t.
    """

    graph: fx.GraphModule
    n_captured: int
    n_inputs: int
    n_states: int
    n_outputs: int
    made: list[Tensor]
    outputs_form: Form
    taps: Taps | None = None

    @property
    def captured(self) -> list[fx.Node]:
        """The placeholders of what the step reads beside its arguments."""
        return self._placeholders()[: self.n_captured]

    @property
    def inputs(self) -> list[fx.Node]:
        """The placeholders of the inputs of one step."""
        return self._placeholders()[self.n_captured : self.n_captured + self.n_inputs]

    @property
    def states(self) -> list[fx.Node]:
        """The placeholders of the state before the step."""
        return self._placeholders()[self.n_captured + self.n_inputs :]

    @property
    def outputs(self) -> list[fx.Node]:
        """The leaves of y_t."""
        return self._results()[: self.n_outputs]

    @property
    def next_states(self) -> list[fx.Node]:
        """The leaves of the state after the step."""
        return self._results()[self.n_outputs :]

    def _placeholders(self) -> list[fx.Node]:
        return [node for node in self.graph.graph.nodes if node.op == "placeholder"]

    def _results(self) -> list[fx.Node]:
        [output] = [node for node in self.graph.graph.nodes if node.op == "output"]
        return list(cast("tuple[fx.Node, ...]", output.args[0]))


def of_trees(step: Callable[[list[Tensor], Any, Any], Any], x_form: Form, state_form: Form) -> StepFunction:
    """A step `(tensors, x, state) -> (y, state)` by leaves."""

    def function(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], _n_rows: int
    ) -> tuple[list[Tensor], Form, list[Tensor]]:
        y, state = step(tensors, unflatten(xs, x_form), unflatten(states, state_form))
        outputs, outputs_form = flatten(y)
        return outputs, outputs_form, flatten(state)[0]

    return function


def with_resets(step: StepFunction, n_states: int) -> StepFunction:
    """Rows start anew: a mask is the last of the inputs, and the states that rows go back to come after the step's own
    `n_states`.
    """

    def restarting(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int
    ) -> tuple[list[Tensor], Form, list[Tensor]]:
        now, first = states[:n_states], states[n_states:]
        state = [eager.choose(xs[-1], start, leaf) for leaf, start in zip(now, first, strict=True)]
        outputs, form, new = step(tensors, xs[:-1], state, n_rows)
        return outputs, form, [*new, *first]

    return restarting


def with_clip(step: StepFunction, limit: float) -> StepFunction:
    """The gradient that a step gives the state before it is clamped."""

    def clipping(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int
    ) -> tuple[list[Tensor], Form, list[Tensor]]:
        given = [CLIP(leaf, limit) if leaf.is_floating_point() else leaf for leaf in states]
        return step(tensors, xs, given, n_rows)

    return clipping


def with_ends(step: StepFunction, n_states: int) -> StepFunction:
    """Rows end: where a mask, the last of the inputs, is false the state stays and outputs are zero. What the step is
    given there are the last `n_states` of the states, as in `eager.with_idle_rows`.
    """

    def ending(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int
    ) -> tuple[list[Tensor], Form, list[Tensor]]:
        runs, now, others, idle = xs[-1], states[:n_states], states[n_states:-n_states], states[-n_states:]
        given = [eager.choose(runs, leaf, other) for leaf, other in zip(now, idle, strict=True)]
        outputs, form, new = step(tensors, xs[:-1], [*given, *others], n_rows)
        own = [eager.choose(runs, leaf, old) for leaf, old in zip(new[:n_states], now, strict=True)]
        outputs = [eager.choose(runs, leaf, torch.zeros_like(leaf)) for leaf in outputs]
        return outputs, form, [*own, *others, *idle]

    return ending


def trace(
    step: StepFunction,
    tensors: list[Tensor],
    xs: list[Tensor],
    states: list[Tensor],
    *,
    by_row: "set[int] | frozenset[int]" = frozenset(),
    batch: int = BATCH,
) -> Traced:
    """Traces a step on tensors of the given shapes, with a batch of `batch` rows.

    Args:
        step: the step.
        tensors: what it reads beside its arguments.
        xs: the leaves of the inputs of one step, [batch, ...].
        states: leaves [batch, ...].
        by_row: which of the tensors have a row for each row of the batch.
        batch: how many rows.

    Raises:
        NotTraceable: it cannot be traced faithfully.
    """
    n, m = len(tensors), len(tensors) + len(xs)
    found: list[tuple[int, Form]] = []

    def flat(*leaves: Tensor) -> list[Tensor]:
        with GradientsStay():
            outputs, form, new = step(list(leaves[:n]), list(leaves[n:m]), list(leaves[m:]), batch)
        for leaf, old in zip(new, leaves[m:], strict=True):
            if leaf.shape != old.shape or leaf.dtype != old.dtype:
                raise NotTraceable("its state does not keep its shape and dtype")
        if any(leaf.dim() == 0 or leaf.shape[0] != batch for leaf in outputs):
            raise NotTraceable("it returns an output that has no row for each row of the batch")
        found.append((len(outputs), form))
        return [*outputs, *new]

    with NO_NUMBERS:  # also for what the step makes of the batch's size alone
        fakes = [_empty(t, (batch, *t.shape[1:]) if i in by_row else t.shape) for i, t in enumerate(tensors)]
        for each in fakes:  # torch's product folds the batch into one with a matrix only where that has a gradient
            # but for rows, as running means, of which some operations have no derivative
            each.requires_grad_(each.is_floating_point() and each.dim() > 1)
        fakes += [_empty(leaf, (batch, *leaf.shape[1:])) for leaf in (*xs, *states)]
        # not taken apart yet: what the derivative of an operation is, torch knows of the whole one; but for these: one
        # has none by its running means, the other takes the number of rows as a number
        apart = {op: decompositions()[op] for op in (aten.native_batch_norm.default, aten.native_group_norm.default)}
        graph = make_graph(flat, fakes, table=apart)
    made = lift_captured(graph, after=n)
    for node in list(graph.graph.nodes):
        _check_part(node)
        if node.target is aten.copy_.default:
            raise NotTraceable("it changes one of its arguments, or a tensor that it holds, in place")
    [(n_outputs, form)] = found
    return Traced(graph, n + len(made), len(xs), len(states), n_outputs, made, form)


def _check_part(node: Any) -> None:
    """Holds what is put into a part of a tensor to be as large as that, which torch checks of numbers alone."""
    if node.target in PARTS:
        whole, part, *place = node.args
        if part.meta["val"].shape != PARTS[node.target](whole.meta["val"], *place, **node.kwargs).shape:
            raise NotTraceable(ROWS_MATTER + line_of_node(node))  # it may be for the rows of the call alone


def _empty(like: Tensor, shape: Any) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device)


def make_graph(function: Callable, inputs: list[Any], *, table: dict[Any, Callable]) -> fx.GraphModule:
    """The function as a graph without changes in place, taken apart by a table."""
    depth = len(torch._C._functorch.get_interpreter_stack() or ())
    try:
        # which looks for NaN in gradients, and here there are no numbers
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(False):
            warnings.simplefilter("ignore")  # of torch's own forward-mode machinery
            whole = torch.func.functionalize(function, remove="mutations")
            with fx.traceback.preserve_node_meta():
                graph = make_fx(whole, decomposition_table=table)(*inputs)
                if any(map(_is_in_place, graph.graph.nodes)):  # within an operation of torch's, as its cells are
                    whole = torch.func.functionalize(Following(graph).run, remove="mutations")
                    graph = make_fx(whole, decomposition_table=table)(*inputs)
    except NotTraceable:
        raise
    except Exception as fault:  # whatever a step raises under tracing, the eager loop tells better
        while len(torch._C._functorch.get_interpreter_stack() or ()) > depth:
            torch._C._functorch.pop_dynamic_layer_stack()  # which a transform within the step has left
        missing = _NO_DERIVATIVE.match(str(fault))
        if missing:
            raise NotTraceable(f"torch has no derivative of {missing[1].replace('::', '.')}") from fault
        raise NotTraceable(_NOT_TRACED) from fault
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class Following(fx.Interpreter):
    """Tells at which line of the step an operation cannot be traced."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # torch would add its own words to the reason

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except NotTraceable:
            raise
        except Exception as fault:
            if _NO_DERIVATIVE.match(str(fault)):
                raise
            raise NotTraceable(_NOT_TRACED + line_of_node(n)) from fault


def _is_in_place(node: fx.Node) -> bool:
    """Whether an operation changes a tensor in place; but for what a step does to its arguments."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and target is not aten.copy_.default


def lift_captured(graph: fx.GraphModule, *, after: int = 0) -> list[Tensor]:
    """Turns the tensors that the graph holds into placeholders, put after so many others; returns them."""
    found: dict[int, tuple[fx.Node, Tensor]] = {}
    following = list(graph.graph.nodes)[after]
    for node in list(graph.graph.nodes):
        if node.op != "get_attr":
            continue
        tensor = getattr(graph, str(node.target))
        if id(tensor) not in found:
            with graph.graph.inserting_before(following):
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


def compare(one: Traced, other: Traced, batches: tuple[int, int], words: str) -> None:
    """Holds two graphs, traced with other numbers of rows, to be the same but for those, which stand for sizes alone.

    Raises:
        NotTraceable: they are not; the text is `words`, or that it depends on the number of rows, and the line.
    """
    nodes, others = list(one.graph.graph.nodes), list(other.graph.graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    others_place = {node: i for i, node in enumerate(others)}
    for a, b in zip(nodes, others, strict=False):
        if a.op != b.op or (a.op == "call_function" and a.target != b.target):
            raise NotTraceable(f"{words}{line_of_node(a)}")
        left, right = pytree.tree_leaves((a.args, a.kwargs)), pytree.tree_leaves((b.args, b.kwargs))
        is_same = len(left) == len(right) and all(
            place[x] == others_place.get(y) if isinstance(x, fx.Node) else _is_same(x, y, batches)
            for x, y in zip(left, right, strict=True)
        )
        if not is_same:
            why = words if batches[0] == batches[1] else _why(left, right, words)
            raise NotTraceable(f"{why}{line_of_node(a)}")
        if not _are_alike(a.meta.get("val"), b.meta.get("val"), batches):
            raise NotTraceable(f"{ROWS_MATTER}{line_of_node(a)}")
        if _reads_rows_as_number(a, batches[0]):
            raise NotTraceable(f"it computes with the number of rows of the batch{line_of_node(a)}")
    if len(nodes) != len(others):
        raise NotTraceable(words)
    if len(one.made) != len(other.made) or not all(map(_are_equal, one.made, other.made)):
        raise NotTraceable(words)


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a.detach() == b.detach()).all())


def _is_same(a: Any, b: Any, batches: tuple[int, int]) -> bool:
    if type(a) is int and type(b) is int and a and a % batches[0] == 0:
        return b == a // batches[0] * batches[1]
    return type(a) is type(b) and (a == b or (a != a and b != b))


def _why(left: list[Any], right: list[Any], words: str) -> str:
    numbers = [
        (a, b)
        for a, b in zip(left, right, strict=False)
        if type(a) in (int, float) and type(b) in (int, float) and a != b
    ]
    return "it computes with the number of rows of the batch" if numbers else words


# arguments of operations that are sizes of the result, and scale with the batch as its sizes do
_SIZES = ("size", "sizes", "shape", "repeats")


def _reads_rows_as_number(node: fx.Node, batch: int) -> bool:
    """Whether the batch's size is among the numbers, not the sizes, that an operation takes."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "call_function" and any(map(_is_of(batch), pytree.tree_leaves((node.args, node.kwargs))))
    named = dict(zip((argument.name for argument in node.target._schema.arguments), node.args, strict=False))
    named |= node.kwargs
    names = [*_SIZES, "end"] if named.get("dim", 0) == 0 else _SIZES  # up to the last row of the batch
    return any(any(map(_is_of(batch), pytree.tree_leaves(value))) for name, value in named.items() if name not in names)


def _is_of(batch: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value != 0 and value % batch == 0


def _are_alike(a: Any, b: Any, batches: tuple[int, int]) -> bool:
    one, other = pytree.tree_leaves(a), pytree.tree_leaves(b)
    return len(one) == len(other) and all(
        not isinstance(x, Tensor)
        or (
            x.dtype == y.dtype
            and x.dim() == y.dim()
            and all(_is_same(int(m), int(n), batches) for m, n in zip(x.shape, y.shape, strict=True))
        )
        for x, y in zip(one, other, strict=True)
    )


def fake_like(node: fx.Node) -> Tensor:
    """A tensor without numbers, of the node's traced shape."""
    return _without_numbers(node.meta["val"])


def _without_numbers(value: Tensor) -> Tensor:
    with NO_NUMBERS:
        return torch.empty(tuple(value.shape), dtype=value.dtype, device=value.device)
