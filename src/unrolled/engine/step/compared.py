"""Holds a captured graph to the step that it stands for, on numbers of a call.

Inputs: a step, its graph and the tensors that it reads, and the leaves of one time step. Output: whether both give the
same. This is the second net under the guards: they say what may have changed, this says what has. Both run the same
functions of torch in the same order, so results that differ by much more than a rounding are not those of one step.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unrolled.engine.context import without_saved_tensor_hooks
from unrolled.engine.step.found import Leaves
from unrolled.engine.trees import flatten, unflatten

if TYPE_CHECKING:
    from unrolled.engine.step.capture import Captured

_SMALL = 1e-3
Run = Callable[[list[Tensor], list[Tensor]], tuple[Any, list[Any]]]  # inputs, states → form and leaves of the results


def gives_the_same(step: Callable, graph: "Captured", tensors: list[Tensor], leaves: Leaves) -> bool:
    """Whether a step does now what its graph does, neither of which draws random numbers: values and dtypes, the
    tensors that gradients reach, and gradients of inputs and states. Those of what the step reads are not taken, as
    hooks of the user's would see them. A difference counts if there is one at numbers of usual size too, as torch's
    capture computes a few functions in another order, which shows where they overflow; and if the step does not differ
    from itself, as where another thread trains its weights.

    Raises:
        Exception: one that only one of the two raised, and not again: no step's, but a signal's, say.
    """

    def of_step(xs: list[Tensor], states: list[Tensor]) -> tuple[Any, list[Any]]:
        y, state = step(unflatten(xs, leaves.x_form), unflatten(states, leaves.state_form))
        found, form = flatten(y)
        return form, found + flatten(state)[0]

    def of_graph(xs: list[Tensor], states: list[Tensor]) -> tuple[Any, list[Any]]:
        return graph.outputs_form, graph.run(tensors, xs, states, len(states[0]), is_traced=False)

    ends = {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}
    with without_saved_tensor_hooks():
        first, of_first = _Outcome(of_step, leaves, ends), _Outcome(of_graph, leaves, ends)
        if first.equals(of_first):
            return True
        ordinary = leaves._replace(xs=_ordinary(leaves.xs), states=_ordinary(leaves.states))
        second, of_second = _Outcome(of_step, ordinary, ends), _Outcome(of_graph, ordinary, ends)
        is_same = second.equals(of_second)
        fault = first.fault or of_first.fault
        if is_same and fault is not None and second.fault is None:
            raise fault
        return is_same or not second.equals(_Outcome(of_step, ordinary, ends))


def _ordinary(leaves: list[Tensor]) -> list[Tensor]:
    """The same, with numbers of usual size in place of those that are not."""
    found = []
    for leaf in leaves:
        if leaf.is_floating_point():
            is_usual = (leaf.abs() > _SMALL) & (leaf.abs() < 1 / _SMALL)
            leaf = torch.where(is_usual, leaf, _numbers_like(leaf)).detach().requires_grad_(leaf.requires_grad)
        found.append(leaf)
    return found


def _numbers_like(tensor: Tensor) -> Tensor:
    """Numbers between -1 and 1 that are all different."""
    numbers = torch.arange(1, tensor.numel() + 1, dtype=torch.float64, device=tensor.device).cos()
    return numbers.to(tensor.dtype).view(tensor.shape)


class _Outcome:
    """What a step or its graph gives: at a step, and at a second one that takes the first one's state, as a first
    state is often zero, of which no number comes through.
    """

    def __init__(self, run: Run, leaves: Leaves, ends: set[Any]) -> None:
        self.form: Any = None
        self.results: list[Any] = []
        self.gradients: list[Tensor] = []
        self.reached: list[set[Any]] = []
        self.fault: Exception | None = None
        xs, states = _apart(leaves)
        try:
            self.form, first = run(xs, states)
            _, second = run(xs, first[len(first) - len(states) :])
            self.results = [*first, *second]
            self.reached = _reached(self.results, (*xs, *states), ends)
            with contextlib.suppress(RuntimeError):  # what a gradient needs was written into, or it has no derivative
                self.gradients = _gradients(self.results, (*xs, *states))
        except Exception as fault:  # its own words come from the loop
            self.fault = fault

    def equals(self, other: "_Outcome") -> bool:
        """Whether both are the same, but for roundings; of two that raise it does not matter what."""
        if self.fault is not None or other.fault is not None:
            return self.fault is not None and other.fault is not None
        return (
            self.form == other.form
            and _are_equal(self.results, other.results)
            and self.reached == other.reached
            and _are_equal(self.gradients, other.gradients)
        )


def _apart(leaves: Leaves) -> tuple[list[Tensor], list[Tensor]]:
    """Copies of inputs and states, as the step may write into what it is given. A state has a gradient, as it has at
    the steps after the first.
    """
    is_training = torch.is_grad_enabled()
    xs = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves.xs]
    states = [leaf.detach().clone() for leaf in leaves.states]
    return xs, [leaf.requires_grad_(is_training and leaf.is_floating_point()) for leaf in states]


def _are_equal(results: list[Any], others: list[Any]) -> bool:
    """Whether results are the same, but for roundings."""
    return len(results) == len(others) and all(map(_is_equal, results, others))


def _is_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other)
    if (one.shape, one.dtype, one.requires_grad) != (other.shape, other.dtype, other.requires_grad):
        return False
    one, other = one.detach(), other.detach()
    if one.is_complex():
        one, other = torch.view_as_real(one.resolve_conj()), torch.view_as_real(other.resolve_conj())
    if not one.is_floating_point() or one.numel() == 0:
        return torch.equal(one, other)
    eps = torch.finfo(one.dtype).eps
    one, other = one.double(), other.double()
    largest = one.masked_fill(~one.isfinite(), 0).abs().amax()
    most = eps**0.5 * largest
    same = (one == other) | (one.isnan() & other.isnan()) | ((one - other).abs() <= most)
    return bool(same.all())


def _reached(results: list[Any], given: Sequence[Tensor], ends: set[Any]) -> list[set[Any]]:
    """The tensors that the gradient of each result comes to. Of those that a step reads, `ends` says what computed
    them, behind which nothing is looked at: it may be the whole of a network.
    """
    names: dict[int, int] = {id(leaf): i for i, leaf in enumerate(given)}
    found: list[set[Any]] = []
    for result in filter(torch.is_tensor, results):
        reached = {names.get(id(result), id(result))} if result.requires_grad and result.grad_fn is None else set()
        met: set[Any] = set()
        waiting: list[Any] = [result.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in met:
                continue
            met.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None:
                reached.add(names.get(id(variable), id(variable)))
            elif node in ends:
                reached.add(node)
            else:
                waiting += [each for each, _ in node.next_functions]
        found.append(reached)
    return found


def _gradients(results: list[Any], given: Sequence[Tensor]) -> list[Tensor]:
    """Of inputs and states, for gradients of the results that are all different."""
    wanted = [leaf for leaf in given if leaf.requires_grad]
    roots = [result for result in results if torch.is_tensor(result) and result.requires_grad]
    if not wanted or not roots:
        return []
    numbers = [_numbers_like(root) for root in roots]
    return list(torch.autograd.grad(roots, wanted, numbers, allow_unused=True, materialize_grads=True))
