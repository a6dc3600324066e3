"""A loop program becomes C++ for one function that runs it over time.

`schedule.py` says when each value is computed, and where it lies. Threads share either the rows of the batch, and never
meet, or the features, and meet after each loop.
"""

from unrolled.engine.backends.cpu.barriers import barriers
from unrolled.engine.backends.cpu.passes import Line, passes
from unrolled.engine.backends.cpu.schedule import Address, Loop, Schedule, vectors_of
from unrolled.engine.ir.program import (
    BROADCASTS,
    EXPENSIVE,
    MATRIX_SUMS,
    Program,
    Value,
    parts_of,
)

# vectors multiplied or computed in a step up to which threads that share the features lose more by meeting than they gain
# (weights of a single row take longer, as they come from the second-level cache), and in all steps, by waking: by what was
# measured with AVX-512 (Intel) and AVX2 (AMD)
ALONE, AWAKE = "(BYTES < 64 ? 1500 : call.B == 1 ? 3000 : 6000)", "(BYTES < 64 ? 96000 : 192000)"


def emit(program: Program, *, is_narrow: bool = False) -> str:
    """The C++ source; see loop.h for what it is made of. Narrow: what is stored is not what is computed in."""
    return _Emitter(program, is_narrow=is_narrow).source()


class _Emitter(Schedule):
    """Writes a schedule out."""

    def source(self) -> str:
        """The whole."""
        lines = [
            '#include "loop.h"',
            "",
            "namespace {",
            "void run_thread(const Call& call, R* memory, Team& team, int tid, bool by_rows) {",
            "  const long T = call.T, B = call.B;\n  const int nt = team.n;",
            "  const int part = by_rows ? 0 : tid, parts = by_rows ? 1 : nt;",
        ]
        even = [f"is_even<FIT<4> * VL>({width}, parts)" for width in sorted(set(self.segments.values()))]
        # each thread computes the products' columns that its own loops read
        lines.append(f"  const bool is_apart = {' && '.join(['parts > 1', *even])};")
        memory, packed = self._memory()
        lines += [*memory, *self._step(packed), "  }", "}", "}  // namespace", ""]
        return "\n".join([*lines, *self._entry(packed)]) + "\n"

    def _memory(self) -> tuple[list[str], dict[tuple[int, int], str]]:
        """Where a thread finds what it works with; and the names of packed weights, by number and vectors a panel."""
        program = self.program
        lines: list[str] = []
        at = "memory"
        for name, numbers in self.scratch:
            lines.append(f"  const long {name}_width = {numbers};\n  R* const {name} = {at};")
            at = f"{name} + B * {name}_width"
        for i, width in enumerate(program.states):
            lines.append(f"  S* const h{i} = (S*)({at});  // two slots of a state that is not kept, which take turns")
            at = f"{at} + 2 * B * {width}"
        for i in program.shifted:
            lines.append(f"  S* const e{i} = (S*)({at});  // rows of an input, where they lie apart")
            at = f"{at} + B * {program.steps[i]}"
        packed: dict[tuple[int, int], str] = {}
        for value in (part for product in self.products for part in parts_of(product)):
            key = (int(value.attribute or 0), vectors_of(value))
            if key not in packed:
                name = f"w{key[0]}_{key[1]}"
                rows, columns = program.weights[key[0]]
                lines += [
                    f"  R* const {name}_at = (R*)(((uintptr_t)({at}) + 63) / 64 * 64);",
                    f"  const Weight {name}(call.weights[{key[0]}], call.strides + {2 * key[0]}, {rows}, {columns}, {name}_at, T * B);",
                    f"  call.products->pack<FIT<{key[1]}>>({name}, tid, nt);",
                ]
                at = f"{name}_at + ceil_div({columns}, FIT<{key[1]}> * VL) * FIT<{key[1]}> * VL * {rows}"
                packed[key] = name
        lines += [f"  const S* const p{i} = call.rows[{i}];" for i in range(len(program.rows))]
        lines += [f"  const S* const d{i} = call.held[{i}];" for i in range(len(program.held))]
        lines += [f"  R* const g{i} = call.totals[{i}];" for i in range(len(program.totals))]
        return lines, packed

    def _step(self, packed: dict[tuple[int, int], str]) -> list[str]:
        """The loop over time, but for its end."""
        program = self.program
        lines: list[str] = []
        lines.append("  team.meet();")
        lines.append("  for (long k = 0; k < T; k++) {")
        lines.append("    const long t = call.time(k);")
        lines.append(
            "    const long n = call.count(t), at = call.offset(t);  // rows that run in this step, and where they lie"
        )
        lines.append(
            "    const long q0 = n * tid / nt, q1 = n * (tid + 1) / nt;  // this thread's rows where each has some"
        )
        lines.append("    const long r0 = by_rows ? q0 : 0, r1 = by_rows ? q1 : n;")
        for i, width in enumerate(program.steps):
            if i in program.shifted:
                lines.append(f"    const S* const x{i} = call.shifted_step({i}, e{i}, t, n, q0, q1, {width});")
            else:
                lines.append(f"    const S* const x{i} = call.steps[{i}] + at * {width};")
        for i, width in enumerate(program.states):
            lines.append(f"    const S* const s{i} = call.state({i}, h{i}, k, q0, q1, {width});")
            lines.append(f"    S* const n{i} = call.next_state({i}, h{i}, k, at, {width});")
        lines += [f"    S* const o{i} = call.outputs[{i}] + at * {v.width};" for i, v in enumerate(program.outputs)]
        lines += self._phases(packed)
        lines.append("    if (!by_rows && (call.counts || k == T - 1)) team.meet();")
        for i, width in enumerate(program.states):
            lines.append(f"    call.keep_state({i}, n{i}, k, at, q0, q1, {width});")
        # before a step that shares the rows out otherwise
        lines.append(
            "    if (call.counts && k + 1 < T && (!by_rows || call.count(call.time(k + 1)) != n)) team.meet();"
        )
        return lines

    def _phases(self, packed: dict[tuple[int, int], str]) -> list[str]:
        """What is done within a step, level by level, and where threads meet."""
        lines: list[str] = []
        meets, is_first = barriers(2 * self.n_levels, self.accesses), True
        for phase in range(2 * self.n_levels):
            level = phase // 2
            if phase % 2 == 0:
                text = [line for loop in self.loops[level].values() for line in self._loop(loop, level)]
            else:
                text = [line for value in self.products_at(level) for line in self._product(value, packed)]
                text += [line for value in self.reductions_at(level) for line in self._reduction(value, level)]
                text += [line for value in self.matrix_sums_at(level) for line in self._matrix_sum(value, level)]
                text += [self._whole_rows(value) for value in self.along_at(level)]
            if text:
                # the first also after rows were copied to where states and inputs are read
                unless = " && (!is_apart || call.counts)" if is_first else " && !is_apart"
                lines += [f"    if (!by_rows{'' if phase in meets else unless}) team.meet();", *text]
                is_first = False
        return lines

    def _entry(self, packed: dict[tuple[int, int], str]) -> list[str]:
        per_row = [f"({width})" for _, width in self.scratch] + [f"2 * {width}" for width in self.program.states]
        numbers = " + ".join([*per_row, *(str(self.program.steps[i]) for i in self.program.shifted), "0"])
        weights = " + ".join(
            [
                f"ceil_div({self.program.weights[w][1]}, FIT<{n}> * VL) * FIT<{n}> * VL * {self.program.weights[w][0]} + 64"
                for w, n in packed
            ]
            or ["0"]
        )
        numbers_of_weights = sum(rows * columns for rows, columns in (self.program.weights[w] for w, _ in packed))
        widths = sum(self.program.states) + sum(value.width for value in self.program.outputs)
        matrices = sum(value.args[0].width for value in self.values if value.op in MATRIX_SUMS)
        matrices += sum(value.width for value in self.program.totals)
        return [
            'extern "C" __attribute__((visibility("default"))) int64_t run(const int64_t* arguments) {',
            f"  const Call call(arguments, {len(self.program.steps)}, {len(self.program.states)}, {len(self.program.rows)}, {len(self.program.weights)}, {len(self.program.outputs)}, {len(self.program.held)});",
            f"  Scratch scratch(sizeof(R) * (call.B * ({numbers}) + {weights} + 64));",
            "  if (!scratch.memory) return scratch.bytes;",
            f"  const long vectors = call.B * ({numbers_of_weights} + {matrices} + 16 * ({widths})) / VL;",
            # rows: no barrier, but every thread reads all weights, which should stay in its second-level cache
            f"  const bool rows_suffice = (call.B >= 4 * call.threads && sizeof(R) * {numbers_of_weights} <= (1 << 20)) || "
            "call.B >= 64 * call.threads;",
            f"  const bool is_small = (!rows_suffice && vectors <= {ALONE}) || call.T * vectors <= {AWAKE};",
            "  Team team(is_small ? 1 : call.threads);",
            "  const bool by_rows = rows_suffice || team.n == 1;",
            "  team.run([&](int tid) { run_thread(call, (R*)scratch.memory, team, tid, by_rows); });",
            "  return 0;",
            "}",
        ]

    def _product(self, value: Value, packed: dict[tuple[int, int], str]) -> list[str]:
        result, vectors = f"m{self.names[id(value)]}", vectors_of(value)
        width = self.segments.get(id(value), 0)
        lines = [f"    for (long s = 0; s < (is_apart ? {value.width // width} : 1); s++) {{" if width else "    {"]
        lines.append(
            f"      const Share share = is_apart ? Share::of<FIT<{vectors}> * VL>({width}, part, parts, s) : "
            if width
            else "      const Share share = "
        )
        lines[-1] += f"Share::of(ceil_div({value.width}, FIT<{vectors}> * VL), part, parts);"
        for i, part in enumerate(parts_of(value)):
            pointer, stride, at = self.operand(part)
            lines.append(
                f"      call.products->multiply<FIT<{vectors}>>({pointer} + {at}, {stride}, {packed[(int(part.attribute or 0), vectors)]}, "
                f"{result}, {result}_width, r0, r1, share.from, share.to, {'true' if i else 'false'});"
            )
        return [*lines, "    }"]

    def _whole_rows(self, value: Value) -> str:
        name = f"v{self.names[id(value)]}"
        return (
            f"    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) "
            f"{value.op}({_at(self.operand(value))}, {name} + r * {name}_width, {value.width});"
        )

    def _loop(self, loop: Loop, level: int) -> list[str]:
        before, columns, inside = self._text([value for _, value in loop.stores], level)
        if loop.width == 1:
            puts = [f"      put({_at(place)}, {self._sum_or_value(place, value)});" for place, value in loop.stores]
            return ["    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) {", *before, *puts, "    }"]
        width = loop.row_width or loop.width
        across = f" + place * {width} + c" if loop.row_width else " + c"
        stores = [
            (value, f"io.write({_at(place)}{across}, {self._sum_or_value(place, value, across)});")
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

    def _sum_or_value(self, place: Address, value: Value, across: str = "") -> str:
        """What is stored: the value, or where it is a total, that with the value added."""
        if not place[0].startswith("g"):
            return self._name(value)
        there = f"io.read({_at(place)}{across})" if across else f"bc(*({_at(place)}))"
        return f"{there} + {self._name(value)}"

    def _matrix_sum(self, value: Value, level: int) -> list[str]:
        [arg] = value.args
        width, name = int(value.attribute or 0), f"v{self.names[id(value)]}"
        before, columns, inside = self._text([arg], level, row_width=width)
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
            f"        return {self._name(arg)};",
            "      });",
            "    }",
        ]

    def _reduction(self, value: Value, level: int) -> list[str]:
        [arg] = value.args
        name = f"v{self.names[id(value)]}"
        before, _, inside = self._text([arg], level)
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
            f"        return {self._name(arg)};",
            "      };",
            "      long c = 0;",
            f"      for (; c + VL <= {arg.width}; c += VL) {join.format('body(c, Whole{})')};",
            f"      if (c < {arg.width}) {{ const Rest rest{{{arg.width} - c}}; "
            + join.format(f"keep(body(c, rest), rest.n, {nothing})")
            + "; }",
            f"      {name}[r] = {whole}(total);",
            "    }",
        ]

    def _text(self, roots: list[Value], level: int, *, row_width: int = 0) -> tuple[list[str], list[str], list[Line]]:
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
            name = self._name(value)
            where = self.where(value) if self.is_readable(value, level) else None
            if value.op in ("const", "fill"):
                before.append(f"      const V {name} = bc({_number(value.number)});")
            elif where is not None:
                pointer, stride, at = where
                if value.width == 1:
                    before.append(f"      const V {name} = bc(number(({pointer})[r * {stride} + {at}]));")
                else:
                    inside.append(Line(value, name, f"io.read({_at(where)}{across})", is_read=True))
            elif value.op in BROADCASTS:
                where = self.where(value.args[0])
                assert where is not None, "what is broadcast lies in memory"
                if value.op == "tile":
                    inside.append(Line(value, name, f"io.read({_at(where)} + c)", is_read=True))
                else:
                    columns.append(f"        const V {name} = bc(number(*({_at(where)} + place)));")
            else:
                for arg in value.args:
                    visit(arg)
                call = f"v{value.op}({', '.join(self._name(arg) for arg in value.args)})"
                if value.width == 1:
                    before.append(f"      const V {name} = {call};")
                else:
                    inside.append(Line(value, name, call, is_read=False))

        for root in roots:
            visit(root)
        return before, columns, inside

    def _name(self, value: Value) -> str:
        return f"a{self.names[id(value)]}" if id(value) in self.names else f"f{id(value)}"


def _in_sum(line: Line, added: Value) -> str:
    """A line's text; a product that is what is added up may be rounded with the sum."""
    return line.text.replace("vmul(", "vmul_in_sum(", 1) if line.value is added else line.text


def _at(place: Address) -> str:
    pointer, stride, at = place
    return f"{pointer} + r * {stride} + {at}"


def _number(number: float) -> str:
    if number != number:
        return "std::numeric_limits<R>::quiet_NaN()"
    if number in (float("inf"), float("-inf")):
        return f"{'-' if number < 0 else ''}std::numeric_limits<R>::infinity()"
    return f"R({number!r})"
