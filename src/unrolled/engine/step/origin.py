"""Questions of a step to a tensor that a capture answers for its own tensors: how it came about, where it lies.

Input: what torch's capture reads off tensors. Output: words for those questions, by whatever way they are asked.
"""

import inspect
import types
from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.variables import TensorVariable

from unrolled.engine.source_lines import is_of_torch

ORIGIN_WORDS = "it asks a tensor how it came about, which may differ from step to step"
#: torch's reading of an attribute of a tensor: of 2.13, of 2.14
READS = "var_getattr" if hasattr(TensorVariable, "var_getattr") else "tp_getattro_impl"
_read: Any = getattr(TensorVariable, READS)


def _is_private(name: str) -> bool:
    """Whether it is data that torch keeps with a tensor: those of a capture are of a kind of their own."""
    found = inspect.getattr_static(torch.Tensor, name)
    return name.startswith("_") and name[1] != "_" and isinstance(found, types.GetSetDescriptorType | property)


ORIGIN = frozenset(
    ("grad_fn", "is_leaf", "retains_grad", "output_nr", "grad", "_version", "_base", "_grad_fn", "data_ptr", "_is_view")
) | frozenset(filter(_is_private, dir(torch.Tensor)))


def noting_attributes(note: Callable[[str, Any], None]) -> Callable[..., Any]:
    """What stands for torch's reading of a tensor's attribute, as `torch.Tensor.is_leaf.__get__(h)` does too."""

    def read(variable: Any, translator: Any, name: str) -> Any:
        if name in ORIGIN and not is_of_torch(translator.f_code.co_filename):
            note(ORIGIN_WORDS, translator)
        return _read(variable, translator, name)

    return read
