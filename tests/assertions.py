"""The one tolerance rule of the project, and the gradients that it is applied to."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

FEW = 16


def assert_as_exact_as(ours: Any, yardstick: Any, oracle: Any) -> None:
    """Each tensor's error against the float64 oracle is at most twice the yardstick's in the same dtype, plus one
    rounding unit; both in units of 1 or of the tensor's largest value.

    A tensor's error is the root of the mean of its entries' squared errors: the largest of a few roundings is a matter
    of luck, their mean is not. For a tensor of few entries even the mean is, so there the yardstick is the largest
    error among all the run's tensors.
    """
    leaves = [pytree.tree_leaves(tree) for tree in (ours, yardstick, oracle)]
    assert len(leaves[0]) == len(leaves[1]) == len(leaves[2])
    errors = []
    for a, b, exact in zip(*leaves, strict=True):
        assert a.shape == b.shape == exact.shape
        assert a.dtype == b.dtype
        assert exact.dtype == torch.float64
        if a.numel():
            unit = max(1.0, exact.abs().max().item())
            error, allowed = ((value.double() - exact).square().mean().sqrt().item() / unit for value in (a, b))
            errors.append((error, allowed, a.numel(), torch.finfo(a.dtype).eps))
    largest = max([0.0, *(allowed for _, allowed, _, _ in errors)])
    for error, allowed, n_entries, rounding in errors:
        limit = 2 * (largest if n_entries < FEW else allowed) + rounding
        assert error <= limit, f"error {error:.3g}, yardstick {allowed:.3g}, limit {limit:.3g}"


def assert_equal(ours: Any, theirs: Any) -> None:
    """The same structure and the same bits."""
    ours, ours_spec = pytree.tree_flatten(ours)
    theirs, theirs_spec = pytree.tree_flatten(theirs)
    assert ours_spec == theirs_spec
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert a.dtype == b.dtype
        assert torch.equal(a, b), f"differ by up to {(a - b).abs().max()}"


def values_and_gradients(run: Callable[..., Any], inputs: Any, parameters: list[Tensor]) -> list[Tensor]:
    """What `run(inputs)` gives, and the gradients of a fixed mixture of it to all floating inputs and parameters."""
    inputs = pytree.tree_map(
        lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), inputs, is_leaf=torch.is_tensor
    )
    outputs = pytree.tree_leaves(run(inputs))
    generator = torch.Generator().manual_seed(7)
    total = sum(
        (out * torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)).sum() for out in outputs
    )
    wanted = [leaf for leaf in pytree.tree_leaves(inputs) if leaf.requires_grad] + parameters
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    kept = [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, wanted, strict=True)]
    return [out.detach() for out in outputs] + kept


def to_dtype(tree: Any, dtype: torch.dtype) -> Any:
    """The tree with its floating tensors in another dtype."""
    return pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)
