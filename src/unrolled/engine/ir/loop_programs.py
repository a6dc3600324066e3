"""The three programs of one loop: forward, forward in training, backward; `passes/partition.py` makes them. And
where the loop's tensors come from.
"""

from dataclasses import dataclass
from typing import Literal

from unrolled.engine.ir.program import Program, verify

# ("captured", i), ("transposed", i) for a captured matrix that is read transposed, ("invariant", i), ("held", i),
# ("input", i), ("before", i)
Source = tuple[str, int]

# which products of its inputs a loop holds: those that give more numbers than they read, or all
Staying = Literal["none", "widening", "all"]


@dataclass(frozen=True)
class InputProduct:
    """A step input of the loop that is rows times a weight, plus a bias, each from its source."""

    rows: Source
    weight: Source
    bias: Source | None


@dataclass(frozen=True)
class Gradient:
    """A constant's gradient: the sum of left^T · right over time and batch, or of right where there is no left; zeros
    where it has no parts. Factors are numbers of backward inputs ("step", i) or backward outputs ("output", i).
    """

    parts: tuple[tuple[tuple[str, int] | None, tuple[str, int]], ...]
    is_transposed: bool


@dataclass(frozen=True)
class RowGradient:
    """The gradient of a constant that has a row for each sequence, [batch, places · width]: of each row the sum over
    time of left^T · right, and number `total` of the backward's totals, where there is one; zeros where there is
    neither. Factors as in `Gradient`.
    """

    parts: tuple[tuple[tuple[str, int], tuple[str, int]], ...]
    total: int | None


@dataclass
class LoopPrograms:
    """The programs of one loop.

    Attributes:
        forward: steps, states → the kept outputs.
        training: the same, and after the kept outputs the values that the backward reads.
        backward: its steps are listed by `backward_inputs`; its states are the gradients of the loop's states.
        backward_inputs: ("step", i), ("previous", state), ("next", state), ("saved", i), ("output", i)
            for a kept output, and ("gradient", i) for the gradient of a kept output or, after those, of a sequence of
            states.
        step_gradients: for each step input the backward output with its gradient, or None.
        constant_gradients: for each constant its gradient, or None where autograd has none, as of what is compared
            alone.
        constants: for each constant ("row", 1), ("held", 1), or ("matrix", n) for n matrices; those of a kind are
            numbered in this order, and matrix i is weight 2 i of the programs as it is, and weight 2 i + 1 transposed.
        n_kept: how many outputs the forward keeps.
    """

    forward: Program
    training: Program
    backward: Program
    backward_inputs: list[tuple[str, int]]
    step_gradients: list[int | None]
    constant_gradients: list[Gradient | tuple[Gradient, ...] | RowGradient | None]
    constants: list[tuple[str, int]]
    n_kept: int

    def read_steps(self) -> set[int]:
        """Which of the loop's step inputs any of the programs reads."""
        values = [value for program in (self.forward, self.training) for value in program.values()]
        read = {int(value.attribute or 0) for value in values if value.op == "step"}
        return read | {i for kind, i in self.backward_inputs if kind == "step"}


def verify_programs(programs: LoopPrograms) -> LoopPrograms:
    """Holds each program to the specification of its kind, and the three to be of one loop; returns them.

    Raises:
        AssertionError: a pass before made them wrongly; this is a bug, never the user's fault.
    """
    forward, training, backward = map(verify, (programs.forward, programs.training, programs.backward))
    for other in (training, backward):
        assert other.states == forward.states, "the programs of a loop have the same states"
        assert (other.rows, other.held, other.weights) == (forward.rows, forward.held, forward.weights)
    assert training.steps == forward.steps, "the forward in training reads what the forward reads"
    kept = [value.width for value in forward.outputs]
    assert programs.n_kept == len(kept), "the forward keeps its outputs"
    assert [value.width for value in training.outputs[: len(kept)]] == kept, "kept outputs are the first in training"
    assert len(backward.steps) == len(programs.backward_inputs), "each input of the backward has a source"
    assert len(programs.step_gradients) == len(forward.steps), "each step input has a gradient, or None"
    assert len(programs.constant_gradients) == len(programs.constants), "each constant has a gradient, or None"
    return programs
