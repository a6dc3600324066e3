"""Nested tuples, lists and dicts of tensors, as lists: torch's pytree, with the common forms made fast."""

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

Form = Any  # None for a tensor alone, n for a tuple of n tensors, else torch's TreeSpec


def flatten(tree: Any) -> tuple[list[Any], Form]:
    """The leaves, and what `unflatten` needs."""
    if isinstance(tree, Tensor):
        return [tree], None
    if type(tree) is tuple and all([isinstance(leaf, Tensor) for leaf in tree]):  # noqa: C419 - a generator takes longer
        return list(tree), len(tree)
    return pytree.tree_flatten(tree)


def unflatten(leaves: list[Any], form: Form) -> Any:
    """The tree of such a form."""
    if form is None:
        return leaves[0]
    if isinstance(form, int):
        return tuple(leaves)
    return pytree.tree_unflatten(leaves, form)
