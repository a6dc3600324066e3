"""`explain`: which way a scan runs, what was moved out of the loop, what is in it, and what it costs."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.engine.backends.cpu.peak import peak
from unrolled.engine.choose import run, with_resets
from unrolled.engine.plan import Plan
from unrolled.engine.plans import plan_for
from unrolled.engine.program import ALONG, POINTWISE, REDUCTIONS, Program
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.recompute import chunk_of
from unrolled.engine.trees import flatten
from unrolled.engine.written import forward_source


@dataclass(frozen=True)
class Explanation:
    """How a scan runs; `str()` of it is for reading.

    Attributes:
        path: "fused", a compiled loop; "eager", the loop in Python; or, of a layer, "torch", torch's own.
        reason: why not fused, with the operation and its line in the step; empty where fused.
        before, after: operations done once for all time steps, by name, with how many.
        loop: operations inside the loop's step, by name, with how many.
        products: shapes (in, out) of the products inside the loop.
        flops_per_step: floating operations of the products inside the loop, for one step of the whole batch, forward.
        saved_bytes: memory that the loop keeps for its backward, over all time steps.
        recomputed_bytes: the same with `recompute=True`: states every √time steps, and the steps between once.
        us_per_step: measured microseconds a step, forward; None unless asked for.
        share_of_peak: of the machine's measured peak of products; None unless asked for.
        stages: what each stage of the engine made of the step, in order; empty unless verbose.
    """

    path: str
    reason: str = ""
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    loop: dict[str, int] = field(default_factory=dict)
    products: list[tuple[int, int]] = field(default_factory=list)
    flops_per_step: int = 0
    saved_bytes: int = 0
    recomputed_bytes: int = 0
    us_per_step: float | None = None
    share_of_peak: float | None = None
    stages: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.path != "fused":
            return f"{self.path}: {self.reason}"
        lines = [
            "fused: one compiled loop over time",
            f"before the loop, once for all steps: {_listed(self.before)}",
            f"in the loop: {_listed(self.loop)}",
            f"  products [in, out]: {', '.join(f'[{a}, {b}]' for a, b in self.products) or 'none'}, "
            f"{self.flops_per_step:,} floating operations a step",
            f"after the loop, once for all steps: {_listed(self.after)}",
            f"kept for the backward: {self.saved_bytes:,} bytes; {self.recomputed_bytes:,} with recompute=True",
        ]
        if self.us_per_step is not None:
            lines.append(f"measured: {self.us_per_step:.1f} us a step, {self.share_of_peak:.0%} of the machine's peak")
        lines += [f"\n---- {name}\n{text}" for name, text in self.stages.items()]
        return "\n".join(lines)


def explain(
    step: Callable[[Any, Any], tuple[Any, Any]],
    xs: Any,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    verbose: bool = False,
    timed: bool = False,
) -> Explanation:
    """Says how `scan` runs a step on such inputs.

    Args:
        step: as for `scan`, like the following four; or one of Unrolled's layers, with its input.
        xs: inputs.
        state: the first state; of a layer it may be left out.
        lengths: of rows that end.
        resets: of rows that start anew.
        verbose: also what each stage of the engine made of the step: graph, loop programs, source.
        timed: also measure the forward, and the machine's peak.

    Example:
        >>> import torch, unrolled
        >>> print(unrolled.explain(lambda x, h: (h, x + h.sort(1)[0]), torch.zeros(3, 2, 4), torch.zeros(2, 4)).path)
        eager
    """
    of_layer = getattr(step, "explain", None) if isinstance(step, nn.RNNBase) else None
    if callable(of_layer):
        return of_layer(xs, state, verbose=verbose, timed=timed)
    whole, all_xs, all_state = with_resets(step, xs, state, resets)
    try:
        planned, _ = plan_for(whole, *flatten(all_xs), *flatten(all_state))
    except (NotTraceable, RunsEagerly) as reason:
        return Explanation("eager", str(reason))
    n_steps, n_rows = flatten(xs)[0][0].shape[:2]
    active = None if lengths is None else torch.arange(n_steps).unsqueeze(1) < torch.as_tensor(lengths)
    plan, programs = planned.plan, planned.plan.programs
    values = programs.forward.values()
    products = [programs.forward.weights[int(v.attribute or 0)] for v in values if v.op == "matmul"]
    flops = sum(2 * rows * columns * n_rows for rows, columns in products)
    states = sum(programs.training.states)
    kept = sum(value.width for value in programs.training.outputs[programs.n_kept :])
    kept += sum(programs.training.states[i] for i in plan.read_states)
    chunk = chunk_of(n_steps)
    us = share = None
    if timed:
        us = (
            _best(lambda: run(step, xs, state, active=active, resets=resets, is_reversed=False, engine="fused"))
            / n_steps
        )
        share = flops / us / 1e3 / peak(plan.dtype)
    return Explanation(
        "fused",
        before=plan.n_before,
        after=plan.n_after,
        loop=dict(Counter(v.op for v in values if v.op in (*POINTWISE, *REDUCTIONS, *ALONG, "matmul"))),
        products=products,
        flops_per_step=flops,
        saved_bytes=kept * n_steps * n_rows * plan.dtype.itemsize,
        recomputed_bytes=(kept * chunk + states * -(-n_steps // chunk)) * n_rows * plan.dtype.itemsize,
        us_per_step=us,
        share_of_peak=share,
        stages=_stages(plan) if verbose else {},
    )


def _stages(plan: Plan) -> dict[str, str]:
    programs = plan.programs
    shown: dict[str, Program] = {
        "loop program, forward": programs.forward,
        "loop program, forward in training": programs.training,
        "loop program, backward": programs.backward,
    }
    return {
        "traced": plan.traced,
        "before": "" if plan.before is None else str(plan.before.graph),
        "loop": str(plan.loop.graph),
        "after": "" if plan.after is None else str(plan.after.graph),
        **{name: str(program) for name, program in shown.items()},
        "C++ of the forward": plan.kernel("forward").source,
        "Python that calls it": forward_source(plan, "forward"),
    }


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items()) or "nothing"


def _best(call: Callable[[], object]) -> float:
    """Microseconds of the best of some calls."""
    times = []
    with torch.no_grad():
        for _ in range(7):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return min(times) * 1e6
