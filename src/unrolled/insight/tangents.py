"""Linearization of a recurrence along its data: what a small change of the state becomes a step later.

Inputs: a step, the inputs and the states that it went through. Outputs: products with the Jacobians ∂s_t/∂s_{t-1}.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.insight.chains import Chain
from unrolled.insight.jacobian_products import jacobian_products
from unrolled.insight.progress import Progress

MOST_WHOLE = 128  # numbers of a state up to which Jacobians are kept whole
_MOST_NUMBERS = 1 << 25  # of all of them
# what a step raises that was not made for another number of rows
OF_OTHER_ROWS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A trajectory: a step, and what it was given.

    Attributes:
        step: `(x_t, state) -> (y_t, state)`.
        xs: inputs, each leaf [time, rows, ...].
        before: each leaf of the state before each step, [time, rows, ...].
        form: of the state's tree.
    """

    step: Callable
    xs: Tree
    before: list[Tensor]
    form: pytree.TreeSpec

    @property
    def n_steps(self) -> int:
        """Time steps."""
        return self.before[0].shape[0]

    @property
    def n_rows(self) -> int:
        """Rows."""
        return self.before[0].shape[1]

    @property
    def n_numbers(self) -> int:
        """Numbers of one row's state that can change a little, which whole numbers cannot."""
        return sum(_real(leaf[0, 0]).numel() for leaf in self.before if _can_change(leaf))

    def jacobian_product(self, t: slice, tangents: Tensor) -> Tensor:
        """What small changes become: for steps `t`, [steps · rows, numbers, k] → the same a step later."""
        x = pytree.tree_map(lambda leaf: leaf[t].flatten(0, 1), self.xs)
        before = [leaf[t].flatten(0, 1) for leaf in self.before]
        moving = [_real(leaf) for leaf in before if _can_change(leaf)]

        def next_state(*leaves: Tensor) -> tuple[Tensor, ...]:
            rest = iter(leaves)
            given = [_as(next(rest), leaf) if _can_change(leaf) else leaf for leaf in before]
            after = pytree.tree_leaves(self.step(x, pytree.tree_unflatten(given, self.form))[1])
            return tuple(_real(leaf) for leaf in after if _can_change(leaf))

        sizes = [leaf[0].numel() for leaf in moving]
        split = tangents.permute(2, 0, 1).split(sizes, 2)
        split = [part.reshape(-1, *leaf.shape).to(leaf.dtype) for part, leaf in zip(split, moving, strict=True)]

        after = jacobian_products(next_state, moving, split)
        return torch.cat([leaf.flatten(2) for leaf in after], 2).permute(1, 2, 0).double()


class Linear:
    """Products with the Jacobians of a path: kept whole where the state is small, else made when asked for.

    Args:
        path: the trajectory.
        progress: told of each product.
    """

    def __init__(self, path: Trajectory, progress: Progress | None = None) -> None:
        self._progress = progress or Progress()
        self.path, self.n_steps, self.n_rows, self.n = path, path.n_steps, path.n_rows, path.n_numbers
        self._whole: Tensor | None = None
        if self.n <= MOST_WHOLE and _is_by_row(path):
            at_once = max(1, _MOST_NUMBERS // 4 // max(1, self.n_rows * self.n**2))
            parts = []
            for start in range(0, self.n_steps, at_once):
                steps = slice(start, min(start + at_once, self.n_steps))
                n = (steps.stop - steps.start) * self.n_rows
                eye = torch.eye(self.n, dtype=torch.float64, device=path.before[0].device).expand(n, -1, -1)
                parts.append(path.jacobian_product(steps, eye).unflatten(0, (-1, self.n_rows)))
            self._whole = torch.cat(parts)

    def times(self, t: int, tangents: Tensor) -> Tensor:
        """J_t · tangents, float64 [rows, numbers, k]."""
        self._progress.step()
        if self._whole is not None:
            return self._whole[t] @ tangents
        return self.path.jacobian_product(slice(t, t + 1), tangents)


def trajectory_of(chain: Chain, most_rows: int, n_finite: int) -> Trajectory:
    """The trajectory of some of a chain's longest rows, up to its first step that is not finite."""
    active = chain.active
    lengths = torch.full((chain.n_rows,), chain.n_steps) if active is None else active.sum(0)
    longest = int(lengths.max())
    rows = (lengths == longest).nonzero()[:, 0]
    begin = 0 if active is None else int(active[:, rows[0]].int().argmax())
    end = min(begin + longest, n_finite)
    before, form = chain.states_before(), pytree.tree_structure(chain.scans[0].arguments.state)
    rows = rows[torch.linspace(0, len(rows) - 1, min(most_rows, len(rows))).long()].to(before[0].device)

    def path(rows: Tensor) -> Trajectory:
        part = lambda leaf: leaf[begin:end].index_select(1, rows)
        return Trajectory(chain.step, pytree.tree_map(part, chain.inputs()), [part(leaf) for leaf in before], form)

    found = path(rows)
    # a step may hold tensors with a row for each of the batch: then it runs with all of them
    return found if _follows(found, 1) else path(torch.arange(chain.n_rows, device=rows.device))


def n_finite_steps(chain: Chain) -> int:
    """How many steps a chain has before a state is not finite."""
    bad = torch.zeros(chain.n_steps, dtype=torch.bool)
    for leaf in chain.states():
        bad |= ~leaf.flatten(1).isfinite().all(1).cpu() if leaf.is_floating_point() else False
    return int(bad.int().argmax()) if bad.any() else chain.n_steps


def _is_by_row(path: Trajectory) -> bool:
    """Whether steps may run side by side, as rows of one batch."""
    return _follows(path, min(path.n_steps - 1, 8))


def _follows(path: Trajectory, n_steps: int) -> bool:
    """Whether the step, run over some steps at once, makes the states of the path."""
    if path.n_steps <= n_steps or n_steps < 1:
        return False
    t = slice(0, n_steps)
    given = [leaf[t].flatten(0, 1) for leaf in path.before]
    x = pytree.tree_map(lambda leaf: leaf[t].flatten(0, 1), path.xs)
    try:
        with torch.no_grad():
            after = pytree.tree_leaves(path.step(x, pytree.tree_unflatten(given, path.form))[1])
    except OF_OTHER_ROWS:
        return False
    wanted = [leaf[1 : n_steps + 1].flatten(0, 1) for leaf in path.before]
    return all(
        a.shape == b.shape and torch.allclose(a.to(b.dtype), b, rtol=1e-3, atol=1e-4)
        for a, b in zip(after, wanted, strict=True)
    )


def _can_change(leaf: Tensor) -> bool:
    return leaf.is_floating_point() or leaf.is_complex()


def _real(leaf: Tensor) -> Tensor:
    return torch.view_as_real(leaf) if leaf.is_complex() else leaf


def _as(leaf: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(leaf) if like.is_complex() else leaf
