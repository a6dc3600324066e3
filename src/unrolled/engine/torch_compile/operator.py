"""The compiled loop as operators of torch, which torch.compile and torch.export keep whole in their graphs.

`unrolled::loop` takes what `autograd.loops` takes, but for the products before the loop, which are the graph's; and a
plan's number. Its derivative is `unrolled::loop_backward`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.run.plan import LoopCall, LoopResult, Plan
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.run.with_gradient import with_gradient

_plans: list[Plan] = []  # those that a graph may call, for as long as the process lives


def number_of(plan: Plan) -> int:
    """The plan's number, by which graphs name it."""
    if plan not in _plans:
        _plans.append(plan)
    return _plans.index(plan)


def _plan(number: int) -> Plan:
    if number >= len(_plans):
        raise RuntimeError(
            f"unrolled::loop: this process has no plan number {number}. A graph that holds a scan runs in the process "
            "that made it; export the model anew in this one."
        )
    return _plans[number]


def _layout(tensors: Sequence[Tensor], n_steps: int, *, is_reversed: bool) -> BatchLayout:
    n_rows = tensors[-1].shape[0]  # a first state: a scan without state has no plan
    return BatchLayout(n_steps, n_rows, is_reversed, n_steps * n_rows)


def _kept_states(plan: Plan, *, is_training: bool) -> list[int]:
    return sorted(plan.read_states) if is_training else list(plan.sequences)


@torch.library.custom_op(
    "unrolled::loop",
    mutates_args=(),
    schema="(Tensor[] tensors, int plan, SymInt n_steps, bool is_reversed, bool is_training) -> Tensor[]",
)
def loop(tensors: Sequence[Tensor], plan: int, n_steps: int, is_reversed: bool, is_training: bool) -> list[Tensor]:
    """Last states, states after every step, kept outputs, and what else the backward reads."""
    made = _plan(plan)
    tensors = [tensor.detach() for tensor in tensors]
    n, m = len(made.steps), len(made.programs.constants)
    tensors[:n] = [tensor.contiguous() for tensor in tensors[:n]]
    tensors[n + m :] = [tensor.contiguous() for tensor in tensors[n + m :]]
    layout = _layout(tensors, n_steps, is_reversed=is_reversed)
    n_threads, run = made.backend.way_of([layout])
    asking = made.call("training" if is_training else "forward")(layout, n_threads, tensors)
    [(last, states, kept, saved)] = side_by_side([asking], run)
    results = [*last, *[states[i] for i in _kept_states(made, is_training=is_training)], *kept, *saved]
    return _apart(results, tensors)


@loop.register_fake
def _(tensors: Sequence[Tensor], plan: int, n_steps: int, is_reversed: bool, is_training: bool) -> list[Tensor]:
    made = _plan(plan)
    firsts = tensors[len(tensors) - len(made.states) :]
    program = made.programs.training if is_training else made.programs.forward
    lead = n_steps, firsts[0].shape[0]
    states = [firsts[i].new_empty(*lead, program.states[i]) for i in _kept_states(made, is_training=is_training)]
    outputs = [firsts[0].new_empty(*lead, value.width) for value in program.outputs]
    return [*[first.new_empty(first.shape) for first in firsts], *states, *outputs]


@torch.library.custom_op(
    "unrolled::loop_backward",
    mutates_args=(),
    schema="(Tensor[] tensors, Tensor[] results, Tensor[] gradients, int plan, SymInt n_steps, bool is_reversed) "
    "-> Tensor[]",
)
def loop_backward(
    tensors: Sequence[Tensor],
    results: Sequence[Tensor],
    gradients: Sequence[Tensor],
    plan: int,
    n_steps: int,
    is_reversed: bool,
) -> list[Tensor]:
    """The gradients of those tensors that have one; `results` are the loop's but for the last states."""
    made = _plan(plan)
    layout, needed = _layout(tensors, n_steps, is_reversed=is_reversed), [True] * len(tensors)
    n_threads, run = made.backend.way_of([layout])
    [found] = side_by_side([made.call("backward")(layout, n_threads, [*tensors, *results], gradients, needed)], run)
    found = [gradient.contiguous() for gradient in found if gradient is not None]
    return _apart(found, [*tensors, *results, *gradients])


def _apart(results: list[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Results in memory of their own, as torch demands of an operator: two inputs that are added have one gradient."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in given}
    apart = []
    for result in results:
        apart.append(result.clone() if result.untyped_storage().data_ptr() in taken else result)
        taken.add(apart[-1].untyped_storage().data_ptr())
    return apart


@loop_backward.register_fake
def _(
    tensors: Sequence[Tensor],
    results: Sequence[Tensor],
    gradients: Sequence[Tensor],
    plan: int,
    n_steps: int,
    is_reversed: bool,
) -> list[Tensor]:
    return [
        torch.empty_like(t, memory_format=torch.contiguous_format)
        for t, has in zip(tensors, _have(plan), strict=True)
        if has
    ]


def _have(plan: int) -> list[bool]:
    """Which of the loop's tensors have a gradient."""
    made = _plan(plan).programs
    parts = (made.step_gradients, made.constant_gradients)
    return [each is not None for part in parts for each in part] + [True] * len(_plan(plan).states)


def _setup(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    tensors, ctx.plan, ctx.n_steps, ctx.is_reversed, is_training = inputs
    assert is_training, "a loop that is to be differentiated keeps what its backward reads"
    ctx.n_tensors = len(tensors)
    ctx.save_for_backward(*tensors, *output[len(_plan(ctx.plan).states) :])


def _backward(ctx: Any, gradients: list[Tensor | None]) -> Any:
    made = _plan(ctx.plan)
    tensors, results = ctx.saved_tensors[: ctx.n_tensors], ctx.saved_tensors[ctx.n_tensors :]
    n_states, kept = len(made.states), _kept_states(made, is_training=True)
    like = [*tensors[ctx.n_tensors - n_states :], *results]
    given = [torch.zeros_like(t) if g is None else g for t, g in zip(like, gradients, strict=True)]
    of_states = [given[n_states + kept.index(i)] for i in made.sequences]
    of_kept = given[n_states + len(kept) :][: made.programs.n_kept]
    wanted = [*given[:n_states], *of_states, *of_kept]
    found = iter(
        torch.ops.unrolled.loop_backward(list(tensors), list(results), wanted, ctx.plan, ctx.n_steps, ctx.is_reversed)
    )
    return [next(found) if has else None for has in _have(ctx.plan)], None, None, None, None


loop.register_autograd(_backward, setup_context=_setup)


def calls(all_calls: Sequence[LoopCall]) -> list[LoopResult]:
    """As `autograd.loops`, within a graph."""
    return [_call(*each) for each in all_calls]


def _call(plan: Plan, layout: BatchLayout, tensors: list[Tensor]) -> LoopResult:
    plan, tensors = plan.without_products(tensors)
    is_training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    results = torch.ops.unrolled.loop(tensors, number_of(plan), layout.n_steps, layout.is_reversed, is_training)
    n_states, kept = len(plan.states), _kept_states(plan, is_training=is_training)
    last = results[:n_states]
    of_states = [results[n_states + kept.index(i)] for i in plan.sequences]
    of_kept = results[n_states + len(kept) :][: plan.programs.n_kept]
    if is_training and plan.after is None:  # the caller may change them in place, and the backward reads them
        of_states, of_kept = [each.clone() for each in of_states], [each.clone() for each in of_kept]
    if is_training:
        whole = [*last, *of_states, *of_kept]
        have = with_gradient(plan, layout, [tensor.requires_grad for tensor in tensors])
        whole = [each if has else each.detach() for each, has in zip(whole, have, strict=True)]
        last, of_states = whole[:n_states], whole[n_states : n_states + len(of_states)]
        of_kept = whole[n_states + len(of_states) :]
    return last, of_states, of_kept
