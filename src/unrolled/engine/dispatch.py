"""Chooses the path of a scan: the compiled loop, or the eager loop.

Inputs: a checked scan. Outputs: its result, from the compiled loop if the step has one, else from the eager loop; and,
for the eager loop, the reason in words.
"""

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends import eager
from unrolled.engine.cache.call import Call, around_of
from unrolled.engine.cache.eager_only import with_plain_memory
from unrolled.engine.cache.memory import cached_for, plan_for
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.run.autograd import loops
from unrolled.engine.run.checkpointed import run_in_chunks
from unrolled.engine.run.packed_rows import packed
from unrolled.engine.run.plan import LoopCall, LoopResult
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.trees import flatten, unflatten
from unrolled.errors import NotFusedError, NotFusedWarning

_warned: set[str] = set()


def again(
    step: Callable, xs: Any, state: Any, *, is_reversed: bool, clip: float | None = None
) -> tuple[Any, Any] | None:
    """The result of a scan without lengths and resets whose like has run fused before; None of any other. A short call
    is mostly Python: this one checks that nothing has changed, and what was checked then is not checked again.
    """
    call = Call(*flatten(xs), *flatten(state), around_of(clip))
    found = cached_for(step, call)
    if found is None:
        return None
    (planned, pick), tensors = found
    plan, layout = planned.plan, _whole(call.xs, is_reversed=is_reversed)
    if planned.needs_rows(tensors, layout.n_rows):
        return None
    if pick:
        ys, last = plan.call("straight")(layout, torch.get_num_threads(), pick((*tensors, *call.states, *call.xs)))
    else:
        [(ys, last)] = side_by_side([plan.scan(planned.captured(tensors), call.xs, call.states, layout)], loops)
    return unflatten(ys, plan.outputs_form), unflatten(last, call.state_form)


def run_scan(
    step: Callable,
    xs: Any,
    state: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
    engine: str,
    recompute: bool = False,
    first: Any = None,
    clip: float | None = None,
) -> tuple[Any, Any]:
    """Runs a scan by the way that `engine` asks for; `active` is true in each row up to its length, and rows are reset
    to `first`, where it is not the state. With `recompute` training takes memory as √time, with `clip` each step's
    gradient of the state before it is clamped.

    Raises:
        NotFusedError: engine="fused" and there is no compiled loop for it.
    """
    if recompute:

        def part(xs: Any, state: Any, active: Tensor | None, resets: Tensor | None, first: Any) -> tuple[Any, Any]:
            return run_scan(
                step, xs, state, active=active, resets=resets, is_reversed=is_reversed, engine=engine, first=first,
                clip=clip,
            )  # fmt: skip

        _prepare(step, xs, state, resets, engine, clip)
        return run_in_chunks(part, xs, state, active=active, resets=resets, is_reversed=is_reversed)
    active = _unless_all(active)
    if active is not None and not active.any():
        engine = "eager"  # nothing to run: the definition tells the outputs' shapes
    if engine != "eager":
        try:
            asking = _scan(step, xs, state, first, active=active, resets=resets, is_reversed=is_reversed, clip=clip)
            return side_by_side([asking], loops)[0]
        except NotTraceable as fault:
            reason, is_step = str(fault), True
        except RunsEagerly as fault:
            reason, is_step = str(fault), False
        if engine == "fused":
            raise NotFusedError(f"scan: the step cannot run fused: {reason}.")
    result = eager.run_scan(
        step, xs, state, active=active, resets=resets, is_reversed=is_reversed, first=first, clip=clip
    )
    if engine == "auto" and is_step:
        warn_once(reason)  # not of a step that is at fault itself: that has raised by now
    return result


def run_both_ways(
    steps: Sequence[Callable],
    xs: Any,
    states: Sequence[Any],
    *,
    active: Tensor | None,
    engine: str,
    clip: float | None = None,
) -> list[tuple[Any, Any]]:
    """`run_scan` of two steps, the first forward in time and the second backward, side by side where both run fused."""
    active = _unless_all(active)
    ways = list(zip(steps, states, (False, True), strict=True))
    if engine != "eager" and (active is None or active.any()):
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which `run_scan` tells of
            asking = [
                _scan(step, xs, state, None, active=active, resets=None, is_reversed=is_reversed, clip=clip)
                for step, state, is_reversed in ways
            ]
            return side_by_side(asking, loops)
    return [
        run_scan(step, xs, state, active=active, resets=None, is_reversed=is_reversed, engine=engine, clip=clip)
        for step, state, is_reversed in ways
    ]


def _unless_all(active: Tensor | None) -> Tensor | None:
    """None where each row runs to the end."""
    return None if active is not None and active.all() else active


def _prepare(step: Callable, xs: Any, state: Any, resets: Tensor | None, engine: str, clip: float | None) -> None:
    """Makes the plan of a scan, where there is one, before it runs under hooks that tracing does not bear."""
    if engine != "eager":
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which `run_scan` tells of
            plan_for(step, call_of(xs, state, resets, None, clip))


def _scan(
    step: Callable,
    xs: Any,
    state: Any,
    first: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
    clip: float | None,
) -> Generator[LoopCall, LoopResult, tuple[Any, Any]]:
    """Asks for its loop, and ends with outputs and last state. Rows that end are not computed after their end: the
    batch becomes the rows that run, the longest first.

    Raises:
        NotTraceable: there is no loop for the step.
        RunsEagerly: there is none for this call.
    """
    call = call_of(xs, state, resets, first, clip)
    planned, tensors = plan_for(step, call)
    call.xs, call.states = with_plain_memory(call.xs), with_plain_memory(call.states)
    plan, captured = planned.plan, planned.captured(with_plain_memory(tensors))
    if active is None or active.all():
        ys, last = yield from plan.scan(captured, call.xs, call.states, _whole(call.xs, is_reversed=is_reversed))
    else:
        batch = packed(active, plan.backend, is_reversed=is_reversed)
        ys, last = yield from plan.scan(
            captured, list(map(batch.pack, call.xs)), list(map(batch.sorted, call.states)), batch.layout
        )
        ys, last = list(map(batch.unpack, ys)), list(map(batch.unsorted, last))
    return unflatten(ys, plan.outputs_form), unflatten(last[: call.n_states], call.state_form)


def _whole(xs: list[Tensor], *, is_reversed: bool) -> BatchLayout:
    n_steps, n_rows = xs[0].shape[:2]
    return BatchLayout(n_steps, n_rows, is_reversed, n_steps * n_rows)


def call_of(xs: Any, state: Any, resets: Tensor | None, first: Any, clip: float | None = None) -> Call:
    """A scan by leaves; rows are reset to `first`, or to the state."""
    (x_leaves, x_form), (states, state_form) = flatten(xs), flatten(state)
    if resets is None:
        return Call(x_leaves, x_form, states, state_form, around_of(clip))
    firsts = states if first is None else flatten(first)[0]
    return Call([*x_leaves, resets], x_form, [*states, *firsts], state_form, (*around_of(clip), "resets"))


def warn_once(reason: str) -> None:
    """Tells why a step runs eagerly, once for each reason."""
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"scan: the step runs eagerly, many times slower than a fused loop: {reason}. "
            "Pass engine='eager' if that is what you want.",
            NotFusedWarning,
            stacklevel=4,
        )
