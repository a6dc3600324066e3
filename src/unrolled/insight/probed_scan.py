"""One scan under a probe: its states and gates are recorded as it runs, its gradients in the backward.

Inputs: a scan, and its entry in the record. Outputs: the entry, filled; of a scan that runs eagerly its result too.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.backends import eager
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.probed import Probed
from unrolled.engine.trees import Tree
from unrolled.insight.measures import first_not_finite, gate_of, may_not_be_finite, norms_of, norms_of_terms
from unrolled.insight.names import gate_names, numbered, state_names
from unrolled.insight.record import Record, ScanRecord, Trouble
from unrolled.insight.step_recorder import StepRecorder, line_not_finite


@dataclass(frozen=True)
class ProbedScan:
    """A scan under a probe.

    Attributes:
        arguments: of the scan.
        weights: the names of the model's weights by their ids.
        places: int64 [batch], where each row of the caller's batch is; None where rows are as they were.
        states: each leaf of the state after each step, [time, batch, ...], once it has run; None where nobody asks.
    """

    arguments: CheckedScan
    weights: dict[int, str]
    places: Tensor | None
    states: list[Tensor] | None = None

    @property
    def running(self) -> Tensor | None:
        """bool [time, batch], the rows that run, as the caller has them; None where all do."""
        active = self.arguments.active
        return active if active is None else self.as_given(active)

    def as_given(self, rows: Tensor) -> Tensor:
        """[time, batch], in the caller's order of rows."""
        return rows if self.places is None else rows.index_select(1, self.places)

    def norms_of(self, values: Tensor) -> Tensor:
        """[time, batch, ...] → the norm of each row of the caller's, [time, batch]."""
        return self.as_given(norms_of(values))

    def order(self) -> Sequence[int]:
        """Time steps as the loop takes them."""
        steps = range(pytree.tree_leaves(self.arguments.xs)[0].shape[0])
        return steps[::-1] if self.arguments.is_reversed else steps

    def only_running(self, values: Tensor) -> Tensor:
        """[time, batch, ...], zero in rows that do not run, where it may hold anything."""
        active = self.arguments.active
        return values if active is None else eager.choose_steps(active, values)


# ---- as one compiled loop


def note_fused(scan: ProbedScan, entry: ScanRecord, record: Record, found: Probed) -> None:
    """Notes what a fused scan has given, and asks for its gradients."""
    taps, names = found.taps, state_names(scan.arguments.step, scan.arguments.state)
    states = [found.tapped[tap] for tap, _ in taps.states]
    gates = [(function, found.tapped[tap]) for function, tap in taps.gates]
    _note_forward(scan, entry, record, states, gates, found.ys)
    listeners = found.listeners
    for name, (_, shift) in zip(names, taps.states, strict=True):
        if shift is not None:
            listeners[shift].append(functools.partial(_note_state, scan, entry, record, name))
    # the last ones are made by the step itself
    products = [each for each in taps.products if each.weight < len(found.tensors)]
    products = [each for each in products if found.tensors[each.weight].requires_grad]
    labels = numbered([_weight_name(scan, found.tensors[each.weight]) for each in products])
    of_shift: dict[int, dict[str, Tensor]] = {}
    for label, each in zip(labels, products, strict=True):
        kind, i = each.rows
        rows = scan.only_running(found.inputs[i].detach()) if kind == "input" else found.tapped[i]
        of_shift.setdefault(each.shift, {})[label] = rows
    for i, rows_of in of_shift.items():
        listeners[i].append(functools.partial(_note_terms, entry, rows_of))


def _note_state(scan: ProbedScan, entry: ScanRecord, record: Record, name: str, gradient: Tensor) -> None:
    _put(entry.gradients, name, scan.norms_of(gradient), list(entry.states))
    if record.trouble is None:
        _locate_gradient(scan, entry, record)


def _note_terms(entry: ScanRecord, rows_of: dict[str, Tensor], gradient: Tensor) -> None:
    for label, norms in zip(rows_of, norms_of_terms(gradient, [*rows_of.values()]), strict=True):
        _put(entry.terms, label, norms, sorted({*entry.terms, label}))


def _put(found: dict[str, Tensor], name: str, value: Tensor, order: Sequence[str]) -> None:
    """Puts a value in its place: gradients come in any order."""
    found[name] = value
    for each in order:
        if each in found:
            found[each] = found.pop(each)


# ---- as the plain loop


def run_eager(scan: ProbedScan, entry: ScanRecord, record: Record) -> tuple[Tree, Tree]:
    """Runs a scan as its definition, and notes what it gives."""
    loop = _EagerLoop(scan, entry, record)
    result = eager.run_scan(scan.arguments._replace(step=loop.step))
    loop.finish(result[0])
    return result


class _EagerLoop:
    """A step that notes what it computes; the loop calls it once for each time step."""

    def __init__(self, scan: ProbedScan, entry: ScanRecord, record: Record) -> None:
        self.scan, self.entry, self.record = scan, entry, record
        self.order, self.names = scan.order(), state_names(scan.arguments.step, scan.arguments.state)
        self.states: list[list[Tensor]] = []
        self.gates: list[list[tuple[str, Tensor]]] = []

    def step(self, x: Tree, state: Tree) -> tuple[Tree, Tree]:
        """The scan's step."""
        t = self.order[len(self.states)]
        with StepRecorder() as heard:
            result = self.scan.arguments.step(x, state)
        if not isinstance(result, tuple) or len(result) != 2:
            return result  # which the loop refuses
        leaves, form = pytree.tree_flatten(result[1])
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            return result
        given = {id(leaf) for leaf in pytree.tree_leaves((x, state))}
        # what the step was given is another state's too
        leaves = [leaf.view_as(leaf) if id(leaf) in given else leaf for leaf in leaves]
        for name, leaf in zip(self.names, leaves, strict=False):
            if leaf.requires_grad:
                leaf.register_hook(functools.partial(self._state_gradient, name, t))
        found = [each for each in heard.products if id(_root(each[1])) not in given and _root(each[1]).requires_grad]
        labels = numbered([_weight_name(self.scan, weight) for _, weight, _ in found])
        for label, (rows, _, product) in zip(labels, found, strict=True):
            product.register_hook(functools.partial(self._product_gradient, label, t, rows.detach()))
        self.states.append([leaf.detach() for leaf in leaves])
        self.gates.append([(function, value.detach()) for function, value in heard.gates])
        return result[0], pytree.tree_unflatten(leaves, form)

    def finish(self, ys: Tree) -> None:
        """Notes the states and gates of all steps."""
        states = [self._over_time(leaves) for leaves in zip(*self.states, strict=True)]
        functions = [[function for function, _ in gates] for gates in self.gates]
        gates = []
        if all(each == functions[0] for each in functions):  # else a step has other gates than the one before
            values = zip(*[[value for _, value in gates] for gates in self.gates], strict=True)
            gates = list(zip(functions[0], map(self._over_time, values), strict=True))
        _note_forward(self.scan, self.entry, self.record, states, gates, ys)

    def _over_time(self, values: Sequence[Tensor]) -> Tensor:
        whole = torch.stack([*values] if not self.scan.arguments.is_reversed else [*values][::-1])
        return self.scan.only_running(whole)

    def _state_gradient(self, name: str, t: int, gradient: Tensor) -> None:
        if name not in self.entry.gradients:
            zeros = torch.zeros_like(self.entry.states[name])
            _put(self.entry.gradients, name, zeros, list(self.entry.states))
        norms = self.entry.gradients[name]
        norms[t] = self.scan.norms_of(gradient.unsqueeze(0))[0]
        if self.record.trouble is None and not norms[t].isfinite().all():
            _locate_gradient(self.scan, self.entry, self.record)

    def _product_gradient(self, label: str, t: int, rows: Tensor, gradient: Tensor) -> None:
        terms = self.entry.terms
        if label not in terms:
            _put(terms, label, gradient.new_zeros(len(self.order)), sorted({*terms, label}))
        norms = terms[label]
        norms[t] = norms_of_terms(gradient.detach().unsqueeze(0), [rows.unsqueeze(0)])[0][0]


def _root(weight: Tensor) -> Tensor:
    """The tensor that a weight is a view of."""
    return weight if weight._base is None else weight._base


def _weight_name(scan: ProbedScan, weight: Tensor) -> str:
    return scan.weights.get(id(_root(weight)), "weight")


# ---- of both


def _note_forward(
    scan: ProbedScan,
    entry: ScanRecord,
    record: Record,
    states: list[Tensor],
    gates: list[tuple[str, Tensor]],
    ys: Tree,
) -> None:
    names = state_names(scan.arguments.step, scan.arguments.state)
    if scan.states is not None:
        scan.states.extend(states)
    entry.states = {name: scan.norms_of(state) for name, state in zip(names, states, strict=True)}
    labels = gate_names(scan.arguments.step, [function for function, _ in gates], is_fused=entry.path == "fused")
    entry.gates = {
        label: gate_of(function, values, scan.arguments.active)
        for label, (function, values) in zip(labels, gates, strict=True)
    }
    if record.trouble is None:
        inputs = [("input", leaf.detach()) for leaf in pytree.tree_leaves(scan.arguments.xs)]
        outputs = [("output", leaf.detach()) for leaf in pytree.tree_leaves(ys)]
        found = [each for each in inputs if may_not_be_finite(each[1])]
        for label, (_, values) in zip(labels, gates, strict=True):
            if may_not_be_finite(entry.gates[label].mean):
                found.append((f"gate {label}", values))
        for name, state in zip(names, states, strict=True):
            if may_not_be_finite(entry.states[name]):
                found.append((f"state {name}", state))
        found += [each for each in outputs if may_not_be_finite(each[1])]
        _locate(scan, entry, record, found, states)


def _locate(
    scan: ProbedScan, entry: ScanRecord, record: Record, found: list[tuple[str, Tensor]], states: list[Tensor]
) -> None:
    """Where a number first is not finite, in the order of the loop; with the line of the step that made it."""
    places = []
    for i, (quantity, values) in enumerate(found):
        place = first_not_finite(values, scan.arguments.active, is_reversed=scan.arguments.is_reversed)
        if place is not None:
            places.append((scan.order().index(place[0]), i, *place, quantity))
    if not places:
        return
    at, _, step, row, quantity = min(places)
    line = "" if quantity == "input" else _line_of(scan, at, row, states)
    row = row if scan.places is None else int((scan.places == row).nonzero())
    record.trouble = Trouble(entry.name, step, row, quantity, line)


def _line_of(scan: ProbedScan, at: int, row: int, states: list[Tensor]) -> str:
    order, (_, xs, first, active, resets, *_) = scan.order(), scan.arguments
    firsts, form = pytree.tree_flatten(first)
    now = [state[order[at - 1]] for state in states] if at else firsts
    if active is not None and at:
        now = [eager.choose(active[order[at - 1]], new, old) for new, old in zip(now, firsts, strict=True)]
    if resets is not None:
        now = [eager.choose(resets[order[at]], old, new) for new, old in zip(now, firsts, strict=True)]
    x = pytree.tree_map(lambda leaf: scan.only_running(leaf)[order[at]], xs)
    return line_not_finite(scan.arguments.step, x, pytree.tree_unflatten(now, form), row, len(now[0]))


def _locate_gradient(scan: ProbedScan, entry: ScanRecord, record: Record) -> None:
    """Where a gradient first is not finite, in the order of the backward."""
    found = []
    for name, norms in entry.gradients.items():
        if not may_not_be_finite(norms):
            continue
        place = first_not_finite(norms, scan.running, is_reversed=not scan.arguments.is_reversed)
        if place is not None:
            found.append((-scan.order().index(place[0]), *place, f"gradient of state {name}"))
    if found:
        _, step, row, quantity = min(found)
        record.trouble = Trouble(entry.name, step, row, quantity)
