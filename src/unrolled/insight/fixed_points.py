"""Fixed points of a recurrence whose input rests, and what becomes of states near them.

Inputs: a step, an input, states to start from. Outputs: the points with F(h) = h, each with its Jacobian's eigenvalues.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Step, Tree
from unrolled.insight.tangents import Trajectory

MOST_NUMBERS = 256  # of a state
_ROUNDS = 100
_DONE, _STUCK = 1e-22, 1e6  # a speed, a damping
_STILL = 1e-10  # the speed ½|F(h) - h|² below which a state counts as fixed, per number of the state


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state that the step leaves as it is.

    Attributes:
        state: float64 [numbers], the leaves of the state one after the other.
        eigenvalues: complex128 [numbers], of ∂F/∂h there, the largest absolute value first.
    """

    state: Tensor
    eigenvalues: Tensor

    @property
    def is_stable(self) -> bool:
        """Whether states near it come nearer."""
        return self.eigenvalues[0].abs().item() < 1

    @property
    def n_unstable(self) -> int:
        """Directions in which states leave it."""
        return int((self.eigenvalues.abs() >= 1).sum())


def fixed_points(step: Step, x: Tree, states: Tree) -> list[FixedPoint]:
    """The fixed points of F(h) = step(x, h) near some states (Sussillo and Barak 2013).

    From each state the speed q = ½|F(h) - h|² is made small by the method of Levenberg and Marquardt, with whole
    Jacobians, so saddles are found as well as stable points. Points that lie together are one.

    Args:
        step: as `scan` takes it.
        x: an input of one step, each leaf [1, ...], which rests.
        states: where to start, each leaf [starts, ...]: take those that the network goes through.

    Returns:
        The stable ones first, then by the number of directions that leave.

    Example:
        >>> import torch
        >>> from unrolled.insight.fixed_points import fixed_points
        >>> found = fixed_points(lambda x, h: (h, (2 * h).tanh()), torch.zeros(1, 1), torch.linspace(-1, 1, 9)[:, None])
        >>> [(round(point.state.item(), 3) + 0.0, point.is_stable) for point in found]
        [(-0.958, True), (0.958, True), (0.0, False)]
    """
    leaves, form = pytree.tree_flatten(states)
    n_starts = leaves[0].shape[0]
    xs = pytree.tree_map(lambda leaf: leaf.expand(n_starts, *leaf.shape[1:]).unsqueeze(0), x)
    flat = torch.cat([leaf.detach().double().flatten(1) for leaf in leaves], 1)
    field = _Field(step, xs, leaves, form)
    found, speeds = _descend(field, flat)
    found = found[speeds <= _STILL * flat.shape[1]]
    if not len(found):
        return []
    points = _told_apart(found, flat)
    jacobians = field.jacobian(points)[1]
    values = torch.linalg.eigvals(jacobians)
    order = values.abs().argsort(1, descending=True)
    values = values.gather(1, order)
    points_found = [FixedPoint(point, each) for point, each in zip(points.cpu(), values.cpu(), strict=True)]
    return sorted(points_found, key=lambda point: (point.n_unstable, *point.state.tolist()))


class _Field:
    """F(h) - h over a batch of states, and its Jacobian, in float64 numbers."""

    def __init__(self, step: Callable, xs: Tree, like: list[Tensor], form: pytree.TreeSpec) -> None:
        self._step, self._xs, self._like, self._form = step, xs, like, form

    def __call__(self, states: Tensor) -> Tensor:
        path = self._path(states)
        x = pytree.tree_map(lambda leaf: leaf[0], path.xs)
        with torch.no_grad():
            after = self._step(x, pytree.tree_unflatten([leaf[0] for leaf in path.before], self._form))[1]
        return torch.cat([leaf.double().flatten(1) for leaf in pytree.tree_leaves(after)], 1) - states

    def jacobian(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """F(h) - h and ∂F/∂h, [states, numbers, numbers]."""
        eye = torch.eye(states.shape[1], dtype=torch.float64, device=states.device).expand(len(states), -1, -1)
        return self(states), self._path(states).jacobian_product(slice(0, 1), eye)

    def _path(self, states: Tensor) -> Trajectory:
        parts = states.split([leaf[0].numel() for leaf in self._like], 1)
        before = [
            part.reshape(-1, *leaf.shape[1:]).to(leaf.dtype) for part, leaf in zip(parts, self._like, strict=True)
        ]
        xs = pytree.tree_map(lambda leaf: leaf[:, :1].expand(1, len(states), *leaf.shape[2:]), self._xs)
        return Trajectory(self._step, xs, [leaf.unsqueeze(0) for leaf in before], self._form)


def _descend(field: _Field, states: Tensor) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt from each state: where it ends, and the speed there."""
    states = states.clone()
    speeds = torch.full((len(states),), torch.inf, dtype=torch.float64, device=states.device)
    damping = torch.full_like(speeds, 1e-2)
    eye = torch.eye(states.shape[1], dtype=torch.float64, device=states.device)
    moving = torch.arange(len(states), device=states.device)
    for _ in range(_ROUNDS):
        here = states[moving]
        error, jacobian = field.jacobian(here)
        speeds[moving] = speed = error.square().sum(1) / 2
        slope = jacobian - eye
        normal = slope.mT @ slope + damping[moving].view(-1, 1, 1) * eye
        there = here - torch.linalg.solve(normal, slope.mT @ error.unsqueeze(2))[:, :, 0]
        is_better = field(there).square().sum(1) / 2 < speed
        states[moving] = torch.where(is_better.unsqueeze(1), there, here)
        damping[moving] = torch.where(is_better, damping[moving] / 5, damping[moving] * 4).clamp(min=1e-14)
        moving = moving[(speed > _DONE) & (damping[moving] < _STUCK)]
        if not len(moving):
            break
    return states, field(states).square().sum(1) / 2


def _told_apart(points: Tensor, starts: Tensor) -> Tensor:
    """One of each group of points that lie together, by the room that the starts take."""
    room = (starts - starts.mean(0)).norm(dim=1).max().clamp(min=1e-6)
    kept: list[Tensor] = []
    for point in points:
        if all((point - each).norm() > 0.02 * room for each in kept):
            kept.append(point)
    return torch.stack(kept)
