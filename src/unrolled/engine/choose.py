"""Which way a scan runs, and why.

Comes in: a checked scan. Goes out: its result, from the compiled loop where the step has one, else from the eager loop;
and the reason, in words, where it has none.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.backends import eager
from unrolled.engine.fused import Plan
from unrolled.engine.identity import Walk, identity, restore
from unrolled.engine.trace import NotTraceable
from unrolled.errors import NotFusedError, NotFusedWarning

_MOST_PLANS = 256
_plans: "OrderedDict[Hashable, Planned | NotTraceable]" = OrderedDict()
_warned: set[str] = set()


class Planned:
    """A plan, and where in a step of its key the tensors lie that it captured."""

    def __init__(self, plan: Plan, walk: Walk) -> None:
        place = {id(tensor): i for i, tensor in enumerate(walk.tensors)}
        self.plan = plan
        self._held = walk.held  # while the plan lives, their addresses are theirs
        self._captured: list[int | Tensor] = [place.get(id(tensor), tensor) for tensor in plan.traced.captured]
        plan.traced.captured.clear()  # a plan outlives the step that it was made for

    def captured(self, tensors: list[Tensor]) -> list[Tensor]:
        """The captured tensors of a step that holds these."""
        return [tensors[at] if isinstance(at, int) else at for at in self._captured]


def run(
    step: Callable,
    xs: Any,
    state: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
    engine: str,
) -> tuple[Any, Any]:
    """Runs a scan by the way that `engine` asks for.

    Raises:
        NotFusedError: engine="fused" and there is no compiled loop for it.
    """
    if engine == "eager":
        return eager.run(step, xs, state, active=active, resets=resets, is_reversed=is_reversed)
    whole, all_xs, all_state = with_masks(step, xs, state, active, resets)
    try:
        planned, tensors = plan_for(whole, all_xs, all_state)
    except NotTraceable as reason:
        if engine == "fused":
            raise NotFusedError(f"scan: the step cannot run fused: {reason}.") from None
        result = eager.run(step, xs, state, active=active, resets=resets, is_reversed=is_reversed)
        _warn_once(str(reason))  # not of a step that is at fault itself: that has raised by now
        return result
    except RunsEagerly as reason:
        if engine == "fused":
            raise NotFusedError(f"scan: the step cannot run fused: {reason}.") from None
        return eager.run(step, xs, state, active=active, resets=resets, is_reversed=is_reversed)
    leaves, spec = pytree.tree_flatten(all_state)
    ys, last = planned.plan(planned.captured(tensors), pytree.tree_leaves(all_xs), leaves, is_reversed=is_reversed)
    last = pytree.tree_unflatten(list(last), spec)
    return pytree.tree_unflatten(ys, planned.plan.traced.outputs_spec), last[0] if whole is not step else last


class RunsEagerly(Exception):  # noqa: N818 - no fault of the step
    """Why this call runs eagerly although the step has nothing against it; not worth a warning."""


def plan_for(step: Callable, xs: Any, state: Any) -> tuple[Planned, list[Tensor]]:
    """The plan for a step with such inputs, made at the first call, and the tensors that the step holds now.

    Raises:
        NotTraceable: there is none.
        RunsEagerly: there is none for this call.
    """
    x_leaves, x_spec = pytree.tree_flatten(xs)
    state_leaves, state_spec = pytree.tree_flatten(state)
    _check_call(x_leaves, state_leaves)
    walk = Walk()
    key_of_step, tensors = walk.of(step), walk.tensors
    shapes = tuple((leaf.shape[2:], leaf.dtype, leaf.device) for leaf in x_leaves)
    shapes += tuple((leaf.shape[1:], leaf.dtype, leaf.device) for leaf in state_leaves)
    key = (key_of_step, x_spec, state_spec, shapes, torch.get_default_dtype())
    known = _plans.get(key)
    if known is None:
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
            raise RunsEagerly("hooks on saved tensors are set, under which a step cannot be traced")
        try:
            first = pytree.tree_unflatten([leaf[0] for leaf in x_leaves], x_spec)
            known = Planned(_undisturbed(step, walk, lambda: Plan(step, first, state)), walk)
        except NotTraceable as reason:
            known = reason
        _plans[key] = known
        if len(_plans) > _MOST_PLANS:
            _plans.popitem(last=False)
    if isinstance(known, NotTraceable):
        raise NotTraceable(str(known))
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (*x_leaves, *state_leaves, *tensors))
    try:
        known.plan.prepare(training=training)
    except NotTraceable as reason:
        _plans[key] = reason
        raise
    return known, tensors


def _undisturbed(step: Callable, walk: Walk, make: Callable[[], Plan]) -> Plan:
    """Makes a plan of a step that tracing leaves as it was.

    Raises:
        NotTraceable: it writes to what it holds. That is put back: the eager loop will write it as it should.
    """
    before, snapshot = identity(step)[0], walk.snapshot()
    try:
        plan = make()
    finally:
        is_changed = identity(step)[0] != before
        if is_changed:
            restore(snapshot)
    if is_changed:
        raise NotTraceable("it writes to its own attributes, or to something else that it holds")
    return plan


def _check_call(xs: list[Tensor], states: list[Tensor]) -> None:
    """What only the eager loop serves, whatever the step."""
    if xs[0].shape[0] == 0:
        raise RunsEagerly("there are no time steps")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RunsEagerly("it runs under a transform of torch.func")
    if torch.autograd.forward_ad._current_level >= 0:
        raise RunsEagerly("it runs in forward-mode differentiation")
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise NotTraceable("it runs under autocast")
    n_rows = {leaf.shape[1] if leaf.dim() > 1 else None for leaf in xs}
    n_rows |= {leaf.shape[0] if leaf.dim() > 0 else None for leaf in states}
    if len(n_rows) != 1 or None in n_rows or not states:
        raise NotTraceable("its inputs and state do not share a batch axis")
    if n_rows == {0}:
        raise RunsEagerly("there are no rows")


def with_masks(
    step: Callable, xs: Any, state: Any, active: Tensor | None, resets: Tensor | None
) -> tuple[Callable, Any, Any]:
    """The step with rows that end and rows that start anew: ordinary PyTorch around it, compiled along with it."""
    if active is None and resets is None:
        return step, xs, state

    ends, restarts = active is not None, resets is not None

    def masked(inputs: Any, states: Any) -> tuple[Any, Any]:
        x, masks, state = inputs[0], inputs[1:], states[0]
        if restarts:
            state = pytree.tree_map(lambda now, start: eager.choose(masks[-1], start, now), state, states[1])
        y, new = step(x, state)
        if ends:
            new = pytree.tree_map(lambda new, old: eager.choose(masks[0], new, old), new, state)
            y = pytree.tree_map(lambda leaf: eager.choose(masks[0], leaf, torch.zeros_like(leaf)), y)
        return y, (new, *states[1:])

    masks = tuple(mask for mask in (active, resets) if mask is not None)
    return masked, (xs, *masks), (state, state) if restarts else (state,)


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"scan: the step runs eagerly, many times slower than a fused loop: {reason}. "
            "Pass engine='eager' if that is what you want.",
            NotFusedWarning,
            stacklevel=4,
        )
