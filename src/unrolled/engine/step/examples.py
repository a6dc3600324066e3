"""Tensors without numbers that stand for those of a call, to capture a step on or to check its guards with.

Inputs: the leaves of one time step. Outputs: tensors like them, with the sizes that a capture may leave open marked.
"""

import torch
import torch._dynamo
from torch import Tensor


def examples_of(leaves: list[Tensor], n_states: int, n_rows: int, *, is_variant: bool = False) -> list[Tensor]:
    """Tensors like these, [rows, ...], that a step may be captured on; the last ones are states. A variant differs in
    all that must not matter: strides, offset, whether it has a gradient, and whether a state is a parameter, as the
    first one may be.
    """
    made: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad():
        for i, leaf in enumerate(leaves):
            shape = (n_rows, *leaf.shape[1:])
            if is_variant:
                base = torch.empty(*shape, 2, dtype=leaf.dtype, device=leaf.device)
                each = base.requires_grad_(base.is_floating_point())[..., 1]
                if i >= len(leaves) - n_states:
                    each = torch.nn.Parameter(each.detach(), requires_grad=base.is_floating_point())
            else:
                each = torch.empty(shape, dtype=leaf.dtype, device=leaf.device)
            torch._dynamo.maybe_mark_dynamic(each, 0)
            if len(shape) > 1:
                # as torch._dynamo.mark_static does, which within torch.compile does something else
                vars(each).update(_dynamo_static_indices=set(range(1, len(shape))), _has_dynamo_dim_marking=True)
            made.append(each)
    return made
