"""Recurrent layers: drop-ins for `torch.nn.RNN`, `LSTM` and `GRU`, defined by the cells' steps and `scan`.

Comes in: a sequence and first states, as torch.nn's layers take them. Goes out: the outputs and last states, likewise.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.cells import elman, gru, lstm
from unrolled.errors import NotFusedError, SettingsError
from unrolled.scan import ENGINES, Engine, scan

_SAME_AS_TORCH = """

    Same constructor arguments, parameters, names in the `state_dict`, initialization, inputs (2-D, 3-D and
    `PackedSequence`), outputs and errors as `torch.nn.{name}`, of which it is a subclass; weights load both ways.

    Args:
        engine: "auto" takes the fastest way, in this version torch's own implementation; "eager" runs the definition,
            a scan of the cell's step; "fused" raises `NotFusedError` in this version.
    """


class _Layer(nn.RNNBase):
    """What the three layers share: stacking, directions, dropout between layers, and the forms of input."""

    engine: Engine

    def _set_engine(self, engine: Engine) -> None:
        if engine not in ENGINES:
            raise SettingsError(f"{type(self).__name__}: engine={engine!r} is not known. Expected one of {ENGINES}.")
        self.engine = engine

    def forward(self, input: Any, hx: Any = None) -> Any:
        """See torch.nn; `input` [time, batch, input], or as `batch_first` and 2-D input say."""
        if self.engine == "auto":
            return super().forward(input, hx)
        if self.engine == "fused":
            raise NotFusedError(
                f"{type(self).__name__}: engine='fused' was asked for, and this version of unrolled has no compiled "
                "loop yet. Pass engine='auto'."
            )
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: expected 2-D or 3-D input, got {input.dim()}-D.")
        is_batched = input.dim() == 3
        axis = (0 if self.batch_first else 1) if is_batched else 1
        if not is_batched:
            input, hx = input.unsqueeze(1), _each(hx, lambda state: state.unsqueeze(1))
        elif self.batch_first:
            input = input.transpose(0, 1)
        output, states = self._forward_padded(input, self._first_states(input, hx), None)
        if not is_batched:
            return output.squeeze(axis), _each(states, lambda state: state.squeeze(1))
        return (output.transpose(0, 1) if self.batch_first else output), states

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        in_order = PackedSequence(packed.data, packed.batch_sizes)
        padded, lengths = pad_packed_sequence(in_order)
        to_sorted, to_unsorted = packed.sorted_indices, packed.unsorted_indices
        if to_sorted is not None:
            hx = _each(hx, lambda state: state.index_select(1, to_sorted))
        output, states = self._forward_padded(padded, self._first_states(padded, hx), lengths)
        data = pack_padded_sequence(output, lengths).data
        if to_unsorted is not None:
            states = _each(states, lambda state: state.index_select(1, to_unsorted))
        return PackedSequence(data, packed.batch_sizes, to_sorted, to_unsorted), states

    def _first_states(self, input: Tensor, hx: Any) -> Any:
        """The given states, held to their shapes by torch's own checks, or zeros."""
        if hx is None:
            n = self.num_layers * (2 if self.bidirectional else 1)
            hidden = input.new_zeros(n, input.shape[1], self.proj_size or self.hidden_size)
            if self.mode != "LSTM":
                hx = hidden
            else:
                hx = (hidden, input.new_zeros(n, input.shape[1], self.hidden_size))
        # torch reads the batch off this axis
        self.check_forward_args(input.transpose(0, 1) if self.batch_first else input, hx, None)
        return hx

    def _forward_padded(self, xs: Tensor, states: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """xs [time, batch, input]; states with [layers · directions, batch, hidden]."""
        is_lstm = isinstance(states, tuple)
        last: list[Any] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(2 if self.bidirectional else 1):
                suffix = f"l{layer}{'_reverse' if direction else ''}"
                row = len(last)
                first = _each(states, lambda state: state[row])  # noqa: B023 - called at once
                ys, state = self._scan(xs, first, suffix, lengths, is_reversed=bool(direction))
                outputs.append(ys)
                last.append(state)
            xs = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and self.training and layer < self.num_layers - 1:
                xs = nn.functional.dropout(xs, self.dropout)
        if is_lstm:
            return xs, tuple(torch.stack(each) for each in zip(*last, strict=True))
        return xs, torch.stack(last)

    def _scan(
        self, xs: Tensor, state: Any, suffix: str, lengths: Tensor | None, *, is_reversed: bool
    ) -> tuple[Tensor, Any]:
        bias_ih, bias_hh = (getattr(self, f"bias_{half}_{suffix}") if self.bias else None for half in ("ih", "hh"))
        weight_hh = getattr(self, f"weight_hh_{suffix}")
        weight_hr = getattr(self, f"weight_hr_{suffix}") if self.proj_size else None
        # the input's product for all time steps at once
        projected = nn.functional.linear(xs, getattr(self, f"weight_ih_{suffix}"), bias_ih)

        def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self._recur(x, state, weight_hh, bias_hh, weight_hr)

        return scan(step, projected, state, lengths=lengths, reverse=is_reversed, engine="eager")

    def _recur(
        self, projected: Tensor, state: Any, weight_hh: Tensor, bias_hh: Tensor | None, weight_hr: Tensor | None
    ) -> tuple[Tensor, Any]:
        raise AssertionError("each layer has its own")


class RNN(_Layer, nn.RNN):
    __doc__ = "The Elman recurrence h_t = f(W_x x_t + b_x + W_h h_{t-1} + b_h)." + _SAME_AS_TORCH.format(name="RNN")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        engine: Engine = "auto",
    ) -> None:
        nn.RNN.__init__(
            self,
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self._set_engine(engine)

    def _recur(
        self, projected: Tensor, state: Any, weight_hh: Tensor, bias_hh: Tensor | None, weight_hr: Tensor | None
    ) -> tuple[Tensor, Any]:
        activation = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return elman.recur(projected, state, weight_hh, bias_hh, activation)


class LSTM(_Layer, nn.LSTM):
    __doc__ = (
        "The long short-term memory; formula in `unrolled.cells.LSTM`, with `proj_size` as in torch."
        + _SAME_AS_TORCH.format(name="LSTM")
    )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        engine: Engine = "auto",
    ) -> None:
        nn.LSTM.__init__(
            self,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
        )
        self._set_engine(engine)

    def _recur(
        self, projected: Tensor, state: Any, weight_hh: Tensor, bias_hh: Tensor | None, weight_hr: Tensor | None
    ) -> tuple[Tensor, Any]:
        return lstm.recur(projected, state, weight_hh, bias_hh, weight_hr)


class GRU(_Layer, nn.GRU):
    __doc__ = (
        "The gated recurrent unit with its reset after the product; formula in `unrolled.cells.GRU`."
        + _SAME_AS_TORCH.format(name="GRU")
    )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        engine: Engine = "auto",
    ) -> None:
        nn.GRU.__init__(
            self,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self._set_engine(engine)

    def _recur(
        self, projected: Tensor, state: Any, weight_hh: Tensor, bias_hh: Tensor | None, weight_hr: Tensor | None
    ) -> tuple[Tensor, Any]:
        return gru.recur_reset_after(projected, state, weight_hh, bias_hh)


def _each(states: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Applies a change to a state, or to each half of an LSTM's pair."""
    if states is None:
        return None
    return tuple(change(state) for state in states) if isinstance(states, tuple) else change(states)
