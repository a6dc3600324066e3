"""Calls that only the eager loop serves, whatever the step is.

Inputs: the leaves of a call, and the context that it is made in. Outputs: none, or the reason as an exception. The
checks read no step and no plan, so they stand apart from the caches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.engine.backends.registry import backend_for
from unrolled.engine.context import is_autocast, why_definition
from unrolled.engine.reasons import NotTraceable, RunsEagerly


def check_context() -> None:
    """Where only the eager loop serves."""
    reason = why_definition()
    if reason is not None:
        raise RunsEagerly(reason)
    if is_autocast():
        raise NotTraceable("it runs under autocast")


def has_plain_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether each tensor's numbers lie in memory as they are: not those of a negated or conjugated view, nor those
    that are not there, as in a storage that was freed.
    """
    return all([each.data_ptr() and not each.is_neg() and not each.is_conj() for each in tensors])  # noqa: C419 - a generator takes longer


def with_plain_memory(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, each with its numbers in memory as they are.

    Raises:
        RunsEagerly: one has no memory.
    """
    if has_plain_memory(tensors):
        return list(tensors)
    plain = [each.resolve_conj().resolve_neg() for each in tensors]
    if any(not each.data_ptr() and each.numel() for each in plain):
        raise RunsEagerly("a tensor has no memory of its own")
    return plain


def check_rows(xs: list[Tensor], states: list[Tensor]) -> None:
    """Shapes that only the eager loop serves."""
    if xs[0].shape[0] == 0:
        raise RunsEagerly("there are no time steps")
    n_rows = xs[0].shape[1] if xs[0].dim() > 1 else None
    for leaves, axis in ((xs, 1), (states, 0)):
        for leaf in leaves:
            if leaf.dim() <= axis or leaf.shape[axis] != n_rows:
                n_rows = None
    if n_rows is None or not states:
        raise NotTraceable("its inputs and state do not share a batch axis")
    if n_rows == 0:
        raise RunsEagerly("there are no rows")
    if any(leaf.numel() == 0 for leaf in states):
        raise RunsEagerly("there are no features")
    if torch.is_grad_enabled() and any(leaf.is_inference() for leaf in (*xs, *states)):
        raise RunsEagerly("its inputs or state were made in torch.inference_mode, and gradients are enabled")


def check_kinds(xs: list[Tensor], states: list[Tensor]) -> None:
    """Dtypes and devices that only the eager loop serves."""
    leaves = [*xs, *states]
    floats = {leaf.dtype for leaf in leaves if leaf.is_floating_point()}
    if len(floats) != 1 or not floats <= {torch.float32, torch.float64, torch.bfloat16}:
        words = " and ".join(sorted(map(str, floats))) or "no floating dtype"
        raise NotTraceable(
            f"its inputs and state are of {words}; a fused loop takes one of float32, float64 and bfloat16"
        )
    for leaf in leaves:
        backend_for(leaf.device)
    if any(type(leaf) not in (Tensor, torch.nn.Parameter) for leaf in leaves):
        raise NotTraceable("its inputs or state are of a subclass of torch.Tensor")
