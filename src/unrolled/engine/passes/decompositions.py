"""Operations that are taken apart into simpler ones before a step is split and lowered.

Most are torch's own decompositions. Some of those round, or treat a NaN, otherwise than torch's kernels do; `OURS` and
`moments` have these as the kernels have them, since the eager loop runs the kernels.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions

from unrolled.engine.passes import moments

aten = torch.ops.aten
_SIXTH = 0.1666666716337204  # 1 / 6 in float32, which the kernel of doubles has too


@functools.cache
def decompositions() -> dict[Any, Callable]:
    """What is taken apart: everything that has a decomposition, but for products and the two squashing functions."""
    table = dict(core_aten_decompositions())
    names = (
        "native_layer_norm_backward _softmax _softmax_backward_data _log_softmax "
        "_log_softmax_backward_data gelu gelu_backward _fused_rms_norm _fused_rms_norm_backward lerp "
        "elu elu_backward leaky_relu leaky_relu_backward hardtanh hardtanh_backward hardsigmoid hardsigmoid_backward "
        "hardswish hardswish_backward silu silu_backward softplus softplus_backward mish mish_backward "
        "log_sigmoid_forward log_sigmoid_backward prelu addcmul addcdiv masked_fill glu glu_backward logaddexp "
        "logsumexp linalg_vector_norm norm celu selu threshold slice_backward select_backward _fused_dropout "
        "hardshrink native_batch_norm native_batch_norm_backward"
    )
    table |= get_decompositions([getattr(aten, name) for name in names.split() if hasattr(aten, name)])
    for kept in (
        aten.select_scatter.default,
        aten.roll.default,
        aten.addmm.default,
        aten.sigmoid_backward.default,
        aten.tanh_backward.default,
        aten.mm.default,
    ):
        table.pop(kept, None)
    return table | OURS | moments.DECOMPOSITIONS


def _softshrink(a: Tensor, lambd: float = 0.5) -> Tensor:
    """As torch's kernel: +0 within, of negative numbers too, where torch's decomposition gives -0."""
    return torch.where(a.abs() > lambd, a - torch.sign(a) * lambd, torch.where(a != a, a, 0.0))


def _hardsigmoid_backward(gradient: Tensor, a: Tensor) -> Tensor:
    return torch.where((a > -3) & (a < 3), gradient * _SIXTH, 0.0)


def _entr(a: Tensor) -> Tensor:
    """Without torch's choice between two numbers, which is of torch's default dtype."""
    beside = torch.where(a == 0, 0.0, torch.where(a < 0, -math.inf, a))
    return torch.where(a > 0, -a * torch.log(a), beside)


OURS: dict[Any, Callable] = {
    aten.softshrink.default: _softshrink,
    aten.hardsigmoid_backward.default: _hardsigmoid_backward,
    aten.special_entr.default: _entr,
}
