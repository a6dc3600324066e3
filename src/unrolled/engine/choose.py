"""Which way a scan runs, and why.

Comes in: a checked scan. Goes out: its result, from the compiled loop where the step has one, else from the eager loop;
and the reason, in words, where it has none.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from unrolled.engine import disk
from unrolled.engine.backends import eager
from unrolled.engine.backends.cpu.build import processor
from unrolled.engine.identity import Walk, restore, walk_over
from unrolled.engine.loop import LoopCall, LoopResult, loops
from unrolled.engine.plan import Plan
from unrolled.engine.products import reading
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.side_by_side import side_by_side
from unrolled.engine.span import Span, packed
from unrolled.engine.trees import Form, flatten, unflatten
from unrolled.errors import NotFusedError, NotFusedWarning

_MOST_PLANS = 256
_MOST_CALLS = 64  # of a step that is remembered
_plans: "dict[Hashable, Planned | NotTraceable]" = {}
_warned: set[str] = set()


class Planned:
    """A plan, and where in a step of its key the tensors lie that it captured; those that are in none, themselves."""

    def __init__(self, plan: Plan, places: Sequence[int | Tensor], walk: Walk) -> None:
        self.plan, self.places = plan, places
        self._are_all = list(places) == list(range(len(walk.tensors)))
        self._held = walk.held  # while the plan lives, their addresses are theirs

    def captured(self, tensors: list[Tensor]) -> list[Tensor]:
        """The captured tensors of a step that holds these."""
        return tensors if self._are_all else [tensors[at] if isinstance(at, int) else at for at in self.places]


def run(
    step: Callable,
    xs: Any,
    state: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
    engine: str,
    first: Any = None,
) -> tuple[Any, Any]:
    """Runs a scan by the way that `engine` asks for; `active` is true in each row up to its length, and rows are reset
    to `first`, where it is not the state.

    Raises:
        NotFusedError: engine="fused" and there is no compiled loop for it.
    """
    if active is not None and not active.any():
        engine = "eager"  # nothing to run: the definition tells the outputs' shapes
    if engine != "eager":
        try:
            asking = _scan(step, xs, state, first, active=active, resets=resets, is_reversed=is_reversed)
            return side_by_side([asking], loops)[0]
        except NotTraceable as fault:
            reason, is_step = str(fault), True
        except RunsEagerly as fault:
            reason, is_step = str(fault), False
        if engine == "fused":
            raise NotFusedError(f"scan: the step cannot run fused: {reason}.")
    result = eager.run(step, xs, state, active=active, resets=resets, is_reversed=is_reversed, first=first)
    if engine == "auto" and is_step:
        warn_once(reason)  # not of a step that is at fault itself: that has raised by now
    return result


def run_both_ways(
    steps: Sequence[Callable], xs: Any, states: Sequence[Any], *, active: Tensor | None, engine: str
) -> list[tuple[Any, Any]]:
    """`run` of two steps, the first forward in time and the second backward, side by side where both run fused."""
    ways = list(zip(steps, states, (False, True), strict=True))
    if engine != "eager" and (active is None or active.any()):
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which `run` tells of
            asking = [
                _scan(step, xs, state, None, active=active, resets=None, is_reversed=is_reversed)
                for step, state, is_reversed in ways
            ]
            return side_by_side(asking, loops)
    return [
        run(step, xs, state, active=active, resets=None, is_reversed=is_reversed, engine=engine)
        for step, state, is_reversed in ways
    ]


def prepare(step: Callable, xs: Any, state: Any, resets: Tensor | None, engine: str) -> None:
    """Makes the plan of a scan, where there is one, before it runs under hooks that tracing does not bear."""
    if engine != "eager":
        with contextlib.suppress(NotTraceable, RunsEagerly):
            whole, all_xs, all_state = with_resets(step, xs, state, resets)
            plan_for(whole, *flatten(all_xs), *flatten(all_state))


def _scan(
    step: Callable, xs: Any, state: Any, first: Any, *, active: Tensor | None, resets: Tensor | None, is_reversed: bool
) -> Generator[LoopCall, LoopResult, tuple[Any, Any]]:
    """Asks for its loop, and ends with outputs and last state. Rows that end are not computed after their end: the
    batch becomes the rows that run, the longest first.

    Raises:
        NotTraceable: there is no loop for the step.
        RunsEagerly: there is none for this call.
    """
    whole, all_xs, all_state = with_resets(step, xs, state, resets, first)
    x_leaves, x_form = flatten(all_xs)
    states, state_form = flatten(all_state)
    planned, tensors = plan_for(whole, x_leaves, x_form, states, state_form)
    plan, captured = planned.plan, planned.captured(tensors)
    if active is None or active.all():
        n_steps, n_rows = x_leaves[0].shape[:2]
        span = Span(n_steps, n_rows, is_reversed, n_steps * n_rows)
        ys, last = yield from plan.scan(captured, x_leaves, states, span)
    else:
        batch = packed(active, is_reversed=is_reversed)
        ys, last = yield from plan.scan(
            captured, list(map(batch.pack, x_leaves)), list(map(batch.sorted, states)), batch.span
        )
        ys, last = list(map(batch.unpack, ys)), list(map(batch.unsorted, last))
    of_state = unflatten(last, state_form)
    return unflatten(ys, plan.outputs_form), of_state if whole is step else of_state[0]


def plan_for(
    step: Callable, x_leaves: list[Tensor], x_form: Form, state_leaves: list[Tensor], state_form: Form
) -> tuple[Planned, list[Tensor]]:
    """The plan for a step with such inputs, made at the first call, and the tensors that the step holds now.

    Raises:
        NotTraceable: there is none.
        RunsEagerly: there is none for this call.
    """
    check_context()
    walk = walk_over(step)
    if not walk.is_remembered:  # as of a closure that is made anew each time
        return _plan_for(step, walk, x_leaves, x_form, state_leaves, state_form), walk.tensors
    whole: list[Hashable] = [x_form, state_form, torch.get_default_dtype(), torch.is_grad_enabled()]
    whole += (reading(), torch.get_num_threads())
    for leaf in (*x_leaves, *state_leaves):
        whole += (leaf.shape, leaf.dtype, leaf.device, leaf.requires_grad)
    call = tuple(whole)
    planned = walk.known.get(call)
    if planned is None:
        planned = _plan_for(step, walk, x_leaves, x_form, state_leaves, state_form)
        if len(walk.known) >= _MOST_CALLS:
            walk.known.clear()
        walk.known[call] = planned
    return planned, walk.tensors


def _plan_for(
    step: Callable, walk: Walk, x_leaves: list[Tensor], x_form: Form, state_leaves: list[Tensor], state_form: Form
) -> Planned:
    check_rows(x_leaves, state_leaves)
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (*x_leaves, *state_leaves, *walk.tensors))
    wide = _is_wide(x_leaves, training=training)
    key = key_of(walk.key, x_leaves, x_form, state_leaves, state_form, is_wide=wide)
    planned = known(key)
    if planned is None:
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
            raise RunsEagerly("hooks on saved tensors are set, under which a step cannot be traced")
        first = unflatten([leaf[0] for leaf in x_leaves], x_form)
        try:
            planned = plan(step, key, walk, first, unflatten(state_leaves, state_form), is_wide=wide)
        except NotTraceable as reason:
            learn(key, reason)
            raise
        learn(key, planned)
    try:
        planned.plan.prepare(training=training)
    except NotTraceable as reason:
        learn(key, reason)
        raise
    return planned


@functools.cache
def wide() -> int:
    """Rows of a thread from which on products of the inputs are the faster within the loop: 8 with AVX-512; never with
    shorter vectors, which a large product feeds as well (docs/design/engine.md has the figures).
    """
    return 8 if "avx512f" in processor() else 1 << 30


def _is_wide(xs: list[Tensor], *, training: bool) -> bool:
    """Whether a thread has rows enough, and products of the inputs within the loop have no drawback: they do not read
    bfloat16, as large ones may, and their backward makes the inputs' gradients whether they are wanted or not.
    """
    if xs[0].shape[1] < wide() * torch.get_num_threads() or reading() is not None:
        return False
    floats = [x for x in xs if x.is_floating_point()]
    return bool(floats) and all(
        x.dtype != torch.bfloat16 and x.shape[-1] > 0 and (x.requires_grad or not training) for x in floats
    )


def key_of(
    step: Hashable,
    x_leaves: list[Tensor],
    x_form: Form,
    state_leaves: list[Tensor],
    state_form: Form,
    *,
    is_wide: bool = False,
) -> Hashable:
    """What a plan depends on: the step, its inputs but for time and batch, and whether a thread has many rows."""
    parts = [step, x_form, state_form, torch.get_default_dtype(), is_wide]
    for leaves, axes in ((x_leaves, 2), (state_leaves, 1)):
        for leaf in leaves:
            parts += (leaf.shape[axes:], leaf.dtype, leaf.device)
    return tuple(parts)


def known(key: Hashable) -> Planned | None:
    """The plan of such a key, None where there is none yet.

    Raises:
        NotTraceable: it is known that there can be none.
    """
    found = _plans.get(key)
    if found is None:
        return None
    if isinstance(found, NotTraceable):
        raise NotTraceable(str(found))
    return found


def learn(key: Hashable, found: Planned | NotTraceable) -> None:
    """Keeps a plan, or why there is none; the one made longest ago goes."""
    _plans[key] = found
    if len(_plans) > _MOST_PLANS:
        _plans.pop(next(iter(_plans)), None)  # another thread may have been the sooner


def plan(step: Callable, key: Hashable, walk: Walk, x: Any, state: Any, *, is_wide: bool = False) -> Planned:
    """The plan of a step that none is known for, from the disk, or made on inputs and state of one time step.

    Raises:
        NotTraceable: there is none.
    """
    name = disk.name_of(key, walk.held, step)
    found = disk.load(name) if name else None
    if found is not None:
        return Planned(*found, walk)
    planned = _made(step, walk, x, state, is_wide=is_wide)
    if name:
        disk.save(name, planned.plan, planned.places)
    return planned


def _made(step: Callable, walk: Walk, x: Any, state: Any, *, is_wide: bool) -> Planned:
    """Makes a plan of a step that tracing leaves as it was.

    Raises:
        NotTraceable: it writes to what it holds. That is put back: the eager loop will write it as it should.
    """
    from unrolled.engine.planning import make_plan  # it loads torch's tracing, which takes seconds

    snapshot = walk.snapshot()
    try:
        made, captured = make_plan(step, x, state, is_wide=is_wide)
    finally:
        is_changed = walk_over(step).key != walk.key
        if is_changed:
            restore(snapshot)
    if is_changed:
        raise NotTraceable("it writes to its own attributes, or to something else that it holds")
    place = {id(tensor): i for i, tensor in enumerate(walk.tensors)}
    return Planned(made, [place.get(id(tensor), tensor) for tensor in captured], walk)


def check_call(xs: list[Tensor], states: list[Tensor]) -> None:
    """What only the eager loop serves, whatever the step."""
    check_context()
    check_rows(xs, states)


def check_context() -> None:
    """Where only the eager loop serves."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RunsEagerly("it runs under a transform of torch.func")
    if forward_ad._current_level >= 0:
        raise RunsEagerly("it runs in forward-mode differentiation")
    if torch._C._is_any_autocast_enabled() and (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
        raise NotTraceable("it runs under autocast")


def check_rows(xs: list[Tensor], states: list[Tensor]) -> None:
    """Shapes that only the eager loop serves."""
    if xs[0].shape[0] == 0:
        raise RunsEagerly("there are no time steps")
    n_rows = xs[0].shape[1] if xs[0].dim() > 1 else None
    for leaves, axis in ((xs, 1), (states, 0)):
        for leaf in leaves:
            if leaf.dim() <= axis or leaf.shape[axis] != n_rows:
                n_rows = None
    if n_rows is None or not states:
        raise NotTraceable("its inputs and state do not share a batch axis")
    if n_rows == 0:
        raise RunsEagerly("there are no rows")


def with_resets(
    step: Callable, xs: Any, state: Any, resets: Tensor | None, first: Any = None
) -> tuple[Callable, Any, Any]:
    """The step with rows that start anew: ordinary PyTorch around it, compiled along with it."""
    if resets is None:
        return step, xs, state

    def restarting(inputs: Any, states: Any) -> tuple[Any, Any]:
        x, mask = inputs
        state = pytree.tree_map(lambda now, start: eager.choose(mask, start, now), *states)
        y, new = step(x, state)
        return y, (new, states[1])

    return restarting, (xs, resets), (state, state if first is None else first)


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
