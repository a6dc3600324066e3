"""The plan is put together of what the passes made."""

import operator
from collections import Counter

import torch
from torch import fx

from unrolled.engine.ir.loop_programs import LoopPrograms
from unrolled.engine.passes.differentiate import detached_results
from unrolled.engine.passes.lower.lowering import operation
from unrolled.engine.passes.outside import Outside
from unrolled.engine.passes.products import take_products
from unrolled.engine.passes.shapes import has_gradient, row_shape
from unrolled.engine.passes.split import Split
from unrolled.engine.passes.subgraph import part_of
from unrolled.engine.run.plan import Plan
from unrolled.engine.trees import Form


def assemble(
    dtype: torch.dtype, programs: LoopPrograms, parts: Split, outside: Outside, *, outputs_form: Form, traced: str
) -> Plan:
    """The plan of a step; its outputs have the given form, `traced` is its graph for reading."""
    n_before = dict(Counter(_operations(outside.held)) + Counter(_operations(outside.before_with_products)))
    n_after = _operations(outside.after)
    for part in (outside.before, outside.after):
        take_products(part)
    for part in (outside.invariant, outside.held, outside.before, outside.after):
        _take_any_strides(part)
    # what the backward reads, and what is read outside
    read_states = {i for kind, i in programs.backward_inputs if kind in ("previous", "next")} | set(parts.sequences)
    return Plan(
        dtype,
        programs,
        outputs_form=outputs_form,
        invariant=_unless_empty(outside.invariant),
        held=_unless_empty(outside.held),
        before=_unless_empty(outside.before),
        loop=part_of(parts.loop, parts.steps + parts.constants + parts.states, parts.next_states + parts.kept),
        after=outside.after if outside.ys is None else None,
        ys=outside.ys or [],
        sources=outside.sources,
        constant_sources=outside.constant_sources,
        steps=[(node.meta["val"].dtype, row_shape(node)) for node in parts.steps],
        constants=[tuple(node.meta["val"].shape) for node in parts.constants],
        constant_dtypes=[node.meta["val"].dtype for node in parts.constants],
        held_by_row=outside.held_by_row,
        held_before=outside.held_before,
        held_after=outside.held_after,
        states=[row_shape(node) for node in parts.states],
        kept=[row_shape(node) for node in parts.kept],
        previous=parts.previous,
        sequences=parts.sequences,
        read_states=sorted(read_states),
        depends=_depends(parts),
        n_before=n_before,
        n_after=n_after,
        traced=traced,
    )


def _depends(parts: Split) -> list[list[int]]:
    """Which of the loop's inputs the gradient of each of its results reaches."""
    known: dict[fx.Node, set[int]] = {
        node: {i} if node.meta["val"].is_floating_point() else set()
        for i, node in enumerate([*parts.steps, *parts.constants, *parts.states])
    }
    for node in parts.loop:
        reached = [known.get(each, set()) for each in node.all_input_nodes]
        known.setdefault(node, set().union(*reached) if has_gradient(node) else set())
    kept = zip(parts.kept, detached_results(parts), strict=False)
    reached = [*(known[node] for node in parts.next_states), *(set() if cut else known[node] for node, cut in kept)]
    return [sorted(each) for each in reached]


def _take_any_strides(part: fx.GraphModule) -> None:
    """What a step reshapes was traced on contiguous tensors, of which torch makes views; those of a call have any
    strides.
    """
    for node in part.graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
    part.recompile()


def _unless_empty(part: fx.GraphModule) -> fx.GraphModule | None:
    """None for a part without outputs."""
    [output] = [node for node in part.graph.nodes if node.op == "output"]
    return part if output.args[0] else None


def _operations(part: fx.GraphModule) -> dict[str, int]:
    """How many of each operation a part has, by name."""
    calls = [node for node in part.graph.nodes if node.op == "call_function" and node.target is not operator.mul]
    return dict(Counter(map(operation, calls)))
