"""Which results of a loop have a gradient, as those of the plain loop have.

Inputs: a plan, the layout of its rows, and which of the loop's tensors require a gradient. Output: whether each result
does. A last state that comes of nothing differentiable, as `zeros_like(state)`, has none in the plain loop either.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.loop_programs import InputProduct, Source

_MOST_REMEMBERED = 64  # of one plan


class Loop(Protocol):
    """What is read of a plan (plan.py)."""

    sources: list[Source | InputProduct]
    constant_sources: list[Source]
    states: list[tuple[int, ...]]
    sequences: list[int]
    depends: list[list[int]]
    has_gradient: dict[Hashable, list[bool]]


def with_gradient(plan: Loop, layout: BatchLayout, needed: Sequence[bool]) -> list[bool]:
    """`_found`, remembered: a short call is mostly Python."""
    if not isinstance(layout.n_steps, int):
        return _found(plan, layout, needed)
    key = (layout.n_steps, layout.counts is None, *needed)
    has_gradient = plan.has_gradient.get(key)
    if has_gradient is None:
        if len(plan.has_gradient) >= _MOST_REMEMBERED:
            plan.has_gradient.clear()
        has_gradient = plan.has_gradient[key] = _found(plan, layout, needed)
    return has_gradient


def _found(plan: Loop, layout: BatchLayout, needed: Sequence[bool]) -> list[bool]:
    """Whether last states, sequences of states and kept outputs have a gradient.

    Args:
        plan: of the loop.
        layout: its rows; where rows end, a state may be the one that it was.
        needed: for each of the loop's tensors whether it requires one.
    """
    n_states = len(plan.states)
    inputs, rest = list(needed[: len(plan.sources)]), iter(needed[len(plan.sources) :])
    for i, source in enumerate(plan.sources):
        if isinstance(source, InputProduct):
            inputs[i] = any([inputs[i], next(rest), source.bias is not None and next(rest)])
    inputs += [next(rest) for _ in plan.constant_sources]
    now = tuple(rest)
    ever = [False] * len(plan.depends)
    seen: dict[tuple[bool, ...], int] = {}
    is_known = isinstance(layout.n_steps, int)  # else of a graph of torch that holds for every time
    at, n_steps = 0, layout.n_steps if is_known else n_states + 1
    while at < n_steps:
        if now in seen:  # from here on it repeats
            n_steps = at + (n_steps - at) % (at - seen[now])
            seen.clear()
            continue
        seen[now] = at
        before = [*inputs, *now]
        found = [any(before[i] for i in places) for places in plan.depends]
        ever = [a or b for a, b in zip(ever, found, strict=True)]
        new = tuple(found[:n_states])
        now = new if layout.counts is None else tuple(a or b for a, b in zip(new, now, strict=True))
        at += 1
    last = now if is_known else ever[:n_states]
    return [*last, *(ever[i] for i in plan.sequences), *ever[n_states:]]
