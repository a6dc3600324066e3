"""The joint graph of a loop and its backward, by `torch.func.vjp`: no derivative is written by hand."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx

from unrolled.engine.gradient_clip import CLIP
from unrolled.engine.passes.decompositions import decompositions
from unrolled.engine.passes.shapes import has_gradient
from unrolled.engine.passes.split import Split
from unrolled.engine.passes.subgraph import part_of
from unrolled.engine.passes.subtracted_means import correct_means
from unrolled.engine.passes.trace import BATCH, NO_NUMBERS, Following, fake_like, make_graph


@dataclass(frozen=True)
class Joint:
    """A loop and its backward as one graph.

    Attributes:
        graph: the loop's steps, constants and states, and a gradient of each result → results; gradients of the
            floating-point ones among steps, constants and states.
        results: of the loop: next states, kept outputs, and after those the next states that are read outside it.
        is_float: for each of steps, constants and states whether it is of floating-point numbers.
        differentiable: nodes of the traced graph that autograd gives a gradient, be it of zeros.
    """

    graph: fx.GraphModule
    results: list[fx.Node]
    is_float: list[bool]
    differentiable: set[fx.Node]


def differentiate(parts: Split) -> Joint:
    """Differentiates the loop of a split step.

    Raises:
        NotTraceable: torch has no derivative of an operation.
    """
    inputs = parts.steps + parts.constants + parts.states
    results = parts.next_states + parts.kept + [parts.next_states[i] for i in parts.sequences]
    cut = [False] * len(parts.next_states) + detached_results(parts)
    clips = [node for node in parts.loop if node.target is CLIP]
    loop = part_of([node for node in parts.loop if node not in clips], inputs + clips, results)
    examples = [fake_like(node) for node in inputs]
    is_float = [example.is_floating_point() for example in examples]

    def joint(*leaves: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        given, cotangents = list(leaves[: len(inputs)]), leaves[len(inputs) :]
        clipping = _Clipping(parts, clips, given)

        def run(*floats: Tensor) -> tuple[Tensor, ...]:
            rest = iter(floats)
            leaves = [next(rest) if f else g for f, g in zip(is_float, given, strict=True)]
            found = Following(loop).run(*leaves, *rest, BATCH)  # which hands the lines of the step on
            return tuple(each.detach() if is_cut else each for each, is_cut in zip(found, cut, strict=True))

        floats = [g for f, g in zip(is_float, given, strict=True) if f]
        found, back, *_ = torch.func.vjp(run, *floats, *clipping.values)
        return list(found), clipping.gradients(list(back(tuple(cotangents))))

    with NO_NUMBERS:  # also for what the loop makes of the batch's size alone
        graph = make_graph(joint, [*examples, *map(fake_like, results)], table=decompositions())
    correct_means(graph.graph)
    _without_zeros(graph.graph, parts.steps)
    return Joint(graph, results, is_float, _differentiable(parts))


def _without_zeros(joint: fx.Graph, steps: list[fx.Node]) -> None:
    """What a probe's zeros are added to is the sum: the loop reads no zeros, and writes the sum once."""
    places = [node for node in joint.nodes if node.op == "placeholder"]
    for place, step in zip(places, steps, strict=False):
        if not step.meta.get("is_zeros"):
            continue
        for user in list(place.users):
            if user.target is torch.ops.aten.add.Tensor:
                user.replace_all_uses_with(user.args[0])
                joint.erase_node(user)


def detached_results(parts: Split) -> list[bool]:
    """For each kept output, and after those each sequence of states, whether all that reads it after the loop is
    `detach`, as all does that a probe has of it: the backward then reads no gradient of it.
    """
    read = set(parts.ys)
    for node in parts.after:
        if node.target is not torch.ops.aten.detach.default:
            read.update(node.all_input_nodes)
    sequences = [read.isdisjoint((parts.next_states[i], parts.states[i])) for i in parts.sequences]
    return [read.isdisjoint((node,)) for node in parts.kept] + sequences


class _Clipping:
    """What a step is given in place of states, whose gradients are clamped: `split` has these operations in the loop.

    Attributes:
        values: what the loop reads where the step reads states.
    """

    def __init__(self, parts: Split, clips: list[fx.Node], given: list[Tensor]) -> None:
        self.values: tuple[Tensor, ...] = ()
        self._limits, self._n_states = [cast("float", clip.args[1]) for clip in clips], len(parts.states)
        if clips:
            inputs = parts.steps + parts.constants + parts.states
            part = part_of(parts.loop, inputs, [clip.all_input_nodes[0] for clip in clips])
            others, states = given[: -self._n_states], given[-self._n_states :]
            self.values, self._back, *_ = torch.func.vjp(
                lambda *states: tuple(fx.Interpreter(part).run(*others, *states, BATCH)), *states
            )

    def gradients(self, found: list[Tensor]) -> list[Tensor]:
        """Those of the loop's inputs, the states last, of such ones and those of `values` after them."""
        if not self._limits:
            return found
        n = len(found) - len(self._limits)
        clamped = [each.clamp(-limit, limit) for each, limit in zip(found[n:], self._limits, strict=True)]
        own = found[n - self._n_states : n]
        more = self._back(tuple(clamped))
        return [*found[: n - self._n_states], *(a + b for a, b in zip(own, more, strict=True))]


def _differentiable(parts: Split) -> set[fx.Node]:
    """All that the loop's results come from, but not by comparing."""
    found: set[fx.Node] = set()
    waiting = [*parts.next_states, *parts.kept]
    while waiting:
        node = waiting.pop()
        if node not in found and has_gradient(node):
            found.add(node)
            waiting += node.all_input_nodes
    return found


def verify_joint(joint: Joint) -> Joint:
    """Holds a joint graph to its specification; returns it.

    Raises:
        AssertionError: `differentiate` made it wrongly; this is a bug, never the user's fault.
    """
    nodes = list(joint.graph.graph.nodes)
    n_inputs = sum(node.op == "placeholder" for node in nodes)
    expected = len(joint.is_float) + len(joint.results)
    assert n_inputs == expected, f"the joint graph has {n_inputs} inputs, not {expected}"
    results, gradients = nodes[-1].args[0]
    assert len(results) == len(joint.results), f"the joint graph has {len(results)} results, not {len(joint.results)}"
    assert len(gradients) == sum(joint.is_float), f"the joint graph has {len(gradients)} gradients"
    for found, wanted in zip(results, joint.results, strict=True):
        shape, given = found.meta["val"].shape, wanted.meta["val"].shape
        assert shape == given, f"{wanted} has the shape {given}, and {shape} in the joint graph"
    return joint
