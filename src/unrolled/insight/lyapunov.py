"""Lyapunov exponents: how fast nearby states come together or drift apart, along real data.

Inputs: a step, inputs, a first state. Outputs: the leading exponents, in 1/step.
"""

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Step, Tree
from unrolled.errors import ShapeError
from unrolled.insight.tangents import Linear, Trajectory

_LEAST = 1e-30  # what vanishes within one step counts as this
_WARM_UP = 300  # steps, of several passes where the sequence is shorter


def lyapunov_exponents(step: Step, xs: Tree, state: Tree, *, n: int = 8, every: int = 1) -> Tensor:
    """The leading Lyapunov exponents of a recurrence along a sequence.

    k directions are carried along by Jacobian-vector products, and made orthogonal by QR (Benettin et al. 1980; for
    recurrent networks Vogt et al. 2022). Whole Jacobians are made of small states alone. A negative first exponent -λ
    means that what a state knows fades by exp(-λ) at each step; a positive one that small differences grow, and the
    gradient with them; near 0 both live long.

    Args:
        step: as `scan` takes it.
        xs: inputs, a tensor [time, rows, ...] or a tree of such.
        state: the first state, each leaf [rows, ...].
        n: how many; at most as many as a row's state has numbers.
        every: steps between two QRs; more than 1 is faster where no direction grows much.

    Returns:
        float64 [n], the largest first, in natural logarithms per step, the mean over rows.

    Raises:
        ShapeError: there is no time step, or `n` or `every` is below 1.

    Note:
        The logarithms of the steps are weighted by exp(-1/(u(1-u))), u the share of the time: the mean over a periodic
        or steady motion so converges faster than any power of the number of steps (Das et al. 2017).

    Example:
        >>> import torch
        >>> from unrolled.insight.lyapunov import lyapunov_exponents
        >>> halves = torch.tensor([0.5, 0.25])
        >>> exponents = lyapunov_exponents(lambda x, h: (h, halves * h + x), torch.zeros(50, 1, 2), torch.zeros(1, 2))
        >>> exponents.exp()
        tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    leaves, form = pytree.tree_flatten(state)
    n_steps = pytree.tree_leaves(xs)[0].shape[0]
    if not n_steps or n < 1 or every < 1:
        raise ShapeError(f"lyapunov_exponents: {n_steps} steps, n={n}, every={every}. Expected at least 1 of each.")
    passed: list[list[Tensor]] = []
    with torch.no_grad():
        now = leaves
        for t in range(n_steps):
            passed.append(now)
            x = pytree.tree_map(lambda leaf, t=t: leaf[t], xs)
            now = pytree.tree_leaves(step(x, pytree.tree_unflatten(now, form))[1])
    before = [torch.stack(each) for each in zip(*passed, strict=True)]
    return exponents_of(Linear(Trajectory(step, xs, before, form)), n=n, every=every)


def exponents_of(linear: Linear, *, n: int, every: int = 1) -> Tensor:
    """As `lyapunov_exponents`, of Jacobians along a path."""
    n_passes = n_of_passes(linear.n_steps) - 1
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(linear.n_rows, linear.n, min(n, linear.n), generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(first.to(linear.path.before[0].device))[0]
    for _ in range(n_passes):  # the directions find their place; then they count
        directions, _ = _pass(linear, directions, every)
    _, logs = _pass(linear, directions, every)
    share = (torch.arange(len(logs), dtype=torch.float64) + 0.5) / len(logs)
    weights = (-1 / (share * (1 - share))).exp().view(-1, 1, 1)
    weights = weights.to(logs.device)
    found = (weights * logs).sum(0) / weights.sum() * len(logs) / linear.n_steps
    return found.mean(0).sort(descending=True).values.cpu()


def n_of_passes(n_steps: int) -> int:
    """How often the exponents of a sequence go through it: until the directions have found their place, and once."""
    return -(-_WARM_UP // n_steps) + 1


def _pass(linear: Linear, directions: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """The directions after the sequence, and by how much they grew, log [QRs, rows, k]."""
    logs = []
    for t in range(linear.n_steps):
        directions = linear.times(t, directions)
        if (t + 1) % every == 0 or t + 1 == linear.n_steps:
            directions, growth = torch.linalg.qr(directions)
            logs.append(growth.diagonal(dim1=1, dim2=2).abs().clamp(min=_LEAST).log())
    return directions, torch.stack(logs)
