"""What is done outside the loop: once, before it and after it; and where the loop's tensors come from.

Input: a split step. A value outside the loop is computed where something reads it. A product of the inputs that the
loop alone reads is left to the call of the loop (`products.py`). A captured matrix that the loop alone reads transposed
is read where it lies.
"""

from dataclasses import dataclass

import torch
from torch import fx

from unrolled.engine.ir.loop_programs import InputProduct, Source
from unrolled.engine.passes.products import products_of_call
from unrolled.engine.passes.shapes import is_by_row, row_shape
from unrolled.engine.passes.split import Split
from unrolled.engine.passes.subgraph import part_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Outside:
    """The parts around a loop, as in `Plan`.

    Attributes:
        invariant, held, before, after: graphs; without outputs where there is nothing to do.
        before_with_products: what is done before, with the products that the call of the loop makes.
        before_inputs, after_inputs: what these two read, as nodes of the traced graph.
        sources, constant_sources: where the loop's step inputs and its constants come from.
        held_by_row, held_before, held_after: which of what `held` returns has a row for each sequence; which is read
            before the loop, and after it.
        ys: where the loop's results are the step's outputs, which of them; None where `after` makes the outputs.
    """

    invariant: fx.GraphModule
    held: fx.GraphModule
    before: fx.GraphModule
    after: fx.GraphModule
    before_with_products: fx.GraphModule
    before_inputs: list[fx.Node]
    after_inputs: list[fx.Node]
    sources: list[Source | InputProduct]
    constant_sources: list[Source]
    held_by_row: list[int]
    held_before: list[int]
    held_after: list[int]
    ys: list[tuple[str, int]] | None


def surround(parts: Split) -> Outside:
    """The parts around the loop of a split step."""
    values = _values(parts)
    invariants, helds, befores = values.invariants, values.helds, values.befores
    same = [*parts.captured, *invariants]
    before_inputs = [*same, *values.transposed, *helds, *parts.inputs]
    after_inputs = [*same, *helds, *parts.inputs, *befores, *parts.kept]
    after_inputs += [parts.states[i] for i in parts.previous] + [parts.next_states[i] for i in parts.sequences]
    return Outside(
        invariant=part_of(parts.invariant, parts.captured, invariants),
        held=part_of(parts.held, same, helds),
        before=part_of(parts.before, [*same, *helds, *parts.inputs], befores),
        after=part_of(parts.after, after_inputs, parts.ys),
        before_with_products=part_of(parts.before, before_inputs, [*befores, *values.products]),
        before_inputs=before_inputs,
        after_inputs=after_inputs,
        sources=[_source(node, parts, values) for node in parts.steps],
        constant_sources=[_place(node, parts, values) for node in parts.constants],
        held_by_row=[i for i, node in enumerate(helds) if is_by_row(node)],
        held_before=[i for i, node in enumerate(helds) if node in values.read_before],
        held_after=[i for i, node in enumerate(helds) if node in values.read_after],
        ys=_loop_results(parts),
    )


@dataclass(frozen=True)
class _Values:
    """What is computed outside the loop because something reads it.

    Attributes:
        invariants, helds, befores: results of the parts invariant, held and before. Captured tensors that have a row
            for each sequence are among `helds`.
        products: what the call of the loop makes.
        transposed: invariants that the loop alone reads → the captured matrices that they are the transposes of.
        read_before, read_after: what the operations before and after the loop read.
    """

    invariants: list[fx.Node]
    helds: list[fx.Node]
    befores: list[fx.Node]
    products: list[fx.Node]
    transposed: dict[fx.Node, fx.Node]
    read_before: set[fx.Node]
    read_after: set[fx.Node]


def _values(parts: Split) -> _Values:
    captured = set(parts.captured)
    rows = [*(node for node in parts.captured if is_by_row(node)), *parts.held]  # maybe with a row for each sequence
    read_after = {arg for node in parts.after for arg in node.all_input_nodes} | set(parts.ys)
    same_for_all = {*captured, *parts.invariant, *parts.held} - {node for node in rows if is_by_row(node)}
    products = products_of_call(parts.steps, parts.loop, same_for_all, read_after)
    read_by_products = {arg for node in products for arg in node.all_input_nodes}
    wanted = {*parts.steps, *read_after, *read_by_products} - set(products)
    befores = [node for node in parts.before if node in wanted]
    known = [*parts.captured, *parts.invariant, *parts.held, *parts.inputs]
    read_before = _reads(parts.before, known, befores)
    read_at_all = read_before | read_after | read_by_products | set(parts.constants)
    helds = [node for node in rows if node in read_at_all]
    read_by_held = _reads(parts.held, [*parts.captured, *parts.invariant], helds)
    read_outside = read_before | read_after | read_by_held
    transposed = {
        node: node.all_input_nodes[0]
        for node in parts.invariant
        if node.target is aten.t.default and node.args[0] in captured and node not in read_outside
    }
    read = (read_at_all | read_by_held) - transposed.keys()
    invariants = [node for node in parts.invariant if node in read]
    return _Values(invariants, helds, befores, products, transposed, read_before, read_after)


def _reads(nodes: list[fx.Node], known: list[fx.Node], results: list[fx.Node]) -> set[fx.Node]:
    """Which known tensors nodes of a graph read for those results."""
    places = part_of(nodes, known, results).graph.nodes
    return {node for node, place in zip(known, places, strict=False) if place.users}


def _place(node: fx.Node, parts: Split, values: _Values) -> Source:
    pools = {
        "held": values.helds, "captured": parts.captured, "invariant": values.invariants, "input": parts.inputs,
        "before": values.befores,
    }  # fmt: skip
    for kind, pool in pools.items():
        if node in pool:
            return kind, pool.index(node)
    return "transposed", parts.captured.index(values.transposed[node])


def _source(node: fx.Node, parts: Split, values: _Values) -> Source | InputProduct:
    if node not in values.products:
        return _place(node, parts, values)
    *bias, rows, weight = (_place(each, parts, values) for each in node.args if isinstance(each, fx.Node))
    return InputProduct(rows, weight, bias[0] if bias else None)


def _loop_results(parts: Split) -> list[tuple[str, int]] | None:
    """Where the loop's results are the step's outputs, which of them; None where more is to be done."""
    found = []
    for y in parts.ys:
        if len(row_shape(y)) != 1:
            return None
        if y in parts.next_states and parts.next_states.index(y) in parts.sequences:
            found.append(("sequence", parts.sequences.index(parts.next_states.index(y))))
        elif y in parts.kept:
            found.append(("kept", parts.kept.index(y)))
        else:
            return None
    return found if len(set(found)) == len(found) else None
