"""How long each unit keeps what it knows, and which units move.

Inputs: states of a chain, Jacobians along it. Outputs: forgetting times, dead units, effective rank.
"""

import torch
from torch import Tensor

from unrolled.insight.tangents import Linear

_STARTS = 4
_MOST_DIRECTIONS = 128
_STILL = 1e-3  # a unit that moves less than this share of what states are is dead


def forgetting_times(linear: Linear) -> tuple[Tensor, Tensor]:
    """Steps until a small change of a unit has halved, in whichever units it has gone on.

    Args:
        linear: Jacobians along a path.

    Returns:
        `(units, steps)`: the numbers of the state that were looked at, all up to 128 of them, int64 [units]; and
        float64 [units], the median over rows and four starting points in the first half. What has not halved by the
        end has the steps that were left: those are a lower bound.
    """
    n = linear.n
    units = torch.linspace(0, n - 1, min(n, _MOST_DIRECTIONS)).long()
    first = torch.eye(n, dtype=torch.float64)[:, units].to(linear.path.before[0].device)
    found = []
    for start in starts_in(linear.n_steps):
        changes = first.expand(linear.n_rows, -1, -1)
        times = torch.full((linear.n_rows, len(units)), float(linear.n_steps - start), dtype=torch.float64)
        size, is_there = torch.ones_like(times), torch.ones_like(times, dtype=torch.bool)
        for t in range(start, linear.n_steps):
            changes = linear.times(t, changes)
            now = torch.linalg.vector_norm(changes, dim=1).cpu()
            falls = is_there & (now <= 0.5)
            # between two steps as if it fell evenly
            part = ((2 * size).log() / (size / now.clamp(min=1e-30)).log()).clamp(0, 1)
            times = torch.where(falls, t - start + part, times)
            size, is_there = now, is_there & ~falls
            if not is_there.any():
                break
        found.append(times)
    return units, torch.cat(found).median(0).values


def starts_in(n_steps: int) -> list[int]:
    """The steps at which small changes begin, in the first half of a path."""
    most = max(1, n_steps // 2)
    return sorted({int(each) for each in torch.linspace(0, n_steps - most, _STARTS)})


def dead_units(states: Tensor, running: Tensor | None, *, is_bounded: bool) -> Tensor:
    """Which units hardly move, whatever the input, bool [units].

    Args:
        states: one leaf of the state, [time, rows, ...].
        running: bool [time, rows], or None for all.
        is_bounded: the step's states are bounded by σ or tanh, so that what is far below a hundredth is nothing.
    """
    values = _chosen(states, running)
    if not len(values):
        return torch.zeros(values.shape[1], dtype=torch.bool)
    level = values.square().mean().sqrt()
    return values.std(0, correction=0) <= _STILL * level.clamp(min=0.01 if is_bounded else 0)


def effective_rank(states: Tensor, running: Tensor | None) -> float:
    """How many directions the states fill: exp of the entropy of their singular values (Roy and Vetterli 2007).

    Args:
        states: one leaf of the state, [time, rows, ...].
        running: bool [time, rows], or None for all.

    Returns:
        From 1, all on a line, to the number of units; 0 where nothing moves.
    """
    values = _chosen(states, running)
    values = values[torch.linspace(0, len(values) - 1, min(len(values), 4096)).long()]
    if not len(values):
        return 0.0
    sizes = torch.linalg.svdvals(values - values.mean(0))
    shares = sizes / sizes.sum()
    shares = shares[shares > 1e-12]
    return (-(shares * shares.log()).sum()).exp().item() if len(shares) else 0.0


def _chosen(states: Tensor, running: Tensor | None) -> Tensor:
    """[all steps and rows that run, units]"""
    values = torch.view_as_real(states) if states.is_complex() else states
    values = values.double().flatten(2) if values.dim() > 2 else values.double().unsqueeze(2)
    values = values.flatten(0, 1) if running is None else values[running.to(values.device)]
    return values[values.isfinite().all(1)]
