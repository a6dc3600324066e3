"""From measurements to findings: what counts as a fault, in a sentence.

Inputs: the measurements of a check-up. Outputs: findings. Why the limits are what they are: docs/design/checkup.md.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from unrolled.insight.chains import Chain
from unrolled.insight.diagnosis import KINDS, Finding
from unrolled.insight.layer_checkup import LayerCheckup, in_words
from unrolled.insight.modes import Modes
from unrolled.insight.past import Past
from unrolled.insight.reach import DECADES, FAR, LEAST_STEPS, Reach
from unrolled.insight.record import Trouble
from unrolled.insight.restarts import Restarts

_DECADES_OF_LEARNED = 6.0  # of a net that has learned in spite of it: then float32 has no digits left
_SATURATED = 0.5  # share of a gate's values, or units
_CLOSED, _OPEN = 0.1, 0.9  # means of a sigmoid: it may be open always, and closed if it opens at times
_DEAD, _DEAD_OF_LEARNED = 0.2, 0.5  # share of units
_GROWTH = 100.0  # of a state's norm over four times the sequence: above any cubic growth
_ALIVE = 0.1  # share of a gradient that is left where it is cut off
_CARRIED = 0.1  # share of the loss that a state saves where it is carried into the next window


@dataclass(frozen=True, eq=False)
class Measurements:
    """All that a verdict is made of.

    Attributes:
        layers, chains: of each layer and direction, in the same order.
        direct: likewise, of a model that returns its loss, how far the gradient of all steps reaches; else None.
        past, modes, restarts: None where not measured.
        trouble: the first number that is not finite.
        loss: the value of the loss.
    """

    layers: Sequence[LayerCheckup]
    chains: Sequence[Chain]
    direct: Sequence[Reach | None]
    past: Past | None
    modes: Modes | None
    restarts: Restarts | None
    trouble: Trouble | None
    loss: float


def verdict_of(measurements: Measurements) -> list[Finding]:
    """The findings, the gravest first."""
    exploding = list(_exploding(measurements))
    is_too_large = bool(exploding) and measurements.trouble is not None and measurements.trouble.is_of_gradient
    found = [
        *([] if is_too_large else _not_finite(measurements)),  # a gradient beyond all numbers has exploded
        *exploding,
        *_vanishing(measurements),
        *_truncated(measurements),
        *_restarted(measurements),
        *_saturated(measurements),
        *_dead(measurements),
        *_unstable(measurements),
        *_no_memory(measurements),
    ]
    return sorted(found, key=lambda finding: KINDS.index(finding.kind))


def _not_finite(measurements: Measurements) -> Iterator[Finding]:
    trouble = measurements.trouble
    if trouble is not None:
        where = f"step {trouble.step}, row {trouble.row}: {trouble.quantity}{trouble.line}"
        advice = (
            "Look at your data there: what was read is no number."
            if trouble.quantity == "input"
            else "Look at that line; a smaller learning rate, clipping, or a larger epsilon in a division helps."
        )
        yield Finding("NaN", trouble.scan, f"A number is not finite, first at {where}.", advice)
    elif not math.isfinite(measurements.loss):
        evidence = f"The loss is {measurements.loss}, while all states and gates are finite."
        yield Finding("NaN", "", evidence, "The fault lies after the recurrence: in the head or in the loss itself.")


def _exploding(measurements: Measurements) -> Iterator[Finding]:
    limit = _DECADES_OF_LEARNED if measurements.past is not None and measurements.past.has_learned else DECADES
    for layer in measurements.layers:
        steps, decades = layer.n_steps - 1, _decades(layer)
        if decades < limit or steps + 1 < LEAST_STEPS:
            continue
        doubling = steps * math.log10(2) / decades
        evidence = (
            f"Gradients explode: they double every {doubling:.1f} steps on the way back, "
            f"{_power(decades)} times over {steps + 1} steps."
        )
        advice = "Use orthogonal or smaller recurrent weights; clip the gradient's norm; a smaller learning rate."
        yield Finding("exploding", layer.name, evidence, advice)


def _decades(layer: LayerCheckup) -> float:
    """By how many powers of ten the gradient grows on its way back; where none came, by the exponents."""
    if layer.reach is not None and math.isfinite(layer.reach.decades):
        return layer.reach.decades
    return layer.lyapunov[0] * (layer.n_steps - 1) / math.log(10) if layer.lyapunov else 0.0


def _vanishing(measurements: Measurements) -> Iterator[Finding]:
    past = measurements.past
    if past is not None and past.has_learned:
        return  # it does its task with what it reaches
    for _, group in groupby(measurements.layers, key=lambda layer: layer.module):
        layers = [layer for layer in group if layer.reach is not None]
        if not layers:
            continue
        best = max(layers, key=lambda layer: layer.reach.horizon if layer.reach else 0)
        reach, steps = best.reach, best.n_steps
        assert reach is not None, "only such were taken"
        limit = FAR * (steps - 1)
        direct = measurements.direct[list(measurements.layers).index(best)]
        if direct is not None and direct.horizon >= limit:
            continue  # every step has a way of its own to the loss
        if steps < LEAST_STEPS or reach.horizon >= limit or (past is not None and past.horizon >= limit):
            continue
        if reach.cut is not None and reach.curve[reach.cut - 1] > reach.curve[: reach.cut].max() + math.log10(_ALIVE):
            continue  # it is cut off, not faded
        evidence = (
            f"Gradients vanish: {in_words(reach.half_life)}, your sequences are {steps} long; "
            f"nothing that lies more than {reach.horizon} step{'' if reach.horizon == 1 else 's'} back is learned."
        )
        yield Finding("vanishing", best.name, evidence, _against_vanishing(best))


def _against_vanishing(layer: LayerCheckup) -> str:
    """What to do, by what was measured: a gate that is open already is not to be opened, and where the activation that
    each step goes through is saturated, no gate and no matrix helps.
    """
    gates = layer.gate_means
    keeping = ("f", "forget gate") if {"f", "i", "g", "o"} <= gates.keys() else ("z", "update gate z")
    squashing = "tanh(c)" if keeping[0] == "f" else "tanh"
    if layer.saturated.get(squashing, 0) >= _SATURATED:
        where = "The memory c is so large that tanh(c)" if squashing == "tanh(c)" else "tanh"
        what = (
            "smaller biases of the input gate or smaller inputs" if keeping[0] == "f" else "smaller weights or inputs"
        )
        share = layer.saturated[squashing]
        return f"{where} is flat for {share:.0%} of its values: take {what}; clipping does not help."
    if not {"f", "i", "g", "o"} <= gates.keys() and not {"z", "n"} <= gates.keys():
        return "Use an LSTM or GRU, or orthogonal weights; clipping does not help."
    name, words = keeping
    if gates[name] > _OPEN:
        return (
            f"The {words} is open already (mean {gates[name]:.2f}), so a larger bias does not help: attend over all "
            "states, or cut the sequences shorter; clipping does not help."
        )
    return f"Give the {words} a bias of 1 to 4, or attend over all states; clipping does not help."


def _truncated(measurements: Measurements) -> Iterator[Finding]:
    past = measurements.past
    for layer, chain in zip(measurements.layers, measurements.chains, strict=True):
        reach = layer.reach
        if reach is None or layer.n_steps < 2:
            continue
        cut = reach.cut if reach.cut is not None else layer.n_steps if chain.is_carried else None
        if cut is None:
            continue
        alive = 10 ** (reach.curve[cut - 1] - reach.curve[:cut].max()).item()
        uses = past is not None and past.horizon >= cut - 1
        is_window = cut == layer.n_steps
        if _decades(layer) >= DECADES:
            continue  # it has grown, not been lost
        if not (alive >= _ALIVE and uses if is_window else alive >= _ALIVE or uses):
            continue
        evidence = (
            f"The gradient is cut off after {cut} steps, where it still has {alive:.0%} of its strength, "
            "and the state carries more than that across the cut."
        )
        advice = f"Let it run over more steps at once, at least {2 * cut} (k2 of truncated_bptt, or longer windows)."
        yield Finding("truncation too short", layer.name, evidence, advice)


def _restarted(measurements: Measurements) -> Iterator[Finding]:
    restarts = measurements.restarts
    knows_its_rows = measurements.past is not None and measurements.past.of_loss  # else the loss falls by chance
    if restarts is None or not knows_its_rows or restarts.fall < _CARRIED:
        return
    evidence = (
        f"{restarts.n_windows} windows of {restarts.n_steps} steps begin from the same state. With the state carried "
        f"from one to the next the loss is {restarts.carried:.4g} in place of {restarts.loss:.4g}."
    )
    advice = "Carry the state from window to window (`truncated_bptt`), or take longer windows."
    yield Finding("truncation too short", restarts.layer, evidence, advice)


def _saturated(measurements: Measurements) -> Iterator[Finding]:
    if measurements.past is not None and measurements.past.has_learned:
        return  # its gates switch as they should
    for layer, chain in zip(measurements.layers, measurements.chains, strict=True):
        functions = {name: gate.function for entry in chain.entries for name, gate in entry.gates.items()}
        stuck = {
            name: share
            for name, share in layer.saturated.items()
            if share >= _SATURATED and not _is_at_work(name, functions[name], layer)
        }
        if not stuck:
            continue
        names = ", ".join(f"{name} {share:.0%}" for name, share in stuck.items())
        evidence = f"Gates are saturated: {names} of their values lie where the slope is almost zero."
        advice = "Scale the inputs to about 1, begin with smaller weights and biases, or take a smaller learning rate."
        yield Finding("saturated gates", layer.name, evidence, advice)


def _is_at_work(name: str, function: str, layer: LayerCheckup) -> bool:
    """Whether a saturated gate does what it is for: a relu, a gate that stays open, one that opens at times."""
    if function != "sigmoid":
        return function == "relu" or name == "tanh(c)"  # a memory that is full is not stuck
    mean = layer.gate_means[name]
    return mean > _OPEN or (mean < _CLOSED and layer.stuck[name] < _SATURATED)


def _dead(measurements: Measurements) -> Iterator[Finding]:
    has_learned = measurements.past is not None and measurements.past.has_learned
    for layer, chain in zip(measurements.layers, measurements.chains, strict=True):
        if not layer.dead or not layer.saturated or layer.n_steps < 2:
            continue
        leaf, share = max(layer.dead.items(), key=lambda each: each[1])
        if share < (_DEAD_OF_LEARNED if has_learned else _DEAD):
            continue
        is_relu = any(gate.function == "relu" for entry in chain.entries for gate in entry.gates.values())
        evidence = f"{share:.0%} of the units of {leaf} are dead: they stay as they are, whatever the input."
        advice = (
            "Use tanh or a leaky relu, a smaller learning rate, or biases nearer to zero."
            if is_relu
            else "Begin with biases nearer to zero, take a smaller learning rate, or fewer units."
        )
        yield Finding("dead units", layer.name, evidence, advice)


def _unstable(measurements: Measurements) -> Iterator[Finding]:
    modes = measurements.modes
    if modes is not None and modes.is_unstable:
        evidence = (
            f"In evaluation mode the output is another one: it differs from training mode's by {modes.change:.1f} "
            f"times what rows and steps differ by{modes.losses()}."
        )
        advice = (
            "Normalization layers have not seen such data: train longer, raise their momentum, or use LayerNorm; "
            "check what else depends on model.training."
        )
        yield Finding("unstable in evaluation", "", evidence, advice)
    for layer in measurements.layers:
        if not layer.growth <= _GROWTH:
            factor = (
                "beyond all numbers" if not math.isfinite(layer.growth) else f"by {_power(math.log10(layer.growth))}"
            )
            evidence = f"Where sequences go on four times as long, the state grows {factor}: it has no bound."
            advice = "Use orthogonal or smaller recurrent weights, tanh in place of relu, or LayerNorm in the step."
            yield Finding("unstable in evaluation", layer.name, evidence, advice)


def _no_memory(measurements: Measurements) -> Iterator[Finding]:
    past = measurements.past
    if past is None or past.horizon > 0 or max(layer.n_steps for layer in measurements.layers) < 2:
        return
    what = "loss" if past.of_loss else "output"
    evidence = f"No memory is used: where each step knows itself alone, the {what} changes by {past.shares[0]:.1%}."
    advice = (
        "If the task needs no past, a layer without recurrence does the same; if it does, the net has not found it: "
        "see the gradient's half-life, and try an easier task with a shorter delay first."
    )
    yield Finding("no memory needed", "", evidence, advice)


def _power(decades: float) -> str:
    return f"{10**decades:,.0f}" if decades < 5 else f"10^{decades:.0f}"
