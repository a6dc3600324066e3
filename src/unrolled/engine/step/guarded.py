"""The captured graph that stands for a user's step, kept under its guards.

Inputs: a step and the leaves of a call. Output: a `Captured` whose guards hold now; it is captured at the first call,
and again after a change that its guards see.
"""

import functools
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from unrolled.engine.context import importing, making
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.trees import Form, unflatten
from unrolled.errors import NotFusedWarning

if TYPE_CHECKING:
    from unrolled.engine.step.capture import Captured, Refused

ROWS = 13  # of the examples that a step is captured on: no usual size, and small, as a step may loop over them
_MOST = 256  # graphs, of half a megabyte each
_MOST_GRAPHS = 16  # of one step's code and one form of call
_OFTEN = 8
_changes: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()
_known: "OrderedDict[Hashable, list[Found]]" = OrderedDict()


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
        from unrolled.engine.step.capture import examples_of

        made = examples_of([*self.xs, *self.states], len(self.states), n_rows, is_variant=is_variant)
        n = len(self.xs)
        return unflatten(made[:n], self.x_form), unflatten(made[n:], self.state_form)


class Found:
    """What was found of a step: a graph, or why there is none.

    Attributes:
        graph: with the step's tensors in the order that plans take.
        plans: made of the graph, or why there is none, by what they depend on.
        traced: the graph of ATen operations, until a plan takes it.
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
        # what no guard tells of holds for its object alone; of a function, which may be made anew, for its code
        self._owner = None if owner is None or isinstance(owner, types.FunctionType) else weakref.ref(owner)

    def holds(self, step: Callable, examples: tuple[Any, Any]) -> bool:
        """Whether it holds for a step now, in a call of which these are examples."""
        if self._guards is None:
            return self._owner is None or self._owner() is step
        if isinstance(self.graph, NotTraceable):
            examples = self._examples
        return self._guards.holds(step, *examples)

    def tensors(self, step: Callable, examples: tuple[Any, Any]) -> list[Tensor]:
        """What the step reads now beside its arguments."""
        assert not isinstance(self.graph, NotTraceable)
        return self.graph.tensors(step, *examples)

    def why_not(self, step: Callable, examples: tuple[Any, Any]) -> str:
        """What has changed, as torch words it."""
        return "" if self._guards is None else self._guards.why_not(step, *examples)


def code_of(step: Callable) -> Hashable:
    """What tells steps apart before their guards are checked: the code of a function, the class of an object."""
    if isinstance(step, types.FunctionType):
        return step.__code__
    if isinstance(step, types.MethodType):
        return ("method", code_of(step.__func__))
    if isinstance(step, functools.partial):
        return ("partial", code_of(step.func))
    return ("object", type(step))


def graph_for(step: Callable, leaves: Leaves, n_rows: int) -> Found:
    """The graph that stands for a step now.

    Raises:
        NotTraceable: there is none.
    """
    find = _find()
    key = (code_of(step), leaves.key(), n_rows == 1)
    known = _known.setdefault(key, [])
    _known.move_to_end(key)
    examples = leaves.examples(n_rows)
    for found in known:
        if found.holds(step, examples):
            break
    else:
        if known:
            _count_change(step, known[0].why_not(step, examples))
        with making:
            found = find(step, leaves, n_rows)
        known.insert(0, found)
        del known[_MOST_GRAPHS:]
        while len(_known) > 1 and sum(map(len, _known.values())) > _MOST:
            _known.popitem(last=False)
    if known[0] is not found:
        known.remove(found)
        known.insert(0, found)
    if isinstance(found.graph, NotTraceable):
        raise NotTraceable(str(found.graph))
    return found


@functools.cache
def _find() -> "Callable[[Callable, Leaves, int], Found]":
    """Loads torch's capture.

    Raises:
        NotTraceable: this version of torch has another one.
    """
    try:
        with importing():
            from unrolled.engine.step.verify import found
    except (ImportError, AttributeError) as fault:
        raise NotTraceable(
            f"torch {torch.__version__} cannot capture a step as this version of Unrolled does; torch 2.13 and 2.14 can"
        ) from fault
    return found


def forget() -> None:
    """Forgets all that was found of steps."""
    _known.clear()


def _count_change(step: Callable, change: str) -> None:
    """Warns once of a step that is built again and again."""
    if change.startswith("GLOBAL_STATE"):  # as with and without gradients, which come back
        return
    try:  # an object may be one of many of its class; functions of one code differ in what they close over
        place = step.__code__ if isinstance(step, types.FunctionType) else step
        _changes[place] = _changes.get(place, 0) + 1
        if _changes[place] != _OFTEN:
            return
    except TypeError:  # nothing refers to it weakly
        return
    from unrolled.engine.step.refusals import line_of_guard

    warnings.warn(
        f"scan: a step was built {_OFTEN} times, as what it reads changes between calls{line_of_guard(change)}. Each "
        "build takes a second and more; hold a number that changes in a tensor.",
        NotFusedWarning,
        stacklevel=7,
    )
