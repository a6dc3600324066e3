"""A mean that is subtracted from its own numbers is corrected by the mean of the differences.

Input: a joint graph, changed in place. What a rounded mean loses is all that is left where numbers hardly differ: in a
layer norm by hand, or in the derivative of a variance. torch sums in another order, and loses less.
"""

import math
from typing import Any

from torch import fx, ops

aten = ops.aten


def correct_means(graph: fx.Graph) -> None:
    """Of equal numbers a mean is then exactly their value."""
    for mean in list(graph.nodes):
        if mean.target is not aten.mean.dim or not any(
            user.args == (mean.args[0], mean) for user in _subtracting(mean)
        ):
            continue
        with graph.inserting_before(mean.next):
            apart = _made(graph, mean, aten.sub.Tensor, (mean.args[0], mean))
            rest = _made(graph, mean, aten.mean.dim, (apart, *mean.args[1:]))
            # infinite numbers leave none
            is_there = _made(graph, mean, aten.lt.Scalar, (_made(graph, mean, aten.abs.default, (rest,)), math.inf))
            total = _made(graph, mean, aten.add.Tensor, (mean, rest))
            corrected = _made(graph, mean, aten.where.self, (is_there, total, mean))
        ours = {apart, total, corrected}
        mean.replace_all_uses_with(corrected, delete_user_cb=lambda user, ours=ours: user not in ours)


def _subtracting(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if user.target is aten.sub.Tensor and not user.kwargs]


def _made(graph: fx.Graph, like: fx.Node, target: Any, args: tuple) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    node.meta["val"] = target(*fx.node.map_arg(args, lambda arg: arg.meta["val"]))
    return node
