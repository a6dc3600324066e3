"""Captures a step, and holds the graph to stand for it at every time step and for every number of rows.

Inputs: a step and the leaves of a call. Output: a `Found`. What a capture assumes beside its guards is tried out: the
step is captured a second time on tensors of other strides that have gradients, and on another number of rows, and must
give the same graph.
"""

import types
from collections.abc import Callable

import torch
from torch import Tensor, fx

from unrolled.engine.passes.split import is_random
from unrolled.engine.passes.trace import BATCH, OTHER_BATCH, StepFunction, Traced, compare, trace
from unrolled.engine.reasons import ROWS_MATTER, NotTraceable
from unrolled.engine.source_lines import line_of_node
from unrolled.engine.step.capture import Captured, Refused, Unguarded, capture
from unrolled.engine.step.found import ROWS, Found, Leaves
from unrolled.engine.step.refusals import RAISES

_LAYOUT = (
    "it does something else for tensors of other strides, with a gradient, or that are parameters, which a state may "
    "be at one step and not at another"
)
# these, and conditions, may be the same of all numbers of rows that are tried, and not of others
_BOUNDS = (torch.sym_min, torch.sym_max)
_ONE_ROW = "it does something else for a batch of a single row"


def found(step: Callable, leaves: Leaves, n_rows: int) -> Found:
    """What there is of a step in calls of so many rows."""
    examples = leaves.examples(ROWS, is_variant=n_rows == 1)
    try:
        base, n_examples = capture(step, *examples), ROWS
        if isinstance(base, Captured) and n_rows > 1 and not base.holds(step, *leaves.examples(n_rows)):
            # so many rows are another case for the step
            examples, n_examples = leaves.examples(n_rows), n_rows
            base = capture(step, *examples)
        shares_rows = isinstance(base, Refused) and n_rows > 1
        if shares_rows:  # perhaps with a tensor that it holds, which has a row for each row of the batch
            of_sizes = leaves.examples(n_rows)
            second = capture(step, *of_sizes, shares_rows=True)
            if isinstance(second, Captured):
                base, examples, n_examples = second, of_sizes, n_rows
            elif isinstance(base, Refused) and str(base.reason).startswith(RAISES):  # perhaps for so many rows alone
                base.reason = second.reason
        if isinstance(base, Refused):
            return Found(base, base.reason, examples)
        other_rows = 1 if n_rows == 1 else n_examples
        others = leaves.examples(other_rows, is_variant=n_rows > 1)
        other = capture(step, *others, shares_rows=shares_rows)
    except Unguarded as fault:
        # a function may be made anew at each call; its code is the same
        owner = None if fault.owner is None and isinstance(step, types.FunctionType) else step
        return Found(None, NotTraceable(str(fault)), examples, owner)
    words = _ONE_ROW if n_rows == 1 else _LAYOUT
    guards = other if n_rows == 1 else base
    try:
        if isinstance(other, Refused):
            raise _reason_of_two(base, other, step, examples, leaves, words)
        traced = _compared(base, other, step, examples, others, leaves, words, n_examples, is_one=n_rows == 1)
    except NotTraceable as reason:
        return Found(guards, reason, others if n_rows == 1 else examples)
    result = Found(guards, base, examples)
    result.traced, result.is_random = traced, any(map(is_random, traced.graph.graph.nodes))
    result.serves_without_gradients = not (base.asks_for_gradients or other.asks_for_gradients)
    return result


def _reason_of_two(
    base: Captured, other: Refused, step: Callable, examples: tuple, leaves: Leaves, words: str
) -> NotTraceable:
    """Why a step can be captured on some tensors and not on others."""
    try:
        trace(function_of(base), base.tensors(step, *examples), leaves.xs, leaves.states, by_row=base.by_row)
    except NotTraceable as reason:  # of both
        return reason
    text = str(other.reason)
    return NotTraceable(text.replace(RAISES, words) if text.startswith(RAISES) else text)


def function_of(graph: Captured) -> StepFunction:
    """A captured step by leaves."""

    def function(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int
    ) -> tuple[list[Tensor], object, list[Tensor]]:
        results, n = graph.run(tensors, xs, states, n_rows), len(graph.outputs)
        return results[:n], graph.outputs_form, results[n:]

    return function


def _is_condition(node: fx.Node) -> bool:
    """Whether it is a comparison of sizes, which is no guard where a step computes with it as with a number."""
    return isinstance(node.meta.get("example_value"), torch.SymBool)


def _compared(
    base: Captured,
    other: Captured,
    step: Callable,
    examples: tuple,
    others: tuple,
    leaves: Leaves,
    words: str,
    n_examples: int,
    *,
    is_one: bool,
) -> Traced:
    for node in [] if base.graph is None else base.graph.graph.nodes:
        if node.target in _BOUNDS or (not _is_condition(node) and any(map(_is_condition, node.all_input_nodes))):
            raise NotTraceable(f"it computes with the number of rows of the batch{line_of_node(node)}")
    tensors = base.tensors(step, *examples)
    traced = trace(function_of(base), tensors, leaves.xs, leaves.states, by_row=base.by_row)
    # the other graph may read the same tensors in another order
    theirs = other.tensors(step, *others)
    place = {id(tensor): i for i, tensor in enumerate(tensors)}
    order = [place.get(id(tensor), -1) for tensor in theirs]
    if -1 in order and [(t.shape, t.dtype) for t in theirs] == [(t.shape, t.dtype) for t in tensors]:
        order = list(range(len(theirs)))  # such as are made anew at each call, of arrays of numpy
    if -1 in order or base.outputs_form != other.outputs_form:
        raise NotTraceable(words)
    function = function_of(other)

    def reordered(
        tensors: list[Tensor], xs: list[Tensor], states: list[Tensor], n_rows: int
    ) -> tuple[list[Tensor], object, list[Tensor]]:
        return function([tensors[i] for i in order], xs, states, n_rows)

    batch = 1 if is_one else OTHER_BATCH
    second = trace(reordered, tensors, leaves.xs, leaves.states, by_row=base.by_row, batch=batch)
    try:
        compare(traced, second, (BATCH, batch), words)
    except NotTraceable:
        if not is_one:  # which of the two it is
            alike = trace(reordered, tensors, leaves.xs, leaves.states, by_row=base.by_row)
            compare(traced, alike, (BATCH, BATCH), words)
        raise
    if not is_one:  # shapes that so few rows have, and so many would not
        small = trace(function_of(base), tensors, leaves.xs, leaves.states, by_row=base.by_row, batch=n_examples)
        compare(traced, small, (BATCH, n_examples), ROWS_MATTER)
    return traced
