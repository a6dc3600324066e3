"""One phase of a step as C++: loops over features, or products and what takes whole rows.

Inputs: a schedule, and the number of a phase. Output: lines of C++. `emit.py` puts barriers between the phases, and
`emit_values.py` has the expressions.
"""

from unrolled.engine.backends.cpu.emit_values import address, name_of, statements
from unrolled.engine.backends.cpu.passes import Line, passes
from unrolled.engine.backends.cpu.schedule import Address, Loop, Schedule, vectors_of
from unrolled.engine.ir.program import EXPENSIVE, Value, parts_of

Packed = dict[tuple[int, int], str]  # names of packed weights, by number and vectors a panel


def phase_lines(schedule: Schedule, phase: int, packed: Packed) -> list[str]:
    """Of a level, first its loops over features; in the phase after them its products, and what takes whole rows."""
    level = phase // 2
    if phase % 2 == 0:
        parts = [_loop(schedule, loop, level) for loop in schedule.loops[level].values()]
    else:
        parts = [_product(schedule, value, packed) for value in schedule.products_at(level)]
        parts += [_reduction(schedule, value, level) for value in schedule.reductions_at(level)]
        parts += [_matrix_sum(schedule, value, level) for value in schedule.matrix_sums_at(level)]
        parts += [_along_rows(schedule, value) for value in schedule.along_at(level)]
    return [line for lines in parts for line in lines]


def _product(schedule: Schedule, value: Value, packed: Packed) -> list[str]:
    """A sum of products with packed weights; threads share the panels, or the parts that their own loops read."""
    result, vectors = f"m{schedule.names[id(value)]}", vectors_of(value)
    width = schedule.segments.get(id(value), 0)
    lines = [f"    for (long s = 0; s < (is_apart ? {value.width // width} : 1); s++) {{" if width else "    {"]
    lines.append(
        f"      const Share share = is_apart ? Share::of<FIT<{vectors}> * VL>({width}, part, parts, s) : "
        if width
        else "      const Share share = "
    )
    lines[-1] += f"Share::of(ceil_div({value.width}, FIT<{vectors}> * VL), part, parts);"
    for i, part in enumerate(parts_of(value)):
        pointer, stride, at = schedule.operand(part)
        lines.append(
            f"      call.products->multiply<FIT<{vectors}>>({pointer} + {at}, {stride}, {packed[(int(part.attribute or 0), vectors)]}, "
            f"{result}, {result}_width, r0, r1, share.from, share.to, {'true' if i else 'false'});"
        )
    return [*lines, "    }"]


def _along_rows(schedule: Schedule, value: Value) -> list[str]:
    """A function that takes each row as a whole."""
    name = f"v{schedule.names[id(value)]}"
    return [
        f"    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) "
        f"{value.op}({address(schedule.operand(value))}, {name} + r * {name}_width, {value.width});"
    ]


def _loop(schedule: Schedule, loop: Loop, level: int) -> list[str]:
    """A loop over features, in passes, or over rows alone."""
    before, columns, inside = statements(schedule, [value for _, value in loop.stores], level)
    if loop.width == 1:
        puts = [
            f"      put({address(place)}, {_sum_or_value(schedule, place, value)});" for place, value in loop.stores
        ]
        return ["    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) {", *before, *puts, "    }"]
    width = loop.row_width or loop.width
    across = f" + place * {width} + c" if loop.row_width else " + c"
    stores = [
        (value, f"io.write({address(place)}{across}, {_sum_or_value(schedule, place, value, across)});")
        for place, value in loop.stores
    ]
    strips, texts = passes(inside, stores)
    lines = [
        f"    for (long r = r0, c0 = Share::features({width}, part, parts).from, "
        f"c1 = Share::features({width}, part, parts).to; r < r1; r++) {{",
        *before,
        *[f"      V {strip}[STRIP];" for strip in strips],
        *([f"      for (long place = 0; place < {loop.width // width}; place++) {{"] if loop.row_width else []),
        *columns,
        f"      by_strips<{width}>(c0, c1",
    ]
    for text in texts:
        lines[-1] += ", [&](long c, long i, auto io) __attribute__((always_inline)) {"
        lines += [*(f"        {statement}" for statement in text), "      }"]
    lines[-1] += ");"
    return [*lines, *(["      }"] if loop.row_width else []), "    }"]


def _sum_or_value(schedule: Schedule, place: Address, value: Value, across: str = "") -> str:
    """What is stored: the value, or where it is a total, that with the value added."""
    if not place[0].startswith("g"):
        return name_of(schedule, value)
    there = f"io.read({address(place)}{across})" if across else f"bc(*({address(place)}))"
    return f"{there} + {name_of(schedule, value)}"


def _matrix_sum(schedule: Schedule, value: Value, level: int) -> list[str]:
    """Sums of the rows or columns of a matrix within each row."""
    [arg] = value.args
    width, name = int(value.attribute or 0), f"v{schedule.names[id(value)]}"
    before, columns, inside = statements(schedule, [arg], level, row_width=width)
    # where functions take long, one at a time keeps a processor busy
    at_once = 1 if any(line.value.op in EXPENSIVE for line in inside) else 4
    function = "row_sums" if value.op == "rowsums" else "column_sums"
    return [
        "    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) {",
        *before,
        f"      {function}<{arg.width // width}, {width}, {at_once}>({name} + r * {name}_width, "
        "[&](long place, long c, auto io) __attribute__((always_inline)) {",
        *columns,
        *[f"        const V {line.name} = {_in_sum(line, arg)};" for line in inside],
        f"        return {name_of(schedule, arg)};",
        "      });",
        "    }",
    ]


def _reduction(schedule: Schedule, value: Value, level: int) -> list[str]:
    """The sum or the largest of each row."""
    [arg] = value.args
    name = f"v{schedule.names[id(value)]}"
    before, _, inside = statements(schedule, [arg], level)
    nothing, join, whole = (
        ("0", "total = total + {}", "hsum")
        if value.op == "sum"
        else ("-std::numeric_limits<R>::infinity()", "total = vmax2(total, {})", "hmax")
    )
    return [
        "    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) {",
        *before,
        f"      V total = bc({nothing});",
        "      auto body = [&](long c, auto io) __attribute__((always_inline)) {",
        *[f"        const V {line.name} = {_in_sum(line, arg)};" for line in inside],
        f"        return {name_of(schedule, arg)};",
        "      };",
        "      long c = 0;",
        f"      for (; c + VL <= {arg.width}; c += VL) {join.format('body(c, Whole{})')};",
        f"      if (c < {arg.width}) {{ const Rest rest{{{arg.width} - c}}; "
        + join.format(f"keep(body(c, rest), rest.n, {nothing})")
        + "; }",
        f"      {name}[r] = {whole}(total);",
        "    }",
    ]


def _in_sum(line: Line, added: Value) -> str:
    """A line's text; a product that is what is added up may be rounded with the sum."""
    return line.text.replace("vmul(", "vmul_in_sum(", 1) if line.value is added else line.text
