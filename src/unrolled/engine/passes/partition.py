"""The joint graph of a loop and its backward is partitioned in two: forward and backward programs.

The training program also keeps what the backward needs and cannot compute again. Sums over time of outer products (the
weights' gradients) leave the loop: the backward keeps their factors, and one large product makes the sum.
"""

import dataclasses
import math

import torch

from unrolled.engine.ir.loop_programs import Gradient, LoopPrograms, RowGradient
from unrolled.engine.ir.program import (
    ALONG,
    EXPENSIVE,
    INPUTS,
    MATRIX_SUMS,
    REDUCTIONS,
    Program,
    Value,
    in_order,
    with_products_once,
)
from unrolled.engine.passes.lower.loop import JointValues
from unrolled.engine.passes.lower.product_operands import Gradients, OverBatch

# what the backward does not compute again
_SAVED = (*REDUCTIONS, *ALONG, *MATRIX_SUMS, "matmul")
# what a rounded argument may change as a whole: no number is equal to a maximum of them that was rounded
_JUMPS = ("eq", "ne", "gt", "lt", "ge", "le", "sign", "floor", "ceil", "trunc", "round", "copysign")


def partition(joint: JointValues, dtype: torch.dtype) -> LoopPrograms:
    """The three programs of a loop whose tensors in memory are of this dtype."""
    builder, backward = joint.builder, _Backward(joint, is_rounded=dtype == torch.bfloat16)
    step_gradients = [
        None if gradient is None else backward.output(backward.moved(gradient)) for gradient in joint.step_gradients
    ]
    state_gradients = [
        builder.widened(backward.moved(gradient), state.width)
        for gradient, state in zip(joint.state_gradients, joint.states, strict=True)
    ]
    constant_gradients = _constant_gradients(joint, backward)
    shapes = tuple((n, m) if transposed else (m, n) for m, n in joint.matrices for transposed in (False, True))
    steps, states = tuple(value.width for value in joint.steps), tuple(value.width for value in joint.states)
    rows, held, next_states = tuple(joint.rows), tuple(joint.held), tuple(joint.next_states)
    shifted = tuple(i for i, (kind, _) in enumerate(backward.inputs) if kind == "previous")
    forward = Program(steps, states, rows, shapes, next_states, tuple(joint.kept), held=held)
    training = dataclasses.replace(forward, outputs=(*joint.kept, *backward.saved))
    of_backward = Program(
        tuple(backward.input_widths), states, rows, shapes, tuple(state_gradients), tuple(backward.outputs),
        shifted, held, tuple(backward.totals),
    )  # fmt: skip
    return LoopPrograms(
        with_products_once(forward),
        with_products_once(training),
        with_products_once(of_backward),
        backward_inputs=backward.inputs,
        step_gradients=step_gradients,
        constant_gradients=constant_gradients,
        constants=joint.constants,
        n_kept=len(joint.kept),
    )


class _Backward:
    """Values of the joint graph as values of the backward, whose inputs and outputs are found on the way.

    Attributes:
        inputs, input_widths: what the backward reads at each step, as in `LoopPrograms`.
        saved: values of the loop that it reads and that the training program keeps for it.
        outputs, totals: of the backward.
    """

    def __init__(self, joint: JointValues, *, is_rounded: bool) -> None:
        self.builder, self.joint, self._is_rounded = joint.builder, joint, is_rounded
        self.inputs: list[tuple[str, int]] = []
        self.input_widths: list[int] = []
        self.saved: list[Value] = []
        self.outputs: list[Value] = []
        self.totals: list[Value] = []
        self._moved: dict[int, Value] = {}
        self._n_steps, self._n_states = len(joint.steps), len(joint.states)
        self._of_backward: set[int] = set()
        gradients = [*joint.step_gradients, *joint.constant_gradients, *joint.state_gradients]
        for value in in_order(part for gradient in gradients for part in _values_of(gradient)):
            index = int(value.attribute or 0) if value.op in ("state", "step") else 0
            is_gradient = (value.op == "state" and index >= self._n_states) or (
                value.op == "step" and index >= self._n_steps
            )
            if is_gradient or any(id(arg) in self._of_backward for arg in value.args):
                self._of_backward.add(id(value))

    def moved(self, value: Value) -> Value:
        """The value in terms of the backward's inputs."""
        if id(value) not in self._moved:
            for each in in_order([value]):
                is_own = id(each) in self._of_backward or (each is value and not each.args)
                if is_own and id(each) not in self._moved:
                    self._moved[id(each)] = self._moved_once(each)
            if id(value) not in self._moved:
                self._moved[id(value)] = self._from_forward(value)
        return self._moved[id(value)]

    def output(self, value: Value) -> int:
        """The number of an output of the backward."""
        if value not in self.outputs:
            self.outputs.append(value)
        return self.outputs.index(value)

    def factor(self, value: Value) -> tuple[str, int]:
        """Where a factor of a product outside the loop comes from, as in `Gradient`."""
        moved = self.moved(value)
        if moved.op == "step":
            return "step", int(moved.attribute or 0)
        return "output", self.output(moved)

    def _input(self, kind: str, index: int, width: int) -> Value:
        if (kind, index) not in self.inputs:
            self.inputs.append((kind, index))
            self.input_widths.append(width)
        return self.builder.input("step", self.inputs.index((kind, index)), width)

    def _moved_once(self, value: Value) -> Value:
        index = int(value.attribute or 0) if value.op in ("step", "state") else 0
        if value.op == "state":
            if index >= self._n_states:
                return self.builder.input("state", index - self._n_states, value.width)
            return self._input("previous", index, value.width)
        if value.op == "step":
            if index >= self._n_steps:
                return self._input("gradient", index - self._n_steps, value.width)
            return self._input("step", index, value.width)
        if not value.args:
            return value
        return self._rebuilt(value)

    def _rebuilt(self, value: Value) -> Value:
        return self.builder.rebuilt(value, [self.moved(arg) for arg in value.args])

    def _from_forward(self, value: Value) -> Value:
        """A value of the loop itself: read where it lies in memory, else computed again where cheap, else saved."""
        for kind, values in (("next", self.joint.next_states), ("output", self.joint.kept)):
            if value in values:
                return self._input(kind, values.index(value), value.width)
        if value in self.saved:
            return self._input("saved", self.saved.index(value), value.width)
        if value.op == "slice" and value.args[0].op != "matmul":
            return self.builder.slice(self.moved(value.args[0]), int(value.attribute or 0), value.width)
        if not value.per_row or (self._is_made_again(value) and not self._may_jump(value)):
            return self._rebuilt(value)
        self.saved.append(value)
        return self._input("saved", len(self.saved) - 1, value.width)

    def _is_made_again(self, value: Value) -> bool:
        """Whether its arguments are kept in its place."""
        if value.row_width:  # a matrix within a row
            return True
        return value.op not in (*EXPENSIVE, *_SAVED, "slice", "cat") and len(set(self._leaves(value))) <= 1

    def _may_jump(self, value: Value) -> bool:
        """Whether it might be another one, computed again of what was rounded when it was stored."""
        if not self._is_rounded or value.op not in _JUMPS or self._is_exact(value):
            return False
        # one rounded number stays on its side of those that rounding leaves as they are
        others = [arg for arg in value.args if not self._is_stored(arg)]
        is_fixed = all(each.op in INPUTS or (each.op == "const" and _is_short(each.number)) for each in others)
        return not is_fixed or len(others) < len(value.args) - 1

    def _is_stored(self, value: Value) -> bool:
        return value in self.joint.next_states or value in self.joint.kept or value in self.saved

    def _is_exact(self, value: Value) -> bool:
        """Whether the backward has the value with all digits that it had in the loop."""
        if not value.args or not value.per_row:
            return True
        if self._is_stored(value) or value.op in (*EXPENSIVE, *_SAVED, "cat"):
            return False
        return all(map(self._is_exact, value.args))

    def _leaves(self, value: Value) -> list[Value]:
        """What would have to be saved to compute the value again."""
        if not value.args or not value.per_row:
            return []
        if self._is_stored(value):
            return []
        if value.op in (*EXPENSIVE, *_SAVED) or self._may_jump(value):
            return [value]
        if value.op == "slice" and value.args[0].op == "matmul":
            return [value]
        return [leaf for arg in value.args for leaf in self._leaves(arg)]


def _is_short(number: float) -> bool:
    """Whether the eight binary digits of bfloat16 hold it."""
    return math.ldexp(math.frexp(number)[0], 8).is_integer()


def _constant_gradients(
    joint: JointValues, backward: _Backward
) -> list[Gradient | tuple[Gradient, ...] | RowGradient | None]:
    held = iter(joint.held)
    found: list[Gradient | tuple[Gradient, ...] | RowGradient | None] = []
    for gradient, (kind, _) in zip(joint.constant_gradients, joint.constants, strict=True):
        width = next(held) if kind == "held" else 0
        if gradient is None:
            found.append(None)
        elif kind == "held":
            assert isinstance(gradient, Value), "the gradient of what has a row for each sequence is within the loop"
            found.append(_row_gradient(backward, gradient, width))
        elif isinstance(gradient, Gradients):
            found.append(tuple(_sum_gradient(backward, each) for each in gradient.parts))
        elif isinstance(gradient, Value) and gradient.is_zero:  # as through a sign
            found.append(Gradient((), is_transposed=False))
        else:
            assert isinstance(gradient, OverBatch), "the gradient of what is the same for all rows is a sum over them"
            found.append(_sum_gradient(backward, gradient))
    return found


def _sum_gradient(backward: _Backward, gradient: OverBatch) -> Gradient:
    parts = []
    for left, right in gradient.parts:
        factor = backward.factor(right)
        parts.append((None if left is None else backward.factor(left), factor))
    return Gradient(tuple(parts), gradient.is_transposed)


def _row_gradient(backward: _Backward, gradient: Value, width: int) -> RowGradient:
    """Outer products leave the loop by their factors; the rest is added up within."""
    if gradient.is_zero:
        return RowGradient((), None)
    parts, rest = [], []
    waiting = [gradient]
    while waiting:
        part = waiting.pop()
        ops = [arg.op for arg in part.args]
        if part.op == "add" and "repeat" not in ops and part.width == width:
            waiting += part.args
        elif part.op == "mul" and sorted(ops) == ["repeat", "tile"]:
            column, row = sorted(part.args, key=lambda arg: arg.op)
            parts.append((backward.factor(column.args[0]), backward.factor(row.args[0])))
        else:
            rest.append(part)
    if not rest:
        return RowGradient(tuple(parts), None)
    builder = backward.builder
    total = backward.moved(rest[0])
    for part in rest[1:]:
        total = builder.pointwise("add", total, backward.moved(part))
    backward.totals.append(builder.widened(total, width))
    return RowGradient(tuple(parts), len(backward.totals) - 1)


def _values_of(gradient: Value | OverBatch | Gradients | None) -> list[Value]:
    if isinstance(gradient, Gradients):
        return [value for part in gradient.parts for value in _values_of(part)]
    if isinstance(gradient, OverBatch):
        return [value for part in gradient.parts for value in part if value is not None]
    return [] if gradient is None else [gradient]
