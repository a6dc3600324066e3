"""Which unit a language model writes next.

Inputs: scores of all units. Outputs: the number of one.
"""

import math

import torch
from torch import Tensor

from unrolled.data.units import Chars, Units
from unrolled.errors import ModelFileError


def sample(
    logits: Tensor, units: Units, temperature: float, top_k: int, top_p: float, generator: torch.Generator
) -> int:
    """A unit, drawn from scores [units], logits or log-probabilities; see `GenerateSettings`."""
    if logits.isnan().any():
        raise ModelFileError("the model's scores are not numbers: its weights are damaged, or too large. Train anew")
    if isinstance(units, Chars):
        logits[0] = -math.inf  # it stands for characters that have no name
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / temperature, 0).sort(descending=True)
    if top_k:
        probabilities[top_k:] = 0
    # a unit stays while those before it do not reach top_p yet
    probabilities[probabilities.cumsum(0) - probabilities >= top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])
