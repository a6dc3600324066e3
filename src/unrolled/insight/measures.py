"""Measures of a probe: norms by row, terms of a weight's gradient, statistics of gates, where numbers are not finite.

Inputs: tensors [time, batch, ...]. Outputs: numbers by time step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.insight.record import Gate

LOW, HIGH = 0.05, 0.95  # a gate beyond these is saturated: the derivative of σ there is below a fifth of its largest
_MOST_NUMBERS = 1 << 22  # of the Gram matrices that are made at once
# norms of float32 rows whose squares neither vanish nor overflow; adding up in float64 takes four times as long
_SQUARED = 1e-18, 1e19
_IN_CACHE = 1 << 17  # numbers of a gate that are read several times: they stay in a core's cache


def norms_of(values: Tensor) -> Tensor:
    """[time, batch, ...] → the norm of each row, [time, batch]."""
    values = values.detach() if values.is_floating_point() else values.double()
    rows = values.flatten(2) if values.dim() > 2 else values.unsqueeze(-1)
    norms = torch.linalg.vector_norm(rows, dim=2)
    if norms.numel() and not (_SQUARED[0] < norms.amin().item() and norms.amax().item() < _SQUARED[1]):
        norms = torch.linalg.vector_norm(rows, dim=2, dtype=torch.float64).to(norms.dtype)
    return norms


def norms_of_terms(gradients: Tensor, all_rows: Sequence[Tensor]) -> list[Tensor]:
    """‖Σ_b g_b z_bᵀ‖ of each step, [time], for g [time, batch, out] and each z [time, batch, in].

    By Gram matrices, ‖Σ_b g_b z_bᵀ‖² = Σ_bb' (g_b·g_b')(z_b·z_b'), where they are the smaller: no tensor of a weight's
    size for each step.
    """
    n_steps, n_rows, n_out = gradients.shape
    n_in = sum(rows.shape[2] for rows in all_rows)
    is_gram = n_rows * (n_out + n_in) <= n_out * n_in
    of_step = n_rows * n_rows if is_gram else n_out * n_in
    at_once = max(1, _MOST_NUMBERS // max(1, of_step))
    found: list[list[Tensor]] = [[] for _ in all_rows]
    for start in range(0, n_steps, at_once):
        g = gradients[start : start + at_once]
        of_gradients = torch.bmm(g, g.mT) if is_gram else None
        for norms, rows in zip(found, all_rows, strict=True):
            z = rows[start : start + at_once]
            if of_gradients is not None:
                squares = (torch.bmm(z, z.mT) * of_gradients).sum((1, 2))
                norms.append(squares.clamp_(min=0).sqrt_())
            else:
                norms.append(torch.linalg.vector_norm(torch.bmm(g.mT, z), dim=(1, 2)))
    return [torch.cat(norms) for norms in found]


def gate_of(function: str, values: Tensor, running: Tensor | None) -> Gate:
    """Statistics of values [time, batch, units] over the rows that run, bool [time, batch] or None for all."""
    n_steps, n_rows, n_units = values.shape
    at_once = max(1, _IN_CACHE // max(1, n_rows * n_units))
    means, shares, always = [], [], values.new_ones(n_units)
    for start in range(0, n_steps, at_once):
        here = values[start : start + at_once]
        saturated = _saturated(function, here)
        if running is not None:
            runs = running[start : start + at_once].unsqueeze(2)
            always = torch.minimum(always, torch.where(runs, saturated, 1).flatten(0, 1).amin(0))
            here, saturated = (torch.where(runs, each, 0) for each in (here, saturated))
        else:
            always = torch.minimum(always, saturated.flatten(0, 1).amin(0))
        means.append(here.sum((1, 2)))
        shares.append(saturated.sum((1, 2)))
    n_rows_now = n_rows if running is None else running.sum(1).clamp(min=1)
    mean, share = (torch.cat(each) / (n_rows_now * n_units) for each in (means, shares))
    return Gate(function, mean, share, (always > 0).double().mean().item())


def _saturated(function: str, values: Tensor) -> Tensor:
    """1 where a gate is saturated, else 0; a new tensor."""
    if function == "relu":
        return (values == 0).to(values.dtype)
    if function == "sigmoid":
        return (values - 0.5).abs_().gt_(HIGH - 0.5)
    return values.abs().gt_(HIGH)


def first_not_finite(values: Tensor, running: Tensor | None, *, is_reversed: bool) -> tuple[int, int] | None:
    """Step and row of the first number in the order of the loop that is not finite; None where all are."""
    bad = ~values.flatten(2).isfinite().all(2) if values.dim() > 2 else ~values.isfinite()
    bad = bad if running is None else bad & running
    if not bad.any():
        return None
    steps = bad.any(1).nonzero()[:, 0]
    step = int(steps[-1 if is_reversed else 0])
    return step, int(bad[step].nonzero()[0, 0])


def may_not_be_finite(values: Tensor) -> bool:
    """False where all numbers are finite; a sum, which is cheap, tells."""
    return values.is_floating_point() and not math.isfinite(values.sum().item())
