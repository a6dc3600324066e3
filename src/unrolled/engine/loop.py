"""The compiled loop under autograd.

Comes in: a plan, the span of its rows, and the loop's tensors: steps [total, width], constants, first states [batch,
width]. Goes out: last states, wanted sequences of states and kept outputs, differentiable.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.backends.cpu.run import KernelCall, run_all
from unrolled.engine.products import outer_sum, reading, reading_in
from unrolled.engine.programs import Gradient, LoopPrograms
from unrolled.engine.side_by_side import side_by_side
from unrolled.engine.span import Span

if TYPE_CHECKING:
    from unrolled.engine.plan import Plan


# a plan, the span of its rows and the loop's tensors → last states [batch, width]; sequences of the states in
# plan.sequences and kept outputs, both [total, width]
LoopCall = tuple["Plan", Span, list[Tensor]]
LoopResult = tuple[list[Tensor], list[Tensor], list[Tensor]]


def loops(calls: Sequence[LoopCall]) -> list[LoopResult]:
    """Several loops, side by side where the machine has a processor for each."""
    tensors = [tensor for call in calls for tensor in call[2]]
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        runs = side_by_side([begin_forward(*call, training=False) for call in calls], run_all)
        return [
            (last, [states[i] for i in plan.sequences], kept)
            for (plan, _, _), (last, states, kept, _) in zip(calls, runs, strict=True)
        ]
    results = iter(_Loops.apply([(plan, span, len(own)) for plan, span, own in calls], *tensors))
    take = lambda n: list(itertools.islice(results, n))  # noqa: E731
    return [(take(len(plan.states)), take(len(plan.sequences)), take(plan.programs.n_kept)) for plan, _, _ in calls]


def begin_forward(
    plan: "Plan", span: Span, tensors: Sequence[Tensor], *, training: bool
) -> tuple[KernelCall, Callable[[list[Tensor]], tuple[list[Tensor], list[Any], list[Tensor], list[Tensor]]]]:
    """What the kernel is called with, and what makes of its outputs: last states, sequences of states or None, kept
    outputs, and what else the backward reads.
    """
    made, n = plan.programs, len(plan.steps)
    m = len(made.constants)
    firsts = tensors[n + m :]
    wanted = plan.read_states if training else plan.sequences
    states = [
        new_tensor((span.total, first.shape[1]), first.dtype) if i in wanted else None for i, first in enumerate(firsts)
    ]
    # rows of no steps keep their first state
    last = [torch.empty_like(first) if span.counts is None else first.clone() for first in firsts]
    rows, weights = _constants(made, tensors[n : n + m])
    kernel = plan.kernel("training" if training else "forward")
    call = kernel, (span, tensors[:n], [None] * n, states, firsts, last, rows, weights)
    return call, lambda outputs: (last, states, outputs[: made.n_kept], outputs[made.n_kept :])


class _Loops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, calls: list[tuple["Plan", Span, int]], *tensors: Tensor) -> Any:
        parts = _parts(tensors, [n for _, _, n in calls])
        runs = side_by_side(
            [begin_forward(plan, span, own, training=True) for (plan, span, _), own in zip(calls, parts, strict=True)],
            run_all,
        )
        given: list[Tensor] = []
        kept_for_backward: list[Tensor | None] = []
        ctx.calls, ctx.reading, ctx.n_saved, ctx.n_kept = calls, reading(), [], []
        for (plan, _, _), part, (last, states, kept, saved) in zip(calls, parts, runs, strict=True):
            ctx.n_saved.append(len(saved))
            ctx.n_kept.append(len(part) + len(states) + len(saved) + len(kept))
            kept_for_backward += (*part, *states, *saved, *kept)
            given += (*last, *[states[i] for i in plan.sequences], *kept)
        ctx.save_for_backward(*kept_for_backward)
        return tuple(given)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        all_saved = _parts(ctx.saved_tensors, ctx.n_kept)  # once: under recomputation it is gone after
        sizes = [len(plan.states) + len(plan.sequences) + plan.programs.n_kept for plan, _, _ in ctx.calls]
        all_needed = _parts(ctx.needs_input_grad[1:], [n for _, _, n in ctx.calls])
        whole = list(zip(ctx.calls, all_saved, _parts(gradients, sizes), all_needed, ctx.n_saved, strict=True))
        if torch.is_grad_enabled():
            found = [
                _differentiable(plan, span, saved[:n], given, needed)
                for (plan, span, n), saved, given, needed, _ in whole
            ]
        else:
            with reading_in(ctx.reading):
                runs = [
                    begin_backward(plan, span, saved[:n], saved[n:], given, n_saved, needed)
                    for (plan, span, n), saved, given, needed, n_saved in whole
                ]
                found = side_by_side(runs, run_all)
        return None, *[gradient for part in found for gradient in part]


def _parts(whole: Sequence[Any], sizes: Sequence[int]) -> list[Sequence[Any]]:
    ends = list(itertools.accumulate(sizes))
    return [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def begin_backward(
    plan: "Plan",
    span: Span,
    tensors: Sequence[Tensor],
    results: Sequence[Tensor],
    gradients: Sequence[Tensor],
    n_saved: int,
    needed: Sequence[bool],
) -> tuple[KernelCall, Callable[[list[Tensor]], list[Tensor | None]]]:
    """What the kernel is called with, and what makes the gradients of the loop's tensors of its outputs.

    Args:
        plan: of the loop.
        span: of the forward.
        tensors: the loop's.
        results: sequences of states or None, what was saved, and the kept outputs.
        gradients: of last states, sequences of states and kept outputs.
        n_saved: how many tensors were saved.
        needed: for each of the loop's tensors whether its gradient is wanted.
    """
    made, n, n_states = plan.programs, len(plan.steps), len(plan.states)
    m, n_sequences = len(made.constants), len(plan.sequences)
    of_last, of_sequences, of_kept = (
        [gradient.contiguous() for gradient in part]
        for part in (gradients[:n_states], gradients[n_states:][:n_sequences], gradients[n_states + n_sequences :])
    )
    firsts, states = tensors[n + m :], results[:n_states]
    pools = {
        "step": tensors[:n],
        "previous": states,
        "next": states,
        "saved": results[n_states : n_states + n_saved],
        "output": results[n_states + n_saved :],
        "gradient": of_kept + of_sequences,
    }
    inputs = [pools[kind][i] for kind, i in made.backward_inputs]
    edges = [firsts[i] if kind == "previous" else None for kind, i in made.backward_inputs]
    rows, weights = _constants(made, tensors[n : n + m])
    # rows of no steps pass the gradient of their last state on to their first
    of_firsts = [
        torch.empty_like(first) if span.counts is None else g.clone() for first, g in zip(firsts, of_last, strict=True)
    ]
    kernel = plan.kernel("backward")

    def end(outputs: list[Tensor]) -> list[Tensor | None]:
        of_steps = [None if at is None else outputs[at] for at in made.step_gradients]
        of_constants = _constant_gradients(made, tensors[n : n + m], needed[n : n + m], inputs, edges, outputs, span)
        return [*of_steps, *of_constants, *of_firsts]

    return (kernel, (span.backward(), inputs, edges, [None] * n_states, of_last, of_firsts, rows, weights)), end


def _constants(made: LoopPrograms, constants: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Rows, contiguous, and matrices."""
    rows: list[Tensor] = []
    weights: list[Tensor] = []
    for constant, (kind, _) in zip(constants, made.constants, strict=True):
        if kind == "row":
            rows.append(constant.reshape(-1).contiguous())
        else:
            weights += (constant,) if constant.dim() == 2 else constant
    return rows, weights


def _constant_gradients(
    made: LoopPrograms,
    constants: Sequence[Tensor],
    needed: Sequence[bool],
    inputs: list[Tensor],
    edges: list[Tensor | None],
    outputs: list[Tensor],
    span: Span,
) -> list[Tensor | None]:
    """One large product for each sum over time; sums of a factor alone are made on the way of its product."""
    wanted = [g if is_needed else None for g, is_needed in zip(made.constant_gradients, needed, strict=True)]
    parts = [
        part for g in wanted if g is not None for each in (g if isinstance(g, tuple) else (g,)) for part in each.parts
    ]
    alone = {right for left, right in parts if left is None}
    sums: dict[tuple[str, int], Tensor] = {}

    def factor(key: tuple[str, int]) -> Tensor:
        kind, at = key
        return inputs[at] if kind == "step" else outputs[at]

    def total(gradient: Gradient, constant: Tensor) -> Tensor:
        like = constant.t() if gradient.is_transposed else constant
        found: Tensor | None = None
        for left, right in gradient.parts:
            if left is None:
                part = sums[right] if right in sums else factor(right).sum(0)
            else:
                edge = edges[left[1]] if left[0] == "step" else None
                to: Tensor | None = None
                if right in alone and right not in sums:
                    to = sums[right] = factor(right).new_zeros(factor(right).shape[1])
                part = _outer_sum(factor(left), edge, factor(right), like, span, to)
            found = part if found is None else found + part
        if found is None:
            return torch.zeros_like(constant)
        return (found.t() if gradient.is_transposed else found).view(constant.shape)

    def each(gradient: Gradient | tuple[Gradient, ...] | None, constant: Tensor) -> Tensor | None:
        if gradient is None or isinstance(gradient, Gradient):
            return None if gradient is None else total(gradient, constant)
        return torch.stack([total(one, matrix) for one, matrix in zip(gradient, constant, strict=True)])

    # matrices first
    order = sorted(range(len(wanted)), key=lambda i: constants[i].dim() < 2)
    results = {i: each(wanted[i], constants[i]) for i in order}
    return [results[i] for i in range(len(wanted))]


def _outer_sum(
    left: Tensor, first: Tensor | None, right: Tensor, like: Tensor, span: Span, sums: Tensor | None
) -> Tensor:
    """Σ left^T · right over time and batch; with `first`, left is read one step before, and `first` at the edge."""
    if first is None:
        return outer_sum(left, right, like, sums)
    if span.counts is not None:
        return outer_sum(span.before(first, left), right, like, sums)
    n, rest = span.n_rows, span.total - span.n_rows
    if not rest:
        return outer_sum(first, right, like, sums)
    if span.is_reversed:
        late, early, edge = left[n:], right[:rest], right[rest:]
    else:
        late, early, edge = left[:rest], right[n:], right[:n]
    return outer_sum(first, edge, like, sums, onto=outer_sum(late, early, like, sums))


def _differentiable(
    plan: "Plan", span: Span, tensors: Sequence[Tensor], gradients: Any, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The same gradients by way of the eager loop, with a graph of their own."""
    with torch.enable_grad():
        copies = [t.view_as(t) for t in tensors]
        results = plan.eager_loop(span, copies)
        wanted = [copy for copy, need in zip(copies, needed, strict=True) if need]
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
    return [next(found) if need else None for need in needed]
