"""The specification of a split step.

    part        reads                                                   an operation of it
    invariant   captured tensors, invariant                             depends on nothing else, and has no batch
    held        those, held                                             depends on what has a row for each sequence
    before      those, inputs, before                                   depends on the inputs, not on the state
    loop        its steps, constants and states, loop                   depends on inputs or state, draws nothing
    after       those of before, after, kept outputs, the states in     depends on what the loop computes
                `previous` before a step, in `sequences` after it

- Each part has its operations in the graph's order, each once. An operation reads what stands before it. So all that an
  output or a next state needs lies in a part.
- A constant with the batch in its shape may lie in several parts, and be in any but invariant. A view of an input may
  lie in both before and loop. Every other operation lies in one part.
- Steps come from inputs and before; constants from captured, invariant and held; next states are made in the loop or
  are something that it reads. No step, constant or kept output is twice in its list.
- Steps, states and kept outputs are [batch, ...]. A constant is too, or has no batch in its shape.
- Next states are as many as states, each of the shape and dtype of its state.
- `previous` and `sequences` are sorted numbers of states; what is in `previous` is in `sequences`.
"""

from collections import Counter

from torch import Tensor, fx

from unrolled.engine.passes.shapes import is_by_row
from unrolled.engine.passes.split import Split, is_random
from unrolled.engine.passes.trace import BATCH


def verify_split(parts: Split) -> Split:
    """Holds a split step to its specification; returns it.

    Raises:
        AssertionError: `split` made it wrongly; this is a bug, never the user's fault. The text names the node.
    """
    _verify_lists(parts)
    _verify_reads(parts)
    _verify_results(parts)
    _verify_dependences(parts)
    _verify_shapes(parts)
    return parts


def _need(condition: object, node: fx.Node | int, text: str) -> None:
    if not condition:
        raise AssertionError(f"split: {node} {text}")


def _operations(parts: Split) -> dict[str, list[fx.Node]]:
    return {
        "invariant": parts.invariant,
        "held": parts.held,
        "before": parts.before,
        "loop": parts.loop,
        "after": parts.after,
    }


def _verify_lists(parts: Split) -> None:
    """What holds of each list by itself."""
    n_states = len(parts.states)
    graph = parts.states[0].graph
    place = {node: i for i, node in enumerate(graph.nodes)}
    for name, nodes in _operations(parts).items():
        for node in nodes:
            _need(node.op == "call_function" and node in place, node, f"is in {name}, and is no operation of the graph")
        for one, other in zip(nodes, nodes[1:], strict=False):
            _need(place[one] < place[other], other, f"is out of order in {name}")
    for name in ("captured", "inputs", "states", "steps", "constants", "kept"):
        for node, count in Counter(getattr(parts, name)).items():
            _need(count == 1, node, f"is {count} times in {name}")
    for name, numbers in (("previous", parts.previous), ("sequences", parts.sequences)):
        for i in numbers:
            _need(0 <= i < n_states, i, f"is in {name}, and is no number of a state: there are {n_states}")
        for i, j in zip(numbers, numbers[1:], strict=False):
            _need(i < j, j, f"is out of order in {name}")
    for i in parts.previous:
        _need(i in parts.sequences, i, "is in previous and not in sequences")


def _verify_reads(parts: Split) -> None:
    """Each part reads only what it may, and what stands before it."""
    once = {*parts.captured, *parts.invariant}
    wide = {*once, *parts.held, *parts.inputs}
    may: dict[str, set[fx.Node]] = {
        "invariant": set(parts.captured),
        "held": once,
        "before": wide,
        "loop": {*parts.steps, *parts.constants, *parts.states},
        "after": wide | set(parts.before) | _of_loop(parts),
    }
    for name, nodes in _operations(parts).items():
        known = set(may[name])
        for node in nodes:
            for arg in node.all_input_nodes:
                _need(arg in known, node, f"is in {name}, and reads {arg}")
            known.add(node)


def _of_loop(parts: Split) -> set[fx.Node]:
    """What is read outside the loop of what it gives."""
    before, after = [parts.states[i] for i in parts.previous], [parts.next_states[i] for i in parts.sequences]
    return {*parts.kept, *before, *after}


def _verify_results(parts: Split) -> None:
    """What crosses the border of the loop, and the step's outputs, come from where they may."""
    inside, taken = set(parts.loop), {*parts.steps, *parts.constants, *parts.states}
    outside = {*parts.captured, *parts.inputs, *parts.invariant, *parts.held, *parts.before, *parts.after}
    sources: dict[str, tuple[list[fx.Node], set[fx.Node]]] = {
        "steps": (parts.steps, {*parts.inputs, *parts.before}),
        "constants": (parts.constants, {*parts.captured, *parts.invariant, *parts.held}),
        "next states": (parts.next_states, inside | taken),
        "kept outputs": (parts.kept, inside - set(parts.next_states)),
        "outputs": (parts.ys, outside | _of_loop(parts)),
    }
    for name, (nodes, known) in sources.items():
        for node in nodes:
            _need(node in known, node, f"is among the {name}, and comes from elsewhere")


def _verify_dependences(parts: Split) -> None:
    """An operation lies where what it depends on puts it, and in several parts only as it may."""
    where: dict[fx.Node, list[str]] = {}
    for name, nodes in _operations(parts).items():
        for node in nodes:
            where.setdefault(node, []).append(name)
    depends = _dependences(parts, where)
    may = {"invariant": set(), "held": {"held"}, "before": {"held", "input"}}
    must = {"held": {"held"}, "before": {"input"}, "loop": {"input", "state"}, "after": {"state"}}
    for node, names in where.items():
        is_constant = not depends[node] and _has_batch(node)
        for name in names:
            too_much = depends[node] - may.get(name, depends[node])
            _need(not too_much, node, f"is in {name}, and depends on the {' and the '.join(sorted(too_much))}")
            needed = must.get(name, set())
            is_one = is_constant or not needed or depends[node] & needed
            _need(is_one, node, f"is in {name}, and does not depend on the {' or the '.join(sorted(needed))}")
        _need("invariant" not in names or not _has_batch(node), node, "is invariant, and has the batch in its shape")
        _need("loop" not in names or not is_random(node), node, "draws random numbers in the loop")
        is_view = names == ["before", "loop"]
        _need(len(names) == 1 or is_constant or is_view, node, f"lies in several parts: {', '.join(names)}")


def _dependences(parts: Split, where: dict[fx.Node, list[str]]) -> dict[fx.Node, set[str]]:
    """What each node depends on: "held", "input", "state". What the loop alone computes of inputs counts as state."""
    depends: dict[fx.Node, set[str]] = {}
    own = {node: {"held"} for node in parts.captured if is_by_row(node)}
    own |= {node: {"input"} for node in parts.inputs} | {node: {"state"} for node in parts.states}
    for node in parts.states[0].graph.nodes:
        found = set(own.get(node, ())).union(*(depends[arg] for arg in node.all_input_nodes))
        found |= {"input"} if is_random(node) else set()
        found |= {"state"} if where.get(node) == ["loop"] and "input" in found else set()
        depends[node] = found
    return depends


def _has_batch(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and BATCH in value.shape


def _verify_shapes(parts: Split) -> None:
    for name in ("steps", "states", "kept"):
        for node in getattr(parts, name):
            shape = node.meta["val"].shape
            _need(is_by_row(node) and BATCH not in shape[1:], node, f"is in {name}, and is not [batch, ...]")
    for node in parts.constants:
        shape = node.meta["val"].shape
        _need(BATCH not in shape[is_by_row(node) :], node, "is a constant, and has the batch elsewhere than first")
    count = len(parts.next_states)
    _need(count == len(parts.states), count, f"next states, and {len(parts.states)} states")
    for node, state in zip(parts.next_states, parts.states, strict=True):
        new, old = node.meta["val"], state.meta["val"]
        _need(new.shape == old.shape and new.dtype == old.dtype, node, f"has another shape or dtype than {state}")
