"""Tensors of more than two axes, as arrays of values of a loop program.

A program knows rows of numbers. A tensor [batch, heads, width] is `heads` such rows, and what is done to it is done to
each: products with a weight for each head, sums within a head. The axes may stand in any order that keeps one of them,
the features, whole.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.engine.ir.program import Builder, Value
from unrolled.engine.passes.shapes import shown
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable

MOST_MOVED = 256  # numbers that an axis which becomes the features is taken apart into
MOST = 64  # rows that one tensor may be; each operation is emitted for each of them


@dataclass(frozen=True)
class Blocks:
    """A tensor as rows.

    Attributes:
        axes: what each axis is: "b" the batch, "f" the features within a row, "o" one of the outer axes.
        rows: values, an array with the outer axes in their order.
        width: numbers of a row.
        n_merged: so many outer axes after a leading batch axis are one with it: [batch · heads, width].
    """

    axes: tuple[str, ...]
    rows: np.ndarray
    width: int
    n_merged: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, nothing merged."""
        outer = iter(self.rows.shape)
        return tuple(BATCH if axis == "b" else self.width if axis == "f" else next(outer) for axis in self.axes)


def array_of(shape: Sequence[int], values: list[Any]) -> np.ndarray:
    """Values in an array of a shape."""
    rows = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        rows[i] = value
    return rows.reshape(tuple(shape))


def of_value(builder: Builder, value: Value, shape: tuple[int, ...]) -> Blocks:
    """A flat value as a tensor of a shape, the batch first or absent."""
    batch = ("b",) if shape[:1] == (BATCH,) else ()
    sizes = shape[len(batch) :]
    if BATCH in sizes:
        raise NotTraceable(f"gives a tensor of shape {shown(shape)}; a fused loop holds [batch, ...]")
    if not sizes:
        return Blocks(batch, array_of((), [value]), 1)
    width, outer = sizes[-1], sizes[:-1]
    count = math.prod(outer)
    if count > MOST:
        raise NotTraceable(f"holds a tensor of shape {shown(shape)}, of more than {MOST} rows of numbers")
    if value.width == 1:
        parts = [value] * count
    else:
        value = builder.widened(value, count * width)
        parts = [builder.slice(value, i * width, width) for i in range(count)]
    return Blocks((*batch, *("o" * len(outer)), "f"), array_of(outer, parts), width)


def flat(builder: Builder, blocks: Blocks) -> Value:
    """All the numbers of a row of the batch one after the other; the batch is first or absent."""
    assert "b" not in blocks.axes[1:], "the batch is first or absent"
    if "f" in blocks.axes:
        blocks = with_features(builder, blocks, len(blocks.axes) - 1)
    return builder.cat([builder.widened(part, blocks.width) for part in blocks.rows.flat])


def with_features(builder: Builder, blocks: Blocks, axis: int) -> Blocks:
    """The same with another axis as the features."""
    if blocks.axes[axis] == "f":
        return blocks
    assert blocks.axes[axis] != "b", "the batch is no axis of the features"
    at = blocks.axes.index("f") if "f" in blocks.axes else None
    size, outer = blocks.shape[axis], blocks.axes[:axis].count("o")
    if at is None or blocks.width == 1:
        # rows of one number each are joined along the axis
        rows = np.moveaxis(blocks.rows, outer, -1)
        joined = [builder.cat(list(parts)) if size > 1 else parts[0] for parts in rows.reshape(-1, size)]
        kept = array_of(rows.shape[:-1], joined)
        if at is not None:
            kept = np.expand_dims(kept, blocks.axes[:at].count("o") - (at > axis))
        axes = ["o" if kind == "f" else kind for kind in blocks.axes]
        axes[axis] = "f"
        return Blocks(tuple(axes), kept, size)
    if blocks.rows.size * blocks.width > MOST_MOVED:
        raise NotTraceable(
            f"moves each number of a tensor of shape {shown(blocks.shape)} by itself, which has more than {MOST_MOVED}"
        )
    rows = np.moveaxis(blocks.rows, outer, -1)
    place = blocks.axes[:at].count("o") - (at > axis)
    numbers = [
        [builder.slice(builder.widened(row, blocks.width), i, 1) for row in parts]
        for parts in rows.reshape(-1, size)
        for i in range(blocks.width)
    ]
    joined = [builder.cat(each) if size > 1 else each[0] for each in numbers]
    split = np.moveaxis(array_of((*rows.shape[:-1], blocks.width), joined), -1, place)
    axes = ["o" if kind == "f" else kind for kind in blocks.axes]
    axes[axis] = "f"
    return Blocks(tuple(axes), split, size)


def permuted(blocks: Blocks, order: Sequence[int]) -> Blocks:
    """The axes in another order."""
    outer = [axis for axis, kind in enumerate(blocks.axes) if kind == "o"]
    moved = [outer.index(axis % len(blocks.axes)) for axis in order if blocks.axes[axis] == "o"]
    return Blocks(tuple(blocks.axes[axis] for axis in order), blocks.rows.transpose(moved), blocks.width)


def reshaped(builder: Builder, blocks: Blocks, shape: tuple[int, ...]) -> Blocks:
    """The same numbers in another shape."""
    if blocks.n_merged:
        blocks = Blocks(blocks.axes, blocks.rows, blocks.width)
    sizes = blocks.shape
    if [size for size in sizes if size != 1] == [size for size in shape if size != 1]:
        return _with_ones(blocks, shape)
    if sizes[:1] == (BATCH,) and shape and shape[0] % BATCH == 0 and shape[0] != BATCH:
        return _merged(builder, blocks, shape)
    if BATCH in sizes[1:]:
        raise NotTraceable(f"turns {shown(sizes)} into {shown(shape)}")
    return of_value(builder, flat(builder, blocks), shape)


def _with_ones(blocks: Blocks, shape: tuple[int, ...]) -> Blocks:
    """Axes of size 1 come and go."""
    kinds = [kind for kind, size in zip(blocks.axes, blocks.shape, strict=True) if size != 1]
    left = iter(kinds)
    axes = [next(left) if size != 1 else "o" for size in shape]
    if "f" not in axes and blocks.width == 1:
        # the features are one number: any axis of size 1 stands for them
        ones = [i for i, size in enumerate(shape) if size == 1]
        if ones:
            axes[ones[-1]] = "f"
    outer = [size for kind, size in zip(axes, shape, strict=True) if kind == "o"]
    return Blocks(tuple(axes), blocks.rows.reshape(outer), blocks.width)


def _merged(builder: Builder, blocks: Blocks, shape: tuple[int, ...]) -> Blocks:
    """[batch, heads, width] → [batch · heads, width]"""
    count = shape[0] // BATCH
    whole = of_value(builder, flat(builder, blocks), (BATCH, count, *shape[1:]))
    return Blocks(whole.axes, whole.rows, whole.width, n_merged=1)


def expanded(builder: Builder, blocks: Blocks, shape: tuple[int, ...]) -> Blocks:
    """Axes of size 1 repeated, new ones in front."""
    missing = len(shape) - len(blocks.axes)
    blocks = Blocks(("o",) * missing + blocks.axes, blocks.rows[(None,) * missing], blocks.width)
    last = max([i for i, size in enumerate(shape) if size not in (1, BATCH)], default=len(shape) - 1)
    if blocks.axes[last] == "o" and blocks.shape[last] == 1:
        blocks = with_features(builder, blocks, last)
    axes, width = list(blocks.axes), blocks.width
    outer = []
    for i, (kind, size) in enumerate(zip(blocks.axes, shape, strict=True)):
        if kind == "f":
            width = size
        elif kind == "o" and size == BATCH:
            raise NotTraceable("repeats over the batch in more than two axes")
        elif kind == "o":
            outer.append(size)
        axes[i] = kind
    rows = np.broadcast_to(blocks.rows, outer)
    if width != blocks.width:
        rows = array_of(rows.shape, [builder.widened(row, width) for row in rows.flat])
    return Blocks(tuple(axes), rows, width)


def elementwise(builder: Builder, apply: Callable, operands: list[Any], shape: tuple[int, ...]) -> Blocks:
    """`apply` to the rows of operands, numbers and tensors, broadcast to a shape."""
    tensors = [each for each in operands if isinstance(each, Blocks)]
    merged = max(each.n_merged for each in tensors)
    sizes = [axis for axis, size in enumerate(shape) if size not in (1, BATCH)]
    # the features: where all operands that have an axis of some size agree, that one; else the last
    wide = {len(shape) - len(each.axes) + each.axes.index("f") for each in tensors if each.width > 1}
    feature = wide.pop() if len(wide) == 1 else sizes[-1] if sizes else len(shape) - 1
    aligned = []
    for each in operands:
        if not isinstance(each, Blocks):
            aligned.append(each)
            continue
        missing = len(shape) - len(each.axes)
        each = Blocks(("o",) * missing + each.axes, each.rows[(None,) * missing], each.width)
        aligned.append(with_features(builder, each, feature) if "o" in each.axes[feature] else each)
    axes = tuple("f" if i == feature else "b" if size == BATCH else "o" for i, size in enumerate(shape))
    outer = [size for kind, size in zip(axes, shape, strict=True) if kind == "o"]
    count = math.prod(outer)
    if count > MOST:
        raise NotTraceable(f"gives a tensor of shape {shown(shape)}, of more than {MOST} rows of numbers")
    columns = [
        list(np.broadcast_to(_without_batch(each, axes), outer).flat) if isinstance(each, Blocks) else [each] * count
        for each in aligned
    ]
    rows = [apply(*row) for row in zip(*columns, strict=True)]
    return Blocks(axes, array_of(outer, rows), shape[feature], merged)


def _without_batch(blocks: Blocks, axes: tuple[str, ...]) -> np.ndarray:
    """The rows, without an axis of size 1 that stands where the others have the batch."""
    outer = [i for i, kind in enumerate(blocks.axes) if kind == "o"]
    extra = tuple(place for place, i in enumerate(outer) if axes[i] == "b")
    return np.squeeze(blocks.rows, extra) if extra else blocks.rows


def reduced(builder: Builder, join: str, blocks: Blocks, axes: Sequence[int], *, keeps: bool) -> Blocks:
    """A sum ("add") or maximum ("max2") over axes, not the batch."""
    n = len(blocks.axes)
    over = {axis % n for axis in axes}
    rows, width = blocks.rows, blocks.width
    outer = [i for i, kind in enumerate(blocks.axes) if kind == "o"]
    for place in sorted((outer.index(i) for i in over if blocks.axes[i] == "o"), reverse=True):
        parts = np.moveaxis(rows, place, 0)
        columns = parts.reshape(len(parts), -1)
        total = [_joined(builder, join, list(columns[:, i])) for i in range(columns.shape[1])]
        rows = np.expand_dims(array_of(parts.shape[1:], total), place)
    if any(blocks.axes[i] == "f" for i in over):
        name = "sum" if join == "add" else "max"
        rows = array_of(rows.shape, [builder.reduce(name, builder.widened(row, width)) for row in rows.flat])
        width = 1
    whole = Blocks(blocks.axes, rows, width)
    if keeps:
        return whole
    kept = [i for i in range(n) if i not in over]
    gone = tuple(place for place, i in enumerate(outer) if i in over)
    return Blocks(tuple(blocks.axes[i] for i in kept), np.squeeze(rows, gone), width)


def _joined(builder: Builder, join: str, parts: list[Value]) -> Value:
    total = parts[0]
    for part in parts[1:]:
        total = builder.pointwise(join, total, part)
    return total
