"""Tensors [batch, places, width] as one value of a loop program, however many places there are.

Where `heads_tensor` emits each row of such a tensor by itself, a grid is its numbers one after the other: what an
attention does with a memory is a few operations of the program (`repeat`, `tile`, `rowsums`, `colsums`). What grids do
not have, they do as blocks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from unrolled.engine.ir.program import POINTWISE, Builder, Value
from unrolled.engine.passes.lower import heads_tensor
from unrolled.engine.passes.lower.heads_tensor import Blocks, array_of
from unrolled.engine.passes.lower.product_operands import OverBatch
from unrolled.engine.passes.shapes import shown
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable

aten, prims = torch.ops.aten, torch.ops.prims


@dataclass(frozen=True)
class Grid:
    """A tensor of two axes within each row of the batch, both of more than one number.

    Attributes:
        axes: what each axis is: "b" the batch, "p" the places, "w" the numbers of a place, "1" of size 1.
        value: the numbers, those of a place together; of width 1 where all are the same.
        n, width: how many places, and how many numbers each.
    """

    axes: tuple[str, ...]
    value: Value
    n: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple({"b": BATCH, "p": self.n, "w": self.width, "1": 1}[axis] for axis in self.axes)


def is_grid(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is one."""
    return len(shape) > 2 and shape[0] == BATCH and len(_wide(shape)) == 2


def _wide(shape: Sequence[int]) -> list[int]:
    """The axes of more than one number, without the batch."""
    return [axis for axis, size in enumerate(shape) if axis and size != 1]


def of_value(value: Value, shape: Sequence[int]) -> Grid:
    """A flat value as a grid."""
    places, width = _wide(shape)
    axes = tuple("b" if i == 0 else "p" if i == places else "w" if i == width else "1" for i in range(len(shape)))
    return Grid(axes, value, shape[places], shape[width])


def flat(builder: Builder, grid: Grid) -> Value:
    """The numbers in the order of the axes."""
    assert grid.axes[0] == "b", "the batch is first"
    if grid.axes.index("p") > grid.axes.index("w"):
        turned = _turned(builder, grid)
        if turned is None:
            return heads_tensor.flat(builder, to_blocks(builder, grid))
        grid = turned
    return builder.widened(grid.value, grid.n * grid.width)


def to_blocks(builder: Builder, grid: Grid) -> Blocks:
    """The same, each place a row by itself."""
    if grid.n > heads_tensor.MOST and grid.width <= heads_tensor.MOST:
        grid = _turned(builder, grid) or grid
    if grid.n > heads_tensor.MOST:
        raise NotTraceable(
            f"holds a tensor of shape {shown(grid.shape)}, of more than {heads_tensor.MOST} rows of numbers"
        )
    parts = [builder.slice(grid.value, i * grid.width, grid.width) for i in range(grid.n)]
    axes = tuple({"b": "b", "p": "o", "w": "f", "1": "o"}[axis] for axis in grid.axes)
    outer = [grid.n if axis == "p" else 1 for axis in grid.axes if axis in "p1"]
    return Blocks(axes, array_of(outer, parts), grid.width)


def _turned(builder: Builder, grid: Grid) -> Grid | None:
    """With places and numbers exchanged; None where the numbers lie in memory."""
    made: dict[int, Value | None] = {}

    def turn(value: Value) -> Value | None:
        if id(value) not in made:
            made[id(value)] = turn_once(value)
        return made[id(value)]

    def turn_once(value: Value) -> Value | None:
        if value.width == 1 or value.op == "fill":
            return value
        if value.op == "tile":
            return builder.broadcast("repeat", value.args[0], grid.n)
        if value.op == "repeat":
            return builder.broadcast("tile", value.args[0], grid.width)
        args = [turn(arg) for arg in value.args] if value.op in POINTWISE else [None]
        there = [arg for arg in args if arg is not None]
        return builder.pointwise(value.op, *there) if len(there) == len(args) else None

    value = turn(grid.value)
    axes = tuple({"p": "w", "w": "p"}.get(axis, axis) for axis in grid.axes)
    return None if value is None else Grid(axes, value, grid.width, grid.n)


def _vector(builder: Builder, each: Blocks) -> Blocks | None:
    """A tensor of one axis of more than one number, as one row; None where it has more."""
    if each.n_merged:
        return None
    if each.rows.size > 1 and each.width == 1:
        long = [i for i, size in enumerate(each.shape) if size != 1 and each.axes[i] == "o"]
        if len(long) == 1:
            each = heads_tensor.with_features(builder, each, long[0])
    return each if each.rows.size == 1 else None


def elementwise(builder: Builder, apply: Callable, operands: Sequence[Any], shape: Sequence[int]) -> Grid | None:
    """`apply` to grids, vectors and numbers, broadcast to a shape; None where that is no grid."""
    if not is_grid(shape):
        return None
    places = [each.axes.index("p") + len(shape) - len(each.axes) for each in operands if isinstance(each, Grid)]
    fixed = [at for at, each in zip(places, _grids(operands), strict=True) if _turned(builder, each) is None]
    place, width = _wide(shape)
    if (fixed or places or [place])[0] != place:
        place, width = width, place
    aligned: list[Any] = []
    for each in operands:
        missing = len(shape) - len(each.axes) if isinstance(each, Grid | Blocks) else 0
        if isinstance(each, Grid):
            turned = each if each.axes.index("p") + missing == place else _turned(builder, each)
            if turned is None:
                return None
            aligned.append(turned.value)
        elif isinstance(each, Blocks):
            vector = _vector(builder, each)
            if vector is None:
                return None
            row = vector.rows.flat[0]
            if vector.width > 1:
                at = vector.axes.index("f") + missing
                row = builder.widened(row, vector.width)
                row = builder.broadcast(
                    *(("repeat", row, shape[width]) if at == place else ("tile", row, shape[place]))
                )
            aligned.append(row)
        else:
            aligned.append(each)
    axes = tuple("b" if i == 0 else "p" if i == place else "w" if i == width else "1" for i in range(len(shape)))
    return Grid(axes, apply(*aligned), shape[place], shape[width])


def _grids(operands: Sequence[Any]) -> list[Grid]:
    return [each for each in operands if isinstance(each, Grid)]


def reshaped(grid: Grid, shape: Sequence[int]) -> Grid | None:
    """Axes of size 1 come and go; None of any other shape."""
    if [size for size in grid.shape if size != 1] != [size for size in shape if size != 1]:
        return None
    left = iter(axis for axis in grid.axes if axis != "1")
    return Grid(tuple("1" if size == 1 else next(left) for size in shape), grid.value, grid.n, grid.width)


def summed(builder: Builder, grid: Grid, over: set[int], *, keeps: bool) -> Blocks | None:
    """The sum over axes, among them places or numbers or both, and not the batch; else None."""
    kinds = {grid.axes[axis] for axis in over}
    if "b" in kinds or not kinds & {"p", "w"}:
        return None
    name, left = ("rowsums", "p") if "w" in kinds else ("colsums", "w")
    value = builder.matrix_sum(name, grid.value, grid.n, grid.width)
    if {"p", "w"} <= kinds:
        value, left = builder.reduce("sum", value), ""
    axes = tuple("f" if axis == left else "b" if axis == "b" else "o" for axis in grid.axes)
    total = Blocks(axes, array_of([1] * axes.count("o"), [value]), value.width)
    return total if keeps else _without(total, over)


def product(builder: Builder, a: Any, b: Any) -> Grid | Blocks | None:
    """[batch, n, k] · [batch, k, m], of a grid and a vector, or of two vectors that make a grid; else None."""
    multiply = lambda x, y: builder.pointwise("mul", x, y)
    if a.axes[0] != "b" or b.axes[0] != "b":
        return None
    (_, n, k), (_, _, m) = a.shape, b.shape
    if k == 1:
        return elementwise(builder, multiply, [a, b], (BATCH, n, m))
    if isinstance(a, Grid) and isinstance(b, Blocks) and m == 1:
        across = heads_tensor.permuted(b, (0, 2, 1))
        made, axis = elementwise(builder, multiply, [a, across], a.shape), 2
    elif isinstance(b, Grid) and isinstance(a, Blocks) and n == 1:
        across = heads_tensor.permuted(a, (0, 2, 1))
        made, axis = elementwise(builder, multiply, [across, b], b.shape), 1
    else:
        return None
    return None if made is None else summed(builder, made, {axis}, keeps=True)


def lowered(builder: Builder, node: fx.Node, apply: Callable | None, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A node's result where grids have the operation; else None, and blocks may. `apply` is what an elementwise one
    does to values.
    """
    target = node.target
    shape = (
        tuple(int(size) for size in node.meta["val"].shape) if isinstance(node.meta.get("val"), torch.Tensor) else ()
    )
    first = args[0] if args else None
    if target is aten.bmm.default and all(isinstance(each, Grid | Blocks) for each in args):
        return product(builder, *args)
    if target in SAME and isinstance(first, Grid):
        return first
    if target is aten.expand.default or target is prims.broadcast_in_dim.default:
        return _expanded(builder, node, first, args, shape)
    if isinstance(first, Grid):
        if target in RESHAPES:
            return reshaped(first, shape)
        if target in (aten.permute.default, aten.transpose.int, aten.t.default):
            order = _order(node, len(shape), args)
            return Grid(tuple(first.axes[axis] for axis in order), first.value, first.n, first.width)
        if target in (aten.sum.dim_IntList, aten.sum.default, prims.sum.default, aten.mean.dim):
            return _summed(builder, node, first, args, kwargs)
    return None if apply is None else elementwise(builder, apply, args, shape)


def _expanded(builder: Builder, node: fx.Node, first: Any, args: list[Any], shape: tuple[int, ...]) -> Grid | None:
    if node.target is prims.broadcast_in_dim.default and isinstance(first, Grid | Blocks):
        sizes = [1] * len(shape)
        for place, size in zip(args[2], first.shape, strict=True):
            sizes[place] = size
        first = (
            reshaped(first, sizes) if isinstance(first, Grid) else heads_tensor.reshaped(builder, first, tuple(sizes))
        )
    if not isinstance(first, Grid | Blocks):
        return None
    if isinstance(first, Blocks) and (_vector(builder, first) is None or "b" not in first.axes):
        return None
    return elementwise(builder, lambda value: value, [first], shape)


def _order(node: fx.Node, n_axes: int, args: list[Any]) -> list[int]:
    if node.target is aten.permute.default:
        return [axis % n_axes for axis in args[1]]
    order = list(range(n_axes))
    first, second = (axis % n_axes for axis in ((args[1], args[2]) if len(args) > 2 else (0, 1)))
    order[first], order[second] = order[second], order[first]
    return order


def _summed(builder: Builder, node: fx.Node, grid: Grid, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A sum or mean within the rows, and what is left of a sum over the batch as well."""
    dims = args[1] if len(args) > 1 else None
    keeps = bool(args[2]) if len(args) > 2 else bool(kwargs.get("keepdim", False))
    listed = [dims] if isinstance(dims, int) else list(dims or range(len(grid.axes)))
    over = {axis % len(grid.axes) for axis in listed}
    if 0 in over and grid.axes[0] != "b":
        return None
    if over == {0} and node.target is not aten.mean.dim:
        return OverBatch(((None, flat(builder, grid)),))
    total = summed(builder, grid, over - {0}, keeps=True)
    if total is None:
        return None
    row = total.rows.flat[0]
    if node.target is aten.mean.dim:
        if 0 in over:
            return None
        row = builder.pointwise("div", row, builder.const(math.prod(grid.shape[axis] for axis in over)))
        total = Blocks(total.axes, array_of(total.rows.shape, [row]), total.width)
    if 0 in over:
        return OverBatch(((None, builder.widened(row, total.width)),))
    return total if keeps else _without(total, over)


def _without(total: Blocks, over: set[int]) -> Blocks:
    """Without the axes of size 1 that were summed over; where the one number of a row was there, it is on no axis."""
    outer = [i for i, kind in enumerate(total.axes) if kind == "o"]
    gone = tuple(place for place, i in enumerate(outer) if i in over)
    axes = tuple(kind for i, kind in enumerate(total.axes) if i not in over)
    return Blocks(axes, np.squeeze(total.rows, gone), total.width)


SAME = {aten.clone.default, aten.detach.default, aten.alias.default, aten.contiguous.default}
RESHAPES = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dims,
    aten.squeeze.dim,
}  # fmt: skip
