"""What a probe asks of a step, written into its graph (docs/design/probe.md).

Input: a traced step. Output: the same step that also returns its states, its gates and the rows that its weights are
multiplied with, and takes zeros that are added to states and products: their gradients are those of what they are
added to.
"""

import dataclasses
import operator
from typing import Any

import torch
from torch import fx

from unrolled.engine.gradient_clip import CLIP
from unrolled.engine.ir.taps import Product, Taps
from unrolled.engine.passes.products import PRODUCTS
from unrolled.engine.passes.shapes import is_by_row, row_shape, shape_of
from unrolled.engine.passes.trace import BATCH, NO_NUMBERS, Traced

aten = torch.ops.aten
GATES = {aten.sigmoid.default: "sigmoid", aten.tanh.default: "tanh", aten.relu.default: "relu"}
# what may lie between a weight and the product that reads it
_VIEWS = {
    aten.t.default, aten.slice.Tensor, aten.split_with_sizes.default, aten.split.Tensor, aten.transpose.int,
    aten.alias.default, aten.view.default, aten.permute.default, operator.getitem,
}  # fmt: skip


def tap(traced: Traced, n_states: int) -> Traced:
    """Rewrites the graph in place. The first `n_states` leaves of the state are the step's own."""
    work = _Tapping(traced)
    own = list(traced.graph.graph.nodes)
    states = [work.state(i) for i in range(n_states)]
    products = [found for node in own if (found := work.product(node)) is not None]
    gates = [(GATES[node.target], work.tap(node)) for node in own if node.target in GATES and len(row_shape(node)) == 1]
    taps = Taps(traced.n_outputs, work.shifts, states, products, gates)
    return work.finished(taps)


class _Tapping:
    def __init__(self, traced: Traced) -> None:
        self.traced, self.graph = traced, traced.graph.graph
        [self.output] = [node for node in self.graph.nodes if node.op == "output"]
        self.results: list[Any] = list(self.output.args[0])
        self.captured, self.inputs, self.old = traced.captured, traced.inputs, traced.states
        self.first = next(node for node in self.graph.nodes if node.op != "placeholder")
        self.after_inputs = [*self.old, self.first][0]
        self.of_states = self._of_states()
        self.shifts: list[tuple[tuple[int, ...], torch.dtype]] = []
        self.taps: list[fx.Node] = []
        self.shift_of: dict[fx.Node, int] = {}
        self.tap_of: dict[fx.Node, int] = {}
        self.sum_of: dict[fx.Node, fx.Node] = {}  # with zeros

    def _of_states(self) -> set[fx.Node]:
        found = set(self.old)
        for node in self.graph.nodes:
            if found.intersection(node.all_input_nodes):
                found.add(node)
        return found

    def state(self, i: int) -> tuple[int, int | None]:
        at = self.traced.n_outputs + i
        node = self.results[at]
        if self._is_given(node):  # what the step was given: what is made of it is not made of the next state
            if not node.meta["val"].is_floating_point():
                return self.tap(node), None
            shifted, shift = self._shifted(node)
            self.results[at] = shifted
            return self.tap(shifted), shift
        if node in self.tap_of:  # two leaves that are one tensor; or already replaced
            return self.tap_of[node], self.shift_of.get(node)
        if not node.meta["val"].is_floating_point():
            return self.tap(node), None
        shift = self.shift(node)
        return self.tap(self.results[at]), shift

    def _is_given(self, node: fx.Node) -> bool:
        """Whether it is an argument of the step's; under resets that is a choice between two states, and what is
        clipped is one too.
        """
        while node.target is CLIP:
            [node] = node.all_input_nodes
        is_choice = node.target is aten.where.self and {*node.args[1:]} <= {*self.old}
        return node.op == "placeholder" or is_choice

    def product(self, node: fx.Node) -> Product | None:
        if node.target not in PRODUCTS or node.kwargs:
            return None
        left, right = node.args[-2:]
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        while right.target in _VIEWS and isinstance(right.args[0], fx.Node):
            right = right.args[0]
        if right not in self.captured or shape_of(node)[0] != BATCH or is_by_row(right):
            return None
        rows = ("input", self.inputs.index(left)) if left in self.inputs else ("tap", self.tap(left))
        return Product(self.captured.index(right), rows, self.shift(self._place_of(node)))

    def _place_of(self, node: fx.Node) -> fx.Node:
        """Where a product's gradient is had most cheaply: products that are summed have one gradient, and what is made
        of the inputs alone lies outside the loop.
        """
        total = node
        while len(total.users) == 1 and total not in self.shift_of:
            [user] = total.users
            is_sum = user.target is aten.add.Tensor and not user.kwargs and user.args.count(total) == 1
            if not is_sum or shape_of(user) != shape_of(node):
                break
            total = user
        parts = [total]
        while parts:
            part = parts.pop()
            if part in self.shift_of or (part.target in PRODUCTS and part not in self.of_states):
                return part
            if part.target is aten.add.Tensor and not part.kwargs:
                parts += [arg for arg in part.all_input_nodes if self._is_part(arg, part)]
        return total

    @staticmethod
    def _is_part(arg: fx.Node, of_sum: fx.Node) -> bool:
        is_alone = len(arg.users) == 1 and of_sum.args.count(arg) == 1
        return is_alone and is_by_row(arg) and shape_of(arg) == shape_of(of_sum)

    def shift(self, node: fx.Node) -> int:
        """Zeros added to a node, for all that reads it."""
        if node not in self.shift_of:
            users = list(node.users)
            shifted, self.shift_of[node] = self._shifted(node)
            self.shift_of[shifted] = self.shift_of[node]
            self.sum_of[node] = shifted
            for user in users:
                user.replace_input_with(node, shifted)
            self.results = [shifted if each is node else each for each in self.results]
            if node in self.tap_of:
                self.taps[self.tap_of[node]].replace_input_with(node, shifted)
                self.tap_of[shifted] = self.tap_of[node]
        return self.shift_of[node]

    def _shifted(self, node: fx.Node) -> tuple[fx.Node, int]:
        value = node.meta["val"]
        with self.graph.inserting_before(self.after_inputs):
            zeros = self.graph.placeholder(f"shift_{len(self.shifts)}")
        with NO_NUMBERS:
            zeros.meta = {
                "val": torch.empty(tuple(value.shape), dtype=value.dtype, device=value.device),
                "is_zeros": True,
            }
        self.shifts.append((row_shape(node), value.dtype))
        with self.graph.inserting_before(self.first if node.op == "placeholder" else node.next):
            shifted = self.graph.call_function(aten.add.Tensor, (node, zeros))
        shifted.meta = dict(node.meta)
        if node in self.of_states:
            self.of_states.add(shifted)
        return shifted, len(self.shifts) - 1

    def tap(self, node: fx.Node) -> int:
        """A node as one more output, without a gradient."""
        node = self.sum_of.get(node, node)  # the same numbers, and written anyway where they are a state
        if node not in self.tap_of:
            self.tap_of[node] = len(self.taps)
            with self.graph.inserting_before(self.output):
                tapped = self.graph.call_function(aten.detach.default, (node,))
            tapped.meta = dict(node.meta)
            self.taps.append(tapped)
        return self.tap_of[node]

    def finished(self, taps: Taps) -> Traced:
        n = self.traced.n_outputs
        self.output.args = ((*self.results[:n], *self.taps, *self.results[n:]),)
        self.graph.lint()
        self.traced.graph.recompile()
        return dataclasses.replace(
            self.traced,
            n_inputs=self.traced.n_inputs + len(self.shifts),
            n_outputs=n + len(self.taps),
            taps=taps,
        )
