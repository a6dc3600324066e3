"""Lowers operations on tensors of more than two axes to operations on their rows; see heads_tensor.py.

Inputs: a node of the loop's graph whose operands or result have more axes than [batch, features]. Outputs: its result
as `Blocks`, or, if it has two axes again, as the value that `rows.py` works on.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from unrolled.engine.ir.program import Value
from unrolled.engine.passes import moments
from unrolled.engine.passes.lower import features, grids, heads_tensor
from unrolled.engine.passes.lower.grids import Grid
from unrolled.engine.passes.lower.heads_tensor import Blocks, array_of
from unrolled.engine.passes.lower.nodes import Environment, number_of
from unrolled.engine.passes.lower.product_operands import (
    Columns,
    Gradients,
    MergedColumns,
    OverBatch,
    Weight,
    Weights,
    refused,
)
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable

aten, prims = torch.ops.aten, torch.ops.prims
MOST_SCALARS = 1024  # numbers of a factor of a product within each row of the batch


DEEP = (Blocks, Grid, Weights, Gradients, MergedColumns)


def is_deep(lower: Environment, node: fx.Node) -> bool:
    """Whether a node is for this module."""
    if any(isinstance(lower.env.get(arg), DEEP) for arg in node.all_input_nodes):
        return True
    values = [each.meta.get("val") for each in (node, *node.all_input_nodes)]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return any(tensor.dim() > 2 for tensor in tensors)


def lowered(lower: Environment, node: fx.Node, handler: Callable | None) -> Any:
    """The node's result; `handler` is what lowers it on two axes."""
    args = [_operand(lower, arg) for arg in node.args]
    kwargs = {name: _operand(lower, arg) for name, arg in node.kwargs.items()}
    first = args[0] if args else None
    if isinstance(first, Weights | Gradients | OverBatch) and node.target is not aten.bmm.default:
        return _of_factors(node, first, args)
    if node.target not in (aten.bmm.default, aten.mm.default):
        for each in _flat(args):
            if isinstance(each, MergedColumns | Weights | Gradients):
                raise refused(each)
    if any(isinstance(each, Weight) for each in _flat(args)) and node.target not in (
        aten.mm.default,
        aten.addmm.default,
    ):
        raise NotTraceable("takes a matrix for each row of the batch; a product of rows with one matrix is a @ b")
    of_blocks = HANDLERS.get(node.target)
    if of_blocks is None and node.target in features.HANDLERS:
        raise NotTraceable("is among the operations that a fused loop has for [batch, features] alone")
    apply = lambda *rows: handler(lower, node, *rows, **kwargs)  # type: ignore[misc]
    if lower.has_grids:
        result = grids.lowered(lower.builder, node, None if of_blocks else apply, args, kwargs)
        if result is not None:
            return _two_axes(lower, result)
        args = [_without_grids(lower, arg) for arg in args]
    if of_blocks is not None:
        if node.target not in ON_MERGED and any(isinstance(arg, Blocks) and arg.n_merged for arg in _flat(args)):
            raise _on_merged()
        return _two_axes(lower, of_blocks(lower, node, *args, **kwargs))
    assert handler is not None, "an operation without a handler is refused before"
    return _two_axes(lower, heads_tensor.elementwise(lower.builder, apply, args, _shape(node, args)))


def _on_merged() -> NotTraceable:
    return NotTraceable("works on a tensor whose first axis is the batch and another one together")


def _without_grids(lower: Environment, arg: Any) -> Any:
    if isinstance(arg, list):
        return [_without_grids(lower, each) for each in arg]
    return grids.to_blocks(lower.builder, arg) if isinstance(arg, Grid) else arg


def _flat(args: list[Any]) -> list[Any]:
    return [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]


def _operand(lower: Environment, arg: Any) -> Any:
    if isinstance(arg, fx.Node):
        value = lower.env[arg]
        if isinstance(value, Value):
            shape = tuple(int(size) for size in arg.meta["val"].shape)
            if value.op == "held" and grids.is_grid(shape):
                return grids.of_value(value, shape)
            long = [i for i, size in enumerate(shape) if i and size != 1]
            if lower.has_grids and shape[:1] == (BATCH,) and len(long) == 1:  # one row, on whichever axis it lies
                whole = heads_tensor.of_value(lower.builder, value, (BATCH, shape[long[0]]))
                return heads_tensor.reshaped(lower.builder, whole, shape)
            return heads_tensor.of_value(lower.builder, value, shape)
        if isinstance(value, Columns):
            whole = heads_tensor.of_value(lower.builder, value.value, tuple(reversed(arg.meta["val"].shape)))
            return heads_tensor.permuted(whole, (1, 0))
        return value
    return [_operand(lower, each) for each in arg] if isinstance(arg, list | tuple) else arg


def _shape(node: fx.Node, operands: list[Any]) -> tuple[int, ...]:
    """The result's shape, nothing merged."""
    shape = tuple(int(size) for size in node.meta["val"].shape)
    merged = [each for each in operands if isinstance(each, Blocks) and each.n_merged]
    return (*merged[0].shape[:2], *shape[1:]) if merged else shape


def _two_axes(lower: Environment, result: Any) -> Any:
    """Back to what the rest of the lowering knows, where it has the form for it."""
    if not isinstance(result, Blocks) or result.n_merged:
        return result
    has_form = len(result.axes) == 1 or (len(result.axes) == 2 and result.axes[0] == "b")
    return heads_tensor.flat(lower.builder, result) if has_form else result


def _of_factors(node: fx.Node, first: Any, args: list[Any]) -> Any:
    """What may happen to weights and to gradients: another order of their last two axes, sums of gradients, and other
    names for the same numbers.
    """
    before, after = (tuple(each.meta["val"].shape) for each in (node.args[0], node))  # type: ignore[union-attr]
    of_rows = isinstance(first, OverBatch) and all(left is None for left, _ in first.parts)
    in_order = before == after or (of_rows and math.prod(before) == math.prod(after))
    if node.target in SAME or (node.target in RESHAPES and in_order):
        return first
    if node.target in (aten.permute.default, aten.transpose.int) and len(before) == 3:
        order = [0, 1, 2]
        if node.target is aten.permute.default:
            order = [axis % 3 for axis in args[1]]
        else:
            a, b = args[1] % 3, args[2] % 3
            order[a], order[b] = b, a
        if order == [0, 2, 1] and not isinstance(first, OverBatch):
            return first.transposed()
    is_sum = node.target is aten.add.Tensor and len(args) == 2 and not node.kwargs
    if is_sum and type(args[1]) is type(first) and not isinstance(first, Weights):
        return first.plus(args[1])
    raise refused(first)


def _reshape(lower: Environment, node: fx.Node, a: Blocks, *_: Any, **__: Any) -> Blocks:
    return heads_tensor.reshaped(lower.builder, a, tuple(int(size) for size in node.meta["val"].shape))


def _expand(lower: Environment, node: fx.Node, a: Blocks, *_: Any, **__: Any) -> Blocks:
    shape = tuple(int(size) for size in node.meta["val"].shape)
    if shape[0] != BATCH or "b" in a.axes:
        return heads_tensor.expanded(lower.builder, a, shape)
    # the same for all rows of the batch
    extra = max(0, len(a.axes) - len(shape) + 1)
    rows = a.rows.reshape(a.rows.shape[extra:])  # the axes in front are of size 1
    rest = Blocks(a.axes[extra:], rows, a.width)
    rest = heads_tensor.expanded(lower.builder, rest, shape[1:])
    return Blocks(("b", *rest.axes), rest.rows, rest.width)


def _broadcast(lower: Environment, node: fx.Node, a: Blocks, shape: Any, places: Any) -> Blocks:
    """The operand's axes stand at `places` of the result's."""
    sizes = [1] * node.meta["val"].dim()
    for place, size in zip(places, a.shape, strict=True):
        sizes[place] = size
    return _expand(lower, node, heads_tensor.reshaped(lower.builder, a, tuple(sizes)))


def _permute(lower: Environment, node: fx.Node, a: Blocks, order: Any) -> Any:
    if a.n_merged:
        if [axis % 2 for axis in order] == [1, 0] and node.meta["val"].dim() == 2:
            return MergedColumns(a)
        raise _on_merged()
    return heads_tensor.permuted(a, [axis % len(a.axes) for axis in order])


def _transpose(lower: Environment, node: fx.Node, a: Blocks, first: int = 0, second: int = 1) -> Any:
    order = list(range(node.meta["val"].dim()))
    first, second = first % len(order), second % len(order)
    order[first], order[second] = order[second], order[first]
    return _permute(lower, node, a, order)


def _bmm(lower: Environment, node: fx.Node, a: Any, b: Any) -> Any:
    make = lower.builder.matmul
    width = int(node.meta["val"].shape[2])
    if isinstance(a, Blocks) and isinstance(b, Weights) and a.axes == ("o", "b", "f"):
        rows = [make(row, each.number(), width) for row, each in zip(a.rows.flat, b.matrices, strict=True)]
        return Blocks(a.axes, array_of(a.rows.shape, rows), width)
    if isinstance(a, Weights) and isinstance(b, Blocks) and b.axes == ("o", "f", "b"):
        width = int(node.meta["val"].shape[1])
        rows = [
            make(row, each.number(transposed=True), width) for row, each in zip(b.rows.flat, a.matrices, strict=True)
        ]
        return Blocks(b.axes, array_of(b.rows.shape, rows), width)
    if isinstance(a, Blocks) and isinstance(b, Blocks):
        if a.axes == ("o", "f", "b") and b.axes == ("o", "b", "f"):
            pairs = zip(a.rows.flat, b.rows.flat, strict=True)
            return Gradients(tuple(OverBatch(((left, right),)) for left, right in pairs))
        if a.axes[0] == b.axes[0] == "b":
            return _within_rows(lower, a, b)
    raise NotTraceable(
        "multiplies two tensors that both change from step to step, other than within each row of the batch"
    )


def _within_rows(lower: Environment, a: Blocks, b: Blocks) -> Blocks:
    """[batch, n, k] · [batch, k, m], each row of the batch with its own: Σ over k of columns times rows."""
    builder = lower.builder
    (_, n, k), (_, _, m) = a.shape, b.shape
    if m > 1 and n > 1 and k == 1:  # an outer product
        return heads_tensor.elementwise(builder, lambda x, y: builder.pointwise("mul", x, y), [a, b], (BATCH, n, m))
    if m == 1 and a.axes[2] == "f":  # rows of a with b
        column: Any = heads_tensor.with_features(builder, b, 1).rows.flat[0]
        rows = [builder.reduce("sum", builder.pointwise("mul", builder.widened(row, k), column)) for row in a.rows.flat]
        return Blocks(("b", "o", "f"), array_of((n,), rows), 1)
    if n == 1 and b.axes[1] == "f":  # a with columns of b
        only: Any = heads_tensor.with_features(builder, a, 2).rows.flat[0]
        rows = [builder.reduce("sum", builder.pointwise("mul", only, builder.widened(row, k))) for row in b.rows.flat]
        return Blocks(("b", "f", "o"), array_of((m,), rows), 1)
    if m == 1:  # columns of a, each times a number of b
        scalars: Any = heads_tensor.with_features(builder, b, 2).rows.reshape(k)
        total = _weighted(lower, a.rows.flat, scalars, n)
        return Blocks(("b", "f", "o"), array_of((1,), [total]), n)
    if n * k > MOST_SCALARS:
        raise NotTraceable(f"multiplies matrices of {n} · {k} numbers within each row of the batch")
    left, right = heads_tensor.with_features(builder, a, 2), heads_tensor.with_features(builder, b, 2)
    results = []
    for row in left.rows.flat:
        numbers = [builder.slice(builder.widened(row, k), i, 1) for i in range(k)]
        results.append(_weighted(lower, right.rows.flat, numbers, m))
    return Blocks(("b", "o", "f"), array_of((n,), results), m)


def _weighted(lower: Environment, rows: Any, scalars: Any, width: int) -> Value:
    builder = lower.builder
    total: Value | None = None
    for row, scalar in zip(rows, scalars, strict=True):
        part = builder.pointwise("mul", builder.widened(row, width), scalar)
        total = part if total is None else builder.pointwise("add", total, part)
    assert total is not None, "a matrix has rows"
    return total


def _mm(lower: Environment, node: fx.Node, a: Any, b: Any) -> Any:
    """[batch · heads, width] times one weight, or into its gradient."""
    if isinstance(a, MergedColumns) and isinstance(b, Blocks) and b.n_merged:
        return OverBatch(tuple(zip(a.value.rows.flat, b.rows.flat, strict=True)))
    if isinstance(a, Blocks) and a.n_merged and isinstance(b, Weight):
        width = int(node.meta["val"].shape[1])
        rows = [lower.builder.matmul(row, b.number(), width) for row in a.rows.flat]
        return Blocks(a.axes, array_of(a.rows.shape, rows), width, a.n_merged)
    raise NotTraceable("multiplies two matrices that both change from step to step")


def _addmm(lower: Environment, node: fx.Node, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    if not beta == alpha == 1:
        raise NotTraceable("scales a product or its bias, which a fused loop does for [batch, features] alone")
    product = _mm(lower, node, a, b)
    plus = lambda x, y: lower.builder.pointwise("add", x, y)
    return heads_tensor.elementwise(lower.builder, plus, [product, bias], product.shape)


def _reduce(join: str, what: str = "maximum") -> Callable:
    def handler(lower: Environment, node: fx.Node, a: Blocks, dims: Any = None, keeps: bool = False, **_: Any) -> Any:
        n = len(a.axes)
        axes = list(range(n)) if not dims and dims != 0 else [dims] if isinstance(dims, int) else list(dims)
        if a.n_merged:
            if join == "add" and axes == [0]:
                return OverBatch(tuple((None, row) for row in a.rows.flat))
            axes = [axis % node.args[0].meta["val"].dim() + 1 for axis in axes]  # type: ignore[union-attr]
        batch = a.axes.index("b") if "b" in a.axes else None
        axes = [axis % n for axis in axes]
        if batch not in axes:
            return heads_tensor.reduced(lower.builder, join, a, axes, keeps=keeps)
        if join != "add":
            raise NotTraceable(f"takes a {what} over the batch")
        rest = heads_tensor.reduced(lower.builder, join, a, [axis for axis in axes if axis != batch], keeps=True)
        rows = [lower.builder.widened(row, rest.width) for row in rest.rows.flat]
        if "f" in rest.axes and rest.axes.index("f") != max(i for i, kind in enumerate(rest.axes) if kind != "b"):
            order = [i for i, kind in enumerate(rest.axes) if kind != "b"]
            there = heads_tensor.permuted(rest, [rest.axes.index("b"), *order])
            return OverBatch(((None, heads_tensor.flat(lower.builder, there)),))
        return OverBatch(((None, lower.builder.cat(rows)),))

    return handler


def _mean(lower: Environment, node: fx.Node, a: Blocks, dims: Any = None, keeps: bool = False, **_: Any) -> Blocks:
    axes = [dims] if isinstance(dims, int) else list(dims or range(len(a.axes)))
    if any(a.axes[axis] == "b" for axis in axes):
        raise NotTraceable("averages over the batch")
    total = heads_tensor.reduced(lower.builder, "add", a, axes, keeps=keeps)
    count = lower.builder.const(math.prod(a.shape[axis] for axis in axes))
    rows = [lower.builder.pointwise("div", row, count) for row in total.rows.flat]
    return Blocks(total.axes, array_of(total.rows.shape, rows), total.width)


def _min(lower: Environment, node: fx.Node, a: Blocks, dims: Any = None, keeps: bool = False, **_: Any) -> Blocks:
    negative = lambda each: Blocks(
        each.axes,
        array_of(each.rows.shape, [lower.builder.pointwise("neg", row) for row in each.rows.flat]),
        each.width,
    )
    return negative(_reduce("max2", "minimum")(lower, node, negative(a), dims, keeps))


def _place(*_: Any) -> Any:
    raise NotTraceable(
        "finds the index of a maximum or minimum, which a fused loop does for [batch, features] alone; amax and amin "
        "find what stands there"
    )


def _cut(lower: Environment, a: Blocks, axis: int, start: int, stop: int) -> Blocks:
    """The tensor from start to stop along an axis."""
    kind = a.axes[axis]
    if kind == "b":
        raise NotTraceable("takes some rows of the batch")
    if stop == start:
        raise NotTraceable("takes an empty slice of a tensor of more than two axes")
    if kind == "f":
        rows = [lower.builder.slice(lower.builder.widened(row, a.width), start, stop - start) for row in a.rows.flat]
        return Blocks(a.axes, array_of(a.rows.shape, rows), stop - start)
    place = a.axes[:axis].count("o")
    return Blocks(a.axes, a.rows[(slice(None),) * place + (slice(start, stop),)], a.width)


def _slice(
    lower: Environment, node: fx.Node, a: Blocks, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Blocks:
    size = a.shape[axis % len(a.axes)]
    first, last, every = slice(start, end, step).indices(size)
    last = max(first, last)  # such a slice is empty
    if (first, last, every) == (0, size, 1):
        return a
    if every != 1:
        raise NotTraceable("takes a slice with a step other than 1")
    return _cut(lower, a, axis % len(a.axes), first, last)


def _select(lower: Environment, node: fx.Node, a: Blocks, axis: int, index: int) -> Blocks:
    axis %= len(a.axes)
    index %= a.shape[axis]
    one = _cut(lower, a, axis, index, index + 1)
    return heads_tensor.reshaped(lower.builder, one, tuple(int(size) for size in node.meta["val"].shape))


def _split(lower: Environment, node: fx.Node, a: Blocks, sizes: Any, axis: int = 0) -> list[Blocks]:
    axis %= len(a.axes)
    size, at, parts = a.shape[axis], 0, []
    widths = sizes if not isinstance(sizes, int) else [min(sizes, size - i) for i in range(0, size, sizes)]
    for width in widths:
        parts.append(_two_axes(lower, _cut(lower, a, axis, at, at + width)))
        at += width
    return parts


def _cat(lower: Environment, node: fx.Node, parts: list[Blocks], axis: int = 0) -> Blocks:
    builder, axis = lower.builder, axis % len(parts[0].axes)
    kinds = {part.axes[axis] for part in parts}
    if "b" in kinds:
        raise NotTraceable("joins along the batch")
    if kinds == {"o"} and len({(part.axes, part.width) for part in parts}) == 1:
        place = parts[0].axes[:axis].count("o")
        return Blocks(parts[0].axes, np.concatenate([part.rows for part in parts], place), parts[0].width)
    parts = [heads_tensor.with_features(builder, part, axis) for part in parts]
    rows = [
        builder.cat([builder.widened(row, part.width) for row, part in zip(same, parts, strict=True)])
        for same in zip(*[part.rows.flat for part in parts], strict=True)
    ]
    return Blocks(parts[0].axes, array_of(parts[0].rows.shape, rows), sum(part.width for part in parts))


def _slice_scatter(
    lower: Environment, node: fx.Node, base: Blocks, part: Blocks, axis: int = 0, start: Any = None, end: Any = None,
    step: int = 1,
) -> Blocks:  # fmt: skip
    axis %= len(base.axes)
    size = base.shape[axis]
    first, last, every = slice(start, end, step).indices(size)
    last = max(first, last)  # such a slice is empty
    if every != 1:
        raise NotTraceable("writes to a slice with a step other than 1")
    slices = [(base, 0, first), (base, last, size)]
    parts = [_cut(lower, whole, axis, a, b) if b > a else None for whole, a, b in slices]
    whole = [each for each in (parts[0], part, parts[1]) if each is not None]
    return _cat(lower, node, whole, axis) if len(whole) > 1 else part


def _select_scatter(lower: Environment, node: fx.Node, base: Blocks, part: Blocks, axis: int, index: int) -> Blocks:
    axis %= len(base.axes)
    index %= base.shape[axis]
    shape = tuple(1 if i == axis else size for i, size in enumerate(base.shape))
    return _slice_scatter(lower, node, base, heads_tensor.reshaped(lower.builder, part, shape), axis, index, index + 1)


def _full(number: float | None) -> Callable:
    def handler(lower: Environment, node: fx.Node, *args: Any, **_: Any) -> Blocks:
        fill = number if number is not None else args[1]
        return heads_tensor.of_value(
            lower.builder,
            lower.builder.const(number_of(node, fill)),
            tuple(int(s) for s in node.meta["val"].shape),
        )

    return handler


def _same(lower: Environment, node: fx.Node, a: Any, *_: Any, **__: Any) -> Any:
    return a


SAME = {aten.clone.default, aten.detach.default, aten.alias.default, aten.contiguous.default}
RESHAPES = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dims,
    aten.squeeze.dim, aten.expand.default,
}  # fmt: skip
HANDLERS: dict[Any, Callable] = {
    **dict.fromkeys(RESHAPES, _reshape), **dict.fromkeys(SAME, _same),
    aten.expand.default: _expand, prims.broadcast_in_dim.default: _broadcast,
    aten.permute.default: _permute, aten.transpose.int: _transpose, aten.t.default: _transpose,
    aten.bmm.default: _bmm, aten.mm.default: _mm, aten.addmm.default: _addmm,
    **dict.fromkeys(moments.OF_VARIANCE, features.variance_left_whole),
    aten.sum.dim_IntList: _reduce("add"), aten.sum.default: _reduce("add"), prims.sum.default: _reduce("add"),
    aten.amax.default: _reduce("max2"), aten.amin.default: _min, aten.mean.dim: _mean, aten.mean.default: _mean,
    aten.slice.Tensor: _slice, aten.select.int: _select, aten.cat.default: _cat,
    aten.split_with_sizes.default: _split, aten.split.Tensor: _split, aten.unsafe_split.Tensor: _split,
    aten.slice_scatter.default: _slice_scatter, aten.select_scatter.default: _select_scatter,
    operator.getitem: lambda lower, node, parts, index: parts[index],
    **dict.fromkeys((aten.max.dim, aten.min.dim), _place),
    aten.full.default: _full(None), aten.full_like.default: _full(None), aten.zeros.default: _full(0.0),
    aten.ones.default: _full(1.0), aten.zeros_like.default: _full(0.0), aten.ones_like.default: _full(1.0),
    aten._efficientzerotensor.default: _full(0.0),
    # written to before they are read, as torch's own derivatives have them: any number will do
    **dict.fromkeys((aten.empty.memory_format, aten.empty_like.default, aten.empty_permuted.default), _full(0.0)),
}  # fmt: skip
# where the first axis may be batch and heads as one
ON_MERGED = {
    *RESHAPES - {aten.expand.default}, *SAME, aten.permute.default, aten.transpose.int, aten.t.default, aten.mm.default,
    aten.addmm.default, aten.sum.dim_IntList, aten.amax.default, operator.getitem,
}  # fmt: skip
