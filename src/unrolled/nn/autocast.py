"""Whether torch.autocast is on, and whether torch's own LSTM serves it on this processor.

Input: what a recurrent layer is given. Output: yes or no. `torch_layers.py` asks, to choose the way that a layer runs.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def is_autocast(input: Tensor | PackedSequence) -> bool:
    """Whether it is on for the CPU, and the input, a tensor or a packed sequence, is there."""
    data = input if isinstance(input, Tensor) else input.data  # a tensor has the latter too, but not under torch.vmap
    return torch.is_autocast_enabled("cpu") and data.device.type == "cpu"


def serves_autocast() -> bool:
    """Whether oneDNN has an LSTM in autocast's dtype on this processor."""
    if torch.get_autocast_dtype("cpu") == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
