"""Whether arguments are of the form that torch's recurrent layers take.

Input: a layer and its arguments. Output: yes, and then the compiled loop may run; or no, and then torch raises its own
error, or serves what it alone takes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def fits(layer: nn.RNNBase, input: Any, hx: Any) -> bool:
    """Whether input and first states have the shapes, the dtype and the device that the layer expects."""
    is_packed = isinstance(input, PackedSequence)
    data = input.data if is_packed else input
    if not isinstance(data, Tensor):
        return False
    shape = data.shape
    is_batched = len(shape) == 3
    if not (len(shape) == 2 or (is_batched and not is_packed)) or shape[-1] != layer.input_size:
        return False
    if shape[1 if is_batched and layer.batch_first else 0] == 0 or not _is_like(data, _any_weight(layer)):
        return False
    if hx is None:
        return True
    n_states, size = layer.num_layers * (2 if layer.bidirectional else 1), layer.hidden_size
    rows: tuple[int, ...] = (n_states,)
    if is_batched:
        rows = (n_states, shape[0 if layer.batch_first else 1])
    elif is_packed:
        rows = (n_states, int(input.batch_sizes[0]))
    if layer.mode != "LSTM":
        return _is_state(hx, (*rows, size), data)
    is_pair = isinstance(hx, tuple | list) and len(hx) == 2
    return (
        is_pair and _is_state(hx[0], (*rows, layer.proj_size or size), data) and _is_state(hx[1], (*rows, size), data)
    )


def has_fewer_memories(hx: Any) -> bool:
    """Whether a pair of states is of more layers in its first half than in its second."""
    is_pair = isinstance(hx, tuple | list) and len(hx) == 2 and all(map(torch.is_tensor, hx))
    return is_pair and hx[0].dim() >= 3 and hx[0].shape[:1] > hx[1].shape[:1]


def _any_weight(layer: nn.RNNBase) -> Tensor:
    """Also one that torch.func.functional_call puts in its place."""
    weight = layer._parameters.get("weight_ih_l0")
    return layer._flat_weights[0] if weight is None else weight  # type: ignore[return-value]


def read_weights(layer: nn.RNNBase) -> dict[str, Any]:
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


def _is_state(state: Any, shape: tuple[int, ...], data: Tensor) -> bool:
    return isinstance(state, Tensor) and state.shape == shape and _is_like(state, data)


def _is_like(tensor: Tensor, other: Tensor) -> bool:
    """Of the same device and, but under autocast, dtype; and not sparse."""
    is_of_dtype = tensor.dtype is other.dtype or torch._C._is_any_autocast_enabled()
    is_there = (tensor.is_cpu and other.is_cpu) or tensor.device == other.device
    return is_of_dtype and is_there and tensor.layout is torch.strided
