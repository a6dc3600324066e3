"""The compiled loop under autograd.

Comes in: a plan, the span of its rows, and the loop's tensors: steps [total, width], constants, first states [batch,
width]. Goes out: last states, wanted sequences of states and kept outputs, differentiable.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unrolled.engine.adjoint import Gradient, LoopPrograms
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.products import outer_sum
from unrolled.engine.span import Span

if TYPE_CHECKING:
    from unrolled.engine.fused import Plan


def loop(plan: "Plan", span: Span, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Last states [batch, width]; sequences of the states in plan.sequences and kept outputs, both [total, width]."""
    n_states, n_sequences = len(plan.split.states), len(plan.sequences)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results = _Loop.apply(plan, span, *tensors)
        return results[:n_states], results[n_states : n_states + n_sequences], results[n_states + n_sequences :]
    last, states, kept, _ = run_forward(plan, span, tensors, training=False)
    return last, [states[i] for i in plan.sequences], kept


def run_forward(
    plan: "Plan", span: Span, tensors: Sequence[Tensor], *, training: bool
) -> tuple[list[Tensor], list[Any], list[Tensor], list[Tensor]]:
    """Last states, sequences of states or None, kept outputs, and what else the backward reads."""
    made, n = plan.programs, len(plan.split.steps)
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
    outputs = kernel(span, tensors[:n], [None] * n, states, firsts, last, rows, weights)
    return last, states, outputs[: made.n_kept], outputs[made.n_kept :]


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: "Plan", span: Span, *tensors: Tensor) -> Any:
        last, states, kept, saved = run_forward(plan, span, tensors, training=True)
        ctx.plan, ctx.span, ctx.n_saved = plan, span, len(saved)
        ctx.save_for_backward(*tensors, *states, *saved, *kept)
        return (*last, *[states[i] for i in plan.sequences], *kept)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        plan, made = ctx.plan, ctx.plan.programs
        n_tensors = len(plan.split.steps) + len(made.constants) + len(plan.split.states)
        tensors = ctx.saved_tensors[:n_tensors]
        if torch.is_grad_enabled():
            return None, None, *_differentiable(plan, ctx, tensors, gradients)
        return (
            None,
            None,
            *run_backward(
                plan, ctx.span, tensors, ctx.saved_tensors[n_tensors:], gradients, ctx.n_saved, ctx.needs_input_grad[2:]
            ),
        )


def run_backward(
    plan: "Plan",
    span: Span,
    tensors: Sequence[Tensor],
    results: Sequence[Tensor],
    gradients: Sequence[Tensor],
    n_saved: int,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of the loop's tensors.

    Args:
        plan: of the loop.
        span: of the forward.
        tensors: the loop's.
        results: sequences of states or None, what was saved, and the kept outputs.
        gradients: of last states, sequences of states and kept outputs.
        n_saved: how many tensors were saved.
        needed: for each of the loop's tensors whether its gradient is wanted.
    """
    made, n, n_states = plan.programs, len(plan.split.steps), len(plan.split.states)
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
    outputs = kernel(span.backward(), inputs, edges, [None] * n_states, of_last, of_firsts, rows, weights)
    of_steps = [None if at is None else outputs[at] for at in made.step_gradients]
    of_constants = [
        _constant_gradient(gradient, constant, inputs, edges, outputs, span) if is_needed else None
        for gradient, constant, is_needed in zip(
            made.constant_gradients, tensors[n : n + m], needed[n : n + m], strict=True
        )
    ]
    return [*of_steps, *of_constants, *of_firsts]


def _constants(made: LoopPrograms, constants: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Rows, contiguous, and matrices as they are and transposed."""
    rows, weights = [], []
    for constant, (kind, _) in zip(constants, made.constants, strict=True):
        if kind == "row":
            rows.append(constant.reshape(-1).contiguous())
        else:
            for matrix in (constant,) if constant.dim() == 2 else constant:
                weights += [matrix, matrix.t()]
    return rows, weights


def _constant_gradient(
    gradient: Gradient | tuple[Gradient, ...] | None,
    constant: Tensor,
    inputs: list[Tensor],
    edges: list[Tensor | None],
    outputs: list[Tensor],
    span: Span,
) -> Tensor | None:
    """One large product for the sum over time."""
    if gradient is None:
        return None
    if isinstance(gradient, tuple):
        parts = zip(gradient, constant, strict=True)
        found = [_constant_gradient(each, matrix, inputs, edges, outputs, span) for each, matrix in parts]
        return torch.stack([each for each in found if each is not None])
    total: Tensor | None = None
    like = constant.t() if gradient.is_transposed else constant
    for left, (kind, at) in gradient.parts:
        right = inputs[at] if kind == "step" else outputs[at]
        if left is None:
            part = right.sum(0)
        else:
            kind, at = left
            values, first = (inputs[at], edges[at]) if kind == "step" else (outputs[at], None)
            part = _outer_sum(values, first, right, like, span)
        total = part if total is None else total + part
    assert total is not None, "a gradient has parts"
    return (total.t() if gradient.is_transposed else total).view(constant.shape)


def _outer_sum(left: Tensor, first: Tensor | None, right: Tensor, like: Tensor, span: Span) -> Tensor:
    """Σ left^T · right over time and batch; with `first`, left is read one step before, and `first` at the edge."""
    if first is None:
        return outer_sum(left, right, like)
    if span.counts is not None:
        return outer_sum(span.before(first, left), right, like)
    n, rest = span.n_rows, span.total - span.n_rows
    if not rest:
        return outer_sum(first, right, like)
    if span.is_reversed:
        return outer_sum(left[n:], right[:rest], like).add_(outer_sum(first, right[rest:], like))
    return outer_sum(left[:rest], right[n:], like).add_(outer_sum(first, right[:n], like))


def _differentiable(plan: "Plan", ctx: Any, tensors: Sequence[Tensor], gradients: Any) -> list[Tensor | None]:
    """The same gradients by way of the eager loop, with a graph of their own."""
    needed = ctx.needs_input_grad[2:]
    with torch.enable_grad():
        copies = [t.view_as(t) for t in tensors]
        results = plan.eager_loop(ctx.span, copies)
        wanted = [copy for copy, need in zip(copies, needed, strict=True) if need]
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
    return [next(found) if need else None for need in needed]
