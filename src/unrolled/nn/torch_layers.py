"""Recurrent layers: drop-ins for `torch.nn.RNN`, `LSTM` and `GRU`, defined by the cells' steps and `scan`.

Inputs: a sequence and first states, as torch.nn's layers take them. Outputs: outputs and last states, likewise.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_overloads, overload
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unrolled import probing
from unrolled.cells import elman, gru, lstm
from unrolled.engine.backends.base import reading_in
from unrolled.engine.context import is_transformed
from unrolled.engine.explain import Explanation
from unrolled.engine.step.declared import Declared
from unrolled.engine.trees import Step, Tree
from unrolled.errors import NotFusedError, SettingsError
from unrolled.explain import explain
from unrolled.nn.autocast import is_autocast, serves_autocast
from unrolled.nn.packed import run_packed
from unrolled.nn.recurrent import run_layers
from unrolled.nn.torch_arguments import fits, has_fewer_memories, read_weights, weight_names
from unrolled.nn.torchscript import Overloads, TorchsForward
from unrolled.scan import ENGINES, Engine, checked_clip

Input = Tensor | PackedSequence
Pair = tuple[Tensor, Tensor]
State = TypeVar("State", bound=Tensor | Pair)  # [layers · directions, batch, hidden]; an LSTM's is h and c

_SAME_AS_TORCH = """

    Same constructor arguments, parameters, names in the `state_dict`, initialization, inputs (2-D, 3-D and
    `PackedSequence`), outputs and errors as `torch.nn.{name}`, of which it is a subclass; weights load both ways.

    Args:
        engine: "auto" takes the faster way, which `unrolled.explain(layer, input)` tells: on the CPU the compiled loop,
            but torch's own implementation for a large LSTM in inference, and wherever there is no compiled loop.
            "fused" runs the compiled loop, or raises `NotFusedError`; "eager" runs the definition, a scan of the
            cell's step in Python.
        clip_state_grad: clamps the gradient of h, and of an LSTM's c, at each step, as in `unrolled.scan`. Then torch's
            own implementation, which cannot, never trains the layer, but where it was traced or scripted.

    `torch.jit.trace`, `torch.jit.script`, and so the ONNX exporter that uses them, take torch's own implementation,
    whatever the engine. Under the transforms of `torch.func` and in forward mode "auto" runs the definition.

    Under `torch.autocast` on the CPU the layer answers in its weights' dtype. Where the compiled loop runs, it runs in
    that dtype, and the large products around it read autocast's.
    """


# batch · hidden up to which the compiled loop is the faster; docs/design/engine-speed.md says why
_SMALL = 4096  # than oneDNN's LSTM in inference
_LARGE = 1 << 16  # than torch's RNN and GRU under autocast, whose recurrent products are bfloat16

# not in the layer: a function can be neither copied with it nor pickled
_steps: "WeakKeyDictionary[nn.Module, dict[str, tuple[Step, list[object]]]]" = WeakKeyDictionary()


def _constructor(kind: type[nn.RNNBase]) -> Callable[..., None]:
    """Torch's constructor, which holds the arguments to their form and raises its own errors, and the engine."""

    def __init__(  # noqa: N807 - a class takes it as its own
        self: _Layer, *args: Any, engine: Engine = "auto", clip_state_grad: float | None = None, **kwargs: Any
    ) -> None:
        kind.__init__(self, *args, **kwargs)
        self._set_engine(engine)
        self.clip_state_grad = checked_clip(clip_state_grad, type(self).__name__)

    declared = inspect.signature(get_overloads(kind.__init__)[0])
    own = [*inspect.signature(__init__).parameters.values()][2:4]
    __init__.__signature__ = declared.replace(parameters=[*declared.parameters.values(), *own])  # type: ignore[attr-defined]
    return __init__


class _Layer(nn.RNNBase, Generic[State]):
    """What the three layers share: stacking, directions, dropout between layers, and the forms of input."""

    # for torch.jit.script, which has no use for the engine, and cannot read its type
    __jit_ignored_attributes__ = ("engine", "clip_state_grad")
    __overloads__ = Overloads()
    forward__0, forward__1 = TorchsForward(0), TorchsForward(1)

    engine: Engine
    clip_state_grad: float | None = None

    if TYPE_CHECKING:  # else each layer has its own by `_constructor`

        def __init__(
            self,
            input_size: int,
            hidden_size: int,
            num_layers: int = 1,
            *args: object,
            nonlinearity: Literal["tanh", "relu"] = "tanh",  # of RNN alone
            bias: bool = True,
            batch_first: bool = False,
            dropout: float = 0.0,
            bidirectional: bool = False,
            proj_size: int = 0,  # of LSTM alone
            device: torch.device | str | int | None = None,
            dtype: torch.dtype | None = None,
            engine: Engine = "auto",
            clip_state_grad: float | None = None,
        ) -> None: ...

    def _set_engine(self, engine: Engine) -> None:
        if engine not in ENGINES:
            raise SettingsError(f"{type(self).__name__}: engine={engine!r} is not known. Expected one of {ENGINES}.")
        self.engine = engine

    @overload
    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]: ...

    @overload
    def forward(self, input: PackedSequence, hx: State | None = None) -> tuple[PackedSequence, State]: ...

    def forward(self, input: Input, hx: State | None = None) -> tuple[Input, State]:
        """See torch.nn; `input` [time, batch, input], or as `batch_first` and 2-D input say."""
        if torch.compiler.is_dynamo_compiling():
            if torch.compiler.is_exporting() and self.engine == "auto":
                return super().forward(input, hx)
            if isinstance(input, Tensor) and input.device.type == "cpu":
                from unrolled.engine.torch_compile import in_graph

                return in_graph.call(self, "_forward_in_graph", self._read(), input, *(() if hx is None else (hx,)))
        elif torch._C._is_tracing():
            return super().forward(input, hx)  # torch.jit.trace keeps torch's operations; the compiled loop is none
        elif isinstance(input, Proxy):
            return _call_in_graph_of_fx(self, input, hx)
        if not fits(self, input, hx):
            return self._forward_odd(input, hx)
        if self.engine != "eager" and is_autocast(input):
            return self._forward_autocast(input, hx)
        if self.engine != "auto":
            return self._forward_scan(input, hx, self.engine)
        if self._why_torch(input) is None:
            try:
                return self._forward_scan(input, hx, "fused")
            except NotFusedError:
                pass  # torch's own implementation is the faster one then
        is_scan = is_transformed() or probing.hook() is not None or self._clips(input)
        return self._forward_scan(input, hx, "eager") if is_scan else super().forward(input, hx)

    def _forward_autocast(self, input: Input, hx: State | None) -> tuple[Input, State]:
        """The loop in the weights' dtype, the large products around it as torch.autocast has them; else torch's own."""
        dtype = next(self.parameters()).dtype
        input, hx = input.to(dtype), _each(hx, lambda state: state.to(dtype))
        if self.engine == "auto" and is_transformed():
            with torch.autocast("cpu", enabled=False):
                return self._forward_scan(input, hx, "eager")
        if self.engine == "fused" or self._why_torch(input) is None:
            reads = reading_in(torch.get_autocast_dtype("cpu"))
            try:
                with torch.autocast("cpu", enabled=False), reads:
                    return self._forward_scan(input, hx, "fused")
            except NotFusedError:
                if self.engine == "fused":
                    raise
        if self._clips(input):
            with torch.autocast("cpu", enabled=False):
                return self._forward_scan(input, hx, "eager")
        # torch's LSTM ends in an error where oneDNN lacks the processor's instructions for the dtype
        with torch.autocast("cpu", enabled=self.mode != "LSTM" or serves_autocast()):
            output, states = super().forward(input, hx)
        return output.to(dtype), _each(states, lambda state: state.to(dtype))

    def _why_torch(self, input: Input) -> str | None:
        """Why torch's own implementation runs under engine="auto"; None where the compiled loop does."""
        data = input if isinstance(input, Tensor) else input.data
        if not data.is_cpu:
            return f"the input is on {data.device}; there are no kernels for other devices than the CPU yet"
        if data.dtype not in (torch.float32, torch.float64):
            return f"the input is of {data.dtype}"
        if torch.compiler.is_compiling():
            return "it runs within torch.compile or torch.export"
        if probing.hook() is not None or self._clips(input):
            return None  # a probe sees no step of torch's own
        if self.mode != "LSTM":
            if data is input and self._n_rows(data) * self.hidden_size > _LARGE and is_autocast(input):
                return f"torch's {self.mode.split('_')[0]} is the faster one under autocast at this size"
            return None
        # oneDNN serves neither packed sequences, nor projections, nor float64
        if self.proj_size or data is not input or data.dtype == torch.float64:
            return None
        if is_autocast(input):
            return "oneDNN's LSTM is the faster one under autocast" if serves_autocast() else None
        if self._needs_backward(data) or self._n_rows(data) * self.hidden_size <= _SMALL:
            return None
        return "oneDNN's LSTM is the faster one in inference at this size"

    def _needs_backward(self, data: Tensor) -> bool:
        has_gradient = data.requires_grad or any(parameter.requires_grad for parameter in self.parameters())
        return torch.is_grad_enabled() and has_gradient

    def _clips(self, input: Input) -> bool:
        """Whether a gradient is to be clamped, which torch's own implementation does not."""
        if self.clip_state_grad is None:
            return False
        return self._needs_backward(input if isinstance(input, Tensor) else input.data)

    def _n_rows(self, input: Tensor) -> int:
        return input.shape[0 if self.batch_first else 1] if input.dim() == 3 else 1

    def explain(
        self, input: Input, hx: State | None = None, *, verbose: bool = False, timed: bool = False
    ) -> Explanation:
        """How the layer runs on such an input: of its first layer and direction, which stands for all."""
        has_autocast = self.engine != "eager" and is_autocast(input)
        if has_autocast:
            input = input.to(next(self.parameters()).dtype)
        reason = self._why_torch(input) if self.engine == "auto" else None
        if reason is None and has_autocast:
            with torch.autocast("cpu", enabled=False):
                return self.explain(input, hx, verbose=verbose, timed=timed)
        if reason is None and self.engine == "eager":
            reason = "engine='eager' was asked for"
        if reason is not None:
            path, clip = ("eager", self.clip_state_grad) if self.engine == "eager" else ("torch", None)
            return Explanation(path, reason, clip_state_grad=clip)
        if not fits(self, input, hx):
            self._forward_odd(input, hx)
        lengths = None
        if isinstance(input, PackedSequence):
            xs, lengths = pad_packed_sequence(input)
        elif input.dim() == 2:
            xs, hx = input.unsqueeze(1), _each(hx, lambda state: state.unsqueeze(1))
        else:
            xs = input.transpose(0, 1) if self.batch_first else input
        step, first, clip = self._step("l0", self._parameters), self._first_states(xs, hx)[0], self.clip_state_grad
        return explain(step, xs, first, lengths=lengths, clip_state_grad=clip, verbose=verbose, timed=timed)

    def _forward_odd(self, input: Input, hx: Tree) -> tuple[Input, State]:
        """Torch's own error for arguments that do not fit, and its result for the few that it takes all the same."""
        if isinstance(input, PackedSequence) and has_fewer_memories(hx):
            # torch's LSTM leaves this check out for packed sequences, and a segmentation fault ends the process
            self.check_forward_args(input.data, hx, input.batch_sizes)
        result = super().forward(input, hx)
        if self.engine == "fused" or self._clips(input):
            cannot = "run fused" if self.engine == "fused" else "clip the state's gradient"
            why = "the first states are of a form that torch's own implementation alone takes"
            raise NotFusedError(f"{type(self).__name__}: it cannot {cannot}: {why}.")
        return result

    def _read(self) -> tuple[int | float | str, ...]:
        """What the layer reads beside tensors."""
        sizes = self.input_size, self.hidden_size, self.proj_size, self.num_layers, self.bidirectional, self.bias
        nonlinearity = self.nonlinearity if isinstance(self, nn.RNN) else ""
        clip = str(self.clip_state_grad)  # which a graph holds as a word
        return *sizes, self.batch_first, self.dropout, self.training, self.engine, nonlinearity, clip

    def _forward_in_graph(self, input: Input, hx: State | None = None) -> tuple[Input, State]:
        if not fits(self, input, hx):
            return self._forward_odd(input, hx)
        return self._forward_scan(input, hx, self.engine)

    def _forward_scan(self, input: Input, hx: State | None, engine: Engine) -> tuple[Input, State]:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, engine)
        is_batched = input.dim() == 3
        axis = (0 if self.batch_first else 1) if is_batched else 1
        if not is_batched:
            input, hx = input.unsqueeze(1), _each(hx, lambda state: state.unsqueeze(1))
        elif self.batch_first:
            input = input.transpose(0, 1)
        output, states = self._forward_padded(input, self._first_states(input, hx), None, engine)
        if not is_batched:
            return output.squeeze(axis), _each(states, lambda state: state.squeeze(1))
        return (output.transpose(0, 1) if self.batch_first else output), states

    def _forward_packed(self, packed: PackedSequence, hx: State | None, engine: Engine) -> tuple[PackedSequence, State]:
        def run(xs: Tensor, hx: State | None, lengths: Tensor) -> tuple[Tensor, State]:
            return self._forward_padded(xs, self._first_states(xs, hx), lengths, engine)

        return run_packed(run, packed, hx)

    def _first_states(self, xs: Tensor, hx: Tree) -> Sequence[Tree]:
        """Of each layer and direction: the given states, or zeros."""
        if hx is not None:
            return list(zip(*(state.unbind() for state in hx), strict=True)) if self.mode == "LSTM" else hx.unbind()
        zeros = xs.new_zeros(xs.shape[1], self.hidden_size)
        state: Tensor | Pair = zeros
        if self.mode == "LSTM":
            state = (xs.new_zeros(xs.shape[1], self.proj_size) if self.proj_size else zeros, zeros)
        return [state] * (self.num_layers * (2 if self.bidirectional else 1))

    def _forward_padded(
        self, xs: Tensor, states: Sequence[Tree], lengths: Tensor | None, engine: Engine
    ) -> tuple[Tensor, Tree]:
        """xs [time, batch, input]; states [batch, hidden] of each layer and direction."""
        read = read_weights(self)
        steps = [
            (self._step(f"l{layer}", read), self._step(f"l{layer}_reverse", read))
            if self.bidirectional
            else (self._step(f"l{layer}", read),)
            for layer in range(self.num_layers)
        ]
        dropout, clip = self.dropout if self.training else 0.0, self.clip_state_grad
        xs, last = run_layers(steps, xs, states, lengths=lengths, dropout=dropout, engine=engine, clip=clip)
        return xs, tuple(map(_stacked, zip(*last, strict=True))) if self.mode == "LSTM" else _stacked(last)

    def _weights(self, suffix: str, read: Mapping[str, Tensor | None]) -> list[Tensor | None]:
        """weight_ih, weight_hh, bias_ih, bias_hh and weight_hr of one layer and direction."""
        names = weight_names(suffix, has_bias=self.bias, has_projection=self.proj_size > 0)
        return [None if name is None else read[name] if name in read else getattr(self, name) for name in names]

    def _step(self, suffix: str, read: Mapping[str, Tensor | None]) -> Step:
        """The step of one layer and direction: the same function as long as its weights are the same."""
        weights = self._weights(suffix, read)
        made_of = [*weights, vars(self).get("nonlinearity")]
        known = _steps.get(self)
        if known is not None and suffix in known:
            step, then = known[suffix]
            if all(map(is_, made_of, then)):
                return step
        step = self._step_of(weights)
        # other weights are of one call: computed ones hold its graph
        if all(weight is None or type(weight) is nn.Parameter for weight in weights):
            _steps.setdefault(self, {})[suffix] = step, made_of
        return step

    def _step_of(self, weights: list[Tensor | None]) -> Step:
        raise AssertionError("each layer has its own")


class RNN(_Layer[Tensor], nn.RNN):
    __doc__ = "The Elman recurrence h_t = f(W_x x_t + b_x + W_h h_{t-1} + b_h)." + _SAME_AS_TORCH.format(name="RNN")

    if not TYPE_CHECKING:
        __init__ = _constructor(nn.RNN)

    def _step_of(self, weights: list[Tensor | None]) -> Step:
        return Declared(_rnn_step, (self.nonlinearity,), weights[:4])


class LSTM(_Layer[Pair], nn.LSTM):
    __doc__ = (
        "The long short-term memory; formula in `unrolled.cells.LSTM`, with `proj_size` as in torch."
        + _SAME_AS_TORCH.format(name="LSTM")
    )

    if not TYPE_CHECKING:
        __init__ = _constructor(nn.LSTM)

    def _step_of(self, weights: list[Tensor | None]) -> Step:
        return Declared(_lstm_step, (), weights)


class GRU(_Layer[Tensor], nn.GRU):
    __doc__ = (
        "The gated recurrent unit with its reset after the product; formula in `unrolled.cells.GRU`."
        + _SAME_AS_TORCH.format(name="GRU")
    )

    if not TYPE_CHECKING:
        __init__ = _constructor(nn.GRU)

    def _step_of(self, weights: list[Tensor | None]) -> Step:
        return Declared(_gru_step, (), weights[:4])


def _call_in_graph_of_fx(layer: nn.Module, input: Proxy, hx: object) -> Proxy:
    """The layer as one call of a graph of torch.fx, as torch's own layers are: by their place, which is torch.nn."""
    tracer: Any = input.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), (input,) if hx is None else (input, hx), {})


def _rnn_step(weights: Sequence[Any], x: Tensor, state: Tensor, nonlinearity: str) -> tuple[Tensor, Tensor]:
    w_ih, w_hh, b_ih, b_hh = weights
    activation = torch.tanh if nonlinearity == "tanh" else torch.relu
    return elman.recur(linear(x, w_ih, b_ih), state, w_hh, b_hh, activation)


def _lstm_step(weights: Sequence[Any], x: Tensor, state: Pair) -> tuple[Tensor, Pair]:
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    return lstm.recur(linear(x, w_ih, b_ih), state, w_hh, b_hh, w_hr)


def _gru_step(weights: Sequence[Any], x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    w_ih, w_hh, b_ih, b_hh = weights
    return gru.recur_reset_after(linear(x, w_ih, b_ih), state, w_hh, b_hh)


def _stacked(states: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.stack(states) if len(states) > 1 else states[0].unsqueeze(0)


def _each(states: Tree, change: Callable[[Tensor], Tensor]) -> Tree:
    """Applies a change to a state, or to each half of an LSTM's pair."""
    if states is None:
        return None
    return tuple(change(state) for state in states) if isinstance(states, tuple | list) else change(states)
