"""Holds the operations outside the loop to work on each row by itself, so that time may go into the batch."""

import math

import torch
from torch import fx

from unrolled.engine.ir.program import Builder, Value
from unrolled.engine.passes.decompositions import decompositions
from unrolled.engine.passes.lower.lowering import Lowering, operation
from unrolled.engine.passes.lower.product_operands import OverBatch, Weight, Weights
from unrolled.engine.passes.outside import Outside
from unrolled.engine.passes.split import RANDOM
from unrolled.engine.passes.trace import BATCH, NO_NUMBERS, fake_like, make_graph
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_node

aten = torch.ops.aten
# operations outside the loop that work on each row by itself, beside those that a loop can hold
ROWWISE = {*RANDOM, aten.embedding.default, aten.empty.memory_format, aten.empty_like.default}


def check_rowwise(outside: Outside) -> Outside:
    """Checks what is done before and after the loop; returns what it was given.

    Raises:
        NotTraceable: an operation works across rows.
    """
    _check(outside.before_with_products, outside.before_inputs)
    _check(outside.after, outside.after_inputs)
    return outside


def _check(part: fx.GraphModule, inputs: list[fx.Node]) -> None:
    """What a loop can hold works on each row by itself: so all else is lowered, for the reasons alone."""
    examples = [fake_like(node) for node in inputs]
    with NO_NUMBERS:
        graph = make_graph(lambda *leaves: fx.Interpreter(part).run(*leaves, BATCH), examples, table=decompositions())
    nodes = list(graph.graph.nodes)
    held = [node for node in nodes if node.op == "get_attr"]
    if held:
        at = next(filter(None, map(line_of_node, [node for each in held for node in (each, *each.users)])), "")
        raise NotTraceable(f"it calls an operation that makes a tensor of numbers by itself{at}")
    builder = Builder()
    lowering = Lowering(builder)
    n_steps = n_rows = n_weights = 0
    placeholders = [node for node in nodes if node.op == "placeholder"]
    for node, example in zip(placeholders, examples, strict=True):
        if example.shape[:1] == (BATCH,):
            lowering.env[node] = builder.input("step", n_steps, math.prod(example.shape[1:]))
            n_steps += 1
        else:
            value = lowering.env[node] = lowering.constant(node, n_rows, n_weights)
            n_rows += isinstance(value, Value)
            n_weights += len(value.matrices) if isinstance(value, Weights) else isinstance(value, Weight)
    for node in nodes:
        if node.target in ROWWISE or _is_pointwise(node):
            lowering.env[node] = builder.input("step", n_steps, math.prod(node.meta["val"].shape[1:]))
            n_steps += 1
        elif node.op == "call_function":
            lowering.lower([node])
            if isinstance(lowering.env[node], OverBatch):  # here it would be one of all time steps
                raise NotTraceable(f"{operation(node)} sums over the batch{line_of_node(node)}")


def _is_pointwise(node: fx.Node) -> bool:
    """Whether an operation is elementwise, and the batch stands first wherever it stands."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.pointwise not in node.target.tags:
        return False
    values = [arg.meta["val"] for arg in (node, *node.all_input_nodes)]
    if not all(isinstance(value, torch.Tensor) for value in values):  # several results, as of frexp
        return False
    shapes = [tuple(value.shape) for value in values]
    return shapes[0][:1] == (BATCH,) and all(
        BATCH not in shape[1:] and (shape[:1] != (BATCH,) or len(shape) == len(shapes[0])) for shape in shapes
    )
