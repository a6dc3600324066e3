"""Runs a captured graph; what cannot be traced is told with its line of the step.

Inputs: a graph, and tensors. Outputs: what the graph makes of them.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.reasons import NotTraceable
from unrolled.engine.step.refusals import reason_at

# comparisons in place
COMPARES = {
    "eq_", "ne_", "lt_", "le_", "gt_", "ge_", "not_equal_", "less_", "less_equal_", "greater_", "greater_equal_",
}  # fmt: skip


class Plain(fx.Interpreter):
    """Torch's own. The source that torch makes of a graph would be faster, and takes (-2) ** h for -(2 ** h)."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # torch would add its own words to the reason


class Interpreter(Plain):
    """Hands the lines of the step on, also of an operation that cannot be traced."""

    def run_node(self, n: fx.Node) -> Any:
        try:
            written = _filled(self, n) if n.target is operator.setitem else _compared(self, n)
            return super().run_node(n) if written is None else written
        except NotTraceable:
            raise
        except Exception as fault:
            raise reason_at(n, fault) from fault


def _filled(run: fx.Interpreter, node: fx.Node) -> Tensor | None:
    """`tensor[condition] = number`, which torch takes apart into the places where it holds, as a fill of those."""
    tensor, at, value = run.fetch_args_kwargs_from_env(node)[0]
    is_condition = isinstance(at, Tensor) and at.dtype == torch.bool and at.shape == tensor.shape[: at.dim()]
    is_number = isinstance(value, bool | int | float) or (
        isinstance(value, Tensor) and value.dim() == 0 and value.dtype == tensor.dtype
    )
    if not (is_condition and is_number):
        return None
    return tensor.masked_fill_(at.reshape(at.shape + (1,) * (tensor.dim() - at.dim())), value)


def _compared(run: fx.Interpreter, node: fx.Node) -> Tensor | None:
    """`tensor.gt_(other)`, whose result has a gradient of zeros of both, as torch has it: where all is chosen, from
    what is written. Taken apart it would come of a condition, which has none.
    """
    if node.op != "call_method" or node.target not in COMPARES:
        return None
    (tensor, *rest), kwargs = run.fetch_args_kwargs_from_env(node)
    if not tensor.is_floating_point():
        return None
    holds = getattr(tensor, str(node.target)[:-1])(*rest, **kwargs)
    written, everywhere = holds.to(tensor.dtype), torch.ones_like(holds)
    for other in (*rest, *kwargs.values()):
        if isinstance(other, Tensor) and other.is_floating_point():
            written = torch.where(everywhere, written, other.to(tensor.dtype))
    return tensor.copy_(written)
