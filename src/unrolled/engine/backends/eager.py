"""The loop over time in plain PyTorch, which defines what a scan means.

Inputs: inputs and state as checked trees, optional masks. Outputs: stacked outputs and the last state. Tests compare
every other back-end with it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.gradient_clip import clipped
from unrolled.errors import StepError
from unrolled.randomness import set_aside

Step = Callable[[Any, Any], tuple[Any, Any]]


def run_scan(scan: CheckedScan) -> tuple[Any, Any]:
    """Runs the step over time. A row that is not active keeps its state and gives zeros. With `clip`, each step gets
    the state `clipped`.
    """
    step, xs, state, active, resets, is_reversed, first, clip, idle = with_idle_rows(scan)
    xs_leaves, xs_spec = pytree.tree_flatten(xs)
    n_steps = xs_leaves[0].shape[0]
    # unbind, not leaf[t]: the backward of an index writes a full-size gradient at every step, O(time²) in all
    columns = [leaf.unbind(0) for leaf in xs_leaves]
    initial, state_spec = pytree.tree_flatten(state)
    current = list(initial)
    if first is not None:
        initial = pytree.tree_leaves(first)
    idle_leaves = pytree.tree_leaves(idle)
    outputs: list[Any] = [None] * n_steps
    ys_spec: pytree.TreeSpec | None = None
    for t in reversed(range(n_steps)) if is_reversed else range(n_steps):
        if resets is not None:
            current = [choose(resets[t], first, now) for first, now in zip(initial, current, strict=True)]
        x = pytree.tree_unflatten([column[t] for column in columns], xs_spec)
        given = current if clip is None else [clipped(leaf, clip) for leaf in current]
        if active is not None:
            given = [choose(active[t], leaf, of_idle) for leaf, of_idle in zip(given, idle_leaves, strict=True)]
        y, returned = call_step(step, x, pytree.tree_unflatten(given, state_spec), current, state_spec)
        y_leaves, spec = pytree.tree_flatten(y)
        if ys_spec is None:
            ys_spec = spec
        elif spec != ys_spec:
            raise StepError(
                f"scan: step returned an output of structure {spec} at step {t}; it was {ys_spec} before. "
                "A step must return outputs of one structure at every step."
            )
        if active is None:
            current = returned
        else:
            current = [choose(active[t], new, old) for new, old in zip(returned, current, strict=True)]
            y_leaves = [choose(active[t], leaf, torch.zeros_like(leaf)) for leaf in y_leaves]
        outputs[t] = y_leaves
    if ys_spec is None:
        with torch.no_grad():
            y_leaves, ys_spec = pytree.tree_flatten(_on_zeros(scan))
        outputs = [leaf.new_zeros((0, *leaf.shape)) for leaf in y_leaves]
    else:
        outputs = [torch.stack(leaves) for leaves in zip(*outputs, strict=True)]
    # the step may have returned its input, its first state, a tensor that it holds, or one tensor twice
    return pytree.tree_unflatten(outputs, ys_spec), pytree.tree_unflatten(
        [leaf.clone() for leaf in current], state_spec
    )


def run_nothing(scan: CheckedScan) -> tuple[Any, Any]:
    """A scan in which no row runs: outputs are zeros. Gradients of inputs and state are those of what does not move
    them, and what the step reads has none.
    """
    n_steps = pytree.tree_leaves(scan.xs)[0].shape[0]
    given = pytree.tree_leaves((scan.xs, scan.state))
    ys = pytree.tree_map(lambda leaf: _Zeros.apply(n_steps, leaf, *given), _on_zeros(scan))
    return ys, pytree.tree_map(torch.clone, scan.state)


def _on_zeros(scan: CheckedScan) -> Any:
    """What the step returns at one time step of zeros, which tells the outputs' shapes."""
    leaves, spec = pytree.tree_flatten(scan.state)
    zeros = pytree.tree_map(lambda leaf: leaf.new_zeros(leaf.shape[1:]), scan.xs)
    with set_aside(leaves[0].device):
        return call_step(scan.step, zeros, scan.state, leaves, spec)[0]


class _Zeros(torch.autograd.Function):
    """Zeros at each time step in place of an output, which gets no gradient of them: not 0, as 0 · NaN is NaN. What the
    scan was given gets zeros.
    """

    @staticmethod
    def forward(ctx: Any, n_steps: int, leaf: Tensor, *given: Tensor) -> Tensor:
        ctx.save_for_backward(*given)
        return leaf.new_zeros((n_steps, *leaf.shape))

    @staticmethod
    def backward(ctx: Any, _gradient: Tensor) -> tuple[Tensor | None, ...]:
        given = zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(torch.zeros_like(leaf) if needs else None for leaf, needs in given)


def with_idle_rows(scan: CheckedScan) -> CheckedScan:
    """Gives each row that does not run what its own first step takes, or the longest row's where it has no step.

    Such a row goes through the step with the others. Its gradient is zero, but 0 · NaN would come back where a
    derivative is not finite, as that of a norm at zeros or at what the padding holds. So it computes a step that is
    computed anyway.
    """
    active, n_rows = scan.active, pytree.tree_leaves(scan.state)[0].shape[0]
    if active is None or scan.idle is not None:
        return scan
    if active.shape[0] == 0 or n_rows == 0:
        return scan._replace(idle=scan.state)
    lengths = active.sum(0)
    row = torch.where(lengths > 0, torch.arange(n_rows, device=active.device), lengths.argmax())
    begin = (lengths[row] - 1).clamp(min=0) if scan.is_reversed else torch.zeros_like(row)
    runs = lengths[row] > 0

    def inputs(leaf: Tensor) -> Tensor:
        first = leaf.detach()[begin, row]
        mask = active.view(*active.shape, *(1,) * (leaf.dim() - 2))
        return torch.where(mask, leaf, choose(runs, first, torch.zeros_like(first)))

    return scan._replace(
        xs=pytree.tree_map(inputs, scan.xs), idle=pytree.tree_map(lambda leaf: leaf.detach()[row], scan.state)
    )


def call_step(
    step: Step, x: Any, state: Any, state_leaves: list[Tensor], state_spec: pytree.TreeSpec
) -> tuple[Any, list[Tensor]]:
    """Calls the step once and holds what it returned to what it was given."""
    result = step(x, state)
    if not isinstance(result, tuple) or len(result) != 2:
        raise StepError(
            f"scan: step returned {_kind(result)}; a step must return a pair (y_t, state). "
            "If the output is the state itself, return (h, h)."
        )
    y, returned = result
    for leaf in pytree.tree_leaves(y):
        if not isinstance(leaf, Tensor):
            raise StepError(f"scan: step returned {_kind(leaf)} within its output; outputs must be tensors.")
    leaves, spec = pytree.tree_flatten(returned)
    if spec != state_spec:
        raise StepError(
            f"scan: step returned a state of structure {_structure(returned)}; it was given {_structure(state)}. "
            "A step must return a state of the structure it got."
        )
    for new, old in zip(leaves, state_leaves, strict=True):
        if not isinstance(new, Tensor):
            raise StepError(f"scan: step returned {_kind(new)} within its state; a state must hold tensors.")
        if new.shape != old.shape:
            raise StepError(
                f"scan: step returned a state of shape {list(new.shape)}; it was given {list(old.shape)}. "
                "A step must return a state of the shape it got."
            )
        if new.dtype != old.dtype:
            raise StepError(
                f"scan: step returned a state of dtype {new.dtype}; it was given {old.dtype}. "
                "A step must return a state of the dtype it got."
            )
    return y, leaves


def choose(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` where the row's mask is set, else `no`; the mask is [batch], the tensors [batch, ...]."""
    return torch.where(rows.view(-1, *(1,) * (yes.dim() - 1)), yes, no)


def choose_steps(active: Tensor, leaf: Tensor) -> Tensor:
    """`leaf` [time, batch, ...] where the mask [time, batch] is set, else zeros."""
    mask = active.view(*active.shape, *(1,) * (leaf.dim() - 2))
    return torch.where(mask, leaf, torch.zeros((), dtype=leaf.dtype, device=leaf.device))


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a value of type {type(value).__name__}"


def _structure(tree: Any) -> str:
    return str(pytree.tree_map(lambda _: "tensor", tree)).replace("'tensor'", "tensor")
