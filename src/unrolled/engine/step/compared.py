"""Holds a captured graph to the step that it stands for, on numbers of a call.

Inputs: a step, its graph and the tensors that it reads, and the leaves of one time step. Output: whether both give the
same. This is the second net under the guards: they say what may have changed, this says what has. Both run the same
functions of torch in the same order, so results that differ by more than a few roundings are not those of one step.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.context import making
from unrolled.engine.step.found import Leaves
from unrolled.engine.trees import unflatten

if TYPE_CHECKING:
    from unrolled.engine.step.capture import Captured

_MOST_ROUNDINGS = 16  # of the largest number of a tensor: products may differ a little from run to run


def gives_the_same(step: Callable, graph: "Captured", tensors: list[Tensor], leaves: Leaves) -> bool:
    """Whether a step does now what its graph does: values, dtypes, and the operations that gradients go back through.
    Gradients themselves are not taken, as hooks of the user's would see them. Random states stay as they are.
    """

    def of_step(xs: list[Tensor], states: list[Tensor]) -> tuple[Any, list[Any]]:
        y, state = step(unflatten(xs, leaves.x_form), unflatten(states, leaves.state_form))
        found, form = pytree.tree_flatten(y)
        return form, found + pytree.tree_leaves(state)

    def of_graph(xs: list[Tensor], states: list[Tensor]) -> tuple[Any, list[Any]]:
        return graph.outputs_form, graph.run(tensors, xs, states, len(states[0]), is_traced=False)

    with making, _same_draws() as again, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come from the loop
        given, other_given = _apart(leaves), _apart(leaves)
        form, ours = _outcome(of_step, given)
        again()
        other_form, theirs = _outcome(of_graph, other_given)
        names, other_names = (
            {id(leaf): i for i, leaf in enumerate((*xs, *states))} for xs, states in (given, other_given)
        )
        return (
            (form, len(ours)) == (other_form, len(theirs))
            and all(map(_are_equal, ours, theirs))
            and _history(ours, names) == _history(theirs, other_names)
        )


def _outcome(run: Callable, given: tuple[list[Tensor], list[Tensor]]) -> tuple[Any, list[Any]]:
    """What it gives; ("raises", []) if it raises, whose words come from the loop."""
    try:
        return run(*given)
    except Exception:
        return "raises", []


def _apart(leaves: Leaves) -> tuple[list[Tensor], list[Tensor]]:
    """Copies of inputs and states, as the step may write into what it is given."""
    xs, states = (
        [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in each]
        for each in (leaves.xs, leaves.states)
    )
    return xs, states


@contextmanager
def _same_draws() -> "Iterator[Callable[[], None]]":
    """Gives a function that puts the random states back to what they were before the block; at its end they are."""
    of_torch, of_python, of_numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()

    def again() -> None:
        # only where something was drawn: another thread may draw meanwhile
        if not torch.equal(torch.get_rng_state(), of_torch):
            torch.set_rng_state(of_torch)
        if random.getstate() != of_python:
            random.setstate(of_python)
        if not all(map(np.array_equal, np.random.get_state(), of_numpy)):
            np.random.set_state(of_numpy)

    try:
        yield again
    finally:
        again()


def _are_equal(one: Any, other: Tensor) -> bool:
    """Whether two results are one, but for roundings."""
    if not isinstance(one, Tensor) or (one.shape, one.dtype, one.requires_grad) != (
        other.shape, other.dtype, other.requires_grad,
    ):  # fmt: skip
        return False
    one, other = one.detach(), other.detach()
    if one.is_complex():
        one, other = torch.view_as_real(one.resolve_conj()), torch.view_as_real(other.resolve_conj())
    if not one.is_floating_point() or one.numel() == 0:
        return torch.equal(one, other)
    largest = one.masked_fill(~one.isfinite(), 0).abs().amax()
    most = _MOST_ROUNDINGS * torch.finfo(one.dtype).eps * largest
    same = (one == other) | (one.isnan() & other.isnan()) | ((one - other).abs() <= most)
    return bool(same.all())


def _history(results: list[Tensor], names: dict[int, int]) -> list[Any]:
    """The operations that gradients go back through, in order, and the tensors that they reach."""
    found: list[Any] = []
    numbers: dict[Any, int] = {}
    waiting: list[Any] = []
    for result in results:
        if result.grad_fn is None:
            found.append(names.get(id(result), id(result)) if result.requires_grad else None)
        else:
            waiting.append(result.grad_fn)
    while waiting:
        node = waiting.pop()
        if node is None or node in numbers:
            found.append(numbers.get(node))
            continue
        numbers[node] = len(numbers)
        variable = getattr(node, "variable", None)
        found.append(type(node).__name__ if variable is None else names.get(id(variable), id(variable)))
        waiting += [each for each, _ in node.next_functions]
    return found
