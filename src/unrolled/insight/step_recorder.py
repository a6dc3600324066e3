"""Operations of a step that runs as the plain loop, seen one by one.

Inputs: calls of torch's functions within a step. Outputs: its gates and products; where a number first is not finite.
It stands for what `engine/passes/taps.py` reads in the graph of a step that runs fused.
"""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unrolled.cells import elman, gru, lstm
from unrolled.engine.source_lines import line_of_stack
from unrolled.engine.trees import Tree

_HERE = str(Path(__file__).parent)
_F = nn.functional
_GATES: dict[Callable, str] = {
    torch.sigmoid: "sigmoid", Tensor.sigmoid: "sigmoid", _F.sigmoid: "sigmoid",
    torch.tanh: "tanh", Tensor.tanh: "tanh", _F.tanh: "tanh",
    torch.relu: "relu", Tensor.relu: "relu", _F.relu: "relu",
}  # fmt: skip
_PRODUCTS = {_F.linear, torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}


def _lstm(
    x: Tensor, state: tuple[Tensor, Tensor], w_ih: Tensor, w_hh: Tensor, *b: Tensor | None
) -> tuple[Tensor, Tensor]:
    b_ih, b_hh = b or (None, None)
    return lstm.recur(_F.linear(x, w_ih, b_ih), state, w_hh, b_hh)[1]


def _gru(x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, *b: Tensor | None) -> Tensor:
    b_ih, b_hh = b or (None, None)
    return gru.recur_reset_after(_F.linear(x, w_ih, b_ih), state, w_hh, b_hh)[0]


def _rnn(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def cell(x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, *b: Tensor | None) -> Tensor:
        b_ih, b_hh = b or (None, None)
        return elman.recur(_F.linear(x, w_ih, b_ih), state, w_hh, b_hh, activation)[0]

    return cell


#: torch's own cells, one operation each
_CELLS: dict[Callable, Callable] = {
    torch.lstm_cell: _lstm,
    torch.gru_cell: _gru,
    torch.rnn_tanh_cell: _rnn(torch.tanh),
    torch.rnn_relu_cell: _rnn(torch.relu),
}


class StepRecorder(TorchFunctionMode):
    """The gates and products of one call of a step.

    Attributes:
        gates: function and result, in order.
        products: rows, weight and result, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[tuple[str, Tensor]] = []
        self.products: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func in _CELLS:
            with self:  # by the operations that it stands for
                return _CELLS[func](*args)
        result = func(*args, **(kwargs or {}))
        if func in _GATES and result.dim() == 2:
            self.gates.append((_GATES[func], result))
        elif func in _PRODUCTS and args[0].dim() == args[1].dim() == 2:
            self.products.append((args[0], args[1], result))
        elif func in (torch.addmm, Tensor.addmm) and len(args) == 3:
            self.products.append((args[1], args[2], result))
        return result


class _FirstNotFinite(TorchFunctionMode):
    """The line that first makes a number of a row that is not finite."""

    def __init__(self, row: int, n_rows: int) -> None:
        super().__init__()
        self.row, self.n_rows, self.line = row, n_rows, ""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if not self.line and not all(map(self._is_finite, pytree.tree_leaves(result))):
            frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(_HERE)]
            self.line = line_of_stack(frames)
        return result

    def _is_finite(self, value: object) -> bool:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape[:1] != (self.n_rows,):
            return True
        with torch._C.DisableTorchFunction():
            return bool(value[self.row].isfinite().all())


def line_not_finite(step: Callable, x: Tree, state: Tree, row: int, n_rows: int) -> str:
    """The line of the step, run again, that first makes a number of a row that is not finite; empty if not known."""
    first = _FirstNotFinite(row, n_rows)
    with torch.no_grad(), first:
        step(x, state)
    return first.line
