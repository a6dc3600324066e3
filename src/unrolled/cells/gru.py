"""The GRU cell, with its reset gate before or after the recurrent product."""

from typing import Literal

import torch
from torch import Tensor, nn

from unrolled.cells._parameters import recurrent_parameters
from unrolled.errors import SettingsError


class GRU(nn.Module):
    """The gated recurrent unit.

        r_t = σ(W_r x_t + b_r + U_r h_{t-1} + d_r)
        z_t = σ(W_z x_t + b_z + U_z h_{t-1} + d_z)
        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + d_n))      reset="after", as torch.nn.GRU and cuDNN
        n_t = tanh(W_n x_t + b_n + U_n (r_t * h_{t-1}) + d_n)      reset="before", as the paper
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014. Parameters are named,
    ordered (r, z, n) and initialized as in `torch.nn.GRUCell`, so that its `state_dict` loads.

    Args:
        input_size: features of x_t, at least 1.
        hidden_size: features of h_t, at least 1.
        reset: where the reset gate acts, "after" the recurrent product or "before" it.
        bias: with b and d.
        device, dtype: of the parameters.

    Raises:
        SettingsError: another `reset`.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset: Literal["after", "before"] = "after",
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if reset not in ("after", "before"):
            raise SettingsError(f"GRU: reset={reset!r} is not known. Expected 'after' or 'before'.")
        self.input_size, self.hidden_size, self.reset, self.bias = input_size, hidden_size, reset, bias
        recurrent_parameters(self, input_size, hidden_size, n_gates=3, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """x [batch, input], hidden [batch, hidden] -> the new hidden state, as output and as state."""
        projected = nn.functional.linear(x, self.weight_ih, self.bias_ih)
        recur = recur_reset_after if self.reset == "after" else recur_reset_before
        return recur(projected, hidden, self.weight_hh, self.bias_hh)

    def initial_state(self, batch_size: int) -> Tensor:
        """Zeros [batch, hidden]."""
        return self.weight_hh.new_zeros(batch_size, self.hidden_size)


def recur_reset_after(
    projected: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The step after the input's product: projected = W x_t + b."""
    x_r, x_z, x_n = projected.chunk(3, -1)
    h_r, h_z, h_n = nn.functional.linear(hidden, weight_hh, bias_hh).chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    # reset scales only the recurrent half, as cuDNN's GRU does
    n = torch.tanh(x_n + r * h_n)
    hidden = n + z * (hidden - n)
    return hidden, hidden


def recur_reset_before(
    projected: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The step after the input's product, with two recurrent products that depend on each other."""
    size = hidden.shape[-1]
    x_gates, x_n = projected.split([2 * size, size], -1)
    weight_gates, weight_n = weight_hh.split([2 * size, size])
    bias_gates, bias_n = bias_hh.split([2 * size, size]) if bias_hh is not None else (None, None)
    r, z = torch.sigmoid(x_gates + nn.functional.linear(hidden, weight_gates, bias_gates)).chunk(2, -1)
    n = torch.tanh(x_n + nn.functional.linear(r * hidden, weight_n, bias_n))
    hidden = n + z * (hidden - n)
    return hidden, hidden
