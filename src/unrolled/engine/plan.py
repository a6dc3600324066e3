"""A scan runs as: what is invariant, what goes before for all time steps, the compiled loop, what comes after.

The parts around the loop are ordinary torch under autograd; the loop is one autograd function (loop.py) whose backward
is compiled too. A plan is made once for a step and the widths of its inputs (planning.py), or read from the disk
(disk.py), and serves every length and batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.backends.cpu.run import Kernel, kernels
from unrolled.engine.loop import LoopCall, LoopResult
from unrolled.engine.programs import LoopPrograms
from unrolled.engine.span import Span
from unrolled.engine.trees import Form

Shape = tuple[int, ...]


@dataclass(eq=False)
class Plan:
    """How a step runs fused: no tensors, and nothing of the step itself.

    Attributes:
        dtype: of the loop.
        programs: of the loop.
        outputs_form: of y_t.
        invariant: captured tensors → what is done once; None where there is nothing.
        before: captured, invariant, inputs → what loop and after read, a row for each time step and row of the batch.
        loop: the loop's definition, of one time step.
        after: captured, invariant, inputs, before's values, the loop's outputs, states → the step's outputs; None where
            they are the loop's as they are, which `ys` then tells.
        ys: ("sequence", i) or ("kept", i) for each of the step's outputs.
        sources: where the loop's step inputs come from: ("before", i) or ("input", i).
        constant_sources: where its constants come from: ("captured", i) or ("invariant", i).
        steps: dtype and shape of a row of each step input.
        states, kept: shape of a row of each state and of each kept output.
        previous, sequences: the states that are read outside the loop, as they were before each step, and after it.
        read_states: the states that are kept after every step in training.
        n_before, n_after: operations done once for all time steps, by name.
        traced: the step's graph, for reading.
    """

    dtype: torch.dtype
    programs: LoopPrograms
    outputs_form: Form
    invariant: fx.GraphModule | None
    before: fx.GraphModule | None
    loop: fx.GraphModule
    after: fx.GraphModule | None
    ys: list[tuple[str, int]]
    sources: list[tuple[str, int]]
    constant_sources: list[tuple[str, int]]
    steps: list[tuple[torch.dtype, Shape]]
    states: list[Shape]
    kept: list[Shape]
    previous: list[int]
    sequences: list[int]
    read_states: list[int]
    n_before: dict[str, int]
    n_after: dict[str, int]
    traced: str
    _kernels: dict[str, Kernel] = field(default_factory=dict, init=False, repr=False)

    def kernel(self, name: str) -> Kernel:
        """The compiled "forward", "training" or "backward" program."""
        if name not in self._kernels:
            self._kernels[name] = Kernel(getattr(self.programs, name), self.dtype)
        return self._kernels[name]

    def prepare(self, *, training: bool) -> None:
        """Builds what a call needs, as far as it is not there.

        Raises:
            NotTraceable: the compiler is missing or fails.
        """
        names = ("training", "backward") if training else ("forward",)
        missing = [name for name in names if name not in self._kernels]
        if missing:
            made = kernels([getattr(self.programs, name) for name in missing], self.dtype)
            self._kernels.update(zip(missing, made, strict=True))

    def begin(
        self, captured: list[Tensor], xs: list[Tensor], states: list[Tensor], span: Span
    ) -> tuple[LoopCall, Callable[[LoopResult], tuple[list[Tensor], list[Tensor]]]]:
        """xs [total, ...], states [batch, ...] → what the loop is called with, and what makes leaves of outputs and
        last state, likewise, of what it gives: `loops`, or what stands for it in a graph of torch.
        """
        invariant = self.invariant.forward(*captured, 0) if self.invariant is not None else []
        before = self.before.forward(*captured, *invariant, *xs, span.total) if self.before is not None else []
        pools = {"before": before, "input": xs, "captured": captured, "invariant": invariant}
        steps = [self._rows(pools[kind][i], span.total) for kind, i in self.sources]
        constants = [pools[kind][i] for kind, i in self.constant_sources]
        constants = [c if c.dtype == self.dtype else c.to(self.dtype) for c in constants]
        firsts = [self._rows(state, span.n_rows) for state in states]

        def end(result: LoopResult) -> tuple[list[Tensor], list[Tensor]]:
            last, sequences, kept = result
            last = [a if a.dim() == b.dim() else a.view(b.shape) for a, b in zip(last, states, strict=True)]
            if self.after is None:
                return [(sequences if kind == "sequence" else kept)[i] for kind, i in self.ys], last
            previous = [span.before(firsts[i], sequences[self.sequences.index(i)]) for i in self.previous]
            kept = [each.view(span.total, *shape) for each, shape in zip(kept, self.kept, strict=True)]
            of_states = [
                value.view(span.total, *self.states[i])
                for value, i in zip((*previous, *sequences), (*self.previous, *self.sequences), strict=True)
            ]
            return self.after.forward(*captured, *invariant, *xs, *before, *kept, *of_states, span.total), last

        return (self, span, [*steps, *constants, *firsts]), end

    def _rows(self, tensor: Tensor, n_rows: int) -> Tensor:
        """As [rows, width], contiguous."""
        if tensor.dim() != 2:
            tensor = tensor.reshape(n_rows, -1)
        return (tensor if tensor.dtype == self.dtype else tensor.to(self.dtype)).contiguous()

    def eager_loop(self, span: Span, tensors: list[Tensor]) -> list[Tensor]:
        """The loop's definition, for what the compiled one does not give: derivatives of its derivatives.

        Takes and gives what `loop` does, sequences of states and kept outputs.
        """
        n, sizes = len(self.steps), span.sizes()
        constants = tensors[n : n + len(self.constant_sources)]
        columns = [
            step.to(dtype).view(span.total, *shape).split(sizes)
            for step, (dtype, shape) in zip(tensors[:n], self.steps, strict=True)
        ]
        states = [
            state.view(span.n_rows, *shape)
            for state, shape in zip(tensors[n + len(constants) :], self.states, strict=True)
        ]
        rows: list[Any] = [None] * span.n_steps
        for t in reversed(range(span.n_steps)) if span.is_reversed else range(span.n_steps):
            now = [state[: sizes[t]] for state in states]
            results = self.loop.forward(*[column[t] for column in columns], *constants, *now, sizes[t])
            new = results[: len(states)]
            states = [torch.cat((a, b[sizes[t] :])) for a, b in zip(new, states, strict=True)]
            rows[t] = [new[i] for i in self.sequences] + results[len(states) :]
        joined = [torch.cat(each).reshape(span.total, -1) for each in zip(*rows, strict=True)]
        return [state.reshape(span.n_rows, -1) for state in states] + joined
