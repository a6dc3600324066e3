"""Products with the Jacobian of a function by row, of any function that has a backward.

Inputs: a function of tensors [rows, ...], where it is taken, directions. Outputs: what the directions become. The file
holds three ways, from the fastest to the one that needs a backward alone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]


def jacobian_products(function: Function, point: Sequence[Tensor], directions: Sequence[Tensor]) -> list[Tensor]:
    """J · v for k directions at once.

    By forward-mode derivatives where every operation has them (`torch.func.jvp`); else by two backwards, as J · v is
    the derivative of v · Jᵀu by u; else, where a backward has no derivative of its own, by the rows of J, which takes a
    backward for each number of the state.

    Args:
        function: each row of its results, [rows, ...], depends on the same row of its arguments alone.
        point: its arguments, [rows, ...] each.
        directions: [k, rows, ...] each.

    Returns:
        [k, rows, ...] for each result.
    """

    def product(*along: Tensor) -> tuple[Tensor, ...]:
        return torch.func.jvp(function, tuple(point), along)[1]

    try:
        with torch.no_grad():
            return list(torch.func.vmap(product, randomness="same")(*directions))
    except RuntimeError:  # an operation without a forward-mode derivative, or that vmap cannot run
        pass
    with torch.enable_grad():
        given = [leaf.detach().requires_grad_() for leaf in point]
        results = function(*given)  # raises what is wrong in the function itself
        found = _by_two_backwards(results, given, directions)
        return _by_rows(results, given, directions) if found is None else found


def _by_two_backwards(
    results: Sequence[Tensor], given: Sequence[Tensor], directions: Sequence[Tensor]
) -> list[Tensor] | None:
    """None where the backward has no derivative, or one that misses a part of it."""
    # any numbers: Jᵀu is linear in u
    weights = [torch.arange(r.numel(), dtype=r.dtype, device=r.device).cos().view_as(r) for r in results]
    weights = [weight.requires_grad_() for weight in weights]
    found: list[list[Tensor]] = []
    try:
        back = _gradients(results, given, weights, create_graph=True)
        for along in zip(*directions, strict=True):
            total = torch.stack([(b * v).sum() for b, v in zip(back, along, strict=True)]).sum()
            found.append(_gradients([total], weights, None))
            again = sum((f * w).sum() for f, w in zip(found[-1], weights, strict=True))
            size = sum((f * w).abs().sum() for f, w in zip(found[-1], weights, strict=True))
            # u · Jv is v · Jᵀu, unless a part of the backward hides from autograd, as what NumPy computes
            if not (again - total).abs() <= torch.finfo(total.dtype).eps ** 0.5 * (size + total.abs()):
                return None
    except RuntimeError:
        return None
    return [torch.stack(each) for each in zip(*found, strict=True)]


def _by_rows(results: Sequence[Tensor], given: Sequence[Tensor], directions: Sequence[Tensor]) -> list[Tensor]:
    flat = torch.cat([along.flatten(2) for along in directions], 2)
    found = []
    for result in results:
        columns = []
        for column in result.flatten(1).unbind(1):
            gradients = _gradients([column], given, [torch.ones_like(column)])
            row = torch.cat([each.flatten(1) for each in gradients], 1)
            columns.append((row * flat).sum(2))
        found.append(torch.stack(columns, 2).view(-1, *result.shape))
    return found


def _gradients(
    results: Sequence[Tensor],
    given: Sequence[Tensor],
    weights: Sequence[Tensor] | None,
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    """As `torch.autograd.grad`; zeros where there is no way from one to the other."""
    kept = [i for i, result in enumerate(results) if result.requires_grad]
    if not kept:
        return [torch.zeros_like(each) for each in given]
    found = torch.autograd.grad(
        [results[i] for i in kept],
        given,
        None if weights is None else [weights[i] for i in kept],
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    return [torch.zeros_like(a) if g is None else g for a, g in zip(given, found, strict=True)]
