"""The Elman cell, with any activation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unrolled.cells._parameters import recurrent_parameters


class Elman(nn.Module):
    """h_t = f(W_x x_t + b_x + W_h h_{t-1} + b_h).

    J. L. Elman, "Finding Structure in Time", Cognitive Science 14, 1990. Parameters are named and initialized as in
    `torch.nn.RNNCell`, so that its `state_dict` loads.

    Args:
        input_size: features of x_t, at least 1.
        hidden_size: features of h_t, at least 1.
        activation: f, any function that keeps the shape of a tensor.
        bias: with b_x and b_h.
        device, dtype: of the parameters.

    Example:
        >>> import torch, unrolled
        >>> cell = unrolled.cells.Elman(3, 5, activation=torch.relu)
        >>> ys, last = unrolled.scan(cell, torch.randn(7, 2, 3), cell.initial_state(2))
        >>> ys.shape
        torch.Size([7, 2, 5])
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
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.activation, self.bias = input_size, hidden_size, activation, bias
        recurrent_parameters(self, input_size, hidden_size, n_gates=1, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """x [batch, input], hidden [batch, hidden] -> the new hidden state, as output and as state."""
        projected = nn.functional.linear(x, self.weight_ih, self.bias_ih)
        return recur(projected, hidden, self.weight_hh, self.bias_hh, self.activation)

    def initial_state(self, batch_size: int) -> Tensor:
        """Zeros [batch, hidden]."""
        return self.weight_hh.new_zeros(batch_size, self.hidden_size)


def recur(
    projected: Tensor,
    hidden: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    activation: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The step after the input's product: projected = W_x x_t + b_x."""
    hidden = activation(projected + nn.functional.linear(hidden, weight_hh, bias_hh))
    return hidden, hidden
