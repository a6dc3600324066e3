"""A loop's graph of ATen operations becomes values of the loop program.

Input: an FX graph over rows of the batch, and what its placeholders are. Output: the values of its results. What
a program cannot hold raises NotTraceable with the operation and the line of the user's step that it came from.
"""

import math
from typing import Any

import torch
from torch import fx

from unrolled.engine import reasons
from unrolled.engine.ir.program import Builder
from unrolled.engine.passes.lower import heads
from unrolled.engine.passes.lower.nodes import Environment
from unrolled.engine.passes.lower.product_operands import Weight, Weights
from unrolled.engine.passes.lower.rows import HANDLERS
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_node

aten = torch.ops.aten


class Lowering(Environment):
    """Lowers one graph; `env` maps its placeholders at first. With a dtype, all floating numbers are of it."""

    def __init__(self, builder: Builder, *, has_grids: bool = False, dtype: torch.dtype | None = None) -> None:
        super().__init__(builder, has_grids=has_grids)
        # bfloat16 is computed in float32
        self._dtypes = {dtype, torch.float32} if dtype == torch.bfloat16 else {dtype}
        self._dtype = dtype

    def lower(self, nodes: list[fx.Node]) -> None:
        """Lowers the nodes in their order."""
        for node in nodes:
            handler = HANDLERS.get(node.target)
            if handler is None and node.target not in heads.HANDLERS:
                raise NotTraceable(
                    f"{operation(node)} is not among the operations that a fused loop can hold{line_of_node(node)}"
                )
            try:
                self._check_dtype(node)
                if handler is None or heads.is_deep(self, node):
                    self.env[node] = heads.lowered(self, node, handler)
                else:
                    self.env[node] = handler(self, node, *self._arguments(node.args), **self._arguments(node.kwargs))
            except NotTraceable as fault:
                raise NotTraceable(f"{operation(node)} {fault}{line_of_node(node)}") from None
            except Exception as fault:
                if reasons.is_strict:
                    raise
                raise NotTraceable(
                    f"{operation(node)} with these arguments cannot be fused{line_of_node(node)}"
                ) from fault

    def _check_dtype(self, node: fx.Node) -> None:
        """A loop computes in one dtype: another one would round otherwise."""
        value = node.meta.get("val")
        if self._dtype is None or not isinstance(value, torch.Tensor) or not value.dim():
            return
        if (value.is_floating_point() or value.is_complex()) and value.dtype not in self._dtypes:
            raise NotTraceable(f"gives {value.dtype}; this loop computes in {self._dtype} alone")

    def _arguments(self, args: Any) -> Any:
        return fx.node.map_arg(args, lambda arg: self.env[arg])

    def constant(self, node: fx.Node, n_rows: int, n_weights: int) -> Any:
        """What an invariant tensor is to the loop: a row of numbers, or what products take, numbered from n_weights."""
        shape = tuple(int(size) for size in node.meta["val"].shape)
        if BATCH in shape or not (_is_factor(node) and len(shape) in (2, 3)):
            return self.builder.input("row", n_rows, math.prod(shape))
        if len(shape) == 2:
            return Weight(n_weights, (shape[0], shape[1]))
        return Weights(tuple(Weight(n_weights + i, (shape[1], shape[2])) for i in range(shape[0])))


def _is_factor(node: fx.Node) -> bool:
    """Whether a tensor goes into products, maybe by way of a view."""
    for user in node.users:
        if user.target in (aten.mm.default, aten.bmm.default):
            return True
        if user.target is aten.addmm.default and node in user.args[1:]:
            return True
        if user.target in VIEWS_OF_WEIGHTS and _is_factor(user):
            return True
    return False


def operation(node: fx.Node) -> str:
    """An operation's name, such as aten.tanh."""
    return str(node.target).rsplit(".", 1)[0] if node.op == "call_function" else node.op


VIEWS_OF_WEIGHTS = {
    aten.permute.default, aten.t.default, aten.transpose.int, aten.view.default, aten.unsqueeze.default,
    aten.squeeze.dim, aten.squeeze.dims, aten.clone.default, aten.detach.default, aten.expand.default,
}  # fmt: skip
