"""Hypothesis strategies and the cells that the laws run over, in one place."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from unrolled import cells

INPUT, HIDDEN = 3, 5

CELLS: dict[str, Callable[[], torch.nn.Module]] = {
    "elman": lambda: cells.Elman(INPUT, HIDDEN),
    "elman-relu": lambda: cells.Elman(INPUT, HIDDEN, activation=torch.relu, bias=False),
    "lstm": lambda: cells.LSTM(INPUT, HIDDEN),
    "lstm-no-bias": lambda: cells.LSTM(INPUT, HIDDEN, bias=False),
    "gru": lambda: cells.GRU(INPUT, HIDDEN),
    "gru-before": lambda: cells.GRU(INPUT, HIDDEN, reset="before"),
    "gru-before-no-bias": lambda: cells.GRU(INPUT, HIDDEN, reset="before", bias=False),
    "simple_rnn": lambda: cells.SimpleRNN(INPUT, HIDDEN, 4),
    "simple_rnn-tanh": lambda: cells.SimpleRNN(INPUT, HIDDEN, 4, activation=torch.tanh),
}

cell_names = st.sampled_from(sorted(CELLS))
seeds = st.integers(0, 2**31 - 1)
n_steps = st.sampled_from([0, 1, 2, 3, 7])
n_rows = st.sampled_from([1, 2, 5])


def make_cell(name: str, seed: int, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CELLS[name]().to(dtype)


def make_state(cell: torch.nn.Module, batch: int, seed: int, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(seed)
    zeros = cell.initHidden(batch) if isinstance(cell, cells.SimpleRNN) else cell.initial_state(batch)
    draw = lambda zero: torch.randn(zero.shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    return tuple(map(draw, zeros)) if isinstance(zeros, tuple) else draw(zeros)


def make_inputs(steps: int, batch: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, INPUT, generator=generator, dtype=torch.float64).to(dtype)
