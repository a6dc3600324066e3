"""The optimizers that a training may use, all of torch.optim.

Inputs: a name and its settings. Outputs: an optimizer.
"""

import torch
from torch import nn

OPTIMIZERS = {
    name.lower(): getattr(torch.optim, name)
    for name in ("AdamW", "Adam", "NAdam", "RAdam", "RMSprop", "Adagrad", "SGD")
}


def optimizer_of(name: str, parameters: list[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer of a name, over parameters of one device."""
    kind = OPTIMIZERS[name]
    extra: dict[str, float] = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    if kind in (torch.optim.Adam, torch.optim.AdamW) and parameters[0].device.type in ("cpu", "cuda"):
        extra["fused"] = True  # one pass over a large vocabulary's weights in place of ten
    return kind(parameters, lr=lr, weight_decay=weight_decay, **extra)
