"""The parameters that the gated cells share, named and initialized as torch.nn does."""

import math

import torch
from torch import nn


def recurrent_parameters(
    cell: nn.Module,
    input_size: int,
    hidden_size: int,
    *,
    n_gates: int,
    bias: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Gives the cell weight_ih, weight_hh, bias_ih and bias_hh, uniform in ±1/√hidden."""
    bound = 1 / math.sqrt(hidden_size)
    rows = n_gates * hidden_size

    def uniform(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound))

    cell.weight_ih = uniform(rows, input_size)
    cell.weight_hh = uniform(rows, hidden_size)
    cell.register_parameter("bias_ih", uniform(rows) if bias else None)
    cell.register_parameter("bias_hh", uniform(rows) if bias else None)
