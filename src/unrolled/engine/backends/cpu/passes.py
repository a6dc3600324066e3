"""A loop over features, in passes.

Functions such as tanh take long until their result is there. Where one waits for another, as in tanh(f c + i tanh(g)),
a processor finds little else to do meanwhile: it looks ahead no further than some two of them. So what comes after such
a function is left to a second pass over the features, and so on; what a later pass reads of an earlier one is kept in a
strip of some vectors, on which the passes take turns.
"""

from dataclasses import dataclass

from unrolled.engine.ir.program import EXPENSIVE, Value

LONG = frozenset(EXPENSIVE) - {"sqrt", "div"}
# values that are kept in strips at most: they should stay in the first-level cache
MOST = 16


@dataclass
class Line:
    """A value that a loop over features reads from memory or computes, its name, and the expression that gives it."""

    value: Value
    name: str
    text: str
    is_read: bool


def passes(lines: list[Line], stores: list[tuple[Value, str]]) -> tuple[list[str], list[list[str]]]:
    """The names of strips, and the statements of each pass.

    Args:
        lines: what the loop reads and computes, arguments first.
        stores: values, and the statement that stores each.
    """
    turn = _turns(lines)
    kept = _kept(lines, turn)
    if len(kept) > MOST:
        turn, kept = dict.fromkeys(turn, 0), {}
    by_value = {id(line.value): line for line in lines}
    texts = []
    for now in range(1 + max([0, *turn.values()])):
        text: dict[int, list[str]] = {}
        wanted = [line.value for line in lines if turn.get(id(line.value)) == now]
        wanted += [value for value, _ in stores if turn.get(id(value), 0) == now]
        for value in wanted:
            for each in (*value.args, value):
                line = by_value.get(id(each))
                if line is None or id(each) in text:
                    continue  # not of the features: a number for the whole row
                is_kept = id(each) in kept
                if is_kept and turn[id(each)] < now:
                    text[id(each)] = [f"const V {line.name} = {kept[id(each)]}[i];"]
                else:
                    text[id(each)] = [f"const V {line.name} = {line.text};"]
                    text[id(each)] += [f"{kept[id(each)]}[i] = {line.name};"] if is_kept else []
        statements = [each for group in text.values() for each in group]
        texts.append(statements + [store for value, store in stores if turn.get(id(value), 0) == now])
    return list(kept.values()), texts


def _turns(lines: list[Line]) -> dict[int, int]:
    """The pass of each value that is computed: how many functions that take long it waits for, but for its own."""
    after: dict[int, int] = {}
    for line in lines:
        if not line.is_read:
            before = max([0, *(after.get(id(arg), 0) for arg in line.value.args)])
            after[id(line.value)] = before + (line.value.op in LONG)
    return {at: max(0, n - 1) for at, n in after.items()}


def _kept(lines: list[Line], turn: dict[int, int]) -> dict[int, str]:
    """The strips of values that a later pass reads."""
    read = {id(arg) for line in lines for arg in line.value.args if turn.get(id(arg), 0) < turn.get(id(line.value), 0)}
    return {id(line.value): f"{line.name}s" for line in lines if id(line.value) in read & turn.keys()}
