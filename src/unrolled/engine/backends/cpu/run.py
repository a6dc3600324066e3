"""A loop program becomes a compiled function, and its calls are run."""

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from unrolled.engine.backends.base import KernelCall
from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.compiling import Batch
from unrolled.engine.backends.cpu.emit import emit
from unrolled.engine.backends.cpu.library import of_loops, stop
from unrolled.engine.backends.cpu.status import raising
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.program import Program
from unrolled.engine.reasons import NotTraceable

_TOGETHER = Path(__file__).with_name("together.cpp")
_WAKES = 8  # time steps that may be over sooner than a second thread wakes


# What g++ 12 takes for a value, in units of an elementwise one, and the most for a program: 30 s on one core.
# It takes no longer than 17 s for 2,000 elementwise values, but 12 to 150 s for 2,100 to 2,700; 28 s for 150 products
_COSTS = {"matmul": 13, "sum": 5, "max": 5, "cumsum": 5, "flip": 5, "rowsums": 5, "colsums": 5}
_MOST_COST = 2000


class Kernel:
    """A compiled loop program.

    Attributes:
        source: C++.
        run: the compiled function, which takes a pointer to the packed arguments.
    """

    language = "C++"

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program, self.dtype = program, dtype
        n_values = check_size(program)
        try:
            self.source = emit(program, is_narrow=dtype == torch.bfloat16)
        except RecursionError:
            raise NotTraceable(
                f"its loop has {n_values:,} operations, each of which waits for the one before; a fused loop of so "
                "many cannot be compiled. Repeat an inner loop less often"
            ) from None
        self.run = raising(build(self.source, str(dtype), what=f"a loop of {n_values:,} operations"))

    def names(self) -> dict[str, Any]:
        """What the expression of `arguments` speaks of."""
        made = self.program
        count = 7 + 2 * len(made.steps) + 3 * len(made.states) + len(made.rows) + 3 * len(made.weights)
        count += len(made.held) + len(made.totals)
        products = of_loops(self.dtype) if made.weights else 0
        pack = struct.Struct(f"{count + len(made.outputs)}q").pack
        return {"pack": pack, "products": products, "c_char_p": ctypes.c_char_p}

    def arguments(
        self,
        steps: Sequence[str],
        firsts: Sequence[str],
        states: Sequence[str],
        first_states: Sequence[str],
        last_states: Sequence[str],
        rows: Sequence[str],
        weights: Sequence[tuple[str, bool]],
        outputs: Sequence[str],
        held: Sequence[str],
        totals: Sequence[str] = (),
        *,
        is_reversed: str,
    ) -> tuple[list[str], str]:
        """As the protocol says: `run` is given a pointer to the addresses, sizes and strides of all tensors."""
        lines = ["counts = 0 if layout.counts is None else layout.counts.data_ptr()"]
        lines += ["offsets = layout.offsets.data_ptr() if counts else 0"]
        given = ["layout.n_steps", "layout.n_rows", "n_threads", is_reversed, "counts", "offsets", "products"]
        for group in (steps, firsts, states, first_states, last_states, rows):
            given += [f"{name}.data_ptr()" if name else "0" for name in group]
        strides: list[str] = []
        for i, (name, is_transposed) in enumerate(weights):
            row, column = (f"column_{i}", f"row_{i}") if is_transposed else (f"row_{i}", f"column_{i}")
            lines += [f"at_{i} = {name}.data_ptr()", f"{row}, {column} = {name}.stride()"]
            given += (f"at_{i}", f"at_{i}")
            strides += (f"row_{i}", f"column_{i}", f"column_{i}", f"row_{i}")
        given += strides
        given += [f"{name}.data_ptr()" for name in (*outputs, *held, *totals)]
        return lines, f"c_char_p(pack({', '.join(given)}))"


def check_size(program: Program) -> int:
    """The number of a program's values.

    Raises:
        NotTraceable: the compiler would take minutes.
    """
    values = program.values()
    if sum(_COSTS.get(value.op, 1) for value in values) > _MOST_COST:
        raise NotTraceable(
            f"its loop has {len(values):,} operations, which would take minutes to compile. Move out of the step what "
            "does not depend on the state, or repeat an inner loop less often"
        )
    return len(values)


def kernels(programs: Sequence[Program], dtype: torch.dtype) -> list[Kernel]:
    """Several, with all compilers at work at once.

    Raises:
        NoCompiler: there is none, or it fails.
        NotTraceable: a program is too large.
    """
    for program in programs:
        check_size(program)
    batch, pool = Batch(), ThreadPoolExecutor(len(programs) + 1)

    def within_batch(make: Callable, *arguments: Any) -> Any:
        with batch.taking():
            return make(*arguments)

    try:
        library = None
        if any(program.weights for program in programs):
            library = pool.submit(within_batch, of_loops, dtype)
        made = list(pool.map(lambda program: within_batch(Kernel, program, dtype), programs))
        if library:
            library.result()
    except BaseException:  # Ctrl-C reaches this thread alone
        batch.stop()
        stop(dtype)
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return made


def run_in_turn(calls: Sequence[KernelCall]) -> Sequence[None]:
    """Several calls, one after the other."""
    for kernel, packed in calls:
        kernel.run(packed)
    return [None] * len(calls)


def run_at_once(calls: Sequence[KernelCall]) -> Sequence[None]:
    """Several calls, each on a thread of its own."""
    together = [len(calls)]
    for kernel, packed in calls:
        together += (_address(kernel.run), _address(packed))
    _together()(ctypes.c_char_p(struct.pack(f"{len(together)}q", *together)))
    return [None] * len(calls)


def way_of(layouts: Sequence[BatchLayout]) -> tuple[int, Callable[[Sequence[KernelCall]], Sequence[None]]]:
    """How many threads each of several calls takes, and what runs them: each is on a thread of its own where there are
    as many, and none is short; else one comes after the other, each on all threads.
    """
    n_threads = torch.get_num_threads()
    if len(layouts) == 1 or len(layouts) != n_threads or any(layout.n_steps < _WAKES for layout in layouts):
        return n_threads, run_in_turn
    return 1, run_at_once


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


@functools.cache
def _together() -> Any:
    return raising(build(_TOGETHER.read_text(encoding="utf-8"), str(torch.float32)))
