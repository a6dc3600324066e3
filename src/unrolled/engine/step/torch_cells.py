"""Cells of torch as steps: they return their state alone, and are called with it.

Input: a step of the user's. Output: the step that is run.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unrolled.engine.step.declared import declared
from unrolled.engine.trees import Tree

# names of torch.nn may be exchanged for others later
_LSTM_CELL = nn.LSTMCell
_CELLS = (nn.RNNCell, nn.GRUCell, _LSTM_CELL)


def as_step(step: Callable) -> Callable:
    """A cell of torch as a step, whose output is its state; any other step as it is."""
    if not isinstance(step, _CELLS):
        return step
    own = None if torch.compiler.is_compiling() else declared(step)
    return _step_of(step) if own is None else own


def _step_of(cell: nn.Module) -> Callable:
    return _first_of_state_is_output(cell) if isinstance(cell, _LSTM_CELL) else _hidden_is_output(cell)


def _hidden_is_output(cell: nn.Module) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def step(x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        result = cell(x, hidden)
        return result if isinstance(result, tuple) else (result, result)  # a subclass may be a step itself

    return step


def _first_of_state_is_output(cell: nn.Module) -> Callable[[Tensor, Tree], tuple[Tensor, Tree]]:
    def step(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, memory = cell(x, tuple(state))
        if not isinstance(memory, Tensor):  # of a subclass that is a step itself
            return hidden, memory
        return hidden, [hidden, memory] if isinstance(state, list) else (hidden, memory)

    return step
