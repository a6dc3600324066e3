"""One file a cell: the formula in plain PyTorch, its paper, its initialization; nothing else.

Every cell is a step for `unrolled.scan`: `cell(x_t, state) -> (y_t, state)`.
"""

from unrolled.cells.elman import Elman as Elman
from unrolled.cells.gru import GRU as GRU
from unrolled.cells.lstm import LSTM as LSTM
from unrolled.cells.simple_rnn import SimpleRNN as SimpleRNN
