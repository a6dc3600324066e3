"""How likely a network finds each unit of a text, as a stream with carried state."""

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.nn.named_layers import initial_state
from unrolled.tasks.text.net import TextNet

WARM_UP = 256  # units before a stream that begins amid a text


@torch.inference_mode()
def log_p_of(net: TextNet, ids: np.ndarray, before: np.ndarray, *, n_streams: int) -> np.ndarray:
    """log P of each unit of a sequence, float64 [length].

    Args:
        net: set to predict.
        ids: int64 [length], the units.
        before: int64, at least one unit that comes before them.
        n_streams: segments that the sequence is cut into and that run side by side, each after a warm-up on the units
            before it; 1 is exact.
    """
    device = net.output.weight.device
    warm = WARM_UP if n_streams > 1 else len(before) - 1
    whole = torch.from_numpy(np.concatenate((before, ids)))
    length = math.ceil(len(ids) / n_streams)
    begins = torch.arange(n_streams) * length + len(before) - 1 - warm
    at = begins + torch.arange(warm + length).unsqueeze(1)
    is_counted = (torch.arange(warm + length).unsqueeze(1) >= warm) & (at + 1 < len(whole))
    inputs, targets = whole[at.clamp(0, len(whole) - 1)], whole[(at + 1).clamp(0, len(whole) - 1)]
    state, found = None, np.zeros(len(ids))
    bounds = sorted({*range(0, warm + length, 128), warm, warm + length})
    for start, stop in itertools.pairwise(bounds):
        if start == warm and begins[0] < 0:
            state = _without_row_0(state, initial_state(net.recurrent, n_streams))  # its warm-up ran on nothing
        logits, state = net(inputs[start:stop].to(device), state)
        losses = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets[start:stop].flatten().to(device), reduction="none"
        )
        is_kept = is_counted[start:stop]
        places = at[start:stop][is_kept] + 1 - len(before)
        found[places.numpy()] = -losses.cpu().double().view(is_kept.shape)[is_kept].numpy()
    return found


def _without_row_0(state: Tree, first: Tree) -> Tree:
    """The state with its first row as it was at first."""
    return pytree.tree_map(lambda part, start: torch.cat((start[:, :1], part[:, 1:]), 1), state, first)


def streams_for(n_units: int) -> int:
    """Streams for evaluation: at least 4,000 units each, so that the warm-up of 256 costs little."""
    return max(1, min(32, n_units // 4000))
