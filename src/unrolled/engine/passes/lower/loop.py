"""The joint graph of a loop and its backward becomes values of loop programs, not yet cut in two."""

import math
from dataclasses import dataclass
from typing import Any

from torch import fx

from unrolled.engine.ir.program import Builder, Value
from unrolled.engine.passes.batch_sizes import BATCH
from unrolled.engine.passes.differentiate import Joint
from unrolled.engine.passes.lower.lowering import Lowering, operation
from unrolled.engine.passes.lower.product_operands import Gradients, OverBatch, Weights
from unrolled.engine.passes.shapes import is_by_row, row_shape
from unrolled.engine.passes.split import Split
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_node

_GROWS = (
    "gives a tensor, the same at each step, of which an axis grows with the batch and is not the batch itself; "
    "a fused loop reads whole rows of the batch alone"
)


@dataclass(frozen=True)
class JointValues:
    """A loop and its backward as values. The gradients of next states and kept outputs are inputs numbered after the
    loop's own: those of states are states, as the backward carries them, those of kept outputs are steps.

    Attributes:
        builder: of the values.
        steps, states: the loop's inputs of each kind.
        constants: for each constant its kind and how many it counts for, as in `LoopPrograms`.
        rows, held: widths of the constants of these kinds.
        matrices: shapes of the matrices among the constants.
        next_states, kept: results of the loop.
        step_gradients, state_gradients, constant_gradients: for each input its gradient, None where there is none.
    """

    builder: Builder
    steps: list[Value]
    states: list[Value]
    constants: list[tuple[str, int]]
    rows: list[int]
    held: list[int]
    matrices: list[tuple[int, int]]
    next_states: list[Value]
    kept: list[Value]
    step_gradients: list[Value | None]
    state_gradients: list[Value]
    constant_gradients: list[Value | OverBatch | Gradients | None]


def lower_loop(parts: Split, joint: Joint) -> JointValues:
    """Lowers the joint graph.

    Raises:
        NotTraceable: it holds what a program cannot.
    """
    builder = Builder()
    has_grids = any(node.meta["val"].dim() > 2 for node in parts.constants if is_by_row(node))
    lowering = Lowering(builder, has_grids=has_grids, dtype=parts.states[0].meta["val"].dtype)
    nodes = list(joint.graph.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    n_steps, n_states = len(parts.steps), len(parts.states)
    steps = [builder.input("step", i, _width(node)) for i, node in enumerate(parts.steps)]
    states = [builder.input("state", i, _width(node)) for i, node in enumerate(parts.states)]
    constants = _Constants(lowering)
    for place, node in zip(placeholders[n_steps:], parts.constants, strict=False):
        constants.add(place, node)
    of_states = [builder.input("state", n_states + i, state.width) for i, state in enumerate(states)]
    of_kept = [builder.input("step", n_steps + i, _width(node)) for i, node in enumerate(joint.results[n_states:])]
    given = [*steps, *constants.values, *states, *of_states, *of_kept]
    lowering.env = dict(zip(placeholders, given, strict=True))
    lowering.lower([node for node in nodes if node.op == "call_function"])

    results, gradients = (
        [lowering.env[n] if isinstance(n, fx.Node) else n for n in part] for part in nodes[-1].args[0]
    )
    results = [
        builder.widened(lowering.value(value), _width(node)) for value, node in zip(results, joint.results, strict=True)
    ]
    rest = iter(gradients)
    of_inputs = [next(rest) if is_float else None for is_float in joint.is_float]
    of_constants = of_inputs[n_steps : n_steps + len(parts.constants)]
    return JointValues(
        builder, steps, states, constants.kinds, constants.rows, constants.held, constants.matrices,
        next_states=results[:n_states],
        kept=results[n_states : n_states + len(parts.kept)],
        step_gradients=[None if each is None else lowering.value(each) for each in of_inputs[:n_steps]],
        state_gradients=[lowering.value(each) for each in of_inputs[n_steps + len(parts.constants) :]],
        constant_gradients=[
            None if each is None or node not in joint.differentiable else _constant_gradient(lowering, node, each)
            for node, each in zip(parts.constants, of_constants, strict=True)
        ],
    )  # fmt: skip


class _Constants:
    """What the loop's constants are to it, numbered kind by kind."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.values: list[Any] = []
        self.kinds: list[tuple[str, int]] = []
        self.rows: list[int] = []
        self.held: list[int] = []
        self.matrices: list[tuple[int, int]] = []

    def add(self, place: fx.Node, node: fx.Node) -> None:
        """Adds a constant: its placeholder in the joint graph, and its node in the traced one.

        Raises:
            NotTraceable: it has other rows than those of the batch, as many as the batch is large.
        """
        # a loop would hold one matrix for each of its first axis
        if any(size >= BATCH for size in node.meta["val"].shape[is_by_row(node) :]):
            raise NotTraceable(f"{operation(node)} {_GROWS}{line_of_node(node)}")
        if is_by_row(node):
            value: Any = self.lowering.builder.input("held", len(self.held), _width(node))
            self.held.append(value.width)
            kind, count = "held", 1
        else:
            value = self.lowering.constant(place, len(self.rows), len(self.matrices))
            kind, count = "matrix", len(value.matrices) if isinstance(value, Weights) else 1
            if isinstance(value, Value):
                kind = "row"
                self.rows.append(value.width)
            else:
                n_rows, width = node.meta["val"].shape[-2:]
                self.matrices += [(int(n_rows), int(width))] * count
        self.values.append(value)
        self.kinds.append((kind, count))


def _constant_gradient(lowering: Lowering, node: fx.Node, gradient: Any) -> Value | OverBatch | Gradients:
    """The gradient of a constant: of one that is the same for all rows, a sum over the batch."""
    if isinstance(gradient, OverBatch | Gradients) and not is_by_row(node):
        return gradient
    return lowering.value(gradient)


def _width(node: fx.Node) -> int:
    return math.prod(row_shape(node))
