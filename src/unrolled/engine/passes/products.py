"""Products of rows with a weight: which stay in the loop, which its call makes, and how the others are made.

A product of the inputs alone can be made for all time steps at once. In inference it may stay in the loop. Where the
loop alone reads it, the call of the loop makes it, and its gradients (`ir.loop_programs.InputProduct`). Every other one
outside the loop goes through the back-end's own large products.
"""

import torch
from torch import fx

from unrolled.engine.backends.products import product, product_plus
from unrolled.engine.ir.loop_programs import Staying

aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.addmm.default}
MOST_INSIDE = 1 << 20  # bytes of the weights of a loop that holds products of its inputs: they stay in a core's cache


def products_that_stay(
    calls: list[fx.Node], loop: set[fx.Node], views: set[fx.Node], on_input: set[fx.Node], staying: Staying
) -> set[fx.Node]:
    """The operations on inputs that stay in the loop: products of inputs, what is added to them, and views, where the
    loop alone reads them. None stays where the loop's weights would be more than `MOST_INSIDE`.
    """
    if staying == "none":
        return set()
    candidates: set[fx.Node] = set()
    for node in calls:
        args = [arg for arg in node.args if isinstance(arg, fx.Node)]
        if node not in on_input or node.kwargs or len(args) != len(node.args):
            continue
        is_product = node.target in PRODUCTS and args[-2] in on_input and args[-1] not in on_input
        if is_product and staying == "widening":
            n_read, n_given = args[-1].meta["val"].shape
            is_product = n_given > n_read
        if is_product or (node.target is aten.add.Tensor and any(arg in candidates for arg in args)):
            candidates.add(node)
    found: set[fx.Node] = set()
    for node in reversed(calls):
        if node in candidates | views and all(user in loop or user in found for user in node.users):
            found.add(node)
    weights = {node.all_input_nodes[-1] for node in loop | found if node.target in PRODUCTS}
    n_bytes = sum(weight.meta["val"].nbytes for weight in weights)
    return found if n_bytes <= MOST_INSIDE else set()


def is_product(node: fx.Node) -> bool:
    """Whether an operation is rows times a weight, maybe plus a bias."""
    if node.target is aten.addmm.default:
        bias = node.all_input_nodes[0]
        return not node.kwargs and bias.meta["val"].dim() == 1
    return node.target is aten.mm.default


def products_of_call(
    steps: list[fx.Node], loop: list[fx.Node], same_for_all: set[fx.Node], read_after: set[fx.Node]
) -> list[fx.Node]:
    """The step inputs that are products of rows with a weight, and that the loop alone reads: its call makes them."""
    inside = set(loop)
    return [
        node
        for node in steps
        if is_product(node)
        and same_for_all.issuperset({*node.args} - {node.args[-2]})
        and node not in read_after
        and all(user in inside or user.op == "output" for user in node.users)
    ]


def take_products(part: fx.GraphModule) -> None:
    """Replaces products of rows with a weight in a graph by those of the back-end."""
    for node in part.graph.nodes:
        if is_product(node):
            node.target = product if node.target is aten.mm.default else product_plus
    part.recompile()
