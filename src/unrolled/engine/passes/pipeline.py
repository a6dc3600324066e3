"""A traced step becomes a plan: split into before, loop and after, its loop lowered to programs."""

import operator
from collections import Counter
from typing import Any

import torch
from torch import fx

from unrolled.engine.backends.cpu.large_products import product, product_plus
from unrolled.engine.ir.loop_programs import Place, Product, Staying
from unrolled.engine.ir.program import Builder, Value
from unrolled.engine.passes.differentiate import programs
from unrolled.engine.passes.lower.lowering import Lowering, operation
from unrolled.engine.passes.lower.product_operands import Weight, Weights
from unrolled.engine.passes.split import RANDOM, Split, by_row_of, is_by_row, part_of, split
from unrolled.engine.passes.trace import (
    BATCH,
    NO_NUMBERS,
    Traced,
    decompositions,
    fake_like,
    make_graph,
    operation_shape,
)
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.run.plan import Plan
from unrolled.engine.source_lines import line_of_node

aten = torch.ops.aten
# operations outside the loop that work on each row by itself, beside those that a loop can hold
ROWWISE = {*RANDOM, aten.embedding.default, aten.empty.memory_format, aten.empty_like.default}


def make_plan(traced: Traced, dtype: torch.dtype, *, staying: Staying = "none") -> Plan:
    """How a traced step runs fused; `staying` as in `split`.

    Raises:
        NotTraceable: it cannot; the text says why.
    """
    shown = str(traced.graph.graph)
    parts = split(traced, staying=staying)
    made = programs(parts)

    placeholders = [node for node in traced.graph.graph.nodes if node.op == "placeholder"]
    captured = placeholders[: traced.n_captured]
    inputs = placeholders[len(captured) : len(captured) + traced.n_inputs]
    read_after = {arg for node in parts.after for arg in node.all_input_nodes} | set(parts.ys)
    by_row = by_row_of(traced)
    same_for_all = {*captured, *parts.invariant, *parts.held} - {n for n in (*by_row, *parts.held) if is_by_row(n)}
    products = _products(parts, same_for_all, read_after)
    of_products = {arg for node in products for arg in node.all_input_nodes}
    befores = [
        node
        for node in parts.before
        if node not in products and (node in parts.steps or node in read_after or node in of_products)
    ]
    known = [*captured, *parts.invariant, *parts.held]
    needed = part_of(parts.before, [*known, *inputs], befores)
    places = list(needed.graph.nodes)[: len(known)]
    read_before = {node for node, place in zip(known, places, strict=True) if place.users}
    read = read_before | read_after | of_products | set(parts.constants)
    helds = [node for node in (*by_row, *parts.held) if node in read]
    read_by_held = set(_reads_of(parts.held, helds, [*captured, *parts.invariant]))
    read_outside = read_before | read_after | read_by_held
    transposed = {
        node: node.args[0]
        for node in parts.invariant
        if node.target is aten.t.default and node.args[0] in captured and node not in read_outside
    }
    invariants = [node for node in parts.invariant if node in read | read_by_held and node not in transposed]
    after_inputs = [*captured, *invariants, *helds, *inputs, *befores, *parts.kept]
    after_inputs += [parts.states[i] for i in parts.previous] + [parts.next_states[i] for i in parts.sequences]
    assert all(is_by_row(y) for y in parts.ys), "outputs have a row for each row of the batch"
    invariant = part_of(parts.invariant, captured, invariants)
    held = part_of(parts.held, [*captured, *invariants], helds)
    before = part_of(parts.before, [*captured, *invariants, *helds, *inputs], befores)
    after = part_of(parts.after, after_inputs, parts.ys)
    all_before_inputs = [*captured, *invariants, *transposed, *helds, *inputs]
    all_before = part_of(parts.before, all_before_inputs, [*befores, *products])
    _check_rowwise(all_before, all_before_inputs)
    _check_rowwise(after, after_inputs)
    n_before, n_after = dict(Counter(_named(held)) + Counter(_named(all_before))), _named(after)
    for part in (before, after):
        _take_products(part)
    pools = {"held": helds, "captured": captured, "invariant": invariants, "input": inputs, "before": befores}

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
    return Plan(
        dtype,
        made,
        outputs_form=traced.outputs_form,
        invariant=invariant if invariants else None,
        held=held if helds else None,
        before=before if befores else None,
        loop=part_of(parts.loop, parts.steps + parts.constants + parts.states, parts.next_states + parts.kept),
        after=after if ys is None else None,
        ys=ys or [],
        sources=list(map(source, parts.steps)),
        constant_sources=list(map(place, parts.constants)),
        steps=[(node.meta["val"].dtype, operation_shape(node)) for node in parts.steps],
        constants=[tuple(node.meta["val"].shape) for node in parts.constants],
        constant_dtypes=[node.meta["val"].dtype for node in parts.constants],
        held_by_row=[i for i, node in enumerate(helds) if is_by_row(node)],
        held_before=[i for i, node in enumerate(helds) if node in read_before],
        held_after=[i for i, node in enumerate(helds) if node in read_after],
        states=[operation_shape(node) for node in parts.states],
        kept=[operation_shape(node) for node in parts.kept],
        previous=parts.previous,
        sequences=parts.sequences,
        read_states=sorted(read_states),
        n_before=n_before,
        n_after=n_after,
        traced=shown,
    )


def _reads_of(nodes: list[fx.Node], results: list[fx.Node], known: list[fx.Node]) -> list[fx.Node]:
    """Which known tensors nodes of a graph read for those results."""
    part = part_of(nodes, known, results)
    places = list(part.graph.nodes)[: len(known)]
    return [node for node, place in zip(known, places, strict=True) if place.users]


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
    calls = [node for node in part.graph.nodes if node.op == "call_function" and node.target is not operator.mul]
    return dict(Counter(map(operation, calls)))


def _take_products(part: fx.GraphModule) -> None:
    """Products of rows with a weight go through `large_products`."""
    for node in part.graph.nodes:
        if _is_product(node):
            node.target = product if node.target is aten.mm.default else product_plus
    part.recompile()


def _check_rowwise(part: fx.GraphModule, inputs: list[fx.Node]) -> None:
    """Holds the operations outside the loop to work on each row by itself, so that time may go into the batch."""
    examples = [fake_like(node) for node in inputs]
    with NO_NUMBERS:
        graph = make_graph(lambda *leaves: fx.Interpreter(part).run(*leaves, BATCH), examples, table=decompositions())
    held = [node for node in graph.graph.nodes if node.op == "get_attr"]
    if held:
        at = next(filter(None, map(line_of_node, [node for each in held for node in (each, *each.users)])), "")
        raise NotTraceable(f"it calls an operation that makes a tensor of numbers by itself{at}")
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
