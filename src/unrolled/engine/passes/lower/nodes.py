"""What every rule of lowering reads: a node of the graph, and the values so far.

The rules (`rows.py`, `features.py`, `heads.py`) take an `Environment`; `lowering.py`, which picks the rule, is one.
So no rule imports what picks it.
"""

from typing import Any, cast

import torch
from torch import fx

from unrolled.engine.ir.program import Builder, Value
from unrolled.engine.passes.lower import grids, heads_tensor
from unrolled.engine.passes.lower.grids import Grid
from unrolled.engine.passes.lower.heads_tensor import Blocks
from unrolled.engine.passes.lower.product_operands import refused


def source_shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of the first argument."""
    return tuple(cast(fx.Node, node.args[0]).meta["val"].shape)


def number_of(node: fx.Node, number: Any) -> float:
    """A number as the dtype of a node's result has it."""
    dtype = node.meta["val"].dtype
    if dtype == torch.bool:
        return float(bool(number))
    return float(number if dtype.is_floating_point else int(number))


class Environment:
    """The values of a graph's nodes so far, and the builder that makes more.

    Attributes:
        builder: of the loop program.
        has_grids: whether matrices within rows may be one value: `grids`.
        env: node → its value, or what products take and return.
    """

    def __init__(self, builder: Builder, *, has_grids: bool = False) -> None:
        self.builder = builder
        self.has_grids = has_grids
        self.env: dict[fx.Node, Any] = {}

    def value(self, arg: Any) -> Value:
        """An operand as a value."""
        if isinstance(arg, Blocks):
            return heads_tensor.flat(self.builder, arg)
        if isinstance(arg, Grid):
            return grids.flat(self.builder, arg)
        if isinstance(arg, Value):
            return arg
        if isinstance(arg, bool | int | float):
            return self.builder.const(float(arg))
        raise refused(arg)
