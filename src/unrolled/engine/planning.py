"""A step becomes a plan: traced, split into before, loop and after, its loop lowered to programs.

Comes in: a step, and its inputs and state at one time step. Goes out: a `Plan`, and the tensors that the step captured.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from unrolled.engine.adjoint import programs
from unrolled.engine.factors import Weight, Weights
from unrolled.engine.lower import Lowering, operation
from unrolled.engine.plan import Plan
from unrolled.engine.products import product, product_plus
from unrolled.engine.program import Builder, Value
from unrolled.engine.programs import Place, Product, Staying
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.split import RANDOM, Split, part_of, split
from unrolled.engine.trace import BATCH, decompositions, fake_like, lift_captured, make_graph, operation_shape, trace

aten = torch.ops.aten
# operations outside the loop that work on each row by itself, beside those that a loop can hold
ROWWISE = {*RANDOM, aten.embedding.default, aten.empty.memory_format, aten.empty_like.default}


def make_plan(step: Any, xs: Any, state: Any, *, staying: Staying = "none") -> tuple[Plan, list[Tensor]]:
    """How a step runs fused, and the tensors that it captured; `staying` as in `split`.

    Raises:
        NotTraceable: it cannot; the text says why.
    """
    leaves = pytree.tree_leaves((xs, state))
    floats = {leaf.dtype for leaf in leaves if leaf.is_floating_point()}
    if len(floats) != 1 or not floats <= {torch.float32, torch.float64, torch.bfloat16}:
        raise NotTraceable(
            f"its inputs and state are of {_words(floats)}; a fused loop takes one of float32, float64 and bfloat16"
        )
    if any(leaf.device.type != "cpu" for leaf in leaves):
        raise NotTraceable("its tensors are not on the CPU; there are no kernels for other devices yet")
    [dtype] = floats
    traced = trace(step, xs, state)
    if any(t.is_floating_point() and t.dtype != dtype for t in traced.captured):
        raise NotTraceable(f"it mixes {dtype} with tensors of another dtype")
    shown = str(traced.graph.graph)
    parts = split(traced, staying=staying)
    made = programs(parts)

    placeholders = [node for node in traced.graph.graph.nodes if node.op == "placeholder"]
    captured = placeholders[: len(traced.captured)]
    inputs = placeholders[len(captured) : len(captured) + traced.n_inputs]
    read_after = {arg for node in parts.after for arg in node.all_input_nodes} | set(parts.ys)
    products = _products(parts, {*captured, *parts.invariant}, read_after)
    of_products = {arg for node in products for arg in node.all_input_nodes}
    befores = [
        node
        for node in parts.before
        if node not in products and (node in parts.steps or node in read_after or node in of_products)
    ]
    needed = part_of(parts.before, [*captured, *parts.invariant, *inputs], befores)
    known = [*captured, *parts.invariant]
    places = list(needed.graph.nodes)[: len(known)]
    read_before = {node for node, place in zip(known, places, strict=True) if place.users}
    transposed = {
        node: node.args[0]
        for node in parts.invariant
        if node.target is aten.t.default and node.args[0] in captured and node not in read_before | read_after
    }
    read = read_before | read_after | of_products | set(parts.constants)
    invariants = [node for node in parts.invariant if node in read and node not in transposed]
    after_inputs = [*captured, *invariants, *inputs, *befores, *parts.kept]
    after_inputs += [parts.states[i] for i in parts.previous] + [parts.next_states[i] for i in parts.sequences]
    if any(y in captured or y in invariants for y in parts.ys):
        raise NotTraceable("its output is the same for all rows")
    invariant = part_of(parts.invariant, captured, invariants)
    before = part_of(parts.before, [*captured, *invariants, *inputs], befores)
    after = part_of(parts.after, after_inputs, parts.ys)
    all_before_inputs = [*captured, *invariants, *transposed, *inputs]
    all_before = part_of(parts.before, all_before_inputs, [*befores, *products])
    _check_rowwise(all_before, all_before_inputs)
    _check_rowwise(after, after_inputs)
    n_before, n_after = _named(all_before), _named(after)
    for part in (before, after):
        _take_products(part)
    pools = {"captured": captured, "invariant": invariants, "input": inputs, "before": befores}

    def place(node: fx.Node) -> Place:
        found = [(kind, pool.index(node)) for kind, pool in pools.items() if node in pool]
        return found[0] if found else ("transposed", captured.index(transposed[node]))

    def source(node: fx.Node) -> Place | Product:
        if node not in products:
            return place(node)
        factors: Any = node.args
        *bias, rows, weight = factors
        return Product(place(rows), place(weight), place(bias[0]) if bias else None)

    ys = _outputs_as_they_are(parts)
    # what the backward reads, and what is read outside
    read_states = {i for kind, i in made.backward_inputs if kind in ("previous", "next")} | set(parts.sequences)
    plan = Plan(
        dtype,
        made,
        outputs_form=None if traced.outputs_spec.is_leaf() else traced.outputs_spec,
        invariant=invariant if invariants else None,
        before=before if befores else None,
        loop=part_of(parts.loop, parts.steps + parts.constants + parts.states, parts.next_states + parts.kept),
        after=after if ys is None else None,
        ys=ys or [],
        sources=list(map(source, parts.steps)),
        constant_sources=list(map(place, parts.constants)),
        steps=[(node.meta["val"].dtype, operation_shape(node)) for node in parts.steps],
        constants=[tuple(node.meta["val"].shape) for node in parts.constants],
        states=[operation_shape(node) for node in parts.states],
        kept=[operation_shape(node) for node in parts.kept],
        previous=parts.previous,
        sequences=parts.sequences,
        read_states=sorted(read_states),
        n_before=n_before,
        n_after=n_after,
        traced=shown,
    )
    return plan, traced.captured


def _products(parts: Split, same_for_all: set[fx.Node], read_after: set[fx.Node]) -> list[fx.Node]:
    """Products of rows with a weight that the loop alone reads: its function makes them, and their gradients."""
    inside = set(parts.loop)
    return [
        node
        for node in parts.steps
        if _is_product(node)
        and same_for_all.issuperset({*node.args} - {node.args[-2]})
        and node not in read_after
        and all(user in inside or user.op == "output" for user in node.users)
    ]


def _is_product(node: fx.Node) -> bool:
    if node.target is aten.addmm.default:
        bias = node.all_input_nodes[0]
        return not node.kwargs and bias.meta["val"].dim() == 1
    return node.target is aten.mm.default


def _outputs_as_they_are(parts: Split) -> list[tuple[str, int]] | None:
    """Where the loop's results are the step's outputs, which of them; None where more is to be done."""
    found = []
    for y in parts.ys:
        if operation_shape(y) != (int(torch.Size(operation_shape(y)).numel()),):
            return None
        if y in parts.next_states and parts.next_states.index(y) in parts.sequences:
            found.append(("sequence", parts.sequences.index(parts.next_states.index(y))))
        elif y in parts.kept:
            found.append(("kept", parts.kept.index(y)))
        else:
            return None
    return found if len(set(found)) == len(found) else None


def _named(part: fx.GraphModule) -> dict[str, int]:
    return dict(Counter(operation(node) for node in part.graph.nodes if node.op == "call_function"))


def _take_products(part: fx.GraphModule) -> None:
    """Products of rows with a weight go through `products`."""
    for node in part.graph.nodes:
        if _is_product(node):
            node.target = product if node.target is aten.mm.default else product_plus
    part.recompile()


def _words(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(map(str, dtypes))) or "no floating dtype"


def _check_rowwise(part: fx.GraphModule, inputs: list[fx.Node]) -> None:
    """Holds the operations outside the loop to work on each row by itself, so that time may go into the batch."""
    examples = [fake_like(node) for node in inputs]
    graph = make_graph(lambda *leaves: fx.Interpreter(part).run(*leaves, BATCH), examples, table=decompositions())
    if lift_captured(graph):
        raise NotTraceable("it makes a tensor of its own outside the loop")
    builder = Builder()
    lowering = Lowering(builder)
    n_steps = n_rows = n_weights = 0
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for node, example in zip(placeholders, examples, strict=True):
        shape = tuple(example.shape)
        if shape[:1] == (BATCH,):
            lowering.env[node] = builder.input("step", n_steps, int(torch.Size(shape[1:]).numel()))
            n_steps += 1
        else:
            value = lowering.env[node] = lowering.constant(node, n_rows, n_weights)
            n_rows += isinstance(value, Value)
            n_weights += len(value.matrices) if isinstance(value, Weights) else isinstance(value, Weight)
    for node in graph.graph.nodes:
        if node.target in ROWWISE or _is_pointwise(node):
            lowering.env[node] = builder.input("step", n_steps, int(torch.Size(node.meta["val"].shape[1:]).numel()))
            n_steps += 1
        elif node.op == "call_function":
            lowering.run([node])


def _is_pointwise(node: fx.Node) -> bool:
    """Whether an operation is elementwise, and the batch stands first wherever it stands."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.pointwise not in node.target.tags:
        return False
    shapes = [tuple(arg.meta["val"].shape) for arg in (node, *node.all_input_nodes)]
    return shapes[0][:1] == (BATCH,) and all(
        BATCH not in shape[1:] and (shape[:1] != (BATCH,) or len(shape) == len(shapes[0])) for shape in shapes
    )
