"""Recurrent layers by the names that settings and model files have for them (`--cell`).

Input: a name and sizes. Output: recurrent layers `(xs, state) -> (ys, state)`. "lstm", "gru" and "rnn" are the drop-ins
for torch's, whatever cells the folder has; every other name is a cell of `unrolled.cells`, in a `Recurrent`.
"""

import inspect
from typing import Any

from torch import nn

from unrolled import cells
from unrolled.engine.trees import Tree
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.torch_layers import GRU, LSTM, RNN

DROP_INS: dict[str, type[LSTM] | type[GRU] | type[RNN]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def _is_layer(cell: type[nn.Module]) -> bool:
    """Whether the sizes of input and state are all that a cell needs."""
    parameters = inspect.signature(cell).parameters.values()
    return [each.name for each in parameters if each.default is each.empty] == ["input_size", "hidden_size"]


#: names for `make_layers`, the drop-ins first
LAYER_NAMES = (
    *DROP_INS,
    *sorted(name for name in cells.BY_NAME.keys() - DROP_INS.keys() if _is_layer(cells.BY_NAME[name])),
)


def make_layers(
    name: str, input_size: int, hidden_size: int, layers: int = 1, *, bidirectional: bool = False, dropout: float = 0.0
) -> LSTM | GRU | RNN | Recurrent:
    """Recurrent layers by name, one of `LAYER_NAMES`.

    Args:
        name: of the layer or cell.
        input_size: features of the input.
        hidden_size: features of a layer's output, in each direction.
        layers: how many.
        bidirectional: each layer runs in both directions.
        dropout: share of the features dropped between layers in training.
    """
    if name in DROP_INS:
        between = dropout if layers > 1 else 0.0  # torch warns of dropout with one layer
        return DROP_INS[name](input_size, hidden_size, layers, bidirectional=bidirectional, dropout=between)
    cell = cells.BY_NAME[name](input_size, hidden_size)
    return Recurrent(cell, layers=layers, bidirectional=bidirectional, dropout=dropout)


def initial_state(recurrent: Any, n_rows: int) -> Tree:
    """The first state of layers of `make_layers`, [layers · directions, batch, ...]; they take it for None."""
    if isinstance(recurrent, Recurrent):
        return recurrent.initial_state(n_rows)
    n_states = recurrent.num_layers * (2 if recurrent.bidirectional else 1)
    zeros = recurrent.weight_hh_l0.new_zeros(n_states, n_rows, recurrent.hidden_size)
    return (zeros, zeros) if isinstance(recurrent, LSTM) else zeros


def start_orthogonal(recurrent: nn.Module) -> None:
    """Recurrent weights of a drop-in start orthogonal, gate by gate (A. Saxe, J. McClelland and S. Ganguli,
    arXiv:1312.6120). A cell of the folder keeps the initialization that its file has.
    """
    if not isinstance(recurrent, nn.RNNBase):
        return
    for name, parameter in recurrent.named_parameters():
        if name.startswith("weight_hh") and not parameter.is_meta:  # else it waits for its numbers from a file
            for gate in parameter.data.split(recurrent.hidden_size):
                nn.init.orthogonal_(gate)
