"""A loop program becomes a compiled function, and its calls are run."""

import ctypes
import functools
import itertools
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.emit import emit
from unrolled.engine.backends.cpu.library import of_loops
from unrolled.engine.backends.cpu.openmp import end_threads as end_threads  # which runs before each fork
from unrolled.engine.backends.cpu.status import raising
from unrolled.engine.program import Program
from unrolled.engine.span import Span

_TOGETHER = Path(__file__).with_name("together.cpp")
_WAKES = 8  # time steps that may be over sooner than a second thread wakes


class Kernel:
    """A compiled loop program.

    Attributes:
        run: the compiled function.
    """

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program, self.dtype = program, dtype
        self.source = emit(program, is_narrow=dtype == torch.bfloat16)
        self.run = raising(build(self.source, str(dtype)))

    def names(self) -> dict[str, Any]:
        """What the expression of `arguments` speaks of."""
        made = self.program
        count = 7 + 2 * len(made.steps) + 3 * len(made.states) + len(made.rows) + 3 * len(made.weights)
        products = of_loops(self.dtype) if made.weights else 0
        return {"pack": struct.Struct(f"{count + len(made.outputs)}q").pack, "products": products}

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
        *,
        is_reversed: str,
    ) -> tuple[list[str], str]:
        """Lines of Python and an expression, of the function's arguments: `span` and `n_threads` are there, and the
        tensors, by name, all but the weights contiguous. What is not there has no name.

        Args:
            steps: [rows of all steps, width].
            firsts: for each step input [batch, width] where it is a shifted one.
            states: [rows of all steps, width], to be written with the state after each step.
            first_states: [batch, width].
            last_states: [batch, width], to be written.
            rows: [width].
            weights: [in, out] with any strides, or, where true stands beside it, [out, in]; the program has each
                twice, as it is and transposed.
            outputs: [rows of all steps, width], to be written.
            is_reversed: the expression of whether time runs backward.
        """
        lines = ["counts = 0 if span.counts is None else span.counts.data_ptr()"]
        lines += ["offsets = span.offsets.data_ptr() if counts else 0"]
        given = ["span.n_steps", "span.n_rows", "n_threads", is_reversed, "counts", "offsets", "products"]
        for group in (steps, firsts, states, first_states, last_states, rows):
            given += [f"{name}.data_ptr()" if name else "0" for name in group]
        strides: list[str] = []
        for i, (name, is_transposed) in enumerate(weights):
            row, column = (f"column_{i}", f"row_{i}") if is_transposed else (f"row_{i}", f"column_{i}")
            lines += [f"at_{i} = {name}.data_ptr()", f"{row}, {column} = {name}.stride()"]
            given += (f"at_{i}", f"at_{i}")
            strides += (f"row_{i}", f"column_{i}", f"column_{i}", f"row_{i}")
        given += strides
        given += [f"{name}.data_ptr()" for name in outputs]
        return lines, f"pack({', '.join(given)})"


def kernels(programs: Sequence[Program], dtype: torch.dtype) -> list[Kernel]:
    """Several, with all compilers at work at once.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    with ThreadPoolExecutor(len(programs) + 1) as pool:
        library = pool.submit(of_loops, dtype) if any(program.weights for program in programs) else None
        made = list(pool.map(Kernel, programs, itertools.repeat(dtype)))
        if library:
            library.result()
        return made


KernelCall = tuple[Kernel, bytes]  # with its arguments


def run_in_turn(calls: Sequence[KernelCall]) -> Sequence[None]:
    """Several calls, one after the other."""
    for kernel, packed in calls:
        kernel.run(ctypes.c_char_p(packed))
    return [None] * len(calls)


def run_at_once(calls: Sequence[KernelCall]) -> Sequence[None]:
    """Several calls, each on a thread of its own."""
    together = [len(calls)]
    for kernel, packed in calls:
        together += (_address(kernel.run), _address(ctypes.c_char_p(packed)))
    _together()(ctypes.c_char_p(struct.pack(f"{len(together)}q", *together)))
    return [None] * len(calls)


def way_of(spans: Sequence[Span]) -> tuple[int, Callable[[Sequence[KernelCall]], Sequence[None]]]:
    """How many threads each of several calls takes, and what runs them: each is on a thread of its own where there are
    as many, and none is short; else one comes after the other, each on all threads.
    """
    n_threads = torch.get_num_threads()
    if len(spans) == 1 or len(spans) != n_threads or any(span.n_steps < _WAKES for span in spans):
        return n_threads, run_in_turn
    return 1, run_at_once


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


@functools.cache
def _together() -> Any:
    return raising(build(_TOGETHER.read_text(encoding="utf-8"), str(torch.float32)))
