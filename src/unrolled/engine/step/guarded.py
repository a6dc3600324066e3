"""The captured graph that stands for a user's step, kept under its guards.

Inputs: a step and the leaves of a call. Output: a `Captured` whose guards hold now; it is captured at the first call,
and again after a change that its guards see.
"""

import contextlib
import functools
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from unrolled.engine import reasons
from unrolled.engine.context import importing, making
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.source_lines import level_of_caller, line_of_guard
from unrolled.engine.step.compared import gives_the_same
from unrolled.engine.step.found import Found, Leaves
from unrolled.errors import NotFusedWarning

_MOST = 256  # graphs, of half a megabyte each
_MOST_GRAPHS = 16  # of one step's code and one form of call
_OFTEN = 8
_NOT_THE_STEP = "its graph, as torch captures it, gives something else than the step itself"
_changes: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()
_captures: "OrderedDict[Hashable, list[Found]]" = OrderedDict()


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
    captures = _captures.setdefault(key, [])
    examples = leaves.examples(n_rows)
    found = next((each for each in list(captures) if each.holds(step, examples)), None)
    is_missed = False
    if found is None and not torch.is_grad_enabled():
        shared = _shared_with_gradients(captures, step, leaves, n_rows)
        if shared is not None:
            _keep(key, shared)
            return shared
    if found is None and captures:
        _count_change(step, captures[0].why_not(step, examples))
    elif found is not None and not _is_still_the_step(found, step, leaves, n_rows):
        _tell_of_a_miss(step)
        found, is_missed = None, True
    if found is None:
        with making:
            found = find(step, leaves, n_rows)
        found.is_distrusted = is_missed
        if not _is_still_the_step(found, step, leaves, n_rows):
            found = found.refused(_NOT_THE_STEP)
    _keep(key, found)
    if isinstance(found.graph, NotTraceable):
        raise NotTraceable(str(found.graph))
    return found


def _shared_with_gradients(captures: list[Found], step: Callable, leaves: Leaves, n_rows: int) -> Found | None:
    """What was captured with gradients, for a call without them: a step that never asks for them has one graph."""
    examples = leaves.examples(n_rows)
    with torch.enable_grad():
        known = [each for each in list(captures) if each.serves_without_gradients and each.holds(step, examples)]
    if not known:
        return None
    shared = known[0].without_gradients()
    return shared if _is_still_the_step(shared, step, leaves, n_rows) else None


def _keep(key: Hashable, found: Found) -> None:
    """Puts what holds now first, and drops what is too much. Other threads may do so at the same time."""
    captures = _captures.setdefault(key, [])
    if not captures or captures[0] is not found:
        others = [each for each in captures if each is not found and not each.is_wrong]
        captures[:] = [found, *others][:_MOST_GRAPHS]
    with contextlib.suppress(KeyError):  # dropped by another thread
        _captures.move_to_end(key)
        while len(_captures) > 1 and sum(map(len, list(_captures.values()))) > _MOST:
            _captures.popitem(last=False)


def _is_still_the_step(found: Found, step: Callable, leaves: Leaves, n_rows: int) -> bool:
    """Whether a graph gives what the step gives, if it is to be compared with it now."""
    if isinstance(found.graph, NotTraceable) or not found.is_due():
        return True
    is_same = gives_the_same(step, found.graph, found.tensors(step, leaves.examples(n_rows)), leaves)
    found.compared(is_same=is_same)
    return is_same


def _tell_of_a_miss(step: Callable) -> None:
    """Of a step that changed, and whose guards did not see it."""
    name = getattr(step, "__qualname__", type(step).__qualname__)
    words = f"scan: the step {name} gives something else than before, and its guards did not see the change"
    if reasons.is_strict:
        raise AssertionError(words)
    warnings.warn(
        f"{words}. It was captured anew, and is compared at each call now; please report it.",
        NotFusedWarning,
        stacklevel=level_of_caller(),
    )


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
    _captures.clear()


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
    warnings.warn(
        f"scan: a step was built {_OFTEN} times, as what it reads changes between calls{line_of_guard(change)}. Each "
        "build takes a second and more; hold a number that changes in a tensor.",
        NotFusedWarning,
        stacklevel=level_of_caller(),
    )
