"""Whether the parts of a plan fit each other: all that a plan read from a file has to hold before it is one."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import fx

from unrolled.engine.ir.loop_programs import Gradient, InputProduct, LoopPrograms, RowGradient
from unrolled.engine.ir.program import Program


class Damaged(ValueError):  # noqa: N818 - a fact within the engine
    """What was read is no plan."""


def need(condition: object, text: str) -> None:
    """Raises Damaged unless the condition holds."""
    if not condition:
        raise Damaged(text)


def check_plan(plan: dict[str, Any]) -> None:
    """Holds the fields of a plan to each other.

    Raises:
        Damaged: they do not fit.
    """
    made: LoopPrograms = plan["programs"]
    n_states = len(plan["states"])
    for name in ("previous", "sequences", "read_states"):
        _are_places(plan[name], n_states, name)
    need(set(plan["previous"]) <= set(plan["sequences"]) <= set(plan["read_states"]), "a state is read but not kept")
    _are_widths([shape for _, shape in plan["steps"]], made.forward.steps, "steps")
    _are_widths(plan["states"], made.forward.states, "states")
    _are_widths(plan["kept"], [value.width for value in made.forward.outputs], "kept outputs")
    need(len(plan["sources"]) == len(plan["steps"]), "a step input has no source")
    counts = {len(plan[name]) for name in ("constants", "constant_sources", "constant_dtypes")} | {len(made.constants)}
    need(len(counts) == 1, "a constant has no source")
    n_inputs = len(plan["steps"]) + len(plan["constants"]) + n_states
    need(len(plan["depends"]) == n_states + len(plan["kept"]), "a result has no inputs")
    for places in plan["depends"]:
        _are_places(places, n_inputs, "inputs of a result")
    _check_constants(plan["constants"], made)
    _check_programs(made, [made.forward.states[i] for i in plan["sequences"]])
    _check_graphs(plan)
    _check_results(plan)


def _are_places(numbers: Sequence[int], count: int, what: str) -> None:
    need(list(numbers) == sorted(set(numbers)) and all(i < count for i in numbers), f"{what} are out of range")


def _are_widths(shapes: Sequence[Sequence[int]], widths: Sequence[int], what: str) -> None:
    need([math.prod(shape) for shape in shapes] == list(widths), f"{what} have other widths")


def _check_constants(shapes: Sequence[Sequence[int]], made: LoopPrograms) -> None:
    """The loop's constants, and those that its programs count on."""
    rows: list[int] = []
    held: list[int] = []
    weights: list[tuple[int, ...]] = []
    for (kind, count), shape in zip(made.constants, shapes, strict=True):
        if kind == "matrix":
            need(count == (1 if len(shape) == 2 else shape[0]) and len(shape) in (2, 3), "matrices have other shapes")
            size = tuple(shape[-2:])
            weights += [size, size[::-1]] * count
        else:
            need(kind in ("row", "held") and count == 1, "a constant is of no known kind")
            (rows if kind == "row" else held).append(math.prod(shape if kind == "row" else shape[1:]))
    for program in (made.forward, made.training, made.backward):
        need(program.rows == tuple(rows) and program.held == tuple(held), "rows have other widths")
        need(program.weights == tuple(weights), "weights have other shapes")


def _check_programs(made: LoopPrograms, sequences: Sequence[int]) -> None:
    """The three programs of a loop; `sequences` are the widths of the sequences of states that are read."""
    forward, training, backward = made.forward, made.training, made.backward
    kept, outputs = _widths(forward.outputs), _widths(training.outputs)
    need(made.n_kept == len(kept) and outputs[: len(kept)] == kept, "kept outputs have other widths")
    need(forward.steps == training.steps and forward.states == training.states, "training is of another loop")
    need(backward.states == forward.states and not (forward.shifted or training.shifted), "backward is of another loop")
    need(not (forward.totals or training.totals), "a forward adds up")
    pools: dict[str, Sequence[int]] = {
        "step": forward.steps, "previous": forward.states, "next": forward.states, "saved": outputs[len(kept) :],
        "output": kept, "gradient": [*kept, *sequences],
    }  # fmt: skip
    need(all(kind in pools and i < len(pools[kind]) for kind, i in made.backward_inputs), "an input is out of range")
    need([pools[kind][i] for kind, i in made.backward_inputs] == list(backward.steps), "inputs have other widths")
    shifted = [i for i, (kind, _) in enumerate(made.backward_inputs) if kind == "previous"]
    need(list(backward.shifted) == shifted, "a state is read at another step")
    given = _widths(backward.outputs)
    need(len(made.step_gradients) == len(forward.steps), "a step input has no gradient")
    for at, width in zip(made.step_gradients, forward.steps, strict=True):
        need(at is None or (at < len(given) and given[at] == width), "the gradient of a step input has another width")
    need(len(made.constant_gradients) == len(made.constants), "a constant has no gradient")
    sizes = iter(_sizes(made, forward))
    for gradient, (kind, count) in zip(made.constant_gradients, made.constants, strict=True):
        size = [next(sizes) for _ in range(count)]
        if gradient is None:
            continue
        if isinstance(gradient, RowGradient):
            need(kind == "held", "a gradient is of another kind")
            _check_row_gradient(gradient, size[0][1], backward, given)
            continue
        parts = gradient if isinstance(gradient, tuple) else (gradient,)
        need(kind != "held" and len(parts) == count, "a gradient is of another kind")
        for part, one in zip(parts, size, strict=True):
            _check_gradient(part, one, backward, given)


def _sizes(made: LoopPrograms, program: Program) -> Iterable[tuple[int, int]]:
    """The shape of each constant, of each matrix of it; a row is a matrix of one."""
    rows, held, weights = iter(program.rows), iter(program.held), iter(program.weights[::2])
    for kind, count in made.constants:
        for _ in range(count):
            yield next(weights) if kind == "matrix" else (1, next(rows if kind == "row" else held))


def _factor(factor: tuple[str, int], backward: Program, given: Sequence[int]) -> int:
    kind, i = factor
    widths = {"step": backward.steps, "output": given}.get(kind, ())
    need(i < len(widths), "a factor is out of range")
    return widths[i]


def _check_gradient(gradient: Gradient, size: tuple[int, int], backward: Program, given: Sequence[int]) -> None:
    for left, right in gradient.parts:
        found = (1 if left is None else _factor(left, backward, given), _factor(right, backward, given))
        need(found == (size[::-1] if gradient.is_transposed else size), "a gradient has another shape")


def _check_row_gradient(gradient: RowGradient, width: int, backward: Program, given: Sequence[int]) -> None:
    for left, right in gradient.parts:
        size = _factor(left, backward, given) * _factor(right, backward, given)
        need(size == width, "a gradient has another shape")
    totals = _widths(backward.totals)
    need(gradient.total is None or totals[gradient.total : gradient.total + 1] == [width], "a gradient has no total")


def _widths(values: Iterable[Any]) -> list[int]:
    return [value.width for value in values]


def _n(graph: fx.GraphModule | None) -> tuple[int, int]:
    """How many inputs a part has, but for the number of rows, and how many outputs."""
    if graph is None:
        return 0, 0
    nodes = list(graph.graph.nodes)
    return sum(node.op == "placeholder" for node in nodes) - 1, len(nodes[-1].args[0])


def _check_graphs(plan: dict[str, Any]) -> None:
    """What the parts around the loop take and give, and the places that refer to it."""
    n_states, n_kept = len(plan["states"]), len(plan["kept"])
    taken, given = _n(plan["loop"])
    need(taken == len(plan["steps"]) + len(plan["constants"]) + n_states, "the loop takes other inputs")
    need(given == n_states + n_kept, "the loop gives other results")
    (n_captured, n_invariant), (of_held, n_held) = _n(plan["invariant"]), _n(plan["held"])
    (of_before, n_before), (of_after, _) = _n(plan["before"]), _n(plan["after"])
    for name in ("held_by_row", "held_before", "held_after"):
        _are_places(plan[name], n_held, name)
    # captured tensors and inputs are not counted by the plan itself: what its parts say of them must agree
    known = {n_captured} if plan["invariant"] is not None else set()
    known |= {of_held - n_invariant} if plan["held"] is not None else set()
    both = {of_before - n_invariant - n_held} if plan["before"] is not None else set()
    rest = n_invariant + n_held + n_before + n_kept + len(plan["previous"]) + len(plan["sequences"])
    both |= {of_after - rest} if plan["after"] is not None else set()
    need(len(known) <= 1 and len(both) <= 1, "the parts are of different steps")
    most = min(known | both, default=1 << 16)
    need(most >= 0 and max(known | both, default=0) < 1 << 16, "the parts take other inputs")
    ranges = {"captured": most, "transposed": most, "invariant": n_invariant, "held": n_held, "before": n_before}
    ranges["input"] = next(iter(both), 1 << 16) - next(iter(known), 0)
    places = list(plan["constant_sources"])
    for source in plan["sources"]:
        places += [source.rows, source.weight] if isinstance(source, InputProduct) else [source]
        places += [source.bias] if isinstance(source, InputProduct) and source.bias is not None else []
    need(all(kind in ranges and i < ranges[kind] for kind, i in places), "a tensor comes from nowhere")


def _check_results(plan: dict[str, Any]) -> None:
    """The step's outputs."""
    ranges = {"sequence": len(plan["sequences"]), "kept": len(plan["kept"])}
    need(all(kind in ranges and i < ranges[kind] for kind, i in plan["ys"]), "an output comes from nowhere")
    count = len(plan["ys"]) if plan["after"] is None else _n(plan["after"])[1]
    need(plan["after"] is None or not plan["ys"], "outputs come from two places")
    need(count == (1 if plan["outputs_form"] is None else plan["outputs_form"]), "outputs are of another form")
