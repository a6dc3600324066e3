"""A scan that a probe looks into, as one compiled loop.

Inputs: a checked scan. Outputs: its result, and beside it the states, gates and products' rows of every step, and the
zeros whose gradients are those of the states and products (docs/design/probe.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.cache.eager_only import with_plain_memory
from unrolled.engine.cache.memory import plan_for
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.dispatch import call_of
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.taps import Taps
from unrolled.engine.run.autograd import loops
from unrolled.engine.run.packed_rows import packed
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.trees import unflatten


@dataclass(frozen=True)
class Probed:
    """What a probed scan gives.

    Attributes:
        ys, last: as `scan` returns them.
        taps: what the others are.
        tapped: [time, batch, ...] each, without a gradient; zero in rows that do not run.
        listeners: for each of the zeros what is called with its gradient, [time, batch, ...]; the caller puts it there.
        inputs: the leaves of the step's inputs.
        tensors: what the step reads beside its arguments.
    """

    ys: Any
    last: Any
    taps: Taps
    tapped: list[Tensor]
    listeners: list[list[Callable[[Tensor], None]]]
    inputs: list[Tensor]
    tensors: list[Tensor]


# what makes zeros differentiable; a leaf of their own would copy their gradient
_anchor = torch.zeros((), requires_grad=True)


class _Zeros(torch.autograd.Function):
    """Zeros whose gradient goes to listeners."""

    @staticmethod
    def forward(ctx: Any, zeros: Tensor, listeners: list[Callable[[Tensor], None]], _anchor: Tensor) -> Tensor:
        ctx.listeners = listeners
        ctx.set_materialize_grads(False)
        return zeros

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[None, None, None]:
        if gradient is not None:
            for listener in ctx.listeners:
                listener(gradient.detach())
        return None, None, None


def run_probed(scan: CheckedScan) -> Probed:
    """Runs a scan as one compiled loop with taps.

    Raises:
        NotTraceable: there is no loop for the step.
        RunsEagerly: there is none for this call.
    """
    call, active, is_reversed = call_of(scan), scan.active, scan.is_reversed
    call.around = (*call.around, "probe")
    planned, tensors = plan_for(scan.step, call)
    plan, taps = planned.plan, planned.taps
    assert taps is not None, "a probed plan has taps"
    call.xs, call.states = with_plain_memory(call.xs), with_plain_memory(call.states)
    captured = planned.captured(with_plain_memory(tensors))
    n_steps, n_rows = call.xs[0].shape[:2]
    has_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in (*call.xs, *call.states, *captured))
    listeners: list[list[Callable[[Tensor], None]]] = [[] for _ in taps.shifts]
    # one zero each: most are read outside the loop, as they are
    shifts = [torch.zeros((), dtype=dtype).expand(n_steps, n_rows, *shape) for shape, dtype in taps.shifts]
    if has_gradient:
        shifts = [_Zeros.apply(zeros, each, _anchor) for zeros, each in zip(shifts, listeners, strict=True)]
    leaves = [*call.xs, *shifts]
    if active is None or active.all():
        layout = BatchLayout(n_steps, n_rows, is_reversed, n_steps * n_rows)
        [(ys, last)] = side_by_side([plan.scan(captured, leaves, call.states, layout)], loops)
    else:
        batch = packed(active, plan.backend, is_reversed=is_reversed)
        states = list(map(batch.sorted, call.states))
        [(ys, last)] = side_by_side([plan.scan(captured, list(map(batch.pack, leaves)), states, batch.layout)], loops)
        ys, last = list(map(batch.unpack, ys)), list(map(batch.unsorted, last))
    n = taps.n_outputs
    return Probed(
        unflatten(ys[:n], plan.outputs_form),
        unflatten(last[: call.n_states], call.state_form),
        taps,
        [each.detach() for each in ys[n:]],
        listeners,
        call.xs,
        tensors,
    )
