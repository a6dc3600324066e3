"""The compiled loop under autograd.

Inputs: a plan, the layout of its rows, and the loop's tensors: step inputs, or the rows of which products make them;
weights and biases of those products; constants; first states. Outputs: last states, wanted sequences of states and
stored outputs, differentiable.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.base import reading, reading_in
from unrolled.engine.context import is_batched
from unrolled.engine.gradient_clip import CLIP
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.run.apart import copy_of
from unrolled.engine.run.plan import LoopCall, LoopResult, Plan
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.run.with_gradient import with_gradient
from unrolled.errors import NotFusedError


def loops(calls: Sequence[LoopCall]) -> list[LoopResult]:
    """Several loops, side by side where the machine has a processor for each."""
    tensors = calls[0][2] if len(calls) == 1 else [tensor for _, _, own in calls for tensor in own]
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        n_threads, run = calls[0][0].backend.way_of([layout for _, layout, _ in calls])
        runs = side_by_side([plan.call("forward")(layout, n_threads, own) for plan, layout, own in calls], run)
        return [
            (last, [states[i] for i in plan.sequences], kept)
            for (plan, _, _), (last, states, kept, _) in zip(calls, runs, strict=True)
        ]
    results = _Loops.apply([(plan, layout, len(own)) for plan, layout, own in calls], *tensors)
    found = []
    for (plan, _, _), own in zip(calls, _parts(results, [_n_results(plan) for plan, _, _ in calls]), strict=True):
        n, m = len(plan.states), len(plan.states) + len(plan.sequences)
        found.append((list(own[:n]), list(own[n:m]), list(own[m:])))
    return found


class _Loops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, calls: list[tuple[Plan, BatchLayout, int]], *tensors: Tensor) -> Any:
        n_threads, run = calls[0][0].backend.way_of([layout for _, layout, _ in calls])
        parts = _parts(tensors, [n for _, _, n in calls])
        runs = side_by_side(
            [
                plan.call("training")(layout, n_threads, own)
                for (plan, layout, _), own in zip(calls, parts, strict=True)
            ],
            run,
        )
        given: list[Tensor] = []
        kept_for_backward: list[Tensor | None] = []
        ctx.calls, ctx.reading, ctx.n_saved = calls, reading(), []
        ctx.set_materialize_grads(False)  # zeros for each result that has no gradient would be written and read
        without: list[Tensor] = []  # results that have no gradient in the plain loop either
        all_needed = _parts(ctx.needs_input_grad[1:], [n for _, _, n in calls])
        for (plan, layout, _), part, needed, (last, states, kept, saved) in zip(
            calls, parts, all_needed, runs, strict=True
        ):
            read = (*[states[i] for i in plan.read_states], *kept)
            is_read = (*plan.saves_states, *plan.saves_kept)
            whole = (*part, *[each if needs else None for each, needs in zip(read, is_read, strict=True)], *saved)
            ctx.n_saved.append(len(whole))
            kept_for_backward += whole
            results = [*last, *_given(plan, layout, states, kept)]
            has_gradient = with_gradient(plan, layout, needed)
            without += [each for each, has in zip(results, has_gradient, strict=True) if not has]
            given += results
        ctx.save_for_backward(*kept_for_backward)
        ctx.mark_non_differentiable(*without)
        return tuple(given)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        all_saved = _parts(ctx.saved_tensors, ctx.n_saved)  # once: under recomputation it is gone after
        all_needed = _parts(ctx.needs_input_grad[1:], [n for _, _, n in ctx.calls])
        all_given = _parts(gradients, [_n_results(plan) for plan, _, _ in ctx.calls])
        read = [i for i, given in enumerate(all_given) if any(each is not None for each in given)]
        whole = [(ctx.calls[i], all_saved[i], all_given[i], all_needed[i]) for i in read]
        if torch.is_grad_enabled() or any(each is not None and is_batched(each) for each in gradients):
            found = [
                _differentiable(plan, layout, saved[:n], given, needed)
                for (plan, layout, n), saved, given, needed in whole
            ]
        else:
            n_threads, run = ctx.calls[0][0].backend.way_of([layout for _, layout, _ in ctx.calls])
            with reading_in(ctx.reading):
                found = side_by_side(
                    [
                        plan.call("backward")(layout, n_threads, saved, given, needed)
                        for (plan, layout, _), saved, given, needed in whole
                    ],
                    run,
                )
        if len(found) < len(ctx.calls):  # none of the results of a loop has a gradient
            parts = dict(zip(read, found, strict=True))
            found = [parts.get(i, [None] * len(needed)) for i, needed in enumerate(all_needed)]
        return None, *[gradient for part in found for gradient in part]


def _given(plan: Plan, layout: BatchLayout, states: Sequence[Any], kept: Sequence[Tensor]) -> list[Tensor]:
    """Sequences of states and kept outputs. The caller may change them in place, so it gets copies of those that the
    backward reads, unless they become other tensors anyway: after the loop, or where packed rows are unpacked.
    """
    results = [*[states[i] for i in plan.sequences], *kept]
    if plan.after is not None or layout.counts is not None:
        return results
    is_read = dict(zip(plan.read_states, plan.saves_states, strict=True))
    saves = (*[is_read[i] for i in plan.sequences], *plan.saves_kept)
    return [copy_of(each, plan.backend) if needs else each for each, needs in zip(results, saves, strict=True)]


def _n_results(plan: Plan) -> int:
    return len(plan.states) + len(plan.sequences) + plan.programs.n_kept


def _parts(whole: Sequence[Any], sizes: Sequence[int]) -> list[Sequence[Any]]:
    if len(sizes) == 1:
        return [whole]
    ends = list(itertools.accumulate(sizes))
    return [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _differentiable(
    plan: Plan, layout: BatchLayout, tensors: Sequence[Tensor], gradients: Any, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The same gradients by way of the eager loop, with a graph of their own.

    Raises:
        NotFusedError: they are clamped. What goes through the loop twice is clamped as a sum there, and by parts here.
    """
    if any(node.target is CLIP for node in plan.loop.graph.nodes):
        what = "second derivatives" if torch.is_grad_enabled() else "several gradients at once (is_grads_batched)"
        raise NotFusedError(f"scan: {what} with clip_state_grad are had of the eager loop alone. Pass engine='eager'.")
    with torch.enable_grad():
        copies = [t.view_as(t) for t in tensors]
        results = plan.eager_loop(layout, copies)
        wanted = [copy for copy, need in zip(copies, needed, strict=True) if need]
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad and g is not None]
        if not pairs:
            return [None] * len(needed)
        found = iter(
            torch.autograd.grad(
                [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
    return [next(found) if need else None for need in needed]
