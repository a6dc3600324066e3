"""What was found of a step, and the leaves of one call of it.

`guarded.py` keeps what was found, `verify.py` finds it. Both use these, so they are a file of their own.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unrolled.engine.reasons import NotTraceable
from unrolled.engine.trees import Form, unflatten

if TYPE_CHECKING:
    from unrolled.engine.step.capture import Captured, Refused


_OFTEN = 8  # comparisons, one a call; then after 2 calls, 4, 8 …
ROWS = 13  # of the examples that a step is captured on: no usual size, and small, as a step may loop over them


class Leaves(NamedTuple):
    """One time step of a call: leaves of inputs [batch, ...] and of the state, with their forms."""

    xs: list[Tensor]
    x_form: Form
    states: list[Tensor]
    state_form: Form

    def key(self) -> Hashable:
        """What a capture depends on, but for the number of rows."""
        kinds = [(leaf.shape[1:], leaf.dtype, leaf.device) for leaf in (*self.xs, *self.states)]
        return (self.x_form, self.state_form, *kinds)

    def examples(self, n_rows: int, *, is_variant: bool = False) -> tuple[Any, Any]:
        """Such inputs and states without numbers, to capture on or to check guards with."""
        from unrolled.engine.step.examples import examples_of

        made = examples_of([*self.xs, *self.states], len(self.states), n_rows, is_variant=is_variant)
        n = len(self.xs)
        return unflatten(made[:n], self.x_form), unflatten(made[n:], self.state_form)


class Found:
    """What was found of a step: a graph, or why there is none.

    Attributes:
        graph: with the step's tensors in the order that plans take.
        plans: made of the graph, or why there is none, by what they depend on.
        traced: the graph of ATen operations, until a plan takes it.
        is_random: whether it draws random numbers: it is not compared with the step, as other threads may draw too.
        is_wrong: whether it gave something else than the step, and holds no more.
        is_distrusted: whether it is compared with the step at every call, as its guards missed a change.
        serves_without_gradients: whether a graph that was captured with gradients is the one without them too.
    """

    def __init__(
        self,
        guards: "Captured | Refused | None",
        graph: "Captured | NotTraceable",
        examples: tuple[Any, Any],
        owner: Callable | None = None,
    ) -> None:
        self._guards, self.graph, self._examples = guards, graph, examples
        self.plans: dict[Hashable, Any] = {}
        self.traced: Any = None
        self.is_random = self.is_distrusted = self.is_wrong = self.serves_without_gradients = False
        self._with_gradients: Found | None = None  # whose graph this one shares
        self._calls_left = self._n_compared = 0
        self._owner = None if owner is None else weakref.ref(owner)  # what no guard tells of may hold for it alone

    def holds(self, step: Callable, examples: tuple[Any, Any]) -> bool:
        """Whether it holds for a step now, in a call of which these are examples."""
        if self.is_wrong or (self._with_gradients is not None and self._with_gradients.is_wrong):
            return False
        if self._guards is None:
            return self._owner is None or self._owner() is step
        if isinstance(self.graph, NotTraceable):
            examples = self._examples
        if self._with_gradients is None:
            return self._guards.holds(step, *examples)
        if torch.is_grad_enabled():
            return False
        torch._C._set_grad_enabled(True)  # as it was captured; torch's context takes longer
        try:
            return self._guards.holds(step, *examples)
        finally:
            torch._C._set_grad_enabled(False)

    def without_gradients(self) -> "Found":
        """The same for calls without gradients; it is compared with the step by itself."""
        shared = Found(self._guards, self.graph, self._examples)
        shared.is_random, shared.is_distrusted, shared._with_gradients = self.is_random, self.is_distrusted, self
        return shared

    def tensors(self, step: Callable, examples: tuple[Any, Any]) -> list[Tensor]:
        """What the step reads now beside its arguments."""
        assert not isinstance(self.graph, NotTraceable)
        return self.graph.tensors(step, *examples)

    def is_due(self) -> bool:
        """Whether it is to be compared with the step before a call takes it: at each of the first calls, and then ever
        more rarely, so that it costs next to nothing. Each answer counts as a call.
        """
        if self.is_random:
            return False
        if self._calls_left <= 0:  # less where threads count at once
            return True
        self._calls_left -= 1
        return False

    def compared(self, *, is_same: bool) -> None:
        """Notes whether the step gave what the graph gives; if not, it holds no more."""
        self._n_compared += 1
        self._calls_left = 0 if self.is_distrusted else 2 ** max(0, self._n_compared - _OFTEN) - 1
        self.is_wrong = not is_same
        if self.is_wrong and self._with_gradients is not None:
            self._with_gradients._calls_left = 0  # guards that missed a change missed it for both

    def refused(self, reason: str) -> "Found":
        """The same, as why there is no graph."""
        return Found(self._guards, NotTraceable(reason), self._examples)

    def why_not(self, step: Callable, examples: tuple[Any, Any]) -> str:
        """What has changed, as torch words it."""
        with torch.set_grad_enabled(self._with_gradients is not None or torch.is_grad_enabled()):
            return "" if self._guards is None else self._guards.why_not(step, *examples)
