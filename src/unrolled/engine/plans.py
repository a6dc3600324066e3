"""The plan of a call: known, or on the disk, or made.

Comes in: a step and the leaves of its inputs and state. Goes out: the plan, and the tensors that the step holds now.
"""

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.engine import disk
from unrolled.engine.backends.cpu import library
from unrolled.engine.backends.cpu.build import processor
from unrolled.engine.identity import Walk, restore, walk_over
from unrolled.engine.plan import Plan
from unrolled.engine.products import reading
from unrolled.engine.programs import Staying
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.trees import Form, flatten, unflatten
from unrolled.engine.watch import kind_of, remembered

_MOST_PLANS = 256
_MOST_CALLS = 64  # of a step that is remembered
_plans: "dict[Hashable, Planned | NotTraceable]" = {}

Pick = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


class Planned:
    """A plan, and where in a step of its key the tensors lie that it captured; those that are in none, themselves.

    Attributes:
        pick: a step's tensors, the leaves of its state, those of its inputs → the loop's tensors; None where there is
            more to do than to pick them.
    """

    def __init__(self, plan: Plan, places: Sequence[int | Tensor], walk: Walk) -> None:
        self.plan, self.places = plan, places
        n = len(walk.tensors)
        self._are_all = list(places) == list(range(n))
        self._held = walk.held  # while the plan lives, their addresses are theirs
        self.pick: Pick | None = None
        if plan.is_plain and all(isinstance(place, int) for place in places):
            m = n + len(plan.states)
            at = [m + i if kind == "input" else places[i] for kind, i in plan.reads]
            at += range(n, m)
            self.pick = itemgetter(*at) if len(at) > 1 else None

    def captured(self, tensors: list[Tensor]) -> list[Tensor]:
        """The captured tensors of a step that holds these."""
        return tensors if self._are_all else [tensors[at] if isinstance(at, int) else at for at in self.places]


class Known(NamedTuple):
    """What is known of calls of a form, of a step that is remembered.

    Attributes:
        planned: the plan.
        pick: `planned.pick`, if such calls go straight to the loop with what it picks: that is of the loop's dtype, and
            nothing has a gradient. Else None.
    """

    planned: Planned
    pick: Pick | None


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
    call = _form_of(x_leaves, x_form, state_leaves, state_form)
    known = walk.known.get(call)
    if known is None:
        planned = _plan_for(step, walk, x_leaves, x_form, state_leaves, state_form)
        if len(walk.known) >= _MOST_CALLS:
            walk.known.clear()
        pick, whole = planned.pick, (*walk.tensors, *state_leaves, *x_leaves)
        if pick and (_needs_backward(whole) or any(each.dtype != planned.plan.dtype for each in pick(whole))):
            pick = None
        known = walk.known[call] = Known(planned, pick)
    return known.planned, walk.tensors


def known_for(
    step: Callable, x_leaves: list[Tensor], x_form: Form, state_leaves: list[Tensor], state_form: Form
) -> tuple[Known, list[Tensor]] | None:
    """What is known of such calls of a step, and the tensors that it holds; None of a step or a call that is new, and
    where only the eager loop serves. The leaves may be anything.
    """
    walk = remembered(step)
    if walk is None:
        return None
    try:
        known = walk.known.get(_form_of(x_leaves, x_form, state_leaves, state_form))
    except (AttributeError, TypeError):  # they are no tensors
        return None
    return None if known is None or _is_eager_here() else (known, walk.tensors)


def _form_of(x_leaves: list[Tensor], x_form: Form, state_leaves: list[Tensor], state_form: Form) -> Hashable:
    """What the plan of a remembered step depends on, and how it runs."""
    return (
        x_form, state_form, torch.get_default_dtype(), torch.is_grad_enabled(), reading(), torch.get_num_threads(),
        *map(kind_of, x_leaves), *map(kind_of, state_leaves),
    )  # fmt: skip


def _needs_backward(tensors: Iterable[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _plan_for(
    step: Callable, walk: Walk, x_leaves: list[Tensor], x_form: Form, state_leaves: list[Tensor], state_form: Form
) -> Planned:
    check_rows(x_leaves, state_leaves)
    training = _needs_backward((*x_leaves, *state_leaves, *walk.tensors))
    staying: Staying = "none" if training else _staying(x_leaves)
    key = key_of(walk.key, x_leaves, x_form, state_leaves, state_form, staying=staying)
    planned = known(key)
    if planned is None:
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
            raise RunsEagerly("hooks on saved tensors are set, under which a step cannot be traced")
        first = unflatten([leaf[0] for leaf in x_leaves], x_form)
        try:
            planned = plan(step, key, walk, first, unflatten(state_leaves, state_form), staying=staying)
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
    """Rows of a thread from which on products of the inputs are the faster within the loop: 16 with AVX-512; never with
    shorter vectors, which a large product feeds as well.
    """
    return 16 if "avx512f" in processor() else 1 << 30


def _staying(xs: list[Tensor]) -> Staying:
    """Which products of the inputs are the faster within the loop, in inference (docs/design/engine-speed.md): where a
    thread has rows enough those that give more than they read; in a call of a single row, which is mostly Python, all.
    They do not read bfloat16, as large ones may.
    """
    n_steps, n_rows = xs[0].shape[:2]
    is_single = n_steps == n_rows == 1
    if (not is_single and n_rows < wide() * torch.get_num_threads()) or reading() is not None:
        return "none"
    floats = [x for x in xs if x.is_floating_point()]
    if not floats or any(x.dtype == torch.bfloat16 or x.shape[-1] == 0 for x in floats):
        return "none"
    return "all" if is_single else "widening"


def key_of(
    step: Hashable,
    x_leaves: list[Tensor],
    x_form: Form,
    state_leaves: list[Tensor],
    state_form: Form,
    *,
    staying: Staying = "none",
) -> Hashable:
    """What a plan depends on: the step, its inputs but for time and batch, and which products stay in the loop."""
    parts = [step, x_form, state_form, torch.get_default_dtype(), staying]
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


def plan(step: Callable, key: Hashable, walk: Walk, x: Any, state: Any, *, staying: Staying = "none") -> Planned:
    """The plan of a step that none is known for, from the disk, or made on inputs and state of one time step.

    Raises:
        NotTraceable: there is none.
    """
    name = disk.name_of(key, walk.held, step)
    found = disk.load(name) if name else None
    if found is not None:
        return Planned(*found, walk)
    planned = _made(step, walk, x, state, staying=staying)
    if name:
        disk.save(name, planned.plan, planned.places)
    return planned


def _made(step: Callable, walk: Walk, x: Any, state: Any, *, staying: Staying) -> Planned:
    """Makes a plan of a step that tracing leaves as it was.

    Raises:
        NotTraceable: it writes to what it holds. That is put back: the eager loop will write it as it should.
    """
    first = next((leaf for leaf in flatten(x)[0] if leaf.is_floating_point()), None)
    if first is not None and first.is_cpu:
        library.begin(first.dtype)  # while the step is traced
    from unrolled.engine.planning import make_plan  # it loads torch's tracing, which takes seconds

    snapshot = walk.snapshot()
    try:
        made, captured = make_plan(step, x, state, staying=staying)
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
    if _is_eager_here():
        if torch._C._are_functorch_transforms_active():
            raise RunsEagerly("it runs under a transform of torch.func")
        if forward_ad._current_level >= 0:
            raise RunsEagerly("it runs in forward-mode differentiation")
        raise NotTraceable("it runs under autocast")


def _is_eager_here() -> bool:
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or (
            torch._C._is_any_autocast_enabled()
            and (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"))
        )
    )


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
