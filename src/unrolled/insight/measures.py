"""Figures of a probe: norms by row, terms of a weight's gradient, statistics of gates, where numbers are not finite.

Inputs: tensors [time, batch, ...]. Outputs: numbers by time step.
"""

import torch
from torch import Tensor

from unrolled.insight.record import Gate

LOW, HIGH = 0.05, 0.95  # a gate beyond these is saturated: the derivative of σ there is below a fifth of its largest
_MOST_NUMBERS = 1 << 22  # of the Gram matrices that are made at once


def norms_of(values: Tensor) -> Tensor:
    """[time, batch, ...] → the norm of each row, [time, batch]."""
    return torch.linalg.vector_norm(values.detach().flatten(2) if values.dim() > 2 else values.unsqueeze(-1), dim=2)


def norms_of_terms(gradients: Tensor, rows: Tensor) -> Tensor:
    """‖Σ_b g_b z_bᵀ‖ of each step, [time], for g [time, batch, out] and z [time, batch, in].

    By Gram matrices, ‖Σ_b g_b z_bᵀ‖² = Σ_bb' (g_b·g_b')(z_b·z_b'), where they are the smaller: no tensor of a weight's
    size for each step.
    """
    n_steps, n_rows, n_out = gradients.shape
    n_in = rows.shape[2]
    is_gram = n_rows * (n_out + n_in) <= n_out * n_in
    at_once = max(1, _MOST_NUMBERS // max(1, n_rows * n_rows if is_gram else n_out * n_in))
    found = []
    for start in range(0, n_steps, at_once):
        g, z = gradients[start : start + at_once], rows[start : start + at_once]
        if is_gram:
            squares = (torch.bmm(g, g.mT) * torch.bmm(z, z.mT)).sum((1, 2))
            found.append(squares.clamp_(min=0).sqrt_())
        else:
            found.append(torch.linalg.vector_norm(torch.bmm(g.mT, z), dim=(1, 2)))
    return torch.cat(found)


def gate_of(function: str, values: Tensor, running: Tensor | None) -> Gate:
    """Statistics of values [time, batch, units] over the rows that run, bool [time, batch] or None for all."""
    n_units = values.shape[2]
    if function == "sigmoid":
        saturated = (values - 0.5).abs_() > HIGH - 0.5
    else:
        saturated = values.abs() > HIGH if function == "tanh" else values == 0
    if running is None:
        dead = saturated.all(0).all(0)
        n_rows: Tensor | int = values.shape[1]
    else:
        values, saturated = (torch.where(running.unsqueeze(2), each, 0) for each in (values, saturated))
        dead = (saturated | ~running.unsqueeze(2)).all(0).all(0)
        n_rows = running.sum(1).clamp(min=1)
    share = saturated.to(values.dtype).sum((1, 2)) / (n_rows * n_units)
    return Gate(function, values.sum((1, 2)) / (n_rows * n_units), share, dead.double().mean().item())


def first_not_finite(values: Tensor, running: Tensor | None, *, is_reversed: bool) -> tuple[int, int] | None:
    """Step and row of the first number in the order of the loop that is not finite; None where all are."""
    if not values.is_floating_point() or values.sum().isfinite():
        return None
    bad = ~values.flatten(2).isfinite().all(2) if values.dim() > 2 else ~values.isfinite()
    bad = bad if running is None else bad & running
    if not bad.any():
        return None
    steps = bad.any(1).nonzero()[:, 0]
    step = int(steps[-1 if is_reversed else 0])
    return step, int(bad[step].nonzero()[0, 0])
