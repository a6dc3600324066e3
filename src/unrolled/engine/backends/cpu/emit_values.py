"""Values of a loop program as C++ expressions, and the declarations that compute some.

Inputs: a schedule, and the values that a loop stores or sums. Outputs: declarations, by where they stand, and names. Every
phase of `emit_phases.py` needs them.
"""

from unrolled.engine.backends.cpu.passes import Line
from unrolled.engine.backends.cpu.schedule import Address, Schedule
from unrolled.engine.ir.program import BROADCASTS, Value


def statements(
    schedule: Schedule, roots: list[Value], level: int, *, row_width: int = 0
) -> tuple[list[str], list[str], list[Line]]:
    """Declarations before the loop over features (width 1), before that over a matrix's row, and what is within it,
    arguments first.
    """
    row_width = row_width or max(root.row_width for root in roots)
    across = f" + place * {row_width} + c" if row_width else " + c"
    before: list[str] = []
    columns: list[str] = []
    inside: list[Line] = []
    done: set[int] = set()

    def visit(value: Value) -> None:
        if id(value) in done:
            return
        done.add(id(value))
        name = name_of(schedule, value)
        where = schedule.where(value) if schedule.is_readable(value, level) else None
        if value.op in ("const", "fill"):
            before.append(f"      const V {name} = bc({_number(value.number)});")
        elif where is not None:
            pointer, stride, at = where
            if value.width == 1:
                before.append(f"      const V {name} = bc(number(({pointer})[r * {stride} + {at}]));")
            else:
                inside.append(Line(value, name, f"io.read({address(where)}{across})", is_read=True))
        elif value.op in BROADCASTS:
            where = schedule.where(value.args[0])
            assert where is not None, "what is broadcast lies in memory"
            if value.op == "tile":
                inside.append(Line(value, name, f"io.read({address(where)} + c)", is_read=True))
            else:
                columns.append(f"        const V {name} = bc(number(*({address(where)} + place)));")
        else:
            for arg in value.args:
                visit(arg)
            call = f"v{value.op}({', '.join(name_of(schedule, arg) for arg in value.args)})"
            if value.width == 1:
                before.append(f"      const V {name} = {call};")
            else:
                inside.append(Line(value, name, call, is_read=False))

    for root in roots:
        visit(root)
    return before, columns, inside


def name_of(schedule: Schedule, value: Value) -> str:
    """What a value's declaration is called."""
    return f"a{schedule.names[id(value)]}"


def address(place: Address) -> str:
    """A pointer to row `r` of what lies there."""
    pointer, stride, at = place
    return f"{pointer} + r * {stride} + {at}"


def _number(number: float) -> str:
    if number != number:
        return "std::numeric_limits<R>::quiet_NaN()"
    if number in (float("inf"), float("-inf")):
        return f"{'-' if number < 0 else ''}std::numeric_limits<R>::infinity()"
    return f"R({number!r})"
