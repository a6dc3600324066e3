"""The cell of the classic PyTorch tutorial on recurrent networks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SimpleRNN(nn.Module):
    """The recurrent network of the well-known listing: two linear layers over the input and the hidden state.

        hidden_t = f(i2h([x_t, hidden_{t-1}]))
        output_t = log_softmax(i2o([x_t, hidden_{t-1}]))

    As in the listing, f is the identity unless `activation` says otherwise, so the hidden state is linear in the one
    before. It is a step for `unrolled.scan` as it stands: `scan(rnn, xs, rnn.initHidden())`.

    Args:
        input_size: features of the input, at least 1.
        hidden_size: features of the hidden state, at least 1.
        output_size: number of classes, at least 1.
        activation: f, any function that keeps the shape of a tensor, such as `torch.tanh`; None for the identity.

    Example:
        >>> import torch, unrolled
        >>> rnn = unrolled.cells.SimpleRNN(4, 8, 3)
        >>> output, hidden = rnn(torch.randn(1, 4), rnn.initHidden())
        >>> output.exp().sum().round(decimals=4).item()
        1.0
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.activation = activation
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """input [batch, input], hidden [batch, hidden] -> log-probabilities [batch, output], the new hidden state."""
        combined = torch.cat((input, hidden), 1)
        hidden = self.i2h(combined)
        if self.activation is not None:
            hidden = self.activation(hidden)
        output = self.softmax(self.i2o(combined))
        return output, hidden

    def initHidden(self, batch_size: int = 1) -> Tensor:  # noqa: N802 - the listing's name
        """Zeros [batch, hidden]; a batch of one, as in the listing, unless told otherwise."""
        return self.i2h.weight.new_zeros(batch_size, self.hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        """`initHidden` by the name that all cells have."""
        return self.initHidden(batch_size)
