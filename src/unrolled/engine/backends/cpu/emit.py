"""A loop program becomes C++ for one function that runs it over time.

Within a step the work falls into levels. At each level first come loops over the features that compute and store what
the next products, reductions and the step's results need (everything pointwise between is in registers), then the
products and reductions. Threads share either the rows of the batch, and never meet, or the features, and meet after
each.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from unrolled.engine.backends.cpu.barriers import Access, barriers
from unrolled.engine.backends.cpu.passes import Line, passes
from unrolled.engine.ir.program import (
    ALONG,
    BROADCASTS,
    EXPENSIVE,
    INPUTS,
    MATRIX_SUMS,
    POINTWISE,
    REDUCTIONS,
    Program,
    Value,
    parts_of,
)

# vectors multiplied or computed in a step up to which threads that share the features lose more by meeting than they gain
# (weights of a single row take longer, as they come from the second-level cache), and in all steps, by waking: by what was
# measured with AVX-512 (Intel) and AVX2 (AMD)
ALONE, AWAKE = "(BYTES < 64 ? 1500 : call.B == 1 ? 3000 : 6000)", "(BYTES < 64 ? 96000 : 192000)"


_Place = tuple[str, str, int]  # pointer, row stride, offset


# what is computed after a level's loops, and lies in memory then
_REDUCED = (*REDUCTIONS, *ALONG, *MATRIX_SUMS)


@dataclass
class _Loop:
    """One loop over rows and features: values to store, or to add to totals, and where. Where they are matrices within
    a row, `row_width` is that of their rows.
    """

    width: int
    row_width: int = 0
    stores: list[tuple[_Place, Value]] = field(default_factory=list)

    @property
    def share(self) -> object:
        """How threads share the features of what is stored."""
        return "rows" if self.width == 1 else ("matrix", self.row_width) if self.row_width else "features"


def emit(program: Program, *, is_narrow: bool = False) -> str:
    """The C++ source; see loop.h for what it is made of. Narrow: what is stored is not what is computed in."""
    return _Emitter(program, is_narrow).source()


class _Emitter:
    def __init__(self, program: Program, is_narrow: bool) -> None:
        self.program, self.is_narrow = program, is_narrow
        self.values = program.values()
        self.names = {id(value): i for i, value in enumerate(self.values)}
        self.products = program.products()
        self.level: dict[int, int] = {}
        for value in self.values:
            self.level[id(value)] = self._level(value)
        self.n_levels = 1 + max([0, *(self.level[id(value)] for value in self.values)])
        # where a value can be read once its level's loops are done
        self.place: dict[int, _Place] = {}
        self.scratch: list[tuple[str, str]] = []  # name, numbers per row
        self.operands: dict[int, str] = {}  # of products, where they are widened: the name of their scratch
        self.loops: dict[int, dict[tuple[int, int], _Loop]] = defaultdict(dict)
        self._place_inputs()
        self._place_results()
        self._share_what_is_expensive()
        self.segments = {id(product): width for product in self.products if (width := self._segments(product))}

    def _level(self, value: Value) -> int:
        if value.op == "matmul":
            return 1 + max(self.level[id(part.args[0])] for part in parts_of(value))
        before = max([0, *(self.level[id(arg)] for arg in value.args)])
        if value.op in BROADCASTS:  # what is read from memory
            return before + (value.args[0].op not in (*INPUTS, "slice", "matmul", *_REDUCED))
        return before + 1 if value.op in _REDUCED else before

    # ---- where things are
    def _place_inputs(self) -> None:
        for value in self.values:
            if value.op in INPUTS:
                name = {"step": "x", "state": "s", "row": "p", "held": "d"}[value.op] + str(value.attribute)
                self.place[id(value)] = (name, "0" if value.op == "row" else str(value.width), 0)
            elif value in self.products:
                name = f"m{self.names[id(value)]}"
                self.scratch.append(
                    (name, f"ceil_div({value.width}, FIT<{_vectors(value)}> * VL) * FIT<{_vectors(value)}> * VL")
                )
                self.place[id(value)] = (name, f"{name}_width", 0)
            elif value.op in _REDUCED:
                self._new_scratch(value)

    def _new_scratch(self, value: Value) -> str:
        name = f"v{self.names[id(value)]}"
        self.scratch.append((name, str(value.width)))
        self.place[id(value)] = (name, f"{name}_width", 0)
        return name

    def _place_results(self) -> None:
        for i, value in enumerate(self.program.next_states):
            self._store(value, f"n{i}", str(value.width))
        for i, value in enumerate(self.program.outputs):
            self._store(value, f"o{i}", str(value.width))
        for i, value in enumerate(self.program.totals):
            self._loop_of(value).stores.append(((f"g{i}", str(value.width), 0), value))
        for value in self.values:
            if value.op in BROADCASTS and not self._is_in_memory(value.args[0]):
                self._store(value.args[0], self._new_scratch(value.args[0]), None)
        readers = [*(part for product in self.products for part in parts_of(product)), *self._along()]
        for operand in (reader.args[0] for reader in readers):
            where = self._where(operand)
            if where is None:
                self._store(operand, self._new_scratch(operand), None)
            elif self.is_narrow and where[0][0] not in "mv" and id(operand) not in self.operands:
                # a product reads what is computed in
                name = self.operands[id(operand)] = f"w{self.names[id(operand)]}"
                self.scratch.append((name, str(operand.width)))
                self._store(operand, name, None)

    def _store(self, value: Value, pointer: str, stride: str | None) -> None:
        stride = stride or f"{pointer}_width"
        parts = value.args if value.op == "cat" else (value,)
        at = 0
        for part in parts:
            self._loop_of(part, value).stores.append(((pointer, stride, at), part))
            at += part.width
        self.place.setdefault(id(value), (pointer, stride, 0))

    def _loop_of(self, value: Value, whole: Value | None = None) -> _Loop:
        """The one that stores a value, at the level of the whole that it is a part of."""
        loops = self.loops[self.level[id(whole or value)]]
        return loops.setdefault((value.width, value.row_width), _Loop(value.width, value.row_width))

    def _is_in_memory(self, value: Value) -> bool:
        return self._where(value) is not None

    def _where(self, value: Value) -> _Place | None:
        if value.op == "slice":
            pointer, stride, at = self.place[id(value.args[0])]
            return pointer, stride, at + int(value.attribute or 0)
        return self.place.get(id(value))

    def _share_what_is_expensive(self) -> None:
        """A value that is dear and needed in several loops is stored in the first."""
        while True:
            users: dict[int, int] = defaultdict(int)
            for level in range(self.n_levels):
                contexts = [[value for _, value in loop.stores] for loop in self.loops[level].values()]
                contexts += [[value.args[0]] for value in (*self._reductions(level), *self._matrix_sums(level))]
                for roots in contexts:
                    for value in self._inlined(roots, level):
                        users[id(value)] += 1
            shared = [
                value
                for value in self.values
                if users[id(value)] > 1 and value.op in EXPENSIVE and id(value) not in self.place and value.per_row
            ]
            if not shared:
                return
            value = shared[0]
            self._store(value, self._new_scratch(value), None)

    def _inlined(self, roots: list[Value], level: int) -> list[Value]:
        """What a loop of a level computes in registers for these roots, arguments first."""
        order: list[Value] = []
        done: set[int] = set()

        def visit(value: Value, *, is_root: bool) -> None:
            if id(value) in done or (not is_root and self._is_readable(value, level)):
                return
            done.add(id(value))
            for arg in value.args:
                visit(arg, is_root=False)
            if value.op in POINTWISE:
                order.append(value)

        for root in roots:
            visit(root, is_root=not self._is_readable(root, level))
        return order

    def _is_readable(self, value: Value, level: int) -> bool:
        """Whether a loop of this level may read the value from memory; what loops of the same level store, it may not."""
        if value.op in (*INPUTS, "slice", "matmul", *_REDUCED):
            return True
        return id(value) in self.place and self.level[id(value)] < level

    def _read(self, roots: list[Value], level: int) -> list[Value]:
        """What a loop of a level reads from memory for these roots."""
        found: dict[int, Value] = {}

        def visit(value: Value) -> None:
            if self._is_readable(value, level) and self._is_in_memory(value):
                found[id(value)] = value
            else:
                for arg in value.args:
                    visit(arg)

        for root in roots:
            visit(root)
        return list(found.values())

    # ---- threads that share the features
    def _segments(self, product: Value) -> int:
        """The width of the parts of a product that loops read at their own features; 0 where they read it otherwise."""
        widths = set()
        pointer = self.place[id(product)][0]
        for level, loops in self.loops.items():
            for loop in loops.values():
                for value in self._read([value for _, value in loop.stores], level):
                    where = self._where(value)
                    if where is not None and where[0] == pointer:
                        is_own = value.width == loop.width and where[2] % loop.width == 0 and not loop.row_width
                        widths.add(loop.width if is_own else 0)
        [width] = widths if len(widths) == 1 else [0]
        return width if width and _vectors(product) == 4 and product.width % width == 0 else 0

    def _accesses(self, phase: int, step: int) -> list[Access]:
        """Of the phases of a step: the loops of each level, and after them its products and reductions."""
        level, found = phase // 2, list[Access]()

        def add(place: _Place | None, *, is_write: bool = False, width: int = 0, share: object = None) -> None:
            assert place is not None
            pointer, _, at = place
            kind, number = pointer[0], pointer[1:]
            if kind in "sn":  # two slots that take turns
                buffer = ("state", number, (step - (kind == "s")) % 2)
            elif kind == "o":
                buffer = ("output", number, step)
            elif kind in "xpd":
                return
            else:
                buffer = ("scratch", pointer, 0)
            found.append(Access(buffer, is_write, share, (at, width) if share == "features" else None))

        if phase % 2 == 0:
            for loop in self.loops[level].values():
                for value in self._read([value for _, value in loop.stores], level):
                    is_own = loop.width in (1, value.width)
                    add(self._where(value), width=loop.width, share=loop.share if is_own else None)
                for place, _ in loop.stores:
                    add(place, is_write=True, width=loop.width, share=loop.share)
        for product in self._products(level) if phase % 2 else ():
            for part in parts_of(product):
                add(self._operand(part))
            width = self.segments.get(id(product), 0)
            for at in range(0, product.width, width or product.width):
                pointer, stride, _ = self.place[id(product)]
                add((pointer, stride, at), is_write=True, width=width, share="features" if width else "panels")
        for along in self._along(level) if phase % 2 else ():
            add(self._operand(along))
            add(self.place[id(along)], is_write=True, share="rows")
        for reduction in (*self._reductions(level), *self._matrix_sums(level)) if phase % 2 else ():
            for value in self._read([reduction.args[0]], level):
                add(self._where(value), share="rows" if value.width == 1 else None)
            add(self.place[id(reduction)], is_write=True, share="rows")
        return found

    def _reductions(self, level: int) -> list[Value]:
        return [v for v in self.values if v.op in REDUCTIONS and self.level[id(v)] == level + 1]

    def _matrix_sums(self, level: int) -> list[Value]:
        return [v for v in self.values if v.op in MATRIX_SUMS and self.level[id(v)] == level + 1]

    def _along(self, level: int | None = None) -> list[Value]:
        return [v for v in self.values if v.op in ALONG and level in (None, self.level[id(v)] - 1)]

    def _products(self, level: int) -> list[Value]:
        return [v for v in self.products if self.level[id(v)] == level + 1]

    # ---- text
    def source(self) -> str:
        program = self.program
        lines = [
            '#include "loop.h"',
            "",
            "namespace {",
            "void run_thread(const Call& call, R* memory, Team& team, int tid, bool by_rows) {",
        ]
        lines.append("  const long T = call.T, B = call.B;\n  const int nt = team.n;")
        lines.append("  const int part = by_rows ? 0 : tid, parts = by_rows ? 1 : nt;")
        even = [f"is_even<FIT<4> * VL>({width}, parts)" for width in sorted(set(self.segments.values()))]
        # each thread computes the products' columns that its own loops read
        lines.append(f"  const bool is_apart = {' && '.join(['parts > 1', *even])};")
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
            key = (int(value.attribute or 0), _vectors(value))
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
        meets, is_first = barriers(2 * self.n_levels, self._accesses), True
        for phase in range(2 * self.n_levels):
            level = phase // 2
            if phase % 2 == 0:
                text = [line for loop in self.loops[level].values() for line in self._loop(loop, level)]
            else:
                text = [line for value in self._products(level) for line in self._product(value, packed)]
                text += [line for value in self._reductions(level) for line in self._reduction(value, level)]
                text += [line for value in self._matrix_sums(level) for line in self._matrix_sum(value, level)]
                text += [self._whole_rows(value) for value in self._along(level)]
            if text:
                # the first also after rows were copied to where states and inputs are read
                unless = " && (!is_apart || call.counts)" if is_first else " && !is_apart"
                lines += [f"    if (!by_rows{'' if phase in meets else unless}) team.meet();", *text]
                is_first = False
        lines.append("    if (!by_rows && (call.counts || k == T - 1)) team.meet();")
        for i, width in enumerate(program.states):
            lines.append(f"    call.keep_state({i}, n{i}, k, at, q0, q1, {width});")
        # before a step that shares the rows out otherwise
        lines.append(
            "    if (call.counts && k + 1 < T && (!by_rows || call.count(call.time(k + 1)) != n)) team.meet();"
        )
        lines += ["  }", "}", "}  // namespace", ""]
        lines += self._entry(packed)
        return "\n".join(lines) + "\n"

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
            "  return missing_bytes([&] {",
            f"  const Call call(arguments, {len(self.program.steps)}, {len(self.program.states)}, {len(self.program.rows)}, {len(self.program.weights)}, {len(self.program.outputs)}, {len(self.program.held)});",
            f"  Scratch scratch(sizeof(R) * (call.B * ({numbers}) + {weights} + 64));",
            f"  const long vectors = call.B * ({numbers_of_weights} + {matrices} + 16 * ({widths})) / VL;",
            # rows: no barrier, but every thread reads all weights, which should stay in its second-level cache
            f"  const bool rows_suffice = (call.B >= 4 * call.threads && sizeof(R) * {numbers_of_weights} <= (1 << 20)) || "
            "call.B >= 64 * call.threads;",
            f"  const bool is_small = (!rows_suffice && vectors <= {ALONE}) || call.T * vectors <= {AWAKE};",
            "  Team team(is_small ? 1 : call.threads);",
            "  const bool by_rows = rows_suffice || team.n == 1;",
            "  team.run([&](int tid) { run_thread(call, (R*)scratch.memory, team, tid, by_rows); });",
            "  });",
            "}",
        ]

    def _product(self, value: Value, packed: dict[tuple[int, int], str]) -> list[str]:
        result, vectors = f"m{self.names[id(value)]}", _vectors(value)
        width = self.segments.get(id(value), 0)
        lines = [f"    for (long s = 0; s < (is_apart ? {value.width // width} : 1); s++) {{" if width else "    {"]
        lines.append(
            f"      const Share share = is_apart ? Share::of<FIT<{vectors}> * VL>({width}, part, parts, s) : "
            if width
            else "      const Share share = "
        )
        lines[-1] += f"Share::of(ceil_div({value.width}, FIT<{vectors}> * VL), part, parts);"
        for i, part in enumerate(parts_of(value)):
            pointer, stride, at = self._operand(part)
            lines.append(
                f"      call.products->multiply<FIT<{vectors}>>({pointer} + {at}, {stride}, {packed[(int(part.attribute or 0), vectors)]}, "
                f"{result}, {result}_width, r0, r1, share.from, share.to, {'true' if i else 'false'});"
            )
        return [*lines, "    }"]

    def _operand(self, value: Value) -> _Place:
        """Where what reads whole rows finds them."""
        name = self.operands.get(id(value.args[0]))
        where = self._where(value.args[0]) if name is None else (name, f"{name}_width", 0)
        assert where is not None, "what whole rows are read of lies in memory"
        return where

    def _whole_rows(self, value: Value) -> str:
        name = f"v{self.names[id(value)]}"
        return (
            f"    for (long r = by_rows ? r0 : q0; r < (by_rows ? r1 : q1); r++) "
            f"{value.op}({_at(self._operand(value))}, {name} + r * {name}_width, {value.width});"
        )

    def _loop(self, loop: _Loop, level: int) -> list[str]:
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

    def _sum_or_value(self, place: _Place, value: Value, across: str = "") -> str:
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
            *[f"        const V {line.name} = {line.text};" for line in inside],
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
            *[f"        const V {line.name} = {line.text};" for line in inside],
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
            where = self._where(value) if self._is_readable(value, level) else None
            if value.op in ("const", "fill"):
                before.append(f"      const V {name} = bc({_number(value.number)});")
            elif where is not None:
                pointer, stride, at = where
                if value.width == 1:
                    before.append(f"      const V {name} = bc(number(({pointer})[r * {stride} + {at}]));")
                else:
                    inside.append(Line(value, name, f"io.read({_at(where)}{across})", is_read=True))
            elif value.op in BROADCASTS:
                where = self._where(value.args[0])
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


def _at(place: _Place) -> str:
    pointer, stride, at = place
    return f"{pointer} + r * {stride} + {at}"


def _vectors(value: Value) -> int:
    """Vectors a panel: 4, the best tile, unless the product is narrower than two of them (16 numbers each at most)."""
    return 4 if value.width > 32 else 2 if value.width > 16 else 1


def _number(number: float) -> str:
    if number != number:
        return "std::numeric_limits<R>::quiet_NaN()"
    if number in (float("inf"), float("-inf")):
        return f"{'-' if number < 0 else ''}std::numeric_limits<R>::infinity()"
    return f"R({number!r})"
