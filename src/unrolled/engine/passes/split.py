"""A step's graph is split in parts: before, loop, after, and what is done once.

    before   depends on the inputs alone: done once for all time steps, as large operations on time · batch rows
    loop     lies on the cycle through the state
    after    depends on the state and does not feed it: done once for all time steps

What depends on neither (weights transposed, cut, normalized) is done once: invariant; and once for each row of the
batch what depends on captured tensors that have a row for each sequence: held. What reads a memory [batch, places,
width] among those is always in the loop: outside it would be copied for each time step.

In inference products of the inputs may stay in the loop: where a thread has many rows, as what they give would go to
memory and back, and in a call of a single row (`cache/memory.py` says when).

Input: a normalized graph (`normalize.py`). `verify_split.py` holds the parts to what is said here.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import fx
from torch.utils import _pytree as pytree

from unrolled.engine.ir.loop_programs import Staying
from unrolled.engine.passes.normalize import FILLS
from unrolled.engine.passes.products import products_that_stay
from unrolled.engine.passes.shapes import is_by_row, shape_of, shown
from unrolled.engine.passes.trace import BATCH, Traced
from unrolled.engine.reasons import ROWS_MATTER, NotTraceable
from unrolled.engine.source_lines import line_of_node

aten = torch.ops.aten
VIEWS = {
    aten.split_with_sizes.default,
    aten.split.Tensor,
    aten.unsafe_split.Tensor,
    aten.slice.Tensor,
}
RANDOM = FILLS | {aten.bernoulli.default, aten.rand.default, aten.randn.default, aten.native_dropout.default}


@dataclass(frozen=True)
class Split:
    """The parts of a step. Each is a list of operations of the traced graph, in its order.

    Attributes:
        captured, inputs: placeholders of what the step reads beside its arguments, and of the inputs of one step.
        invariant: captured tensors → the loop's and the others' invariant inputs.
        held: captured → the loop's and the others' inputs that are the same at all time steps, but not for all rows.
        before: captured, inputs → the values that loop and after read, one row for each time step and row of the batch.
        loop: steps, constants, states → next states, outputs.
        after: captured and invariants, before's values, the loop's outputs, states before and after each step → y.
        steps, constants, states: what the loop reads: a row for each time step, the same for all, carried.
        next_states, kept: what it gives: carried on, and read by after.
        ys: the step's outputs.
        previous, sequences: the states that are read outside the loop, as they were before each step, and after it.
    """

    captured: list[fx.Node]
    inputs: list[fx.Node]
    invariant: list[fx.Node]
    held: list[fx.Node]
    before: list[fx.Node]
    loop: list[fx.Node]
    after: list[fx.Node]
    steps: list[fx.Node]
    constants: list[fx.Node]
    states: list[fx.Node]
    next_states: list[fx.Node]
    kept: list[fx.Node]
    ys: list[fx.Node]
    previous: list[int]
    sequences: list[int]


def split(traced: Traced, *, staying: Staying = "none") -> Split:
    """Splits a normalized graph. Products of inputs stay in the loop as `staying` says.

    Raises:
        NotTraceable: what is done once depends on the number of rows; the loop draws random numbers; or what crosses
            its border has no place in a loop.
    """
    calls = [node for node in traced.graph.graph.nodes if node.op == "call_function"]
    states, ys, next_states = traced.states, traced.outputs, traced.next_states
    reach = _reach(traced, calls)
    feeding = _feeding(calls, reach, next_states)
    # a constant that has the batch in its shape belongs to whoever reads it
    dependent = reach.state | reach.input | reach.held
    constant = [node for node in calls if node not in dependent]
    repeated = {node for node in constant if _has_batch(node)}

    loop = _with_repeated([node for node in calls if node in feeding], repeated, calls, next_states)
    after = [node for node in calls if node in reach.state and node not in feeding]
    after = _with_repeated(after, repeated, calls, ys)
    before = _with_repeated([node for node in calls if node in reach.input], repeated, calls)
    held = _with_repeated([node for node in calls if node in reach.held], repeated, calls)
    views = _views(loop, reach.input)
    inner = products_that_stay(calls, set(loop), views, reach.input, staying)
    inside = views | set(loop) | inner
    loop = [node for node in calls if node in inside]

    reads = _reads(loop) + [node for node in next_states if node not in inside]
    outer = _unique(node for node in reads if node not in inside and node not in states)
    wanted = set(_reads(after)) | set(ys)
    previous = [i for i, node in enumerate(states) if node in wanted]
    parts = Split(
        traced.captured,
        traced.inputs,
        invariant=[node for node in constant if node not in repeated],
        held=held,
        before=[node for node in before if node not in inner],
        loop=loop,
        after=after,
        steps=[node for node in outer if node in reach.input],
        constants=[node for node in outer if node not in reach.input],
        states=states,
        next_states=next_states,
        kept=[node for node in loop if node in wanted and node not in next_states and node not in repeated],
        ys=ys,
        previous=previous,
        sequences=[i for i, node in enumerate(next_states) if node in wanted or i in previous],
    )
    _refuse(parts)
    return parts


@dataclass(frozen=True)
class _Reach:
    """What each node depends on; no node is in two of the sets.

    Attributes:
        state: on the state, or it reads a memory for an input, which the loop does.
        input: else on the inputs, or it is drawn anew at each step.
        held: else on what has a row for each sequence.
        asking: those that read a memory, or what it gave as long as that is as large.
    """

    state: set[fx.Node]
    input: set[fx.Node]
    held: set[fx.Node]
    asking: list[fx.Node]


def _reach(traced: Traced, calls: list[fx.Node]) -> _Reach:
    reach = _Reach(set(traced.states), set(traced.inputs), set(filter(is_by_row, traced.captured)), [])
    for node in calls:
        args = node.all_input_nodes
        is_asking = any(arg in reach.state or arg in reach.input for arg in args) and any(
            _is_matrix(arg) and (arg in reach.held or arg in reach.asking) for arg in args
        )
        if is_asking:
            reach.asking.append(node)
        if is_asking or any(arg in reach.state for arg in args):
            reach.state.add(node)
        elif is_random(node) or any(arg in reach.input for arg in args):
            reach.input.add(node)
        elif any(arg in reach.held for arg in args):
            reach.held.add(node)
    return reach


def _feeding(calls: list[fx.Node], reach: _Reach, next_states: list[fx.Node]) -> set[fx.Node]:
    """What depends on the state and feeds it, and what reads a memory."""
    feeding: set[fx.Node] = set()
    stack = [*next_states, *reach.asking]
    while stack:
        node = stack.pop()
        if node in reach.state and node not in feeding:
            feeding.add(node)
            stack.extend(node.all_input_nodes)
    # what gives several tensors stays beside them
    return feeding | {node for node in calls if node.target is operator.getitem and node.args[0] in feeding}


def _views(loop: list[fx.Node], on_input: set[fx.Node]) -> set[fx.Node]:
    """Views of inputs that the loop reads where they lie; outside the loop they would be copied."""
    views: set[fx.Node] = set()
    stack = _reads(loop)
    while stack:
        node = stack.pop()
        source = node.args[0] if node.target is operator.getitem else node
        if node in on_input and isinstance(source, fx.Node) and source.target in VIEWS and node not in views:
            views.add(node)
            stack.extend(node.all_input_nodes)
    return views


def _refuse(parts: Split) -> None:
    """Raises NotTraceable where no loop can be made of the part, whatever its operations are."""
    for node in [*parts.invariant, *parts.held, *parts.before, *parts.after]:
        if is_random(node) and not _has_rows(node):  # drawn anew at each step, and outside the loop once
            raise NotTraceable(f"it draws random numbers that all rows of the batch share{line_of_node(node)}")
        if node.target is aten.embedding.default and True in node.args[3:4]:  # how often in a step, not in all
            raise NotTraceable(f"it scales a gradient by how often each index occurs{line_of_node(node)}")
    once = {*parts.captured, *parts.invariant}
    for node in parts.invariant:
        if not once.issuperset(node.all_input_nodes):  # a mean of ones, say, which are as many as there are rows
            raise NotTraceable(f"{ROWS_MATTER}{line_of_node(node)}")
    for node in parts.loop:
        if is_random(node):
            raise NotTraceable(f"it draws random numbers whose law may depend on the state{line_of_node(node)}")
    for node in [*parts.next_states, *parts.kept]:
        if not node.meta["val"].is_floating_point():
            raise NotTraceable(
                f"its state, or what its output needs of the loop, is not of floating-point numbers{line_of_node(node)}"
            )
    for node in [*parts.steps, *parts.constants, *parts.kept]:
        shape = shape_of(node)
        is_row = is_by_row(node)
        if BATCH in shape[is_row:] or not (is_row or node in parts.constants):
            raise NotTraceable(
                f"it takes a tensor of shape {shown(shape)} into its loop or out of it; a fused loop holds "
                f"[batch, ...]{line_of_node(node)}"
            )


def is_random(node: fx.Node) -> bool:
    """Whether an operation draws random numbers, anew at each step."""
    tags = getattr(node.target, "tags", ())
    return node.target in RANDOM or torch.Tag.nondeterministic_seeded in tags


def _has_rows(node: fx.Node) -> bool:
    """Whether each tensor that an operation gives has the batch as its first axis."""
    values = pytree.tree_leaves(node.meta["val"])
    return all(value.shape[:1] == (BATCH,) for value in values)


def _is_matrix(node: fx.Node) -> bool:
    """Whether a tensor has more than one axis within each row of the batch."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and sum(size != 1 for size in value.shape) > 2


def _has_batch(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and BATCH in value.shape


def _with_repeated(
    part: list[fx.Node], repeated: set[fx.Node], order: list[fx.Node], results: Iterable[fx.Node] = ()
) -> list[fx.Node]:
    """The part with the repeated constants that it needs, or that are among its results, in the graph's order."""
    own = [node for node in results if node in repeated]
    needed, stack = {*part, *own}, [*part, *own]
    while stack:
        for arg in stack.pop().all_input_nodes:
            if arg in repeated and arg not in needed:
                needed.add(arg)
                stack.append(arg)
    return [node for node in order if node in needed]


def _reads(nodes: list[fx.Node]) -> list[fx.Node]:
    return [arg for node in nodes for arg in node.all_input_nodes]


def _unique(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return list(dict.fromkeys(nodes))
