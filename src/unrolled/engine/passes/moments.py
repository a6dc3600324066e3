"""torch's variances and layer norm, taken apart into sums that keep their digits.

Inputs: the arguments of torch's operations. Outputs: what these return. torch computes them by Welford's method, one
number after the other, which a fused loop cannot. Here they are sums of deviations from a mean, and of their squares;
`subtracted_means` corrects that mean, so that numbers that are equal differ from it by nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import get_computation_dtype

from unrolled.engine.passes.batch_sizes import BATCH

aten = torch.ops.aten


def _var(apart: Tensor, dims: list[int], n: int, divisor: float) -> Tensor:
    """Of deviations from the rounded mean, whose own mean is what was rounded away. They are scaled by a power of two:
    the sum of their squares leaves the range only where the variance does, or where it is divided by 0.
    """
    if divisor == 0 and apart.dtype != torch.float64:
        squares, unit = _in_units(apart, dims, n)
        return squares / divisor * unit * unit
    scale = 2.0 ** -math.ceil(math.log2(n) / 2)
    return _squares(apart * scale, apart.sum(dims, keepdim=True) * scale, dims, n) / (divisor * scale * scale)


def _std(apart: Tensor, dims: list[int], n: int, divisor: float) -> Tensor:
    if apart.dtype == torch.float64:
        return _var(apart, dims, n, divisor).sqrt()
    squares, unit = _in_units(apart, dims, n)
    return (squares / divisor).sqrt() * unit


def _in_units(apart: Tensor, dims: list[int], n: int) -> tuple[Tensor, Tensor]:
    """The sum of squared deviations, in units of the sum of their sizes, and that unit: torch computes in double, as
    squares leave the range of float32.
    """
    unit = apart.abs().sum(dims, keepdim=True)
    unit = torch.where(unit == 0, 1.0, unit)
    return _squares(apart / unit, apart.sum(dims, keepdim=True) / unit, dims, n), unit


def _squares(apart: Tensor, total: Tensor, dims: list[int], n: int) -> Tensor:
    """The sum of squared deviations from the mean, of those from the rounded mean and of their sum."""
    squares = (apart * apart).sum(dims, keepdim=True)
    return torch.where(squares == math.inf, squares, squares - total * total / n)


def _over(spread: Callable, *, with_mean: bool) -> Callable:
    """The decomposition of an operation: `spread` of the deviations from the mean, and the mean."""

    def decomposed(
        a: Tensor, dims: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
    ) -> Any:
        axes = [dim % a.dim() for dim in dims or range(a.dim())]
        n = math.prod(a.shape[axis] for axis in axes)
        if a.is_complex() or n % BATCH == 0:
            return NotImplemented
        exact = a.to(get_computation_dtype(a.dtype))
        mean = exact.mean(axes, keepdim=True)
        apart = exact - mean
        mean = mean + apart.mean(axes, keepdim=True)
        results = [spread(apart, axes, n, max(0, n - (1 if correction is None else correction))), mean]
        results = [(each if keepdim else each.squeeze(axes)).to(a.dtype) for each in results]
        return tuple(results) if with_mean else results[0]

    return decomposed


def _layer_norm(
    a: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    axes, n = list(range(a.dim() - len(shape), a.dim())), math.prod(shape)
    if n == 0:
        return NotImplemented
    exact = a.to(get_computation_dtype(a.dtype))
    mean = exact.mean(axes, keepdim=True)
    apart = exact - mean
    rstd = torch.rsqrt((apart * apart).sum(axes, keepdim=True) / n + eps)
    result = apart * rstd
    result = result if weight is None else result * weight
    result = result if bias is None else result + bias
    return result.to(a.dtype), mean.to(a.dtype), rstd.to(a.dtype)


def _group_norm(
    a: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n_rows: int,
    channels: int,
    n_each: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's `native_group_norm` as a layer norm of each group, of which torch knows the derivative."""
    width = channels // groups * n_each
    if width == 0:
        return NotImplemented
    exact = a.to(get_computation_dtype(a.dtype)).reshape(n_rows, groups, width)
    normed, mean, rstd = aten.native_layer_norm(exact, [width], None, None, eps)
    result = normed.reshape(a.shape)
    shape = (channels, *(1,) * (a.dim() - 2))
    result = result if weight is None else result * weight.view(shape)
    result = result if bias is None else result + bias.view(shape)
    return result.to(a.dtype), mean.view(n_rows, groups).to(a.dtype), rstd.view(n_rows, groups).to(a.dtype)


OF_VARIANCE: dict[Any, Callable] = {
    aten.var.correction: _over(_var, with_mean=False),
    aten.std.correction: _over(_std, with_mean=False),
    aten.var_mean.correction: _over(_var, with_mean=True),
    aten.std_mean.correction: _over(_std, with_mean=True),
}
DECOMPOSITIONS: dict[Any, Callable] = OF_VARIANCE | {
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
}
