"""A loop program with its tensors becomes a call of the compiled function."""

import ctypes
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.emit import emit
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.program import Program


class _Call(ctypes.Structure):
    """As `Call` in kernel.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("time", "batch", "threads", "reversed", "before")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "steps", "firsts", "states", "first_states", "rings", "rows", "weights", "strides", "outputs",
            )
        ),
    )  # fmt: skip


class Kernel:
    """A compiled loop program."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        self.dtype = dtype
        self.source = emit(program)
        self._run = build(self.source, str(dtype))
        n_steps, n_states, n_outputs = len(program.steps), len(program.states), len(program.outputs)
        n_weights = len(program.weights)
        counts = (n_steps, n_steps, n_states, n_states, len(program.rows), n_weights, n_outputs)
        self._pointers = [ctypes.c_void_p * count for count in counts]
        self._rings, self._strides = ctypes.c_int64 * n_states, ctypes.c_int64 * (2 * n_weights)

    def __call__(
        self,
        n_steps: int,
        n_rows: int,
        steps: Sequence[Tensor],
        states: Sequence[Tensor],
        first_states: Sequence[Tensor],
        rows: Sequence[Tensor],
        weights: Sequence[Tensor],
        *,
        rings: Sequence[bool],
        is_reversed: bool,
        firsts: Sequence[Tensor | None] = (),
        before: int = -1,
    ) -> list[Tensor]:
        """Runs over time.

        Args:
            n_steps: time.
            n_rows: batch.
            steps: contiguous [time, batch, width].
            states: contiguous [time, batch, width], to be written with the state after each step.
            rings: for each state whether it has two slots only, which take turns: the last in slot `(time - 1) % 2`.
            first_states: contiguous [batch, width].
            rows: contiguous [width].
            weights: [in, out] with any strides.
            is_reversed: run from the last step to the first.
            firsts: for each step input None, or [batch, width]: such an input is read at t + before instead of t, and
                at the edge, where there is no such step, `first` is read.
            before: -1 or 1.

        Returns:
            The outputs [time, batch, width].
        """
        outputs = [new_tensor((n_steps, n_rows, v.width), self.dtype) for v in self.program.outputs]
        firsts = firsts or [None] * len(steps)
        groups = (steps, firsts, states, first_states, rows, weights, outputs)
        arrays = [
            make(*[None if tensor is None else tensor.data_ptr() for tensor in group])
            for make, group in zip(self._pointers, groups, strict=True)
        ]
        turns = self._rings(*rings)
        strides = self._strides(*[stride for weight in weights for stride in weight.stride()])
        at = [ctypes.addressof(cast(Any, array)) for array in (*arrays[:4], turns, *arrays[4:6], strides, arrays[6])]
        call = _Call(n_steps, n_rows, torch.get_num_threads(), is_reversed, before, *at)
        self._run(ctypes.byref(call))
        return outputs
