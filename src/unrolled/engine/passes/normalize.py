"""Rewrites of a traced graph before it is split: what is one operation there, and is better as several here.

A product over a concatenation, W·[x, h], becomes two, so that its x half leaves the loop. A score of each place of a
memory becomes a sum within a row of the batch. What depends on the shape of a tensor alone is made of that shape, so
that it does not depend on the tensor. A range between tensors has no gradient. What is written over a whole tensor is
what was written, with a gradient of zeros for what was there. What is computed twice is computed once.
"""

import operator
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tag, fx, ops
from torch._ops import OpOverload

from unrolled.engine.passes.products import PRODUCTS
from unrolled.engine.passes.shapes import has_gradient, is_by_row, shape_of
from unrolled.engine.passes.trace import BATCH, PARTS, Traced

aten = ops.aten
VIEWED_AS = {aten.view.default, aten._unsafe_view.default, aten.reshape.default}
# random numbers in the shape of the first argument, whose own numbers are of no effect
FILLS = {
    aten.bernoulli.p, aten.normal_functional.default, aten.uniform.default, aten.exponential.default,
    aten.cauchy.default, aten.log_normal.default, aten.geometric.default,
}  # fmt: skip
# what makes a tensor of another's shape, and what makes it of the shape alone
LIKES = {
    aten.zeros_like.default: aten.zeros.default, aten.new_zeros.default: aten.zeros.default,
    aten.ones_like.default: aten.ones.default, aten.new_ones.default: aten.ones.default,
    aten.full_like.default: aten.full.default, aten.new_full.default: aten.full.default,
    aten.empty_like.default: aten.empty.memory_format, aten.new_empty.default: aten.empty.memory_format,
    aten.rand_like.default: aten.rand.default, aten.randn_like.default: aten.randn.default,
}  # fmt: skip

# ranges between tensors, whose numbers torch reads without their gradient
RANGES = {
    each for packet in (aten.linspace, aten.logspace)
    for each in (packet.Tensor_Tensor, packet.Tensor_Scalar, packet.Scalar_Tensor)
}  # fmt: skip

# what is written over all of a tensor
WRITES = {aten.fill.Scalar, aten.fill.Tensor, aten.copy.default} | FILLS

# whose two arguments may change places
COMMUTATIVE = {aten.add.Tensor, aten.mul.Tensor, aten.maximum.default, aten.minimum.default}


def normalize(traced: Traced) -> Traced:
    """Rewrites the graph in place; returns what it was given."""
    graph = traced.graph.graph
    if any(is_by_row(node) and node.meta["val"].dim() > 2 for node in traced.captured):
        _take_scores_apart(graph)
    _take_products_apart(graph)
    _take_shapes_alone(graph)
    _detach_ends_of_ranges(graph)
    _take_writes_apart(graph)
    _merge_equals(graph)
    graph.eliminate_dead_code()
    return traced


def _merge_equals(graph: fx.Graph) -> None:
    """Makes one of operations that are the same of the same arguments. In bfloat16 they would not be equal, one within
    the loop, which rounds what it stores, and one outside, where torch rounds each result.
    """
    known: dict[Hashable, fx.Node] = {}
    for node in list(graph.nodes):
        is_getitem = node.target is operator.getitem
        if not is_getitem and (
            not isinstance(node.target, OpOverload) or Tag.nondeterministic_seeded in node.target.tags
        ):
            continue
        args = _hashable(node.args)
        if node.target in COMMUTATIVE and len(node.args) == 2 and not node.kwargs:  # `alpha` is of the second alone
            args = frozenset(args) if len(set(args)) == 2 else args
        first = known.setdefault((node.target, args, _hashable(tuple(node.kwargs.items()))), node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)


def _hashable(value: Any) -> Any:
    """Arguments as a key: 1, 1.0 and True are told apart, and zeros of the other sign."""
    if isinstance(value, tuple | list):
        return tuple(map(_hashable, value))
    if isinstance(value, float | complex):
        return type(value), repr(value)
    return value if isinstance(value, fx.Node) else (type(value), value)


def _take_scores_apart(graph: fx.Graph) -> None:
    """A product of each place of a memory with a weight of one column, [batch · places, width] · [width, 1], is a sum
    over the places' numbers: within a row of the batch, as an attention's scores are made.
    """
    for node in list(graph.nodes):
        if node.target not in PRODUCTS or node.kwargs:
            continue
        *bias, left, right = node.args
        (rows, width), n_columns = shape_of(left), shape_of(right)[1]
        if rows % BATCH or rows == BATCH or n_columns != 1:
            continue
        places = rows // BATCH
        while left.target in VIEWED_AS:
            left = left.args[0]
        with graph.inserting_before(node):
            made = _made(graph, node, aten.reshape.default, (left, [BATCH, places, width]))
            made = _made(graph, node, aten.mul.Tensor, (made, _made(graph, node, aten.squeeze.dim, (right, 1))))
            made = _made(graph, node, aten.sum.dim_IntList, (made, [2]))
            if bias:
                made = _made(graph, node, aten.add.Tensor, (made, bias[0]))
        for user in list(node.users):
            if user.target in VIEWED_AS:
                with graph.inserting_before(user):
                    user.replace_all_uses_with(_made(graph, user, aten.reshape.default, (made, [*shape_of(user)])))
        if node.users:
            with graph.inserting_before(node):
                node.replace_all_uses_with(_made(graph, node, aten.reshape.default, (made, [rows, 1])))


def _take_products_apart(graph: fx.Graph) -> None:
    """[a, b] · W = a · W[:n] + b · W[n:], and c + a · W is the sum of the two."""
    for node in list(graph.nodes):
        if node.target is aten.addmm.default:
            bias, left, right = node.args
            if node.kwargs or not _is_cat(left):
                continue
            with graph.inserting_before(node):
                product = _call(graph, aten.mm.default, (left, right), node)
                plus_bias = _call(graph, aten.add.Tensor, (product, bias), node)
            node.replace_all_uses_with(plus_bias)
            graph.erase_node(node)
            node = product
        if node.target is not aten.mm.default or not _is_cat(node.args[0]):
            continue
        left, right = node.args
        at = 0
        total: fx.Node | None = None
        with graph.inserting_before(node):
            for part in left.args[0]:
                width = shape_of(part)[1]
                rows = graph.call_function(aten.slice.Tensor, (right, 0, at, at + width))
                rows.meta["val"] = right.meta["val"][at : at + width]
                product = _call(graph, aten.mm.default, (part, rows), node)
                total = product if total is None else _call(graph, aten.add.Tensor, (total, product), node)
                at += width
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def _take_shapes_alone(graph: fx.Graph) -> None:
    """What depends on the shape of a tensor alone depends on no state."""
    for node in list(graph.nodes):
        if node.target not in LIKES:
            continue
        value, target = node.meta["val"], LIKES[node.target]
        fill = node.args[-1:] if target is aten.full.default else ()
        with graph.inserting_before(node):
            made = _call(graph, target, ([*value.shape], *fill), node)
        made.kwargs = {"dtype": value.dtype, "device": value.device}
        node.replace_all_uses_with(made)
        graph.erase_node(node)


def _detach_ends_of_ranges(graph: fx.Graph) -> None:
    """A range between tensors has no gradient in torch, whose operation below would ask for one."""
    for node in list(graph.nodes):
        if node.target in RANGES:
            with graph.inserting_before(node):
                node.args = fx.node.map_arg(node.args, lambda arg: _call(graph, aten.detach.default, (arg,), arg))


def _take_writes_apart(graph: fx.Graph) -> None:
    """What is written over a tensor depends on its numbers no more, but has a gradient if that had one."""
    carrying = set[fx.Node]()
    for node in [each for each in graph.nodes if each.op != "output"]:
        if has_gradient(node) and (node.op == "placeholder" or not carrying.isdisjoint(node.all_input_nodes)):
            carrying.add(node)
        if node.target not in WRITES:
            continue
        to = node.args[0]
        is_part = all(use.target in PARTS for use in node.users)  # of another, which has the gradient anyway
        with graph.inserting_before(node):
            written = _written(graph, node)
            if to in carrying and has_gradient(node) and not is_part:
                everywhere = _full(graph, node, True, torch.bool)
                written = _call(graph, aten.where.self, (everywhere, written, to), node)
        if node in carrying:
            carrying.add(written)
        node.replace_all_uses_with(written)
        graph.erase_node(node)


def _written(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """What a node writes over all of a tensor, as wide as that."""
    shape, dtype = [*node.meta["val"].shape], node.meta["val"].dtype
    if node.target is aten.fill.Scalar:
        return _full(graph, node, node.args[1], dtype)
    if node.target in FILLS:
        empty = _call(graph, aten.empty.memory_format, (shape,), node)
        empty.kwargs = {"dtype": dtype, "device": node.meta["val"].device}
        made = _call(graph, node.target, (empty, *node.args[1:]), node)
        made.kwargs = node.kwargs
        return made
    source: Any = node.args[1]
    if source.meta["val"].dtype != dtype:
        source = _call(graph, aten._to_copy.default, (source,), source)
        source.kwargs, source.meta["val"] = {"dtype": dtype}, source.meta["val"].to(dtype)
    return _call(graph, aten.expand.default, (source, shape), node)


def _full(graph: fx.Graph, like: fx.Node, number: Any, dtype: torch.dtype) -> fx.Node:
    value = like.meta["val"]
    node = _call(graph, aten.full.default, ([*value.shape], number), like)
    node.kwargs = {"dtype": dtype, "device": value.device}
    node.meta["val"] = value.new_empty(value.shape, dtype=dtype)
    return node


def _is_cat(node: fx.Node) -> bool:
    return node.target is aten.cat.default and len(node.args) > 1 and node.args[1] in (1, -1)


def _made(graph: fx.Graph, like: fx.Node, target: Any, args: tuple) -> fx.Node:
    """A new node, with the shape that it has, from the line of the step that another comes from."""
    node = _call(graph, target, args, like)
    node.meta["val"] = target(*fx.node.map_arg(args, lambda arg: arg.meta["val"]))
    return node


def _call(graph: fx.Graph, target: Any, args: tuple, like: fx.Node) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    return node
