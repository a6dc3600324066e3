"""What a probed step takes and gives beside its own inputs and outputs.

A pass writes it into a graph (`passes/taps.py`), what runs the loop reads it (`probed.py`), so it lies below both.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Product:
    """A product of rows with a weight.

    Attributes:
        weight: which of the tensors that the step reads.
        rows: ("input", i) or ("tap", i): where its rows are.
        shift: which of the zeros has its gradient.
    """

    weight: int
    rows: tuple[str, int]
    shift: int


@dataclass(frozen=True)
class Taps:
    """What is beside a step's own inputs and outputs.

    Attributes:
        n_outputs: the step's own; the taps follow.
        shifts: shape of a row and dtype of each of the zeros, which follow the step's own inputs.
        states: for each leaf of the state the tap, and the shift or None where it has no gradient.
        products: of rows with a weight, in the order of the step.
        gates: function and tap of each sigmoid, tanh and relu, in the order of the step.
    """

    n_outputs: int
    shifts: list[tuple[tuple[int, ...], torch.dtype]]
    states: list[tuple[int, int | None]]
    products: list[Product]
    gates: list[tuple[str, int]]
