"""Holds a captured graph to the step that it stands for, on numbers of a call.

Inputs: a step, its graph and the tensors that it reads, and the leaves of one time step. Output: whether both give the
same. This is the second net under the guards: they say what may have changed, this says what has. Both run the same
functions of torch in the same order, so results that differ by much more than a rounding are not those of one step.
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


def gives_the_same(step: Callable, graph: "Captured", tensors: list[Tensor], leaves: Leaves) -> bool:
    """Whether a step does now what its graph does: values and dtypes, the tensors that gradients reach, and gradients
    of inputs and states. Those of what the step reads are not taken, as hooks of the user's would see them. Random
    states stay as they are.
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
        return (
            form == other_form
            and _are_equal(ours, theirs)
            and _reached(ours, given) == _reached(theirs, other_given)
            and _are_equal(_gradients(ours, given), _gradients(theirs, other_given))
        )


def _outcome(run: Callable, given: tuple[list[Tensor], list[Tensor]]) -> tuple[Any, list[Any]]:
    """What it gives; ("raises", []) if it raises, whose words come from the loop."""
    try:
        return run(*given)
    except Exception:
        return "raises", []


def _apart(leaves: Leaves) -> tuple[list[Tensor], list[Tensor]]:
    """Copies of inputs and states, as the step may write into what it is given. A state has a gradient, as it has at
    the steps after the first.
    """
    is_training = torch.is_grad_enabled()
    xs = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves.xs]
    states = [leaf.detach().clone() for leaf in leaves.states]
    return xs, [leaf.requires_grad_(is_training and leaf.is_floating_point()) for leaf in states]


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


def _are_equal(results: list[Any], others: list[Any]) -> bool:
    """Whether results are the same, but for roundings."""
    return len(results) == len(others) and all(map(_is_equal, results, others))


def _is_equal(one: Any, other: Tensor) -> bool:
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
    most = torch.finfo(one.dtype).eps ** 0.5 * largest
    same = (one == other) | (one.isnan() & other.isnan()) | ((one - other).abs() <= most)
    return bool(same.all())


def _reached(results: list[Tensor], given: tuple[list[Tensor], list[Tensor]]) -> list[set[Any]]:
    """The tensors that the gradient of each result comes to."""
    names = {id(leaf): i for i, leaf in enumerate((*given[0], *given[1]))}
    found: list[set[Any]] = []
    for result in results:
        met: set[Any] = set()
        reached = {names.get(id(result), id(result))} if result.requires_grad and result.grad_fn is None else set()
        waiting: list[Any] = [result.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in met:
                continue
            met.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None:
                reached.add(names.get(id(variable), id(variable)))
            waiting += [each for each, _ in node.next_functions]
        found.append(reached)
    return found


def _gradients(results: list[Tensor], given: tuple[list[Tensor], list[Tensor]]) -> list[Tensor]:
    """Of inputs and states, for gradients of the results that are all different; none where that raises."""
    wanted = [leaf for each in given for leaf in each if leaf.requires_grad]
    roots = [result for result in results if result.requires_grad]
    if not wanted or not roots:
        return []
    numbers = [
        torch.arange(1, root.numel() + 1, dtype=torch.float64, device=root.device).cos().to(root.dtype).view_as(root)
        for root in roots
    ]
    try:
        return list(torch.autograd.grad(roots, wanted, numbers, allow_unused=True, materialize_grads=True))
    except RuntimeError:  # the step writes into what a gradient needs
        return []
