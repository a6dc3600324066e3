"""A scan's outputs share memory with nothing else.

In the definition's loop each output is a stack of the steps' outputs, so a caller may change it in place: inputs, first
states, what the step holds, the other outputs and the gradients stay right. A fused scan copies an output where it
would be one of those tensors, or a tensor that a backward reads; most outputs need no copy.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.backends.base import Backend
from unrolled.engine.backends.products import product, product_plus

aten = torch.ops.aten
_SMALL = 1 << 12  # bytes up to which torch's own copy is the faster
# operations whose own backward does not read their result
UNSAVED = {
    aten.add.Tensor, aten.add.Scalar, aten.addmm.default, aten.bmm.default, aten.cat.default, aten.div.Tensor,
    aten.embedding.default, aten.mm.default, aten.mul.Scalar, aten.mul.Tensor, aten.neg.default, aten.sub.Tensor,
    aten.sum.dim_IntList, aten.where.self, product, product_plus,
}  # fmt: skip


def shared_outputs(part: fx.GraphModule, n_own: int) -> tuple[list[bool], list[bool]]:
    """For each output of a graph whether it shares memory with something else: in inference, and in training, where
    also a backward may read it. The last `n_own` inputs before the last one are the caller's own, and nobody else's.
    """
    nodes = list(part.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    taken = {*placeholders[: len(placeholders) - 1 - n_own], placeholders[-1]}
    in_inference: list[bool] = []
    in_training: list[bool] = []
    results: Any = nodes[-1].args[0]
    for result in results:
        root, is_read = result, results.count(result) > 1 or len(result.users) > 1
        while _is_view(root):
            root = root.all_input_nodes[0]
            is_read = is_read or len(root.users) > 1
        in_inference.append(root in taken)
        in_training.append(root in taken or is_read or root.target not in UNSAVED)
        taken.add(root)
    return in_inference, in_training


def _is_view(node: fx.Node) -> bool:
    """Whether a node's memory may be that of its first argument."""
    if node.target in (operator.getitem, aten._unsafe_view.default):
        return True
    returns = node.target._schema.returns if isinstance(node.target, torch._ops.OpOverload) else []
    return any(each.alias_info is not None for each in returns)


def copied(tensor: Tensor, backend: Backend) -> Tensor:
    """The same numbers in memory of their own, differentiable."""
    if torch.compiler.is_compiling():
        return tensor.clone()
    if tensor.requires_grad and torch.is_grad_enabled():
        return _Copy.apply(tensor, backend)
    return copy_of(tensor, backend)


def copy_of(tensor: Tensor, backend: Backend) -> Tensor:
    """`copied`, without a graph."""
    if tensor.numel() * tensor.dtype.itemsize <= _SMALL:
        return tensor.clone(memory_format=torch.contiguous_format)
    return backend.new_tensor(tensor, *tensor.shape).copy_(tensor)


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, tensor: Tensor, backend: Backend) -> Tensor:
        return copy_of(tensor, backend)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
