"""Nested tuples, lists and dicts of tensors, as lists: torch's pytree, with the common forms made fast."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils import _pytree as pytree

# A tensor, or nested tuples, lists and dicts of tensors. Its form is the user's choice, and only the user's step knows
# it: each leaf must be usable as what it is, so there is no narrower type that checks a user's step.
Tree: TypeAlias = Any

Step = Callable[[Tree, Tree], tuple[Tree, Tree]]  # (x_t, state) → (y_t, state)

Form = Any  # None for a tensor alone, n for a tuple of n tensors, else torch's TreeSpec


def flatten(tree: Tree) -> tuple[list[Any], Form]:
    """The leaves, and what `unflatten` needs."""
    if isinstance(tree, Tensor):
        return [tree], None
    if type(tree) is tuple and all([isinstance(leaf, Tensor) for leaf in tree]):  # noqa: C419 - a generator takes longer
        return list(tree), len(tree)
    leaves, spec = pytree.tree_flatten(tree)
    if spec.is_leaf():
        return leaves, None
    is_flat = spec.type is tuple and all(child.is_leaf() for child in spec.children())
    return leaves, spec.num_children if is_flat else spec


def unflatten(leaves: list[Any], form: Form) -> Tree:
    """The tree of such a form."""
    if form is None:
        return leaves[0]
    if isinstance(form, int):
        return tuple(leaves)
    return pytree.tree_unflatten(leaves, form)
