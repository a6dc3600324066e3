"""Which way a scan runs, what was moved out of the loop, what is in it, and what it costs."""

import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from unrolled import markup
from unrolled.engine.backends.call_source import forward_source
from unrolled.engine.cache.eager_only import with_plain_memory
from unrolled.engine.cache.memory import plan_for
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.dispatch import call_of, run_scan
from unrolled.engine.ir.program import ALONG, MATRIX_SUMS, POINTWISE, REDUCTIONS, Program
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.run.checkpointed import chunk_of
from unrolled.engine.run.plan import Plan
from unrolled.engine.trees import flatten


@dataclass(frozen=True, repr=False)
class Explanation:
    """How a scan runs; `str()` of it is for reading, and a notebook shows a table.

    Attributes:
        path: "fused", a compiled loop; "eager", the loop in Python; or, of a layer, "torch", torch's own.
        reason: why not fused, with the operation and its line in the step; empty where fused.
        before, after: operations done once for all time steps, by name, with how many.
        loop: operations inside the loop's step, by name, with how many.
        products: shapes (in, out) of the products inside the loop.
        flops_per_step: floating operations of the products inside the loop, for one step of the whole batch, forward.
        bytes_per_step: what such a step reads and writes: its inputs, states, outputs, and the weights once.
        saved_bytes: memory that the loop keeps for its backward, over all time steps.
        recomputed_bytes: the same with `recompute=True`: states every √time steps, and the steps between once.
        us_per_step: measured microseconds a step, forward, what is done before and after the loop included, with
            gradients or without as they are enabled; None unless asked for.
        share_of_peak: of the machine's measured peak of multiplications and additions, by all products in that time,
            inside the loop or not; None unless asked for.
        clip_state_grad: what the state's gradient is clamped to at each step of the backward; None for nothing.
        stages: what each stage of the engine made of the step, in order; empty unless verbose.
        parts: of layers with several cells, each one's explanation by its name. Then the attributes above are of all
            together: `path` is "fused" where each cell is, and `reason` names the first that is not.
    """

    path: str
    reason: str = ""
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    loop: dict[str, int] = field(default_factory=dict)
    products: list[tuple[int, int]] = field(default_factory=list)
    flops_per_step: int = 0
    bytes_per_step: int = 0
    saved_bytes: int = 0
    recomputed_bytes: int = 0
    us_per_step: float | None = None
    share_of_peak: float | None = None
    clip_state_grad: float | None = None
    stages: dict[str, str] = field(default_factory=dict)
    parts: "dict[str, Explanation]" = field(default_factory=dict)

    def __str__(self) -> str:
        if self.parts:
            return "\n\n".join(f"{name}: {part}" for name, part in self.parts.items())
        if self.path != "fused":
            return "\n".join([f"{self.path}: {self.reason}", *self._clip()])
        lines = [
            "fused: one compiled loop over time",
            f"before the loop, once for all steps: {_listed(self.before)}",
            f"in the loop: {_listed(self.loop)}",
            f"  products [in, out]: {', '.join(f'[{a}, {b}]' for a, b in self.products) or 'none'}",
            f"  a step: {self.flops_per_step:,} floating operations of products, {self.bytes_per_step:,} bytes read or "
            "written",
            f"after the loop, once for all steps: {_listed(self.after)}",
            f"kept for the backward: {self.saved_bytes:,} bytes; {self.recomputed_bytes:,} with recompute=True",
        ]
        lines += self._clip()
        if self.us_per_step is not None:
            lines.append(
                f"measured: forward, what is before and after the loop included, {self.us_per_step:.1f} us a step, "
                f"{self.share_of_peak:.0%} of the machine's peak"
            )
        lines += [f"\n---- {name}\n{text}" for name, text in self.stages.items()]
        return "\n".join(lines)

    def _clip(self) -> list[str]:
        limit = self.clip_state_grad
        return [] if limit is None else [f"in the backward: the state's gradient is clipped to ±{limit:g} at each step"]

    def __repr__(self) -> str:
        """The way it runs, in one line."""
        told = f"{sum(self.loop.values())} operations in the loop" if self.path == "fused" else self.reason
        line = " ".join(f"{self.path}, {told}".split())
        return f"<Explanation: {line if len(line) <= 120 else line[:117] + '...'}>"

    def _repr_html_(self) -> str:
        if self.parts:
            parts = (markup.details(f"{name}: {part.path}", part._repr_html_()) for name, part in self.parts.items())
            return markup.block(markup.heading("Explanation", self.path), *parts)
        if self.path != "fused":
            told = map(markup.sentence, (self.reason, *self._clip()))
            return markup.block(markup.heading("Explanation", self.path), *told)
        known: dict[str, object] = {
            "before the loop, once": _listed(self.before),
            "in the loop": _listed(self.loop),
            "products [in, out]": ", ".join(f"[{a}, {b}]" for a, b in self.products) or "none",
            "after the loop, once": _listed(self.after),
            "products of a step": f"{self.flops_per_step:,} floating operations",
            "a step reads and writes": f"{self.bytes_per_step:,} bytes",
            "kept for the backward": f"{self.saved_bytes:,} bytes; {self.recomputed_bytes:,} with recompute=True",
        }
        if self.clip_state_grad is not None:
            known["the state's gradient"] = f"clipped to ±{self.clip_state_grad:g} at each step"
        if self.us_per_step is not None:
            known["measured"] = f"{self.us_per_step:.1f} us a step, {self.share_of_peak:.0%} of the machine's peak"
        stages = (markup.details(name, markup.preformatted([text])) for name, text in self.stages.items())
        head = markup.heading("Explanation", "fused: one compiled loop over time")
        return markup.block(head, markup.facts(known), *stages)


def explained(scan: CheckedScan, *, verbose: bool, timed: bool) -> Explanation:
    """How `dispatch.run_scan` runs a checked scan."""
    step, xs, state, active = scan[:4]
    try:
        call = call_of(scan)
        planned, tensors = plan_for(step, call)
        with_plain_memory([*call.xs, *call.states, *tensors])
    except (NotTraceable, RunsEagerly) as reason:
        return Explanation("eager", str(reason), clip_state_grad=scan.clip)
    n_steps, n_rows = flatten(xs)[0][0].shape[:2]
    plan, programs, size = planned.plan, planned.plan.programs, planned.plan.dtype.itemsize
    forward, training = programs.forward, programs.training
    values = forward.values()
    read = [int(value.attribute or 0) for value in values if value.op == "matmul"]
    of_row = (
        sum(forward.steps) + sum(forward.held) + 2 * sum(forward.states) + sum(value.width for value in forward.outputs)
    )
    of_all = sum(forward.rows) + sum(math.prod(forward.weights[i]) for i in set(read))
    kept = sum(value.width for value in training.outputs[programs.n_kept :])
    kept += sum(training.states[i] for i in plan.read_states)
    chunk = chunk_of(n_steps)
    us = share = None
    if timed:
        us = _best(lambda: run_scan(scan, engine="fused"))
        running = 1.0 if active is None else active.double().mean().item()
        share = _products_of_a_step(step, xs, state) * n_steps * running / us / 1e3 / plan.backend.peak(plan.dtype)
    return Explanation(
        "fused",
        before=plan.n_before,
        after=plan.n_after,
        loop=dict(Counter(v.op for v in values if v.op in (*POINTWISE, *REDUCTIONS, *ALONG, *MATRIX_SUMS, "matmul"))),
        products=[forward.weights[i] for i in read],
        flops_per_step=sum(2 * math.prod(forward.weights[i]) * n_rows for i in read),
        bytes_per_step=(of_row * n_rows + of_all) * size,
        saved_bytes=kept * n_steps * n_rows * size,
        recomputed_bytes=(kept * chunk + sum(training.states) * -(-n_steps // chunk)) * n_rows * size,
        us_per_step=None if us is None else us / n_steps,
        share_of_peak=share,
        clip_state_grad=scan.clip,
        stages=_stages(plan) if verbose else {},
    )


def of_parts(parts: dict[str, Explanation]) -> Explanation:
    """The explanation of cells that run one after the other: sums, and the share of the peak by time."""
    each = list(parts.values())
    slow = next((name for name, part in parts.items() if part.path != "fused"), None)
    times = [part.us_per_step for part in each if part.us_per_step is not None]
    shares = [part.share_of_peak for part in each if part.share_of_peak is not None]
    us = sum(times) if slow is None and times else None
    return Explanation(
        path="fused" if slow is None else parts[slow].path,
        reason="" if slow is None else f"{slow}: {parts[slow].reason}",
        before=_added(part.before for part in each),
        after=_added(part.after for part in each),
        loop=_added(part.loop for part in each),
        products=[shape for part in each for shape in part.products],
        flops_per_step=sum(part.flops_per_step for part in each),
        bytes_per_step=sum(part.bytes_per_step for part in each),
        saved_bytes=sum(part.saved_bytes for part in each),
        recomputed_bytes=sum(part.recomputed_bytes for part in each),
        us_per_step=us,
        share_of_peak=sum(map(operator.mul, shares, times)) / us if us else None,
        clip_state_grad=each[0].clip_state_grad,
        stages={f"{name}, {stage}": text for name, part in parts.items() for stage, text in part.stages.items()},
        parts=parts,
    )


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _stages(plan: Plan) -> dict[str, str]:
    programs, kernel = plan.programs, plan.kernel("forward")
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
        f"{kernel.language} of the forward": kernel.source,
        "Python that calls it": forward_source(plan, "forward"),
    }


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items()) or "nothing"


def _products_of_a_step(step: Callable, xs: Any, state: Any) -> int:
    """Floating operations of all products of a step of the whole batch, wherever the engine does them."""
    from torch.utils.flop_counter import FlopCounterMode

    now = pytree.tree_map(lambda x: x[0], xs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        step(now, state)
    return counter.get_total_flops()


def _best(call: Callable[[], object]) -> float:
    """Microseconds of the best of some calls."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6
