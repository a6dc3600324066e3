"""A value as it is, whose gradient is clamped: what `clip_state_grad` does to a state before each step.

Input: a tensor and a limit. Output: an equal tensor. The eager loop calls `clipped`, which has a rule for every
transform of torch; the graph of a step has the operation `unrolled::clip_gradient`, which `passes/differentiate.py`
takes apart.
"""

from typing import Any

import torch
from torch import Tensor


def clipped(value: Tensor, limit: float) -> Tensor:
    """An equal tensor; where it is of floating-point numbers, its gradient is clamped to [-limit, limit]."""
    return _Clipped.apply(value, limit) if value.is_floating_point() else value


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, _limit: float) -> Tensor:
        return value.clone()  # a step may change its state in place, which torch refuses of a view

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG004 - torch's names
        ctx.limit = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(-ctx.limit, ctx.limit), None

    @staticmethod
    def jvp(_ctx: Any, tangent: Tensor, _limit: None) -> Tensor:
        return tangent.clone()  # forward mode has no gradient to clamp

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int | None, None], value: Tensor, limit: float) -> tuple[Tensor, int | None]:
        return _Clipped.apply(value, limit), in_dims[0]


@torch.library.custom_op("unrolled::clip_gradient", mutates_args=(), tags=(torch.Tag.pointwise,))
def _clip_gradient(value: Tensor, limit: float) -> Tensor:  # noqa: ARG001 - the derivative reads it
    return value.clone()


_clip_gradient.register_fake(lambda value, _limit: torch.empty_like(value))
_clip_gradient.register_autograd(_Clipped.backward, setup_context=_Clipped.setup_context)

#: `clipped` as an operation of a graph
CLIP = torch.ops.unrolled.clip_gradient.default
