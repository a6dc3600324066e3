"""Whether arguments are of the form that torch's recurrent layers take.

Input: a layer and its arguments. Output: yes, and then the compiled loop may run; or no, and then torch raises its own
error, or serves what it alone takes.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def fits(layer: nn.RNNBase, input: object, hx: object) -> bool:
    """Whether input and first states have the shapes, the dtype and the device that the layer expects."""
    packed = input if isinstance(input, PackedSequence) else None
    data = input if packed is None else packed.data
    if not isinstance(data, Tensor):
        return False
    shape = data.shape
    is_batched = len(shape) == 3
    if not (len(shape) == 2 or (is_batched and packed is None)) or shape[-1] != layer.input_size:
        return False
    if shape[1 if is_batched and layer.batch_first else 0] == 0 or not _is_like(data, _any_weight(layer)):
        return False
    if hx is None:
        return True
    n_states, size = layer.num_layers * (2 if layer.bidirectional else 1), layer.hidden_size
    rows: tuple[int, ...] = (n_states,)
    if is_batched:
        rows = (n_states, shape[0 if layer.batch_first else 1])
    elif packed is not None:
        rows = (n_states, int(packed.batch_sizes[0]))
    if layer.mode != "LSTM":
        return _is_state(hx, (*rows, size), data)
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        return False
    return _is_state(hx[0], (*rows, layer.proj_size or size), data) and _is_state(hx[1], (*rows, size), data)


def has_fewer_memories(hx: object) -> bool:
    """Whether a pair of states is of more layers in its first half than in its second."""
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        return False
    hidden, memory = hx
    is_pair = isinstance(hidden, Tensor) and isinstance(memory, Tensor)
    return is_pair and hidden.dim() >= 3 and hidden.shape[:1] > memory.shape[:1]


def _any_weight(layer: nn.RNNBase) -> Tensor:
    """Also one that torch.func.functional_call puts in its place."""
    weight = layer._parameters.get("weight_ih_l0")
    return layer._flat_weights[0] if weight is None else weight  # type: ignore[return-value]


def read_weights(layer: nn.RNNBase) -> Mapping[str, Tensor | None]:
    """A layer's weights by name: parameters, and what parametrizations compute.

    These are read as often as torch's own forward reads them: spectral norm goes on at each read in training. The
    layer does not keep what was computed, as torch's does, so that it can be copied.
    """
    if "parametrizations" not in layer._modules:
        return layer._parameters
    kept = layer._flat_weights, layer._flat_weight_refs
    layer._update_flat_weights()
    found = dict(zip(layer._flat_weights_names, layer._flat_weights, strict=True))
    layer._flat_weights, layer._flat_weight_refs = kept
    return found


@functools.cache
def weight_names(suffix: str, *, has_bias: bool, has_projection: bool) -> list[str | None]:
    """Of the weights, the biases and the projection of a layer and direction; None for what it has not."""
    weights, biases = ([f"{kind}_{half}_{suffix}" for half in ("ih", "hh")] for kind in ("weight", "bias"))
    return [*weights, *(biases if has_bias else (None, None)), f"weight_hr_{suffix}" if has_projection else None]


def _is_state(state: object, shape: tuple[int, ...], data: Tensor) -> bool:
    return isinstance(state, Tensor) and state.shape == shape and _is_like(state, data)


def _is_like(tensor: Tensor, other: Tensor) -> bool:
    """Of the same device and, but under autocast, dtype; and not sparse."""
    is_of_dtype = tensor.dtype is other.dtype or torch._C._is_any_autocast_enabled()
    is_there = (tensor.is_cpu and other.is_cpu) or tensor.device == other.device
    return is_of_dtype and is_there and tensor.layout is torch.strided
