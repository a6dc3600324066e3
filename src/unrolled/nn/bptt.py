"""Truncated backpropagation through time.

Inputs: a long sequence. Outputs: windows with carried state.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.errors import SettingsError, ShapeError

Run = Callable[[Tree, Tree], tuple[Tree, Tree]]


@dataclass(frozen=True)
class Window:
    """One update's part of a sequence.

    Attributes:
        start, stop: the time steps whose outputs are new in this window; `stop - start` is k1, or less at the end.
        ys: the outputs of these steps, [stop - start, batch, ...]; their gradient reaches k2 steps back from `stop`.
        state: the state after step `stop - 1`, cut from the graph.
    """

    start: int
    stop: int
    ys: Tree
    state: Tree


def truncated_bptt(run: Run, xs: Tree, state: Tree, *, k1: int, k2: int | None = None) -> Iterator[Window]:
    """Goes through a sequence in windows: every k1 steps one, each with a gradient that reaches k2 steps back.

    BPTT(k2; k1) of R. Williams and J. Peng, Neural Computation 2, 1990. Take the loss of `window.ys` against the
    targets of `window.start` to `window.stop`, call `backward()`, and update; the next window runs with the updated
    parameters. Only one window's activations live at a time, however long the sequence.

    Args:
        run: `(xs, state) -> (ys, state)` over a part of the sequence: a torch layer, or
            `lambda xs, state: unrolled.scan(step, xs, state)`. Where it has `clip_state_grad`, each window's gradient
            is clamped at every step of that window.
        xs: a tensor [time, batch, ...] or a tree of such.
        state: the first state, a tree of tensors, or None where `run` takes None.
        k1: steps between updates, at least 1.
        k2: how far back a window's gradient reaches, at least k1; k1 if not given.

    Yields:
        A `Window` for every k1 time steps.

    Raises:
        SettingsError: k1 or k2 out of range.

    Example:
        >>> import torch, unrolled
        >>> layer = torch.nn.GRU(3, 4)
        >>> [(w.start, w.stop) for w in unrolled.truncated_bptt(layer, torch.randn(5, 2, 3), None, k1=2, k2=4)]
        [(0, 2), (2, 4), (4, 5)]
    """
    k2 = check_k(k1, k2)
    n_steps = pytree.tree_leaves(xs)[0].shape[0]
    start = 0  # of the new steps
    begin = 0  # of the window
    state = detached(state)
    while start < n_steps:
        stop = min(start + k1, n_steps)
        next_begin = max(0, stop - (k2 - k1))
        window = pytree.tree_map(lambda leaf, begin=begin, stop=stop: leaf[begin:stop], xs)
        ys, next_state, last = advance(run, window, state, n_kept=next_begin - begin)
        yield Window(start, stop, pytree.tree_map(lambda leaf, n=stop - start: leaf[-n:], ys), detached(last))
        start, begin, state = stop, next_begin, next_state


def advance(run: Run, xs: Tree, state: Tree, *, n_kept: int) -> tuple[Tree, Tree, Tree]:
    """Runs one window and finds the state, cut from the graph, after its first `n_kept` steps, where the next begins.

    Returns:
        `(ys, state after n_kept steps, state after the window)`.
    """
    n_steps = pytree.tree_leaves(xs)[0].shape[0]
    if not 0 <= n_kept <= n_steps:
        raise ShapeError(f"advance: n_kept={n_kept}; expected 0 to {n_steps}, the window's time steps.")
    if n_kept == n_steps:
        ys, last = run(xs, state)
        return ys, detached(last), last
    if n_kept == 0:
        ys, last = run(xs, state)
        return ys, detached(state), last
    first_ys, middle = run(pytree.tree_map(lambda leaf: leaf[:n_kept], xs), state)
    second_ys, last = run(pytree.tree_map(lambda leaf: leaf[n_kept:], xs), middle)
    ys = pytree.tree_map(lambda first, second: torch.cat((first, second)), first_ys, second_ys)
    return ys, detached(middle), last


def check_k(k1: int, k2: int | None) -> int:
    """k2, or k1 in its place, held to their ranges."""
    if k1 < 1:
        raise SettingsError(f"k1={k1}: the steps between updates must be at least 1.")
    if k2 is not None and k2 < k1:
        raise SettingsError(f"k2={k2}: the gradient must reach back at least k1={k1} steps. Raise k2 or lower k1.")
    return k1 if k2 is None else k2


def detached(tree: Tree) -> Tree:
    """The tree with its tensors cut from the graph that made them."""
    return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)
