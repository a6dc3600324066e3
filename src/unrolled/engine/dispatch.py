"""Chooses the path of a scan: the compiled loop, or the eager loop.

Inputs: a checked scan. Outputs: its result, from the compiled loop if the step has one, else from the eager loop; and,
for the eager loop, the reason in words.
"""

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from unrolled.engine.backends import eager
from unrolled.engine.cache.call import Call, around_of
from unrolled.engine.cache.eager_only import with_plain_memory
from unrolled.engine.cache.memory import cached_for, plan_for
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.run.autograd import loops
from unrolled.engine.run.checkpointed import run_in_chunks
from unrolled.engine.run.packed_rows import packed
from unrolled.engine.run.plan import LoopCall, LoopResult
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.source_lines import level_of_caller
from unrolled.engine.trees import flatten, unflatten
from unrolled.errors import NotFusedError, NotFusedWarning

R = TypeVar("R")  # what a scan returns

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


def run_scan(scan: CheckedScan, *, engine: str, recompute: bool = False) -> tuple[Any, Any]:
    """Runs a scan by the way that `engine` asks for. With `recompute` training takes memory as √time.

    Raises:
        NotFusedError: engine="fused" and there is no compiled loop for it.
    """
    is_any_active = _is_any_active(scan.active)
    if not is_any_active and scan.idle is None:
        return eager.run_nothing(scan)
    if recompute:
        checks_first = not _prepared(scan, engine)
        return run_in_chunks(lambda part: run_scan(part, engine=engine), scan, checks_first=checks_first)
    scan = scan._replace(active=_unless_all(scan.active))
    if not is_any_active:
        engine = "eager"  # no row of this part runs: the definition tells the outputs' shapes
    return by_engine(engine, lambda: side_by_side([_asking(scan)], loops)[0], lambda: eager.run_scan(scan))


def by_engine(engine: str, fused: Callable[[], R], eagerly: Callable[[], R]) -> R:
    """The fused way, if `engine` allows it and there is one; else the eager way, with a warning if the step is why.

    Raises:
        NotFusedError: engine="fused" and there is no fused way.
    """
    if engine == "eager":
        return eagerly()
    try:
        return fused()
    except (NotTraceable, RunsEagerly) as fault:
        reason = fault
    if engine == "fused":
        raise NotFusedError(f"scan: the step cannot run fused: {reason}.")
    result = eagerly()
    if isinstance(reason, NotTraceable):
        warn_once(str(reason))  # not of a step that is at fault itself: that has raised by now
    return result


def run_both_ways(scans: Sequence[CheckedScan], *, engine: str) -> list[tuple[Any, Any]]:
    """`run_scan` of several scans, side by side where all run fused."""
    scans = [scan._replace(active=_unless_all(scan.active)) for scan in scans]
    if engine != "eager" and all(_is_any_active(scan.active) for scan in scans):
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which `run_scan` tells of
            return side_by_side([_asking(scan) for scan in scans], loops)
    return [run_scan(scan, engine=engine) for scan in scans]


def _unless_all(active: Tensor | None) -> Tensor | None:
    """None where each row runs to the end."""
    return None if active is not None and active.all() else active


def _is_any_active(active: Tensor | None) -> bool:
    return active is None or bool(active.any())


def _prepared(scan: CheckedScan, engine: str) -> bool:
    """Makes the plan of a scan, before it runs under hooks that tracing does not bear; whether there is one."""
    if engine != "eager":
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which `run_scan` tells of
            plan_for(scan.step, call_of(scan))
            return True
    return False


def _asking(scan: CheckedScan) -> Generator[LoopCall, LoopResult, tuple[Any, Any]]:
    """Asks for its loop, and ends with outputs and last state. Rows are not computed after their end: the
    batch becomes the rows that run, the longest first.

    Raises:
        NotTraceable: there is no loop for the step.
        RunsEagerly: there is none for this call.
    """
    call, active, is_reversed = call_of(scan), scan.active, scan.is_reversed
    planned, tensors = plan_for(scan.step, call)
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


def call_of(scan: CheckedScan) -> Call:
    """A scan by leaves; rows are reset to `first`, or to the state."""
    (x_leaves, x_form), (states, state_form) = flatten(scan.xs), flatten(scan.state)
    if scan.resets is None:
        return Call(x_leaves, x_form, states, state_form, around_of(scan.clip))
    firsts = states if scan.first is None else flatten(scan.first)[0]
    return Call([*x_leaves, scan.resets], x_form, [*states, *firsts], state_form, (*around_of(scan.clip), "resets"))


def warn_once(reason: str) -> None:
    """Tells why a step runs eagerly, once for each reason."""
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"scan: the step runs eagerly, many times slower than a fused loop: {reason}. "
            "Pass engine='eager' if that is what you want.",
            NotFusedWarning,
            stacklevel=level_of_caller(),
        )
