"""Training in memory that grows with the square root of time.

A scan becomes √time scans, one after the other. Each keeps its inputs and first state alone, and is run again when its
backward comes (Griewank and Walther, Revolve, 2000; Chen and others, 2016).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint


def chunk_of(n_steps: int) -> int:
    """Time steps of one part."""
    return max(1, math.isqrt(max(0, n_steps - 1)) + 1)


def run_in_chunks(
    run: Callable[..., tuple[Any, Any]],
    xs: Any,
    state: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
) -> tuple[Any, Any]:
    """`run(xs, state, active, resets, first)` over parts of the time; `first` is the state that resets go back to."""
    n_steps = pytree.tree_leaves(xs)[0].shape[0]
    size, first = chunk_of(n_steps), state
    starts = list(range(0, n_steps, size))
    parts: list[Any] = []
    for start in reversed(starts) if is_reversed else starts:
        here = slice(start, start + size)
        inputs = pytree.tree_map(lambda leaf: leaf[here], xs)  # noqa: B023 - called at once
        masks = [None if mask is None else mask[here] for mask in (active, resets)]
        ys, state = checkpoint(run, inputs, state, *masks, first, use_reentrant=False)
        parts.append(ys)
    if is_reversed:
        parts.reverse()
    return pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts), state
