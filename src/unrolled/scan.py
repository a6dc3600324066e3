"""`scan`, the one primitive.

Inputs: a step, a sequence, and the first state. Outputs: the step's outputs over time, and its last state.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled import probing
from unrolled.engine import dispatch
from unrolled.engine.backends import eager
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.context import has_values, why_definition
from unrolled.engine.step.torch_cells import as_step
from unrolled.engine.trees import Step, Tree, flatten
from unrolled.errors import ArgumentError, NotFusedError, ProbeError, SettingsError, ShapeError

Engine = Literal["auto", "fused", "eager"]
ENGINES = ("auto", "fused", "eager")


def scan(
    step: Step | nn.Module,
    xs: Tree,
    state: Tree,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    engine: Engine = "auto",
    recompute: bool = False,
    clip_state_grad: float | None = None,
) -> tuple[Tree, Tree]:
    """Runs a step over time.

    Means exactly the loop::

        for t in range(time):                       # from the last to the first with reverse=True
            ys[t], state = step(xs[t], state)

    with two options that act on single rows of the batch. Gradients of every order flow through everything.

    Args:
        step: any callable or `nn.Module` `(x_t, state) -> (y_t, state)`. The state that it returns has the structure,
            shapes and dtypes of the one it was given; `y_t` is a tensor or a tree of tensors. `torch.nn.RNNCell`,
            `LSTMCell` and `GRUCell` objects are accepted as they are; their output is the hidden state. So is a
            subclass whose own `forward` returns `(y_t, state)`.
        xs: inputs, a tensor [time, batch, ...] or nested tuples, lists and dicts of such; any dtype.
        state: the first state, a tensor [batch, ...] or nested tuples, lists and dicts of such.
        lengths: integers [batch], each from 0 to time. Row b runs for its first `lengths[b]` steps (with
            `reverse=True`, from its step `lengths[b] - 1` down to 0). Elsewhere its state is frozen, its outputs are
            zero, and what its inputs hold is of no effect, NaN included. Where the loop is not fused, or within
            torch.compile, the step is called with such a row too: it gets what the row's own first step gets, or the
            longest row's where it has none. Tensors that the step captures it reads as they are: of a row of length 0,
            one of which a NaN comes gives NaN gradients there, and none where the loop is fused. Where all lengths are
            0, what the step reads has no gradient (None).
        resets: bool [time, batch]. Where `resets[t, b]` is set, row b is put back to its first state before step t
            runs. Beyond a row's length it has no effect.
        reverse: run from the last time step to the first. `ys[t]` still belongs to `xs[t]`.
        engine: "auto", "fused" or "eager". "eager" is the plain loop. "fused" runs as one compiled loop, or raises
            with the operation or argument that prevents it. "auto" runs fused where it can, and else eagerly, with one
            warning.
        recompute: keep only the state after every √time steps for the backward, and run the steps between again when
            it comes: training takes memory as √time, which `explain` tells, and each step runs forward twice. The eager
            loop keeps the first √time steps whole too, so that torch raises of what a step changes in place. Within
            torch.compile the time that it first meets decides how many states are kept; where the graph itself finds
            the time (`nonzero`), it has no effect.
        clip_state_grad: a number c > 0. The gradient that each step gives the state before it, ∂L/∂s_{t-1} by way of
            step t and all that follows, is clamped to [-c, c], number by number, before step t-1 takes it further. What
            y_{t-1} adds to ∂L/∂s_{t-1} is not. Results stay as they are; the first state's gradient is clamped too. So
            a gradient that would grow from step to step is bounded, where clipping the weights' gradient comes too
            late. A. Graves (arXiv:1308.0850) clips the gates' gradient so, Lasagne's `grad_clipping` likewise; torch
            has no such option. In forward mode it has no effect; second derivatives and `is_grads_batched` need
            engine="eager".

    Returns:
        `(ys, state)`: the outputs, each leaf [time, batch, ...], and the state after the last step.

    Raises:
        ShapeError: an argument does not fit the others.
        StepError: the step returned something that does not fit what it was given.
        NotFusedError: engine="fused", and the step cannot run so.
        ArgumentError, SettingsError: `clip_state_grad` is no number, or not above 0.

    Note:
        With `lengths` or `resets`, every leaf of `xs` has `batch` as its second axis and every leaf of the state as
        its first. Time 0 is allowed: the state comes back as it was; one call of the step on zeros finds the outputs'
        shapes.

        Random numbers that a step draws are drawn for all time steps at once where it runs fused: independent and of
        the same law, the same at each call under a seed, but not always those that the loop would draw step by step.

        Change nothing in place between forward and backward but the outputs. Where a tensor that was read has changed
        (inputs, state, weights), a backward raises or gives the gradient of what was computed; the fused loop raises
        of some that the plain one has not saved. A step that changes in place what its own gradient needs raises in
        the plain loop's backward; fused, its gradient is that of what it computed.

    Example:
        >>> import torch, unrolled
        >>> decay = torch.tensor(0.5)
        >>> def step(x, h):
        ...     h = decay * h + x
        ...     return h, h
        >>> ys, last = unrolled.scan(step, torch.ones(3, 1), torch.zeros(1))
        >>> ys.squeeze(1).tolist()
        [1.0, 1.5, 1.75]
    """
    if engine not in ENGINES:
        raise ShapeError(f"scan: engine={engine!r} is not known. Expected one of 'auto', 'fused', 'eager'.")
    clip, is_in_graph = checked_clip(clip_state_grad, "scan"), torch.compiler.is_compiling()
    step = step if is_in_graph else as_step(step)
    hook = None if probing.current is None else _hook(is_in_graph=is_in_graph)
    is_plain = not is_in_graph and hook is None
    reason = why_definition() if is_plain else None
    if is_plain and reason is None and lengths is None and resets is None and not recompute and engine != "eager":
        found = dispatch.again(step, xs, state, is_reversed=reverse, clip=clip)
        if found is not None:
            return found
    arguments = checked(step, xs, state, lengths, resets, reverse=reverse, clip=clip)
    if hook is not None:  # `recompute` is of no effect, as a probe looks at all steps
        return hook.run(arguments, engine=engine)
    if reason is not None:  # nor here: what reads the definition's operations saves as it will
        if engine == "fused":
            raise NotFusedError(f"scan: the step cannot run fused: {reason}.")
        return eager.run_scan(arguments)
    recompute = recompute and torch.is_grad_enabled()
    if is_in_graph:
        from unrolled.engine.torch_compile import in_graph  # it loads torch's compiler, which takes seconds

        return in_graph.run_scan(arguments, engine=engine, recompute=recompute)
    return dispatch.run_scan(arguments, engine=engine, recompute=recompute)


def scan_both_ways(
    steps: Sequence[Callable],
    xs: Tree,
    states: Sequence[Tree],
    *,
    lengths: Tensor | None = None,
    engine: Engine = "auto",
    clip: float | None = None,
) -> list[tuple[Tree, Tree]]:
    """Two steps over the same inputs, the first forward in time, the second backward: what two scans give, run side by
    side where there are two threads. Arguments and errors are those of `scan`, `clip` its `clip_state_grad`; `states`
    has one for each step, and so has what is returned, `(ys, state)`.
    """
    if torch.compiler.is_compiling() or why_definition() is not None or probing.hook() is not None:
        return [
            scan(step, xs, state, lengths=lengths, reverse=reverse, engine=engine, clip_state_grad=clip)
            for step, state, reverse in zip(steps, states, (False, True), strict=True)
        ]
    steps = [as_step(step) for step in steps]
    forward = checked(steps[0], xs, list(states), lengths, None, clip=checked_clip(clip, "scan"))
    scans = [
        forward._replace(step=step, state=state, is_reversed=is_reversed)
        for step, state, is_reversed in zip(steps, states, (False, True), strict=True)
    ]
    return dispatch.run_both_ways(scans, engine=engine)


def _hook(*, is_in_graph: bool) -> probing.Hook | None:
    """The probe that is on in this thread.

    Raises:
        ProbeError: it cannot look into a scan here.
    """
    words = "probe: a scan cannot be looked into: {}. Run the model as it is within `with unrolled.probe(...)`."
    if is_in_graph:
        from unrolled.engine.torch_compile import in_graph

        in_graph.refuse(ProbeError(words.format("it runs within torch.compile")))
    hook = probing.hook()
    reason = None if hook is None else why_definition()
    if reason is not None:
        raise ProbeError(words.format(reason))
    return hook


def checked(
    step: Callable,
    xs: Tree,
    state: Tree,
    lengths: Tensor | None,
    resets: Tensor | None,
    *,
    reverse: bool = False,
    clip: float | None = None,
) -> CheckedScan:
    """Holds the arguments of a scan to their form, and makes of them what the engine takes; there is no reset beyond a
    row's length.

    Raises:
        ShapeError: an argument does not fit the others.
    """
    n_steps = _check_trees(xs, state)
    active = None
    if lengths is not None or resets is not None:
        n_rows = _check_rows(xs, state)
        device = pytree.tree_leaves(xs)[0].device
        if lengths is not None:
            active = _active(lengths, n_steps, n_rows).to(device)
        if resets is not None:
            resets = _check_resets(resets, n_steps, n_rows).to(device)
            resets = resets if active is None else resets & active
    return CheckedScan(step, xs, state, active, resets, reverse, clip=clip)


def checked_clip(limit: object, name: str) -> float | None:
    """`clip_state_grad` of what `name` says, held to its range; None where it clips nothing.

    Raises:
        ArgumentError: it is no number.
        SettingsError: it is not above 0.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, Real):
        given = f"a value of type {type(limit).__name__}"
        raise ArgumentError(f"{name}: clip_state_grad is {given}. Expected a number above 0, or None to clip nothing.")
    value = float(limit)
    if not value > 0:
        raise SettingsError(f"{name}: clip_state_grad={limit}. Expected a number above 0, or None to clip nothing.")
    return None if value == math.inf else value


def _check_trees(xs: Tree, state: Tree) -> int:
    """Holds inputs and state to their form; returns the number of time steps."""
    leaves = flatten(xs)[0]
    if not leaves:
        raise ShapeError("scan: xs holds no tensor; it must tell the number of time steps.")
    for name, tree in (("xs", leaves), ("state", flatten(state)[0])):
        for leaf in tree:
            if not isinstance(leaf, Tensor):
                raise ShapeError(
                    f"scan: {name} holds a value of type {type(leaf).__name__}; "
                    "expected tensors, alone or in nested tuples, lists and dicts."
                )
    for leaf in leaves:
        if leaf.dim() == 0:
            raise ShapeError("scan: xs holds a tensor without axes; expected the time axis first, [time, batch, ...].")
        if leaf.shape[0] != leaves[0].shape[0]:
            raise ShapeError(
                f"scan: the tensors of xs have {leaves[0].shape[0]} and {leaf.shape[0]} time steps; "
                "all must have the same number, on their first axis."
            )
    return leaves[0].shape[0]


def _check_rows(xs: Tree, state: Tree) -> int:
    """The batch size, for options that act on rows."""
    n_rows: int | None = None
    for name, axis, tree in (("xs", 1, xs), ("state", 0, state)):
        for leaf in pytree.tree_leaves(tree):
            if leaf.dim() <= axis:
                raise ShapeError(
                    f"scan: lengths and resets act on rows of the batch, but {name} holds a tensor of shape "
                    f"{list(leaf.shape)}; expected {'[time, batch, ...]' if axis else '[batch, ...]'}."
                )
            if n_rows is None:
                n_rows = leaf.shape[axis]
            elif leaf.shape[axis] != n_rows:
                raise ShapeError(
                    f"scan: {name} holds a tensor of shape {list(leaf.shape)}, whose batch axis is {leaf.shape[axis]}; "
                    f"the batch is {n_rows}."
                )
    assert n_rows is not None, "xs has at least one leaf"
    return n_rows


def _active(lengths: Tensor, n_steps: int, n_rows: int) -> Tensor:
    """bool [time, batch]: the steps that each row runs."""
    if not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths)
    if lengths.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ShapeError(f"scan: lengths has dtype {lengths.dtype}; expected integers.")
    if lengths.shape != (n_rows,):
        raise ShapeError(f"scan: lengths has shape {list(lengths.shape)}; expected [{n_rows}], one length a row.")
    # within a graph their values are not known
    is_known = not torch.compiler.is_compiling() and has_values(lengths)
    if n_rows and is_known and (int(lengths.min()) < 0 or int(lengths.max()) > n_steps):
        raise ShapeError(
            f"scan: lengths holds {int(lengths.min())} to {int(lengths.max())}; expected 0 to {n_steps}, "
            "the number of time steps."
        )
    return torch.arange(n_steps, device=lengths.device).unsqueeze(1) < lengths


def _check_resets(resets: Tensor, n_steps: int, n_rows: int) -> Tensor:
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool:
        given = f"dtype {resets.dtype}" if isinstance(resets, Tensor) else f"type {type(resets).__name__}"
        raise ShapeError(f"scan: resets has {given}; expected a bool tensor.")
    if resets.shape != (n_steps, n_rows):
        raise ShapeError(f"scan: resets has shape {list(resets.shape)}; expected [{n_steps}, {n_rows}], [time, batch].")
    return resets
