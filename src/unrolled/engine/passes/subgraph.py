"""Nodes of a graph as a graph of their own, for any number of rows."""

import operator
from typing import Any

import torch
from torch import fx

from unrolled.engine.passes.trace import BATCH


def part_of(nodes: list[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]) -> fx.GraphModule:
    """A graph of its own of those nodes of a graph that the outputs need; the batch's size in it is its last
    placeholder.
    """
    graph = fx.Graph()
    place: dict[fx.Node, fx.Node] = {}
    for i, node in enumerate(inputs):
        place[node] = graph.placeholder(f"in_{i}")
        place[node].meta = dict(node.meta)
    rows = graph.placeholder("n_rows")
    needed, waiting = set(inputs), list(outputs)
    while waiting:  # not halves of what is taken apart in the loop
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    for node in nodes:
        if node not in needed:
            continue
        copied = graph.node_copy(node, lambda arg: place[arg])
        with graph.inserting_before(copied):
            size = lambda arg: _batch_size(graph, rows, arg)
            copied.args = fx.node.map_aggregate(copied.args, size)
            copied.kwargs = fx.node.map_aggregate(copied.kwargs, size)
        place[node] = copied
    graph.output([place[node] for node in outputs])
    module = fx.GraphModule(torch.nn.Module(), graph)
    module.recompile()
    return module


def _batch_size(graph: fx.Graph, rows: fx.Node, arg: Any) -> Any:
    """Where the traced batch, or a multiple of it, stands in an argument: the batch's size."""
    if type(arg) is not int or arg <= 0 or arg % BATCH:
        return arg
    return rows if arg == BATCH else graph.call_function(operator.mul, (rows, arg // BATCH))
