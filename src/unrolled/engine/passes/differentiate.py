"""A loop and its backward, as loop programs.

Comes in: a split step. Goes out: the program of the loop, one that also keeps what the backward needs, and the
backward's, made from `torch.func.vjp` of the loop: no derivative is written by hand. Sums over time of outer products
(the weights' gradients) leave the loop: the backward keeps their factors, and one large product makes the sum.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.ir.loop_programs import Gradient, LoopPrograms, RowGradient
from unrolled.engine.ir.program import (
    ALONG,
    EXPENSIVE,
    MATRIX_SUMS,
    REDUCTIONS,
    Builder,
    Program,
    Value,
    in_order,
    verify,
    with_products_once,
)
from unrolled.engine.passes.lower.grids import Grid
from unrolled.engine.passes.lower.heads_tensor import Blocks, shown
from unrolled.engine.passes.lower.lowering import Lowering
from unrolled.engine.passes.lower.product_operands import Gradients, OverBatch, Weights
from unrolled.engine.passes.split import Split, is_by_row, part_of
from unrolled.engine.passes.trace import BATCH, NO_NUMBERS, decompositions, fake_like, make_graph
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_node

# what the backward does not compute again
_SAVED = (*REDUCTIONS, *ALONG, *MATRIX_SUMS, "matmul")


def programs(split: Split) -> LoopPrograms:
    """Lowers a split step's loop and makes its backward.

    Raises:
        NotTraceable: the loop holds what a program cannot.
    """
    gradients_in = split.kept + [split.next_states[i] for i in split.sequences]
    outputs = split.next_states + gradients_in
    inputs = split.steps + split.constants + split.states
    loop = part_of(split.loop, inputs, outputs)
    examples = [fake_like(node) for node in inputs]
    is_float = [example.is_floating_point() for example in examples]
    n_steps, n_constants = len(split.steps), len(split.constants)

    def joint(*leaves: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        given, cotangents = list(leaves[: len(inputs)]), leaves[len(inputs) :]

        def run(*floats: Tensor) -> tuple[Tensor, ...]:
            rest = iter(floats)
            leaves = [next(rest) if f else g for f, g in zip(is_float, given, strict=True)]
            return tuple(fx.Interpreter(loop).run(*leaves, BATCH))  # which hands the lines of the step on

        results, back, *_ = torch.func.vjp(run, *[g for f, g in zip(is_float, given, strict=True) if f])
        return list(results), list(back(tuple(cotangents)))

    cotangents = [fake_like(node) for node in outputs]
    for node, like in zip(outputs, cotangents, strict=True):
        if not like.is_floating_point():
            raise NotTraceable(
                f"its state, or what its output needs of the loop, is not of floating-point numbers{line_of_node(node)}"
            )
    with NO_NUMBERS:  # also for what the loop makes of the batch's size alone
        graph = make_graph(joint, [*examples, *cotangents], table=decompositions())

    builder = Builder()
    has_grids = any(node.meta["val"].dim() > 2 for node in split.constants if is_by_row(node))
    lowering = Lowering(builder, has_grids=has_grids, dtype=split.states[0].meta["val"].dtype)
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    constants: list[tuple[str, int]] = []
    steps = [builder.input("step", i, _width(node)) for i, node in enumerate(split.steps)]
    states = [builder.input("state", i, _width(node)) for i, node in enumerate(split.states)]
    constant_values: list[Any] = []
    of_constants = examples[n_steps : n_steps + n_constants]
    for node, example, source in zip(placeholders[n_steps:], of_constants, split.constants, strict=False):
        by_row = is_by_row(source)
        if BATCH in example.shape[int(by_row) :]:
            raise _misplaced(source, example.shape)
        n_rows, n_weights, n_held = (
            sum(count for kind, count in constants if kind == wanted) for wanted in ("row", "matrix", "held")
        )
        if by_row:
            constants.append(("held", 1))
            constant_values.append(builder.input("held", n_held, math.prod(example.shape[1:])))
            continue
        value = lowering.constant(node, n_rows, n_weights)
        is_row = isinstance(value, Value)
        constants.append(("row", 1) if is_row else ("matrix", len(value.matrices) if isinstance(value, Weights) else 1))
        constant_values.append(value)
    # cotangents: those of the states are carried, those of kept outputs come in; both numbered after the loop's own
    n_states = len(states)
    state_cotangents = [builder.input("state", n_states + i, state.width) for i, state in enumerate(states)]
    kept_cotangents = [builder.input("step", n_steps + i, _width(node)) for i, node in enumerate(gradients_in)]
    lowering.env = dict(
        zip(placeholders, [*steps, *constant_values, *states, *state_cotangents, *kept_cotangents], strict=True)
    )
    lowering.run([node for node in graph.graph.nodes if node.op == "call_function"])
    [result] = [node for node in graph.graph.nodes if node.op == "output"]
    results, gradients = ([lowering.env[n] if isinstance(n, fx.Node) else n for n in part] for part in result.args[0])
    results = [
        lowering.builder.widened(lowering.value(r), _width(node)) for r, node in zip(results, outputs, strict=True)
    ]
    next_states, kept = results[:n_states], results[n_states : n_states + len(split.kept)]
    return _Adjoint(lowering, split, steps, states, constants, next_states, kept, gradients, is_float).programs()


class _Adjoint:
    """Cuts the joint graph of loop and backward in two."""

    def __init__(
        self,
        lowering: Lowering,
        split: Split,
        steps: list[Value],
        states: list[Value],
        constants: list[tuple[str, int]],
        next_states: list[Value],
        kept: list[Value],
        gradients: list[Any],
        is_float: list[bool],
    ) -> None:
        builder = lowering.builder
        self.builder, self.split, self.steps, self.states, self.constants = builder, split, steps, states, constants
        self.next_states, self.kept, self.lowering = next_states, kept, lowering
        given = iter(gradients)
        self.gradients = [next(given) if f else None for f in is_float]
        for i, gradient in enumerate(self.gradients):
            if isinstance(gradient, Blocks | Grid):
                self.gradients[i] = lowering.value(gradient)
        self.saved: list[Value] = []
        self.inputs: list[tuple[str, int]] = []
        self.input_widths: list[int] = []
        self.new: dict[int, Value] = {}
        self.outputs: list[Value] = []
        self.totals: list[Value] = []
        n_steps, n_states = len(steps), len(states)
        self.of_backward: set[int] = set()
        roots = [part for gradient in self.gradients for part in _values_of(gradient)]
        for value in in_order(roots):
            is_cotangent = (value.op == "state" and int(value.attribute or 0) >= n_states) or (
                value.op == "step" and int(value.attribute or 0) >= n_steps
            )
            if is_cotangent or any(id(arg) in self.of_backward for arg in value.args):
                self.of_backward.add(id(value))

    def programs(self) -> LoopPrograms:
        n_steps, n_constants = len(self.steps), len(self.constants)
        matrices = [
            (int(node.meta["val"].shape[-2]), int(node.meta["val"].shape[-1]))
            for node, (kind, count) in zip(self.split.constants, self.constants, strict=True)
            if kind == "matrix"
            for _ in range(count)
        ]
        step_gradients = [
            None if gradient is None else self._output(self._moved(self.lowering.value(gradient)))
            for gradient in self.gradients[:n_steps]
        ]
        state_gradients = []
        for gradient, state in zip(self.gradients[n_steps + n_constants :], self.states, strict=True):
            moved = self._moved(self.lowering.value(gradient))
            state_gradients.append(self.builder.widened(moved, state.width))
        differentiable = _differentiable(self.split)
        constant_gradients = [
            None
            if gradient is None or node not in differentiable
            else self._row_gradient(gradient, _width(node))
            if kind == "held"
            else self._constant_gradient(gradient)
            for gradient, node, (kind, _) in zip(
                self.gradients[n_steps : n_steps + n_constants], self.split.constants, self.constants, strict=True
            )
        ]
        of_kinds = list(zip(self.split.constants, self.constants, strict=True))
        rows = tuple(int(node.meta["val"].numel()) for node, (kind, _) in of_kinds if kind == "row")
        held = tuple(_width(node) for node, (kind, _) in of_kinds if kind == "held")
        shapes = tuple((m[1], m[0]) if transposed else m for m in matrices for transposed in (False, True))
        steps, states = tuple(v.width for v in self.steps), tuple(v.width for v in self.states)
        forward = Program(steps, states, rows, shapes, tuple(self.next_states), tuple(self.kept), held=held)
        training = Program(steps, states, rows, shapes, tuple(self.next_states), (*self.kept, *self.saved), held=held)
        shifted = tuple(i for i, (kind, _) in enumerate(self.inputs) if kind == "previous")
        backward = Program(
            tuple(self.input_widths), states, rows, shapes, tuple(state_gradients), tuple(self.outputs), shifted,
            held, tuple(self.totals),
        )  # fmt: skip
        forward, training, backward = (verify(with_products_once(each)) for each in (forward, training, backward))
        return LoopPrograms(
            forward, training, backward, self.inputs, step_gradients, constant_gradients,
            self.constants, len(self.kept),
        )  # fmt: skip

    def _constant_gradient(self, gradient: Any) -> Gradient | tuple[Gradient, ...]:
        if isinstance(gradient, Value) and gradient.is_zero:  # as through a sign
            return Gradient((), is_transposed=False)
        if isinstance(gradient, Gradients):
            return tuple(self._gradient(each) for each in gradient.parts)
        return self._gradient(gradient)

    def _gradient(self, gradient: Any) -> Gradient:
        assert isinstance(gradient, OverBatch), "the gradient of what is the same for all rows is a sum over them"
        parts = []
        for left, right in gradient.parts:
            moved = self._factor(right)
            parts.append((None if left is None else self._factor(left), moved))
        return Gradient(tuple(parts), gradient.is_transposed)

    def _row_gradient(self, gradient: Any, width: int) -> RowGradient:
        """Outer products leave the loop by their factors; the rest is added up within."""
        value = self.lowering.value(gradient)
        if value.is_zero:
            return RowGradient((), None)
        parts, rest = [], []
        waiting = [value]
        while waiting:
            part = waiting.pop()
            ops = [arg.op for arg in part.args]
            if part.op == "add" and "repeat" not in ops and part.width == width:
                waiting += part.args
            elif part.op == "mul" and sorted(ops) == ["repeat", "tile"]:
                column, row = sorted(part.args, key=lambda arg: arg.op)
                parts.append((self._factor(column.args[0]), self._factor(row.args[0])))
            else:
                rest.append(part)
        if not rest:
            return RowGradient(tuple(parts), None)
        total = self._moved(rest[0])
        for part in rest[1:]:
            total = self.builder.pointwise("add", total, self._moved(part))
        self.totals.append(self.builder.widened(total, width))
        return RowGradient(tuple(parts), len(self.totals) - 1)

    def _factor(self, value: Value) -> tuple[str, int]:
        moved = self._moved(value)
        if moved.op == "step":
            return "step", int(moved.attribute or 0)
        return "output", self._output(moved)

    def _output(self, value: Value) -> int:
        if value not in self.outputs:
            self.outputs.append(value)
        return self.outputs.index(value)

    def _input(self, kind: str, index: int, width: int) -> Value:
        if (kind, index) not in self.inputs:
            self.inputs.append((kind, index))
            self.input_widths.append(width)
        return self.builder.input("step", self.inputs.index((kind, index)), width)

    def _moved(self, value: Value) -> Value:
        """The value in terms of the backward's inputs."""
        if id(value) not in self.new:
            for each in in_order([value]):
                if id(each) not in self.new and (id(each) in self.of_backward or (each is value and not each.args)):
                    self.new[id(each)] = self._moved_once(each)
            if id(value) not in self.new:
                self.new[id(value)] = self._from_forward(value)
        return self.new[id(value)]

    def _moved_once(self, value: Value) -> Value:
        index = int(value.attribute or 0) if value.op in ("step", "state") else 0
        if value.op == "state":
            n = len(self.states)
            if index >= n:
                return self.builder.input("state", index - n, value.width)
            return self._input("previous", index, value.width)
        if value.op == "step":
            n = len(self.steps)
            return (
                self._input("gradient", index - n, value.width)
                if index >= n
                else self._input("step", index, value.width)
            )
        if not value.args:
            return value
        return self.builder.rebuilt(value, [self._moved_arg(arg) for arg in value.args])

    def _moved_arg(self, arg: Value) -> Value:
        return self.new[id(arg)] if id(arg) in self.new else self._moved(arg)

    def _from_forward(self, value: Value) -> Value:
        """A value of the loop itself: read where it lies in memory, else computed again where cheap, else saved."""
        for kind, values in (("next", self.next_states), ("output", self.kept)):
            if value in values:
                return self._input(kind, values.index(value), value.width)
        if value in self.saved:
            return self._input("saved", self.saved.index(value), value.width)
        if value.op == "slice" and value.args[0].op != "matmul":
            return self.builder.slice(self._moved(value.args[0]), int(value.attribute or 0), value.width)
        if value.row_width:  # a matrix within a row: its vectors are kept, and it is made again
            return self.builder.rebuilt(value, [self._moved(arg) for arg in value.args])
        if value.op not in EXPENSIVE and value.op != "slice" and value.op not in (*_SAVED, "cat"):
            needed = {id(leaf) for leaf in self._leaves(value)}
            if len(needed) <= 1:
                return self.builder.rebuilt(value, [self._moved(arg) for arg in value.args])
        if not value.per_row:
            return self.builder.rebuilt(value, [self._moved(arg) for arg in value.args])
        self.saved.append(value)
        return self._input("saved", len(self.saved) - 1, value.width)

    def _leaves(self, value: Value) -> list[Value]:
        """What would have to be saved to compute the value again."""
        if not value.args:
            return []
        if value in self.next_states or value in self.kept or value in self.saved or not value.per_row:
            return []
        if value.op in (*EXPENSIVE, *_SAVED):
            return [value]
        if value.op == "slice" and value.args[0].op == "matmul":
            return [value]
        return [leaf for arg in value.args for leaf in self._leaves(arg)]


def _values_of(gradient: Any) -> list[Value]:
    if isinstance(gradient, Gradients):
        return [value for part in gradient.parts for value in _values_of(part)]
    if isinstance(gradient, Blocks):
        return list(gradient.rows.flat)
    if isinstance(gradient, OverBatch):
        return [value for part in gradient.parts for value in part if value is not None]
    return [gradient] if isinstance(gradient, Value) else []


def _differentiable(split: Split) -> set[fx.Node]:
    """What autograd gives a gradient, be it of zeros: all that the loop's results come from, but not by comparing."""
    found: set[fx.Node] = set()
    waiting = [*split.next_states, *split.kept]
    while waiting:
        node = waiting.pop()
        value = node.meta["val"]
        is_cut = isinstance(value, Tensor) and not value.is_floating_point()
        if node not in found and not is_cut and node.target is not torch.ops.aten.detach.default:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _width(node: fx.Node) -> int:
    shape = tuple(node.meta["val"].shape)
    if shape[:1] != (BATCH,) or BATCH in shape[1:]:
        raise _misplaced(node, shape)
    return int(torch.Size(shape[1:]).numel())


def _misplaced(node: fx.Node, shape: Sequence[int]) -> NotTraceable:
    return NotTraceable(
        f"it takes a tensor of shape {shown(shape)} into its loop or out of it; a fused loop holds "
        f"[batch, ...]{line_of_node(node)}"
    )
