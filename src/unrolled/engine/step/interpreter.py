"""Runs a captured graph; what cannot be traced is told with its line of the step.

Inputs: a graph, and tensors. Outputs: what the graph makes of them.
"""

import functools
import operator
from collections.abc import Callable
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
            otherwise = _WRITTEN_OTHERWISE.get(n.target) if n.op in ("call_function", "call_method") else None
            result = None if otherwise is None else otherwise(*self.fetch_args_kwargs_from_env(n))
            return super().run_node(n) if result is None else result
        except NotTraceable:
            raise
        except Exception as fault:
            raise reason_at(n, fault) from fault


def _filled(given: tuple[Any, ...], _: dict[str, Any]) -> Tensor | None:
    """`tensor[condition] = number`, which torch takes apart into the places where it holds, as a fill of those."""
    tensor, at, value = given
    is_condition = isinstance(at, Tensor) and at.dtype == torch.bool and at.shape == tensor.shape[: at.dim()]
    is_number = isinstance(value, bool | int | float) or (
        isinstance(value, Tensor) and value.dim() == 0 and value.dtype == tensor.dtype
    )
    if not (is_condition and is_number):
        return None
    return tensor.masked_fill_(at.reshape(at.shape + (1,) * (tensor.dim() - at.dim())), value)


def _compared(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    """`tensor.gt_(other)`, whose result has a gradient of zeros of both, as torch has it: where all is chosen, from
    what is written. Taken apart it would come of a condition, which has none.
    """
    tensor, *rest = given
    if not tensor.is_floating_point():
        return None
    holds = getattr(tensor, name[:-1])(*rest, **named)
    written, everywhere = holds.to(tensor.dtype), torch.ones_like(holds)
    for other in (*rest, *named.values()):
        if isinstance(other, Tensor) and other.is_floating_point():
            written = torch.where(everywhere, written, other.to(tensor.dtype))
    return tensor.copy_(written)


def _similarity(given: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    """The cosine similarity, whose norms torch clamps without gradients, which a graph cannot tell."""
    return _cosine_similarity(*given, **named) if torch.is_grad_enabled() else None


def _cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor | None:
    if x1.dtype != x2.dtype or not x1.is_floating_point():
        return None
    directions = []
    for x in torch.broadcast_tensors(x1, x2):
        norm = torch.linalg.vector_norm(x, 2, dim, keepdim=True)
        directions.append(x / torch.where(norm < eps, norm - norm.detach() + eps, norm))
    return (directions[0] * directions[1]).sum(dim)


# functions and methods of a graph → the same as tracing needs it; it gives None where torch's own serves
_WRITTEN_OTHERWISE: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Tensor | None]] = {
    operator.setitem: _filled,
    torch.cosine_similarity: _similarity,
    **{name: functools.partial(_compared, name) for name in COMPARES},
}
