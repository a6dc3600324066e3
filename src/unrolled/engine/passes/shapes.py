"""Shapes and gradients in a traced graph, where `trace.BATCH` stands for the rows of the batch."""

from collections.abc import Sequence

from torch import Tensor, fx, ops

from unrolled.engine.passes.trace import BATCH


def row_shape(node: fx.Node) -> tuple[int, ...]:
    """The traced shape of one row: without the batch."""
    return shape_of(node)[1:]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The traced shape."""
    return tuple(int(size) for size in node.meta["val"].shape)


def is_by_row(node: fx.Node) -> bool:
    """Whether a tensor has a row for each row of the batch."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.shape[:1] == (BATCH,)


def has_gradient(node: fx.Node) -> bool:
    """Whether a gradient goes through it, if it comes of something that has one."""
    value = node.meta["val"]
    is_cut = isinstance(value, Tensor) and not value.is_floating_point()
    return not is_cut and node.target is not ops.aten.detach.default


def shown(shape: Sequence[int]) -> str:
    """A traced shape in words."""
    return "[" + ", ".join(map(_shown_size, shape)) + "]"


def _shown_size(size: int) -> str:
    if size == 0 or size % BATCH:
        return str(size)
    return "batch" if size == BATCH else f"{size // BATCH} · batch"
