"""Lowers operations along the features: reductions, slices, concatenations, cumulative sums.

Inputs: a node of the loop's graph, whose operands have the axes [batch, features]. Outputs: its value.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import fx

from unrolled.engine.ir.program import Value
from unrolled.engine.passes import moments
from unrolled.engine.passes.lower.nodes import Environment, source_shape
from unrolled.engine.passes.lower.product_operands import ArgExtreme, OverBatch
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable

aten, prims = torch.ops.aten, torch.ops.prims


def _is_over_batch(node: fx.Node, dims: Any) -> bool:
    """Whether the batch is among the axes that are reduced; else they are the features."""
    source = source_shape(node)
    axes = {dim % len(source) for dim in ([dims] if isinstance(dims, int) else list(dims or range(len(source))))}
    assert source[:1] == (BATCH,), "what is the same for all rows is reduced outside the loop"
    return axes != set(range(1, len(source)))


def _sum(lower: Environment, node: fx.Node, a: Any, dims: Any = None, *_: Any, **__: Any) -> Any:
    a, source = lower.value(a), source_shape(node)
    if source[:1] != (BATCH,):
        return lower.builder.reduce("sum", a)
    if len(source) == 2 and {dim % 2 for dim in dims or (0, 1)} == {0, 1}:
        return OverBatch(((None, lower.builder.reduce("sum", a)),))
    if _is_over_batch(node, dims):
        return OverBatch(((None, lower.builder.widened(a, math.prod(source[1:]))),))
    return lower.builder.reduce("sum", a)


def _mean(lower: Environment, node: fx.Node, a: Any, dims: Any = None, *_: Any, **__: Any) -> Value:
    a = lower.value(a)
    if _is_over_batch(node, dims):
        raise NotTraceable("averages over the batch")
    total = lower.builder.reduce("sum", a)
    return lower.builder.pointwise("div", total, lower.builder.const(a.width))


def _max(lower: Environment, node: fx.Node, a: Any, dims: Any = None, *_: Any, **__: Any) -> Value:
    a = lower.value(a)
    if _is_over_batch(node, dims):
        raise NotTraceable("takes a maximum over the batch")
    return lower.builder.reduce("max", a)


def _with_place(sign: str | None) -> Callable:
    """Maximum (or, of what is negative, minimum), and where it stands."""

    def handler(lower: Environment, node: fx.Node, a: Any, dim: int, *_: Any) -> list[Any]:
        _along_features(node, dim)
        make, along = lower.builder.pointwise, lower.builder.along
        a = lower.builder.widened(lower.value(a), source_shape(node)[1])
        flipped = a if sign is None else make(sign, a)
        most = lower.builder.reduce("max", flipped)
        hit = make("or", make("eq", flipped, most), make("ne", a, a))
        first = make("and", hit, make("eq", along("cumsum", hit), lower.builder.const(1)))
        return [most if sign is None else make(sign, most), ArgExtreme(first)]

    return handler


def _scatter(lower: Environment, node: fx.Node, base: Any, dim: int, index: Any, part: Any) -> Value:
    _along_features(node, dim)
    if not isinstance(index, ArgExtreme):
        raise NotTraceable("puts numbers where an index says")
    return lower.builder.pointwise("where", index.mask, lower.value(part), lower.value(base))


def _cumsum(lower: Environment, node: fx.Node, a: Any, dim: int, **_: Any) -> Value:
    _along_features(node, dim)
    return lower.builder.along("cumsum", lower.builder.widened(lower.value(a), source_shape(node)[1]))


def _flip(lower: Environment, node: fx.Node, a: Any, dims: list[int]) -> Value:
    if not dims:
        return lower.value(a)
    for dim in dims:
        _along_features(node, dim)
    return lower.builder.along("flip", lower.builder.widened(lower.value(a), source_shape(node)[1]))


def _repeat(lower: Environment, node: fx.Node, a: Any, times: list[int]) -> Value:
    if len(times) != 2 or times[0] != 1 or times[1] < 1 or len(source_shape(node)) != 2:
        raise NotTraceable("repeats another axis than the features")
    return lower.builder.cat([lower.builder.widened(lower.value(a), source_shape(node)[1])] * times[1])


def _any(lower: Environment, node: fx.Node, a: Any, dims: Any = None, *_: Any) -> Value:
    make, a = lower.builder.pointwise, lower.value(a)
    if _is_over_batch(node, dims):
        raise NotTraceable("asks whether any row of the batch is true")
    return lower.builder.reduce("max", make("ne", a, lower.builder.const(0)))


def _roll(lower: Environment, node: fx.Node, a: Any, shifts: list[int], dims: Any = ()) -> Value:
    if not dims:
        raise NotTraceable("rolls over the batch")
    a = lower.builder.widened(lower.value(a), source_shape(node)[1])
    for shift, dim in zip(shifts, dims, strict=True):
        _along_features(node, dim)
        at = -shift % a.width
        parts = [lower.builder.slice(a, at, a.width - at)] + [lower.builder.slice(a, 0, at)] * (at > 0)
        a = lower.builder.cat(parts)
    return a


def _min(lower: Environment, node: fx.Node, a: Any, dims: Any = None, *_: Any, **__: Any) -> Value:
    make, a = lower.builder.pointwise, lower.value(a)
    if _is_over_batch(node, dims):
        raise NotTraceable("takes a minimum over the batch")
    return make("neg", lower.builder.reduce("max", make("neg", a)))


def variance_left_whole(*_: Any, **__: Any) -> Any:
    """A variance that `moments` has not taken apart."""
    raise NotTraceable("takes a variance over the batch, of no numbers or of complex ones")


def _along_features(node: fx.Node, dim: int) -> None:
    source = source_shape(node)
    if dim % len(source) != 1 or len(source) != 2:
        raise NotTraceable("works along another axis than the features")


def _split(lower: Environment, node: fx.Node, a: Any, sizes: Any, dim: int = 0) -> list[Value]:
    _along_features(node, dim)
    a, at, parts = lower.builder.widened(lower.value(a), source_shape(node)[1]), 0, []
    widths = sizes if not isinstance(sizes, int) else [min(sizes, a.width - i) for i in range(0, a.width, sizes)]
    for width in widths:
        parts.append(lower.builder.slice(a, at, width))
        at += width
    return parts


def _slice(
    lower: Environment, node: fx.Node, a: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    source = source_shape(node)
    size = source[dim]
    start, end = (
        max(0, bound + size) if bound < 0 else min(bound, size) for bound in (start or 0, size if end is None else end)
    )
    end = max(start, end)  # such a slice is empty
    if (start, end, step) == (0, size, 1):
        return a
    if step != 1:
        raise NotTraceable("takes a slice with a step other than 1")
    _along_features(node, dim)
    return lower.builder.slice(lower.builder.widened(lower.value(a), size), start, end - start)


def _select(lower: Environment, node: fx.Node, a: Any, dim: int, index: int) -> Value:
    _along_features(node, dim)
    size = source_shape(node)[1]
    return lower.builder.slice(lower.builder.widened(lower.value(a), size), index % size, 1)


def _cat(lower: Environment, node: fx.Node, parts: list[Any], dim: int = 0) -> Value:
    if dim % 2 != 1 or node.meta["val"].dim() != 2:
        raise NotTraceable("joins along another axis than the features")
    values = [
        lower.builder.widened(lower.value(part), source.meta["val"].shape[1])
        for part, source in zip(parts, cast(list[fx.Node], node.args[0]), strict=True)
    ]
    return lower.builder.cat([value for value in values if value.width])


def _slice_scatter(
    lower: Environment,
    node: fx.Node,
    base: Any,
    part: Any,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Value:
    size = node.meta["val"].shape[dim]
    start, end, step = slice(start, end, step).indices(size)
    end = max(start, end)
    if step != 1:
        raise NotTraceable("writes to a slice with a step other than 1")
    if (start, end) == (0, size):
        return part
    if dim % 2 != 1:
        raise NotTraceable("works along another axis than the features")
    base, part = lower.builder.widened(lower.value(base), size), lower.builder.widened(lower.value(part), end - start)
    slices = [(base, 0, start), (part, 0, end - start), (base, end, size - end)]
    return lower.builder.cat([lower.builder.slice(value, at, width) for value, at, width in slices if width])


def _select_scatter(lower: Environment, node: fx.Node, base: Any, part: Any, dim: int, index: int) -> Value:
    index %= node.meta["val"].shape[dim]
    return _slice_scatter(lower, node, base, part, dim, index, index + 1)


def _pad(lower: Environment, node: fx.Node, a: Any, pad: list[int], number: float = 0) -> Value:
    if any(pad[2:]) or node.meta["val"].dim() != 2:
        raise NotTraceable("pads another axis than the features")
    left, right = pad[:2]  # a negative one cuts
    value, width = lower.value(a), node.meta["val"].shape[1] - left - right
    inside = lower.builder.slice(
        lower.builder.widened(value, width), max(0, -left), width - max(0, -left) - max(0, -right)
    )
    fills = [[lower.builder.fill(float(number), size)] * (size > 0) for size in (left, right)]
    return lower.builder.cat([*fills[0], inside, *fills[1]])


HANDLERS: dict[Any, Callable] = {
    aten.sum.dim_IntList: _sum, aten.sum.default: _sum, prims.sum.default: _sum,
    aten.mean.dim: _mean, aten.mean.default: _mean,
    aten.amax.default: _max, aten.amin.default: _min,
    aten.max.dim: _with_place(None), aten.min.dim: _with_place("neg"), aten.scatter.src: _scatter,
    **dict.fromkeys(moments.OF_VARIANCE, variance_left_whole),
    aten.any.dim: _any, aten.any.dims: _any, aten.repeat.default: _repeat,
    aten.cumsum.default: _cumsum, aten.flip.default: _flip, aten.roll.default: _roll,
    aten.split_with_sizes.default: _split, aten.split.Tensor: _split, aten.unsafe_split.Tensor: _split,
    aten.slice.Tensor: _slice,
    aten.select.int: _select, aten.cat.default: _cat, aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
    aten.constant_pad_nd.default: _pad,
}  # fmt: skip
