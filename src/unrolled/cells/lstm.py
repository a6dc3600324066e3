"""The LSTM cell."""

import torch
from torch import Tensor, nn

from unrolled.cells._parameters import recurrent_parameters


class LSTM(nn.Module):
    """The long short-term memory with forget gate.

        i, f, g, o = split(W_x x_t + b_x + W_h h_{t-1} + b_h)
        c_t = σ(f) c_{t-1} + σ(i) tanh(g)
        h_t = σ(o) tanh(c_t)

    S. Hochreiter and J. Schmidhuber, Neural Computation 9, 1997; forget gate by F. Gers, J. Schmidhuber and
    F. Cummins, Neural Computation 12, 2000. The memory c_t is a sum along which a gradient passes undamped while the
    forget gate is open: this is what meets the vanishing gradient. Parameters are named, ordered and initialized as in
    `torch.nn.LSTMCell`, so that its `state_dict` loads.

    Args:
        input_size: features of x_t, at least 1.
        hidden_size: features of h_t and c_t, at least 1.
        bias: with b_x and b_h.
        device, dtype: of the parameters.
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
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        recurrent_parameters(self, input_size, hidden_size, n_gates=4, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [batch, input], state (h, c), each [batch, hidden] -> h and the new (h, c)."""
        projected = nn.functional.linear(x, self.weight_ih, self.bias_ih)
        return recur(projected, state, self.weight_hh, self.bias_hh)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Zeros (h, c), each [batch, hidden]."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros


def recur(
    projected: Tensor,
    state: tuple[Tensor, Tensor],
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The step after the input's product: projected = W_x x_t + b_x. With `weight_hr` the hidden state is W_r h_t
    (H. Sak, A. Senior and F. Beaufays, Interspeech 2014).
    """
    hidden, memory = state
    # torch.nn.LSTM's gate order, so that its weights load without a permutation
    i, f, g, o = (projected + nn.functional.linear(hidden, weight_hh, bias_hh)).chunk(4, -1)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(memory)
    if weight_hr is not None:
        hidden = nn.functional.linear(hidden, weight_hr)
    return hidden, (hidden, memory)
