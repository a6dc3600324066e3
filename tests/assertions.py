"""The one tolerance rule of the project, and the gradients that it is applied to."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

BEYOND = 8  # rounding units that the largest error may lie beyond the yardstick's largest


def assert_as_exact_as(ours: Any, yardstick: Any, oracle: Any, *, rounded_to: torch.dtype | None = None) -> None:
    """The one tolerance rule: each tensor is as exact as the yardstick's (the eager loop's, in the same dtype).

    Errors are those against the float64 oracle, divided by the tensor's own largest exact value. Two limits hold for
    each tensor by itself:

    - the root of the mean squared error is at most twice the yardstick's, plus one rounding unit (eps of the dtype);
    - the largest entry's error is at most the yardstick's largest, plus eight rounding units.

    A tensor that is exactly zero has errors no larger than the yardstick's. An infinity or a NaN stands where the
    oracle has the same one.

    The error of a tensor of few entries is a matter of luck: tests stack several draws of it (a larger sample, no
    wider limit). Where a step amplifies rounding, tests compare over so few steps that it does not.

    Args:
        rounded_to: the dtype of products' factors under autocast, where it is shorter than that of the results; the
            unit for the largest entry. The mean is held to the results' unit all the same.
    """
    leaves = [pytree.tree_leaves(tree) for tree in (ours, yardstick, oracle)]
    assert len(leaves[0]) == len(leaves[1]) == len(leaves[2])
    for number, (a, b, exact) in enumerate(zip(*leaves, strict=True)):
        assert a.shape == b.shape == exact.shape
        assert a.dtype == b.dtype
        assert exact.dtype == torch.float64
        name, is_finite = f"tensor {number} of shape {list(a.shape)}", exact.isfinite()
        for value in (a, b):
            same = value.double()[~is_finite].allclose(exact[~is_finite], rtol=0, atol=0, equal_nan=True)
            assert same, f"{name} differs where the oracle is not finite"
        if is_finite.any():
            _assert_close(name, *(each[is_finite] for each in (a, b, exact)), rounded_to or a.dtype)


def _assert_close(name: str, ours: Tensor, yardstick: Tensor, exact: Tensor, rounded_to: torch.dtype) -> None:
    unit = exact.abs().max().item()
    errors, allowed = ((value.double() - exact).abs() for value in (ours, yardstick))
    if unit == 0:
        assert errors.max() <= allowed.max(), f"{name} is zero: error {errors.max():.3g}, yardstick {allowed.max():.3g}"
        return
    mean, mean_allowed = ((each / unit).square().mean().sqrt().item() for each in (errors, allowed))
    limit = 2 * mean_allowed + torch.finfo(ours.dtype).eps
    assert mean <= limit, f"{name}: error {mean:.3g}, yardstick {mean_allowed:.3g}"  # false of a NaN
    largest, largest_allowed = (each.max().item() / unit for each in (errors, allowed))
    limit = largest_allowed + BEYOND * torch.finfo(rounded_to).eps
    assert largest <= limit, f"{name}: largest error {largest:.3g}, yardstick {largest_allowed:.3g}"


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
