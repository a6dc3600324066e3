"""Refuses what torch computes without gradients within an operation of its own.

Input: a step that is being traced. A graph has no place for "without gradients", so that its derivative would be taken
of what the plain loop takes none of: `torch.cosine_similarity` clamps the norms that it divides by so. What a step
itself turns off, its capture has refused before.
"""

from typing import Any

import torch
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode

from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import line_of_trace

_WORDS = "it calls an operation within which torch turns gradients off"


class GradientsStay(TorchDispatchMode):
    """Within, an operation of ATen that runs without gradients is refused, if there are any."""

    def __init__(self) -> None:
        super().__init__()
        self._has_gradients = torch.is_grad_enabled()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # an operation of another library runs so by itself, and brings its own derivative
        if self._has_gradients and not torch.is_grad_enabled() and function.namespace == "aten":
            raise NotTraceable(_WORDS + line_of_trace(fx.traceback.get_current_meta().get("stack_trace")))
        return function(*args, **(kwargs or {}))
