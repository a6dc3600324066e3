"""Packed sequences: padded for a layer that runs over [time, batch, ...], and packed again.

Input: a `PackedSequence`, first states, and what runs over padded rows. Output: the outputs, packed in the same order,
and the last states. All recurrent layers take packed sequences so.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

from unrolled import probing
from unrolled.engine.context import is_transformed
from unrolled.engine.trees import Tree


def run_packed(
    run: Callable[[Tensor, Tree, Tensor], tuple[Tensor, Tree]], packed: PackedSequence, state: Tree
) -> tuple[PackedSequence, Tree]:
    """A layer over a packed sequence.

    Args:
        run: `(xs, state, lengths) -> (ys, state)` over [time, batch, ...], the longest row first.
        packed: the sequence.
        state: a tree of tensors [layers · directions, batch, ...], its rows in the order before packing; or None.

    Returns:
        `(output, state)`: packed as the input is, and the last state, its rows in the order of the first.
    """
    # torch's functions of packed sequences have no rule under torch.func
    places = _places(packed.batch_sizes) if is_transformed() else None
    in_order = PackedSequence(packed.data, packed.batch_sizes)
    padded, lengths = pad_packed_sequence(in_order) if places is None else _padded(packed.data, *places)
    hook = None if torch.compiler.is_compiling() else probing.hook()
    if hook is not None:
        hook.places = packed.unsorted_indices
    try:
        ys, last = run(padded, _selected(state, packed.sorted_indices), lengths)
    finally:
        if hook is not None:
            hook.places = None
    if places is None:
        data = pack_padded_sequence(ys, lengths).data
    else:
        data = ys.flatten(0, 1).index_select(0, places[1].to(ys.device))
    output = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return output, _selected(last, packed.unsorted_indices)


def _selected(state: Tree, rows: Tensor | None) -> Tree:
    if state is None or rows is None:
        return state
    return pytree.tree_map(lambda leaf: leaf.index_select(1, rows), state)


def _places(batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Which steps each row runs, bool [time, batch], and where they lie in time · batch."""
    runs = torch.arange(int(batch_sizes[0])) < batch_sizes.unsqueeze(1)
    return runs, runs.flatten().nonzero().squeeze(1)


def _padded(data: Tensor, runs: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """As torch's `pad_packed_sequence`, by operations that torch.func has rules for."""
    padded = data.new_zeros(runs.numel(), *data.shape[1:]).index_copy(0, places.to(data.device), data)
    return padded.unflatten(0, runs.shape), runs.sum(0)
