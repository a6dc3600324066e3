"""A loop program with its tensors becomes a call of the compiled function."""

import ctypes
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.emit import emit
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.program import Program
from unrolled.engine.span import Span


class Kernel:
    """A compiled loop program."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        self.dtype = dtype
        self.source = emit(program, is_narrow=dtype == torch.bfloat16)
        self._run = build(self.source, str(dtype))
        self._widths = [value.width for value in program.outputs]
        n_steps, n_states, n_weights = len(program.steps), len(program.states), len(program.weights)
        count = 6 + 2 * n_steps + 3 * n_states + len(program.rows) + 3 * n_weights + len(program.outputs)
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
        outputs = [new_tensor((span.total, width), self.dtype) for width in self._widths]
        arguments = [span.n_steps, span.n_rows, torch.get_num_threads(), span.is_reversed]
        for group in ((span.counts, span.offsets), steps, firsts, states, first_states, last_states, rows):
            arguments += [0 if tensor is None else tensor.data_ptr() for tensor in group]
        strides: list[int] = []
        for weight in weights:  # as it is, and transposed
            at, (row, column) = weight.data_ptr(), weight.stride()
            arguments += (at, at)
            strides += (row, column, column, row)
        arguments += strides
        arguments += [tensor.data_ptr() for tensor in outputs]
        self._run(ctypes.c_char_p(self._pack(*arguments)))
        return outputs
