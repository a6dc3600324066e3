"""Reductions and norms along the features, and rows of special numbers that they are tried at."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

inf, nan = math.inf, math.nan


def rows(dtype: torch.dtype) -> Tensor:
    """[n, 7]: a special number at one or two places among usual ones, alone, and everywhere; large and tiny rows."""
    usual = torch.tensor([0.3, -1.2, 0.8, 2.1, -0.4, 1.7, -2.2], dtype=torch.float64)
    found = [usual, usual.round(), -usual.abs(), usual * 1e-3]
    found += [usual * scale for scale in (1e-30, 1e-10, 1e5, 1e10)]
    for number in (0.0, -0.0, inf, -inf, nan, 89, -89, 104, 745, -745, 1e30, -1e30, torch.finfo(dtype).tiny):
        for places in ([2], [0, 6], list(range(7))):
            row = usual.clone()
            row[places] = number
            found.append(row)
        found.append(torch.zeros(7, dtype=torch.float64).index_fill(0, torch.tensor([6]), number))
    opposite = usual.clone()
    opposite[0], opposite[6] = inf, -inf
    mixed = usual.clone()
    mixed[0], mixed[1] = nan, inf
    return torch.stack([*found, opposite, mixed]).to(dtype)


def near_rows(dtype: torch.dtype, width: int) -> dict[str, Tensor]:
    """[n, width] by name: numbers of one size that are equal, or differ little, at many sizes."""
    generator = torch.Generator().manual_seed(width)
    found = {}
    for size in (1e-12, 1e-3, 3.3, 1e3, 1e12) if dtype == torch.float32 else (1e-90, 1e-12, 3.3, 1e12, 1e90):
        level = size * (1 + torch.rand(32, 1, generator=generator, dtype=torch.float64))
        found[f"equal, {size:g}"] = level.to(dtype).expand(-1, width)
        for noise in (16 * torch.finfo(dtype).eps, 1e-4):
            shaken = torch.randn(32, width, generator=generator, dtype=torch.float64)
            found[f"apart by {noise:.0e}, {size:g}"] = (level * (1 + noise * shaken)).to(dtype)
    return found


def _spread(reduced: Callable) -> Callable:
    """What is one number for a row, at each place."""
    return lambda a: reduced(a).expand_as(a) + 0.0


def _norm(p: float) -> Callable:
    return _spread(lambda a: a.norm(p=p, dim=1, keepdim=True))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda a: torch.softmax(a, -1),
    "log_softmax": lambda a: torch.log_softmax(a, -1),
    "softmin": lambda a: F.softmin(a, -1),
    "logsumexp": _spread(lambda a: torch.logsumexp(a, 1, keepdim=True)),
    "layer_norm": lambda a: F.layer_norm(a, a.shape[1:]),
    "group_norm": lambda a: F.group_norm(a, 1),
    "rms_norm": lambda a: F.rms_norm(a, a.shape[1:], eps=1e-6),
    "normalize": lambda a: F.normalize(a, dim=1),
    "normalize by sum": lambda a: F.normalize(a, p=1, dim=1),
    "sum": _spread(lambda a: a.sum(1, keepdim=True)),
    "mean": _spread(lambda a: a.mean(1, keepdim=True)),
    "var": _spread(lambda a: a.var(1, keepdim=True)),
    "var of all": _spread(lambda a: a.var(1, keepdim=True, correction=0)),
    "std": _spread(lambda a: a.std(1, keepdim=True)),
    "std of all": _spread(lambda a: a.std(1, keepdim=True, correction=0)),
    "mean beside var": _spread(lambda a: torch.var_mean(a, 1, keepdim=True)[1]),
    "norm": _norm(2),
    "norm 1": _norm(1),
    "norm of infinity": _norm(inf),
    "norm of -infinity": _norm(-inf),
    "norm 0": _norm(0),
    "amax": _spread(lambda a: a.amax(1, keepdim=True)),
    "amin": _spread(lambda a: a.amin(1, keepdim=True)),
    "max": _spread(lambda a: a.max(1, keepdim=True).values),
    "min": _spread(lambda a: a.min(1, keepdim=True).values),
    "sum of squares": _spread(lambda a: (a * a).sum(1, keepdim=True)),
    "cumsum": lambda a: a.cumsum(1),
    "flip": lambda a: a.flip(1),
    "roll": lambda a: a.roll(1, 1),
    "any": lambda a: torch.where((a > 3).any(1, keepdim=True), a, 0.5 * a),
    "pad": lambda a: F.pad(a[:, 1:], (1, 0)),
    "first of them": _spread(lambda a: a[:, :1]),
}


def layer_norm_by_hand(a: Tensor) -> Tensor:
    """As users write it."""
    return (a - a.mean(1, keepdim=True)) / (a.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
