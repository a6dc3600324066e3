"""What products take and give, beside values of a loop's program: weights that are the same at every step, transposed
batches, and the sums over time and batch that become the weights' gradients.
"""

from dataclasses import dataclass
from typing import Any

from unrolled.engine.ir.program import Value
from unrolled.engine.passes.lower.heads_tensor import Blocks
from unrolled.engine.reasons import NotTraceable


@dataclass(frozen=True)
class Weight:
    """An invariant matrix, number `index` of the loop's weights, as it is or transposed."""

    index: int
    shape: tuple[int, int]
    is_transposed: bool = False

    def number(self, *, transposed: bool = False) -> int:
        """Its number among a program's weights, which have each matrix twice."""
        return 2 * self.index + (self.is_transposed != transposed)


@dataclass(frozen=True)
class Weights:
    """Invariant matrices, one for each head, as they are or transposed."""

    matrices: tuple[Weight, ...]

    def transposed(self) -> "Weights":
        return Weights(tuple(Weight(each.index, each.shape, not each.is_transposed) for each in self.matrices))


@dataclass(frozen=True)
class Columns:
    """A row value transposed, [width, batch]: it can only go into a weight's gradient."""

    value: Value


@dataclass(frozen=True)
class MergedColumns:
    """[batch · heads, width] transposed, likewise."""

    value: Blocks


@dataclass(frozen=True)
class OverBatch:
    """A sum over time and batch: of products left^T · right [left.width, right.width], or of `right` alone where `left`
    is None; transposed or not.
    """

    parts: tuple[tuple[Value | None, Value], ...]
    is_transposed: bool = False

    def plus(self, other: "OverBatch") -> "OverBatch":
        """The sum of the two."""
        if not (self.parts and other.parts):
            return self if self.parts else other
        if self.is_transposed != other.is_transposed:
            raise NotTraceable("adds a product over the batch to another one transposed")
        return OverBatch(self.parts + other.parts, self.is_transposed)

    def transposed(self) -> "OverBatch":
        return OverBatch(self.parts, not self.is_transposed)


@dataclass(frozen=True)
class ArgExtreme:
    """Where a maximum or minimum stands in each row: a mask of its first one."""

    mask: Value


@dataclass(frozen=True)
class Gradients:
    """Sums over time and batch, one for each head."""

    parts: tuple[OverBatch, ...]

    def plus(self, other: "Gradients") -> "Gradients":
        return Gradients(tuple(a.plus(b) for a, b in zip(self.parts, other.parts, strict=True)))

    def transposed(self) -> "Gradients":
        return Gradients(tuple(each.transposed() for each in self.parts))


_TRANSPOSED = "takes a transposed tensor, which a fused loop has for products alone"
_OVER_BATCH = "takes a sum over the batch, as the gradient of a weight is one; a fused loop computes each row by itself"
_TAKEN: dict[type, str] = {
    Weight: "takes a matrix that a product takes too; a fused loop has it for products alone",
    Weights: "takes matrices that a product takes too; a fused loop has them for products alone",
    Columns: _TRANSPOSED,
    MergedColumns: _TRANSPOSED,
    OverBatch: _OVER_BATCH,
    Gradients: _OVER_BATCH,
    ArgExtreme: "takes the index of a maximum or minimum, with which a fused loop cannot compute",
}


def refused(factor: Any) -> NotTraceable:
    """Why an operation cannot take what is no value of a loop's program."""
    return NotTraceable(_TAKEN[type(factor)])
