"""The plan of a call: known, or on the disk, or made.

Inputs: a step and the leaves of its inputs and state. Output: the plan, and the tensors that the step reads now.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unrolled.engine import reasons
from unrolled.engine.backends.base import reading
from unrolled.engine.backends.registry import backend_for
from unrolled.engine.cache import disk
from unrolled.engine.cache.call import Call
from unrolled.engine.cache.eager_only import check_context, check_kinds, check_rows, has_plain_memory
from unrolled.engine.context import importing, is_autocast, making, of_single_gradients
from unrolled.engine.ir.loop_programs import Staying
from unrolled.engine.ir.taps import Taps
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.run.plan import Plan
from unrolled.engine.step import guarded
from unrolled.engine.step.declared import Declared, declared
from unrolled.engine.step.declared import forget as forget_declared
from unrolled.engine.step.found import Found

if TYPE_CHECKING:
    from unrolled.engine.passes.trace import StepFunction, Traced

_MOST_PLANS = 256  # of declared steps
_MOST_CALLS = 64  # of one declared step
_MOST_CAPTURED = 256  # of captured steps, whose graphs they hold
_MOST_OF_A_FORM = 8
backend_for(torch.device("cpu"))  # loaded with the library: a first call need not
_plans: "dict[Hashable, Planned | NotTraceable]" = {}
_captured: "dict[Hashable, list[_CapturedCall]]" = {}

Pick = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


class Planned:
    """A plan, and what the loop's tensors are.

    Attributes:
        made: tensors with numbers that the step makes, which follow those that it reads.
        taps: of a step that is probed.
        pick: a step's tensors, the leaves of its state, those of its inputs → the loop's tensors; None where there is
            more to do than to pick them.
    """

    def __init__(
        self,
        plan: Plan,
        n_tensors: int,
        made: Sequence[Tensor] = (),
        by_row: Iterable[int] = (),
        taps: Taps | None = None,
    ) -> None:
        self.plan, self.made, self.by_row, self.taps = plan, list(made), tuple(by_row), taps
        self.pick: Pick | None = None
        if taps is not None:
            plan.lend(taps.n_outputs)
        if plan.is_plain and not made:
            m = n_tensors + len(plan.states)
            at = [m + i if kind == "input" else i for kind, i in plan.reads]
            at += range(n_tensors, m)
            self.pick = itemgetter(*at) if len(at) > 1 else None

    def needs_rows(self, tensors: list[Tensor], n_rows: int) -> bool:
        """Whether a tensor with a row for each row of the batch has another number of them in this call."""
        return bool(self.by_row) and any(len(tensors[i]) != n_rows for i in self.by_row)

    def captured(self, tensors: list[Tensor]) -> list[Tensor]:
        """The captured tensors of a step that reads these."""
        return [*tensors, *self.made] if self.made else tensors


class CachedCall(NamedTuple):
    """What is known of calls of a form, of a step that is known.

    Attributes:
        planned: the plan.
        pick: `planned.pick`, if such calls go straight to the loop with what it picks: that is of the loop's dtype, and
            nothing has a gradient. Else None.
    """

    planned: Planned
    pick: Pick | None


class _CapturedCall(NamedTuple):
    """Calls of a form, of a captured step: its graph, examples to check its guards with, and the shapes of the tensors
    that it reads, where guards leave them open.
    """

    found: Found
    call: CachedCall
    examples: tuple[Any, Any]
    shapes: list[torch.Size] | None


def plan_for(step: Callable, call: Call) -> tuple[Planned, list[Tensor]]:
    """The plan for a call, made at the first one of its form, and the tensors that the step reads now.

    Raises:
        NotTraceable: there is none.
        RunsEagerly: there is none for this call.
    """
    with of_single_gradients():
        return _plan_for(step, call)


def _plan_for(step: Callable, call: Call) -> tuple[Planned, list[Tensor]]:
    check_context()
    check_rows(call.xs, call.states)
    check_kinds(call.xs, call.states)
    own = declared(step)
    if own is not None:
        own.is_unchanged()
        form = call.form()
        cached = own.calls.get(form)
        if cached is None:
            if len(own.calls) >= _MOST_CALLS:
                own.calls.clear()
            cached = own.calls[form] = _cached(of_declared(own, call), own.tensors, call)
        return cached.planned, own.tensors
    found, planned = of_captured(step, call)
    examples = call.of_step().examples(call.xs[0].shape[1])
    tensors = found.tensors(step, examples)
    assert not isinstance(found.graph, NotTraceable)
    shapes = [tensor.shape for tensor in tensors] if found.graph.shares_rows else None
    if has_plain_memory(tensors):
        _store(step, call, _CapturedCall(found, _cached(planned, tensors, call), examples, shapes))
    return planned, tensors


def cached_for(step: Callable, call: Call) -> tuple[CachedCall, list[Tensor]] | None:
    """What is known of such calls of a step, and the tensors that it reads; None of a step or a call that is new, and
    where only the eager loop serves. The leaves may be anything. `scan` has asked `why_definition` before.
    """
    try:
        form = call.form()
    except (AttributeError, TypeError):  # they are no tensors
        return None
    if torch.is_grad_enabled() and any([leaf.is_inference() for leaf in (*call.xs, *call.states)]):  # noqa: C419 - a generator takes longer
        return None
    if is_autocast():
        return None
    own = declared(step)
    if own is not None:
        cached = own.calls.get(form) if own.is_unchanged() else None
        if cached is None or not has_plain_memory([*call.xs, *call.states, *own.tensors]):
            return None
        return cached, own.tensors
    if not has_plain_memory([*call.xs, *call.states]):
        return None
    slots = _captured.get((guarded.code_of(step), form))
    if slots is None:
        return None
    for slot in slots:
        if slot.found.holds(step, slot.examples):
            if slot.found.is_due():
                return None
            tensors = slot.found.tensors(step, slot.examples)
            is_like_then = slot.shapes is None or slot.shapes == [tensor.shape for tensor in tensors]
            if is_like_then and all([tensor.data_ptr() for tensor in tensors]):  # noqa: C419 - guards see views of another kind
                return slot.call, tensors
    return None


def _store(step: Callable, call: Call, slot: _CapturedCall) -> None:
    if len(_captured) >= _MOST_CAPTURED:
        _captured.clear()
    slots = _captured.setdefault((guarded.code_of(step), call.form()), [])
    others = [each for each in slots if each.found is not slot.found or each.shapes != slot.shapes]
    slots[:] = [slot, *others][:_MOST_OF_A_FORM]


def _cached(planned: Planned, tensors: list[Tensor], call: Call) -> CachedCall:
    pick, whole = planned.pick, (*tensors, *call.states, *call.xs)
    if pick and (_needs_backward(whole) or any(each.dtype != planned.plan.dtype for each in pick(whole))):
        pick = None
    return CachedCall(planned, pick)


def forget() -> None:
    """The next call of each step makes its plan anew, or reads it from the disk."""
    _plans.clear()
    _captured.clear()
    guarded.forget()
    forget_declared()


def _needs_backward(tensors: Iterable[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def of_declared(own: Declared, call: Call) -> Planned:
    """The plan of a step of the library's own."""
    staying, training = _way(own.tensors, call)
    shapes = tuple((shape[i in own.by_row :], *kind[:2]) for i, (shape, *kind) in enumerate(own.kinds))
    key = (own.key, shapes, _key_of(call, staying))

    def make() -> Planned:
        name = disk.name_of(repr(key))
        plan, taps = None if call.is_probed else disk.load(name), None
        if plan is None:
            with importing():
                from unrolled.engine.passes import trace  # it loads torch's tracing, which takes seconds
            with _library_begun(call):
                traced = _traced(trace.of_trees(own.run, call.x_form, call.state_form), own.tensors, own.by_row, call)
                assert not traced.made, "a step of the library's own makes no tensors of numbers"
                plan, taps = _lowered(traced, call, own.tensors, staying), traced.taps
            if not call.is_probed:
                disk.save(name, plan)
        return Planned(plan.bind(backend_for(call.xs[0].device)), len(own.tensors), by_row=own.by_row, taps=taps)

    return _prepared(_plans, key, make, training=training, most=_MOST_PLANS)


def of_captured(step: Callable, call: Call) -> tuple[Found, Planned]:
    """The graph that stands for a step of the user's now, and a plan of it."""
    leaves, n_rows = call.of_step(), call.xs[0].shape[1]
    found = guarded.graph_for(step, leaves, n_rows)
    tensors = found.tensors(step, leaves.examples(n_rows))
    staying, training = _way(tensors, call)
    graph = found.graph
    assert not isinstance(graph, NotTraceable)
    shapes = tuple(
        (t.shape[1:] if i in graph.by_row else t.shape, t.dtype, i in graph.by_row) for i, t in enumerate(tensors)
    )
    key = (shapes, _key_of(call, staying))

    def make() -> Planned:
        from unrolled.engine.step.verify import function_of

        traced, found.traced = found.traced if not call.around else None, None
        if traced is None:
            traced = _traced(function_of(graph), tensors, graph.by_row, call)
        name, taps = disk.name_of(repr((disk.words_of(traced), key))), traced.taps
        plan = None if call.is_probed else disk.load(name)
        if plan is None:
            with _library_begun(call):
                plan = _lowered(traced, call, tensors, staying)
            if not call.is_probed:
                # the form of outputs may be a tree of the user's, which a file cannot hold
                disk.save(name, dataclasses.replace(plan, outputs_form=None))
        else:
            plan.outputs_form = traced.outputs_form
        return Planned(plan.bind(backend_for(call.xs[0].device)), len(tensors), traced.made, graph.by_row, taps)

    return found, _prepared(found.plans, key, make, training=training, most=_MOST_PLANS)


def _traced(step: "StepFunction", tensors: list[Tensor], by_row: "set[int] | frozenset[int]", call: Call) -> "Traced":
    from unrolled.engine.passes import taps, trace

    around = {"resets": trace.with_resets, "ends": trace.with_ends}
    for each in call.around:
        if isinstance(each, str):
            step = around[each](step, call.n_states) if each in around else step
        else:
            step = trace.with_clip(step, each)
    traced = trace.trace(step, tensors, [x[0] for x in call.xs], call.states, by_row=by_row)
    return taps.tap(traced, call.n_states) if call.is_probed else traced


def _lowered(traced: "Traced", call: Call, tensors: list[Tensor], staying: Staying) -> Plan:
    from unrolled.engine.passes.pipeline import make_plan

    [dtype] = {leaf.dtype for leaf in (*call.xs, *call.states) if leaf.is_floating_point()}
    if any(t.is_floating_point() and t.dtype != dtype for t in (*tensors, *traced.made)):
        raise NotTraceable(f"it mixes {dtype} with tensors of another dtype")
    return make_plan(traced, dtype, staying=staying)


def _prepared(
    plans: "dict[Hashable, Planned | NotTraceable]",
    key: Hashable,
    make: Callable[[], Planned],
    *,
    training: bool,
    most: int,
) -> Planned:
    """The plan of a key, built for what a call needs; or why there is none. The one made longest ago goes."""
    found = plans.get(key)
    if isinstance(found, NotTraceable):
        raise NotTraceable(str(found))
    if found is None and torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        raise RunsEagerly("hooks on saved tensors are set, under which a step cannot be traced")
    if found is None:
        with making:
            try:
                found = plans[key] = make()
            except NotTraceable as reason:
                plans[key] = reason
                raise
            except Exception as fault:
                if reasons.is_strict:
                    raise
                plans[key] = NotTraceable(
                    f"Unrolled fails to compile it, a fault of its own ({type(fault).__name__}); please report it"
                )
                raise plans[key] from fault  # type: ignore[misc]
    unbuilt = plans.get((key, training))
    if isinstance(unbuilt, NotTraceable):
        raise NotTraceable(str(unbuilt))
    try:
        found.plan.prepare(training=training)
    except NotTraceable as reason:  # of a forward alone, or of a backward with its forward
        plans[key, training] = reason
        raise
    if len(plans) > most:
        plans.pop(next(iter(plans)), None)  # another thread may have been the sooner
    return found


@contextlib.contextmanager
def _library_begun(call: Call) -> Iterator[None]:
    """Builds the products while the step is traced; not for longer than that, if it is interrupted."""
    [dtype] = {leaf.dtype for leaf in (*call.xs, *call.states) if leaf.is_floating_point()}
    backend = backend_for(call.xs[0].device)
    backend.begin(dtype)
    try:
        yield
    except KeyboardInterrupt:
        backend.stop(dtype)
        raise


def _way(tensors: list[Tensor], call: Call) -> tuple[Staying, bool]:
    """Which products stay in the loop, and whether there is a backward."""
    training = _needs_backward((*call.xs, *call.states, *tensors))
    return ("none" if training else _staying(call.xs)), training


def _staying(xs: list[Tensor]) -> Staying:
    """Which products of the inputs are the faster within the loop, in inference (docs/design/engine-speed.md): where a
    thread has rows enough those that give more than they read; in a call of a single row, which is mostly Python, all.
    They do not read bfloat16, as large ones may.
    """
    n_steps, n_rows = xs[0].shape[:2]
    is_single = n_steps == n_rows == 1
    if reading() is not None:
        return "none"
    if not is_single and n_rows < backend_for(xs[0].device).least_rows_inside() * torch.get_num_threads():
        return "none"
    floats = [x for x in xs if x.is_floating_point()]
    if not floats or any(x.dtype == torch.bfloat16 or x.shape[-1] == 0 for x in floats):
        return "none"
    return "all" if is_single else "widening"


def _key_of(call: Call, staying: Staying) -> Hashable:
    """What a plan depends on beside the step: inputs but for time and batch, and which products stay in the loop."""
    parts = [call.x_form, call.state_form, call.around, torch.get_default_dtype(), staying]
    for leaves, axes in ((call.xs, 2), (call.states, 1)):
        for leaf in leaves:
            parts += (tuple(map(int, leaf.shape[axes:])), leaf.dtype, leaf.device)
    return tuple(parts)
