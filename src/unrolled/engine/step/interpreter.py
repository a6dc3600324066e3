"""Runs a captured graph; what cannot be traced is told with its line of the step.

Inputs: a graph, and tensors. Outputs: what the graph makes of them.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.reasons import NotTraceable
from unrolled.engine.step.refusals import reason_at


class Plain(fx.Interpreter):
    """Torch's own. The source that torch makes of a graph would be faster, and takes (-2) ** h for -(2 ** h)."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # torch would add its own words to the reason


class Interpreter(Plain):
    """Hands the lines of the step on, also of an operation that cannot be traced."""

    def run_node(self, n: fx.Node) -> Any:
        try:
            filled = _filled(self, n)
            return super().run_node(n) if filled is None else filled
        except NotTraceable:
            raise
        except Exception as fault:
            raise reason_at(n, fault) from fault


def _filled(run: fx.Interpreter, node: fx.Node) -> Tensor | None:
    """`tensor[condition] = number`, which torch takes apart into the places where it holds, as a fill of those."""
    if node.target is not operator.setitem:
        return None
    tensor, at, value = run.fetch_args_kwargs_from_env(node)[0]
    is_condition = isinstance(at, Tensor) and at.dtype == torch.bool and at.shape == tensor.shape[: at.dim()]
    is_number = isinstance(value, bool | int | float) or (
        isinstance(value, Tensor) and value.dim() == 0 and value.dtype == tensor.dtype
    )
    if not (is_condition and is_number):
        return None
    return tensor.masked_fill_(at.reshape(at.shape + (1,) * (tensor.dim() - at.dim())), value)
