"""A step's graph becomes three: before, loop, after.

    before   depends on the inputs alone: done once for all time steps, as large operations on time · batch rows
    loop     lies on the cycle through the state
    after    depends on the state and does not feed it: done once for all time steps

What depends on neither (weights transposed, cut, normalized) is done once: invariant; and once for each row of the
batch what depends on captured tensors that have a row for each sequence: held. What reads a memory [batch, places,
width] among those is always in the loop: outside it would be copied for each time step. A product over a
concatenation, W·[x, h], is taken apart first, so that its x half leaves the loop.

In inference products of the inputs may stay in the loop: where a thread has many rows, as what they give would go to
memory and back, and in a call of a single row (`cache/memory.py` says when).
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from unrolled.engine.ir.loop_programs import Staying
from unrolled.engine.passes.trace import BATCH, Traced, shape_of
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_node

aten = torch.ops.aten
VIEWS = {
    aten.split_with_sizes.default,
    aten.split.Tensor,
    aten.unsafe_split.Tensor,
    aten.slice.Tensor,
}
VIEWED_AS = {aten.view.default, aten._unsafe_view.default, aten.reshape.default}
# random numbers in the shape of the first argument, whose own numbers are of no effect
FILLS = {
    aten.bernoulli.p, aten.normal_functional.default, aten.uniform.default, aten.exponential.default,
}  # fmt: skip
RANDOM = FILLS | {aten.bernoulli.default, aten.rand.default, aten.randn.default, aten.native_dropout.default}
# what makes a tensor of another's shape, and what makes it of the shape alone
LIKES = {
    aten.zeros_like.default: aten.zeros.default, aten.new_zeros.default: aten.zeros.default,
    aten.ones_like.default: aten.ones.default, aten.new_ones.default: aten.ones.default,
    aten.full_like.default: aten.full.default, aten.new_full.default: aten.full.default,
    aten.fill.Scalar: aten.full.default,
    aten.empty_like.default: aten.empty.memory_format, aten.new_empty.default: aten.empty.memory_format,
    aten.rand_like.default: aten.rand.default, aten.randn_like.default: aten.randn.default,
}  # fmt: skip


PRODUCTS = {aten.mm.default, aten.addmm.default}
MOST_INSIDE = 1 << 20  # bytes of the weights of a loop that holds products of its inputs: they stay in a core's cache


@dataclass(frozen=True)
class Split:
    """The three parts of a step, and the invariant one.

    Attributes:
        invariant: captured tensors → the loop's and the others' invariant inputs.
        before: captured, inputs → the values that loop and after read, one row for each time step and row of the batch.
        held: captured → the loop's and the others' inputs that are the same at all time steps, but not for all rows.
        loop: steps, invariants, states → next states, outputs.
        after: captured and invariants, before's values, the loop's outputs, states before and after each step → y.
        steps, constants, states: what the loop reads: a row for each time step, the same for all, carried.
        next_states, kept: what it gives: carried on, and read by after.
        ys: the step's outputs.
        previous, sequences: the states that are read outside the loop, as they were before each step, and after it.
    """

    traced: Traced
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
    """Splits a traced step; see `Split`. Products of inputs stay in the loop as `staying` says."""
    graph = traced.graph.graph
    by_row = by_row_of(traced)
    if any(node.meta["val"].dim() > 2 for node in by_row):
        _take_scores_apart(graph)
    _take_products_apart(graph)
    _take_shapes_alone(graph)
    graph.eliminate_dead_code()
    nodes = list(graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    inputs = placeholders[traced.n_captured : traced.n_captured + traced.n_inputs]
    states = placeholders[traced.n_captured + traced.n_inputs :]
    [output] = [node for node in nodes if node.op == "output"]
    results = list(output.args[0])
    ys, next_states = results[: traced.n_outputs], results[traced.n_outputs :]

    on_state, on_input, on_held = set(states), set(inputs), set(by_row)
    asking: list[fx.Node] = []  # a memory, or what it gave as long as that is as large
    for node in nodes:
        if node.op != "call_function":
            continue
        args = node.all_input_nodes
        is_asking = any(arg in on_state | on_input for arg in args) and any(
            _is_matrix(arg) and (arg in on_held or arg in asking) for arg in args
        )
        if is_asking:
            asking.append(node)
        if is_asking or any(arg in on_state for arg in args):
            on_state.add(node)
        elif node.target in RANDOM or any(arg in on_input for arg in args):
            on_input.add(node)
        elif any(arg in on_held for arg in args):
            on_held.add(node)
    feeding: set[fx.Node] = set()
    stack = [*next_states, *asking]
    while stack:
        node = stack.pop()
        if node in on_state and node not in feeding:
            feeding.add(node)
            stack.extend(node.all_input_nodes)
    # what gives several tensors stays beside them
    feeding |= {node for node in nodes if node.target is operator.getitem and node.args[0] in feeding}

    calls = [node for node in nodes if node.op == "call_function"]
    loop = [node for node in calls if node in feeding]
    after = [node for node in calls if node in on_state and node not in feeding]
    # a constant that has the batch in its shape belongs to whoever reads it
    others = on_state | on_input | on_held
    repeated = [node for node in calls if node not in others and _has_batch(node)]
    before = [node for node in calls if node in on_input]
    held = [node for node in calls if node in on_held]
    invariant = [node for node in calls if node not in others and node not in repeated]
    loop = _with_repeated(loop, repeated, nodes, next_states)
    after = _with_repeated(after, repeated, nodes, ys)
    before = _with_repeated(before, repeated, nodes, ())
    held = _with_repeated(held, repeated, nodes, ())

    # a view of an input is read where it lies; outside the loop it would be copied
    views: set[fx.Node] = set()
    stack = [node for part in loop for node in part.all_input_nodes]
    while stack:
        node = stack.pop()
        source = node.args[0] if node.target is operator.getitem else node
        if node in on_input and source.target in VIEWS and node not in views:
            views.add(node)
            stack.extend(node.all_input_nodes)
    inner = _products_that_stay(calls, set(loop), views, on_input, staying)
    before = [node for node in before if node not in inner]
    inside = views | set(loop) | inner
    loop = [node for node in calls if node in inside]
    reads = _reads(loop) + [node for node in next_states if node not in inside]
    steps = _unique(node for node in reads if node in on_input and node not in inside)
    constants = _unique(node for node in reads if node not in inside and node not in on_input and node not in states)
    wanted = set(_reads(after)) | set(ys)
    kept = [node for node in loop if node in wanted and node not in next_states and node not in repeated]
    for node in loop:
        if node.target in RANDOM:
            raise NotTraceable(f"it draws random numbers whose law depends on the state{line_of_node(node)}")
    previous = [i for i, node in enumerate(states) if node in wanted]
    sequences = [i for i, node in enumerate(next_states) if node in wanted or i in previous]
    return Split(
        traced, invariant, held, before, loop, after, steps, constants, states, next_states, kept, ys, previous,
        sequences,
    )  # fmt: skip


def by_row_of(traced: Traced) -> list[fx.Node]:
    """The captured tensors that have a row for each sequence."""
    placeholders = [node for node in traced.graph.graph.nodes if node.op == "placeholder"]
    return [node for node in placeholders[: traced.n_captured] if is_by_row(node)]


def is_by_row(node: fx.Node) -> bool:
    """Whether a tensor has a row for each sequence."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.shape[:1] == (BATCH,)


def _is_matrix(node: fx.Node) -> bool:
    """Whether a tensor has more than one axis within each row of the batch."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and sum(size != 1 for size in value.shape) > 2


def _products_that_stay(
    calls: list[fx.Node], loop: set[fx.Node], views: set[fx.Node], on_input: set[fx.Node], staying: Staying
) -> set[fx.Node]:
    """Products of inputs, what is added to them, and views, that the loop alone reads; none where the weights are too
    many.
    """
    if staying == "none":
        return set()
    candidates: set[fx.Node] = set()
    for node in calls:
        args = [arg for arg in node.args if isinstance(arg, fx.Node)]
        if node not in on_input or node.kwargs or len(args) != len(node.args):
            continue
        is_product = node.target in PRODUCTS and args[-2] in on_input and args[-1] not in on_input
        if is_product and staying == "widening":
            n_read, n_given = args[-1].meta["val"].shape
            is_product = n_given > n_read
        if is_product or (node.target is aten.add.Tensor and any(arg in candidates for arg in args)):
            candidates.add(node)
    found: set[fx.Node] = set()
    for node in reversed(calls):
        if node in candidates | views and all(user in loop or user in found for user in node.users):
            found.add(node)
    weights = {node.all_input_nodes[-1] for node in loop | found if node.target in PRODUCTS}
    n_bytes = sum(weight.meta["val"].nbytes for weight in weights)
    return found if n_bytes <= MOST_INSIDE else set()


def _take_scores_apart(graph: fx.Graph) -> None:
    """A product of each place of a memory with a weight of one column, [batch · places, width] · [width, 1], is a sum
    over the places' numbers: within a row of the batch, as an attention's scores are made.
    """
    for node in list(graph.nodes):
        if node.target not in PRODUCTS or node.kwargs:
            continue
        *bias, left, right = node.args
        (rows, width), n_columns = shape_of(left), shape_of(right)[1]
        if rows % BATCH or rows == BATCH or n_columns != 1:
            continue
        places = rows // BATCH
        while left.target in VIEWED_AS:
            left = left.args[0]
        with graph.inserting_before(node):
            made = _made(graph, node, aten.reshape.default, (left, [BATCH, places, width]))
            made = _made(graph, node, aten.mul.Tensor, (made, _made(graph, node, aten.squeeze.dim, (right, 1))))
            made = _made(graph, node, aten.sum.dim_IntList, (made, [2]))
            if bias:
                made = _made(graph, node, aten.add.Tensor, (made, bias[0]))
        for user in list(node.users):
            if user.target in VIEWED_AS:
                with graph.inserting_before(user):
                    user.replace_all_uses_with(_made(graph, user, aten.reshape.default, (made, [*shape_of(user)])))
        if node.users:
            with graph.inserting_before(node):
                node.replace_all_uses_with(_made(graph, node, aten.reshape.default, (made, [rows, 1])))


def _made(graph: fx.Graph, like: fx.Node, target: Any, args: tuple) -> fx.Node:
    """A new node, with the shape that it has, from the line of the step that another comes from."""
    node = _call(graph, target, args, like)
    node.meta["val"] = target(*fx.node.map_arg(args, lambda arg: arg.meta["val"]))
    return node


def _take_products_apart(graph: fx.Graph) -> None:
    """[a, b] · W = a · W[:n] + b · W[n:], and c + a · W is the sum of the two."""
    for node in list(graph.nodes):
        if node.target is aten.addmm.default:
            bias, left, right = node.args
            if node.kwargs or not _is_cat(left):
                continue
            with graph.inserting_before(node):
                product = _call(graph, aten.mm.default, (left, right), node)
                plus_bias = _call(graph, aten.add.Tensor, (product, bias), node)
            node.replace_all_uses_with(plus_bias)
            graph.erase_node(node)
            node = product
        if node.target is not aten.mm.default or not _is_cat(node.args[0]):
            continue
        left, right = node.args
        at = 0
        total: fx.Node | None = None
        with graph.inserting_before(node):
            for part in left.args[0]:
                width = shape_of(part)[1]
                rows = graph.call_function(aten.slice.Tensor, (right, 0, at, at + width))
                rows.meta["val"] = right.meta["val"][at : at + width]
                product = _call(graph, aten.mm.default, (part, rows), node)
                total = product if total is None else _call(graph, aten.add.Tensor, (total, product), node)
                at += width
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def _take_shapes_alone(graph: fx.Graph) -> None:
    """What depends on the shape of a tensor alone depends on no state."""
    for node in list(graph.nodes):
        if node.target not in FILLS | LIKES.keys():
            continue
        value, target = node.meta["val"], LIKES.get(node.target, aten.empty.memory_format)
        fill = node.args[-1:] if target is aten.full.default else ()
        with graph.inserting_before(node):
            made = _call(graph, target, ([*value.shape], *fill), node)
        made.kwargs = {"dtype": value.dtype, "device": value.device}
        if node.target in FILLS:
            node.args = (made, *node.args[1:])
        else:
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def _is_cat(node: fx.Node) -> bool:
    return node.target is aten.cat.default and len(node.args) > 1 and node.args[1] in (1, -1)


def _call(graph: fx.Graph, target: Any, args: tuple, like: fx.Node) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    return node


def _has_batch(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and BATCH in value.shape


def _with_repeated(
    part: list[fx.Node], repeated: list[fx.Node], order: list[fx.Node], results: Iterable[fx.Node]
) -> list[fx.Node]:
    """The part with the repeated constants that it needs, or that are among its results, in the graph's order."""
    pool = set(repeated)
    own = [node for node in results if node in pool]
    needed, stack = {*part, *own}, [*part, *own]
    while stack:
        for arg in stack.pop().all_input_nodes:
            if arg in pool and arg not in needed:
                needed.add(arg)
                stack.append(arg)
    return [node for node in order if node in needed]


def _reads(nodes: list[fx.Node]) -> list[fx.Node]:
    return [arg for node in nodes for arg in node.all_input_nodes]


def _unique(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return list(dict.fromkeys(nodes))


def part_of(nodes: list[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]) -> fx.GraphModule:
    """A graph of its own of those nodes of a graph that the outputs need; the batch's size in it is its last
    placeholder.
    """
    graph = fx.Graph()
    place: dict[fx.Node, fx.Node] = {}
    for i, node in enumerate(inputs):
        place[node] = graph.placeholder(f"in_{i}")
        place[node].meta = dict(node.meta)
    rows = graph.placeholder("n_rows")
    needed, waiting = set(inputs), list(outputs)
    while waiting:  # not halves of what is taken apart in the loop
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    for node in nodes:
        if node not in needed:
            continue
        copied = graph.node_copy(node, lambda arg: place[arg])
        with graph.inserting_before(copied):
            size = lambda arg: _batch_size(graph, rows, arg)  # noqa: E731 - used at once
            copied.args = fx.node.map_aggregate(copied.args, size)
            copied.kwargs = fx.node.map_aggregate(copied.kwargs, size)
        place[node] = copied
    graph.output([place[node] for node in outputs])
    module = fx.GraphModule(torch.nn.Module(), graph)
    module.recompile()
    return module


def _batch_size(graph: fx.Graph, rows: fx.Node, arg: Any) -> Any:
    """Where the traced batch, or a multiple of it, stands in an argument: the batch's size."""
    if type(arg) is not int or arg <= 0 or arg % BATCH:
        return arg
    return rows if arg == BATCH else graph.call_function(operator.mul, (rows, arg // BATCH))
