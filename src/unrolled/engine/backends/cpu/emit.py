"""A loop program becomes C++ for one function that runs it over time.

Input: a program. Output: the C++ source. `schedule.py` says when each value is computed, and where it lies; this file writes
the memory, the loop over time with its barriers, and the function that is called; `emit_phases.py` what is done within a
step. Threads share either the rows of the batch, and never wait for each other, or the features, and wait after each loop.
"""

from unrolled.engine.backends.cpu.barriers import barriers
from unrolled.engine.backends.cpu.emit_phases import Packed, phase_lines
from unrolled.engine.backends.cpu.schedule import Schedule, vectors_of
from unrolled.engine.ir.program import MATRIX_SUMS, Program, parts_of

# vectors multiplied or computed in a step up to which threads that share the features lose more at barriers than they gain
# (weights of a single row take longer, as they come from the second-level cache), and in all steps, at which they wake: by what was
# measured with AVX-512 (Intel) and AVX2 (AMD)
ALONE, AWAKE = "(BYTES < 64 ? 1500 : call.B == 1 ? 3000 : 6000)", "(BYTES < 64 ? 96000 : 192000)"


def emit(program: Program, *, is_narrow: bool = False) -> str:
    """The C++ source; see loop.h for what it is made of. Narrow: what is stored is not what is computed in."""
    schedule = Schedule(program, is_narrow=is_narrow)
    lines = [
        '#include "loop.h"',
        "",
        "namespace {",
        "void run_thread(const Call& call, R* memory, Team& team, int tid, bool by_rows) {",
        "  const long T = call.T, B = call.B;\n  const int nt = team.n;",
        "  const int part = by_rows ? 0 : tid, parts = by_rows ? 1 : nt;",
    ]
    even = [f"is_even<FIT<4> * VL>({width}, parts)" for width in sorted(set(schedule.segments.values()))]
    # each thread computes the products' columns that its own loops read
    lines.append(f"  const bool is_apart = {' && '.join(['parts > 1', *even])};")
    memory, packed = _memory(schedule)
    lines += [*memory, *_step(schedule, packed), "  }", "}", "}  // namespace", ""]
    return "\n".join([*lines, *_entry(schedule, packed)]) + "\n"


def _memory(schedule: Schedule) -> tuple[list[str], Packed]:
    """Where a thread finds what it works with; and the names of packed weights, by number and vectors a panel."""
    program = schedule.program
    lines: list[str] = []
    at = "memory"
    for name, numbers in schedule.scratch:
        lines.append(f"  const long {name}_width = {numbers};\n  R* const {name} = {at};")
        at = f"{name} + B * {name}_width"
    for i, width in enumerate(program.states):
        lines.append(f"  S* const h{i} = (S*)({at});  // two slots of a state that is not kept, which take turns")
        at = f"{at} + 2 * B * {width}"
    for i in program.shifted:
        lines.append(f"  S* const e{i} = (S*)({at});  // rows of an input, where they lie apart")
        at = f"{at} + B * {program.steps[i]}"
    packed: Packed = {}
    for value in (part for product in schedule.products for part in parts_of(product)):
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


def _step(schedule: Schedule, packed: Packed) -> list[str]:
    """The loop over time, but for its end."""
    program = schedule.program
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
    lines += _phases(schedule, packed)
    lines.append("    if (!by_rows && (call.counts || k == T - 1)) team.meet();")
    for i, width in enumerate(program.states):
        lines.append(f"    call.keep_state({i}, n{i}, k, at, q0, q1, {width});")
    # before a step that shares the rows out otherwise
    lines.append("    if (call.counts && k + 1 < T && (!by_rows || call.count(call.time(k + 1)) != n)) team.meet();")
    return lines


def _phases(schedule: Schedule, packed: Packed) -> list[str]:
    """What is done within a step, phase by phase, and where threads meet."""
    lines: list[str] = []
    meets, is_first = barriers(2 * schedule.n_levels, schedule.accesses), True
    for phase in range(2 * schedule.n_levels):
        text = phase_lines(schedule, phase, packed)
        if text:
            # the first also after rows were copied to where states and inputs are read
            unless = " && (!is_apart || call.counts)" if is_first else " && !is_apart"
            lines += [f"    if (!by_rows{'' if phase in meets else unless}) team.meet();", *text]
            is_first = False
    return lines


def _entry(schedule: Schedule, packed: Packed) -> list[str]:
    """The function that is called: it takes memory, and chooses how threads share the work."""
    program = schedule.program
    per_row = [f"({width})" for _, width in schedule.scratch] + [f"2 * {width}" for width in program.states]
    numbers = " + ".join([*per_row, *(str(program.steps[i]) for i in program.shifted), "0"])
    weights = " + ".join(
        [
            f"ceil_div({program.weights[w][1]}, FIT<{n}> * VL) * FIT<{n}> * VL * {program.weights[w][0]} + 64"
            for w, n in packed
        ]
        or ["0"]
    )
    numbers_of_weights = sum(rows * columns for rows, columns in (program.weights[w] for w, _ in packed))
    widths = sum(program.states) + sum(value.width for value in program.outputs)
    matrices = sum(value.args[0].width for value in schedule.values if value.op in MATRIX_SUMS)
    matrices += sum(value.width for value in program.totals)
    return [
        'extern "C" __attribute__((visibility("default"))) int64_t run(const int64_t* arguments) {',
        f"  const Call call(arguments, {len(program.steps)}, {len(program.states)}, {len(program.rows)}, {len(program.weights)}, {len(program.outputs)}, {len(program.held)});",
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
