"""A loop program with its tensors becomes a call of the compiled function."""

import ctypes
import functools
import itertools
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.emit import emit
from unrolled.engine.backends.cpu.library import of_loops
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.program import Program
from unrolled.engine.span import Span

_TOGETHER = Path(__file__).with_name("together.cpp")
_WAKES = 8  # time steps that may be over sooner than a second thread wakes


class Kernel:
    """A compiled loop program."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        self.dtype = dtype
        self.source = emit(program, is_narrow=dtype == torch.bfloat16)
        self._run = build(self.source, str(dtype))
        self._widths = [value.width for value in program.outputs]
        n_steps, n_states, n_weights = len(program.steps), len(program.states), len(program.weights)
        count = 7 + 2 * n_steps + 3 * n_states + len(program.rows) + 3 * n_weights + len(program.outputs)
        self._pack = struct.Struct(f"{count}q").pack

    def __call__(
        self,
        span: Span,
        steps: Sequence[Tensor],
        firsts: Sequence[Tensor | None],
        states: Sequence[Tensor | None],
        first_states: Sequence[Tensor],
        last_states: Sequence[Tensor],
        rows: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> list[Tensor]:
        """Runs over time; all tensors but the weights are contiguous.

        Args:
            span: which rows run when.
            steps: [rows of all steps, width].
            firsts: for each step input [batch, width] where it is a shifted one, else None.
            states: [rows of all steps, width], to be written with the state after each step, or None.
            first_states: [batch, width].
            last_states: [batch, width], to be written.
            rows: [width].
            weights: [in, out] with any strides; the program has each twice, as it is and transposed.

        Returns:
            The outputs [rows of all steps, width].
        """
        packed, outputs = self._packed(
            torch.get_num_threads(), span, steps, firsts, states, first_states, last_states, rows, weights
        )
        self._run(ctypes.c_char_p(packed))
        return outputs

    def _packed(self, n_threads: int, span: Span, *tensors: Sequence[Tensor | None]) -> tuple[bytes, list[Tensor]]:
        """The arguments of the compiled function, and the outputs it will write."""
        outputs = [new_tensor((span.total, width), self.dtype) for width in self._widths]
        arguments = [span.n_steps, span.n_rows, n_threads, span.is_reversed]
        *groups, weights = tensors
        arguments += [0 if tensor is None else tensor.data_ptr() for tensor in (span.counts, span.offsets)]
        arguments.append(of_loops(self.dtype) if weights else 0)
        for group in groups:
            arguments += [0 if tensor is None else tensor.data_ptr() for tensor in group]
        strides: list[int] = []
        for weight in weights:  # as it is, and transposed
            assert weight is not None
            at, (row, column) = weight.data_ptr(), weight.stride()
            arguments += (at, at)
            strides += (row, column, column, row)
        arguments += strides
        arguments += [tensor.data_ptr() for tensor in outputs]
        return self._pack(*arguments), outputs


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


KernelCall = tuple[Kernel, tuple[Any, ...]]  # with its arguments


def run_all(calls: Sequence[KernelCall]) -> list[list[Tensor]]:
    """The outputs of several calls: each on a thread of its own where there are as many, and no call is short; else one
    after the other, each on all threads.
    """
    is_in_turn = len(calls) == 1 or len(calls) != torch.get_num_threads()
    if is_in_turn or any(arguments[0].n_steps < _WAKES for _, arguments in calls):
        return [kernel(*arguments) for kernel, arguments in calls]
    made = [(kernel, *kernel._packed(1, *arguments)) for kernel, arguments in calls]
    together = [len(calls)]
    for kernel, packed, _ in made:
        together += (_address(kernel._run), _address(ctypes.c_char_p(packed)))
    _together()(ctypes.c_char_p(struct.pack(f"{len(together)}q", *together)))
    return [outputs for _, _, outputs in made]


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


@functools.cache
def _together() -> Any:
    return build(_TOGETHER.read_text(encoding="utf-8"), str(torch.float32))
