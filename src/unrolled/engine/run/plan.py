"""A scan runs as: what is invariant, what goes before for all time steps, the compiled loop, what comes after.

The loop is one autograd function (autograd.py) whose backward is compiled too; it makes the products of the inputs as
well. The other parts around it are ordinary torch under autograd. A plan is made once for a step and the widths of its
inputs (passes/pipeline.py), or read from the disk (cache/disk.py), and serves every length and batch.
"""

import dataclasses
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from unrolled.engine.backends.base import Backend, Kernel
from unrolled.engine.backends.call_source import call_of
from unrolled.engine.backends.products import product_plus
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.loop_programs import InputProduct, LoopPrograms, Source
from unrolled.engine.reasons import RunsEagerly
from unrolled.engine.run.apart import copied, shared_outputs
from unrolled.engine.run.with_gradient import with_gradient
from unrolled.engine.trees import Form

Shape = tuple[int, ...]

# a plan, the layout of its rows and the loop's tensors → last states [batch, ...]; sequences of the states in
# plan.sequences and kept outputs, both [*layout.lead, width]
LoopCall = tuple["Plan", BatchLayout, list[Tensor]]
LoopResult = tuple[list[Tensor], list[Tensor], list[Tensor]]


@dataclass(eq=False)
class Plan:
    """How a step runs fused: no tensors, and nothing of the step itself.

    Attributes:
        dtype: of the loop.
        programs: of the loop.
        outputs_form: of y_t.
        invariant: captured tensors → what is done once; None where there is nothing.
        held: captured, invariant → tensors that have a row for each sequence, or come of such, done once; None where
            there are none.
        before: captured, invariant, held, inputs → what loop and after read, a row for each time step and row of the
            batch.
        loop: the loop's definition, of one time step.
        after: captured, invariant, held, inputs, before's values, the loop's outputs, states → the step's outputs; None
            where they are the loop's as they are, which `ys` then tells.
        ys: ("sequence", i) or ("kept", i) for each of the step's outputs.
        sources: where the loop's step inputs come from.
        constant_sources: where its constants come from.
        steps: dtype and shape of a row of each step input.
        constants, constant_dtypes: shape and dtype of each constant.
        held_by_row, held_before, held_after: which of what `held` gives has a row for each sequence; which is read
            before the loop, and after it.
        states, kept: shape of a row of each state and of each kept output.
        previous, sequences: the states that are read outside the loop, as they were before each step, and after it.
        read_states: the states that are kept after every step in training.
        depends: for each next state and kept output, which of the loop's inputs its gradient reaches: steps, constants
            and states, counted on.
        n_before, n_after: operations done once for all time steps, by name.
        traced: the step's graph, for reading.
        backend: what its loop runs on; `bind` sets it, as a plan on the disk has none.
        has_gradient: the cache of `with_gradient`.
    """

    dtype: torch.dtype
    programs: LoopPrograms
    outputs_form: Form
    invariant: fx.GraphModule | None
    held: fx.GraphModule | None
    before: fx.GraphModule | None
    loop: fx.GraphModule
    after: fx.GraphModule | None
    ys: list[tuple[str, int]]
    sources: list[Source | InputProduct]
    constant_sources: list[Source]
    steps: list[tuple[torch.dtype, Shape]]
    constants: list[Shape]
    constant_dtypes: list[torch.dtype]
    held_by_row: list[int]
    held_before: list[int]
    held_after: list[int]
    states: list[Shape]
    kept: list[Shape]
    previous: list[int]
    sequences: list[int]
    read_states: list[int]
    depends: list[list[int]]
    n_before: dict[str, int]
    n_after: dict[str, int]
    traced: str
    backend: Backend = field(init=False, repr=False)
    has_gradient: dict[Hashable, list[bool]] = field(default_factory=dict, init=False, repr=False)
    _kernels: dict[str, Kernel] = field(default_factory=dict, init=False, repr=False)
    _calls: dict[str, Callable] = field(default_factory=dict, init=False, repr=False)
    _bare: "Plan | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        products = [source for source in self.sources if isinstance(source, InputProduct)]
        #: where the loop's tensors come from: step inputs or their rows, weights and biases, constants
        self.reads = [s.rows if isinstance(s, InputProduct) else s for s in self.sources]
        self.reads += [p for each in products for p in (each.weight, each.bias) if p is not None]
        self.reads += self.constant_sources
        n = len(self.reads)
        made = self.programs
        steps = made.read_steps() | {i for i, each in enumerate(self.sources) if isinstance(each, InputProduct)}
        #: zeros that a probe has added to a state are read by none, and stay one number
        self._contiguous = [*sorted(steps), *range(n, n + len(self.states))]
        self.is_plain = all(part is None for part in (self.invariant, self.held, self.before, self.after))
        read = set(made.backward_inputs)
        #: which of `read_states`, and which kept outputs, the loop's backward reads
        self.saves_states = [bool({("previous", i), ("next", i)} & read) for i in self.read_states]
        self.saves_kept = [("output", i) in read for i in range(made.n_kept)]
        n_own = len(self.kept) + len(self.previous) + len(self.sequences)
        self._shared = shared_outputs(self.after, n_own) if self.after is not None else ([], [])

    def bind(self, backend: Backend) -> "Plan":
        """This plan, to be run by a back-end; all that a call needs of it is looked up once."""
        self.backend = backend
        return self

    def lend(self, n: int) -> None:
        """Outputs from the n-th on need no memory of their own: the caller reads them, and changes none."""
        for is_shared in self._shared:
            is_shared[n:] = [False] * len(is_shared[n:])

    def kernel(self, name: str) -> Kernel:
        """The compiled "forward", "training" or "backward" program."""
        if name not in self._kernels:
            [self._kernels[name]] = self.backend.kernels([getattr(self.programs, name)], self.dtype)
        return self._kernels[name]

    def prepare(self, *, training: bool) -> None:
        """Builds what a call needs, as far as it is not there.

        Raises:
            NotTraceable: the compiler is missing or fails.
        """
        names = ("training", "backward") if training else ("forward",)
        if names[0] not in self._kernels or names[-1] not in self._kernels:
            missing = [name for name in names if name not in self._kernels]
            made = self.backend.kernels([getattr(self.programs, name) for name in missing], self.dtype)
            self._kernels.update(zip(missing, made, strict=True))

    def call(self, name: str) -> Callable:
        """The generated call code of a kernel (backends/call_source.py)."""
        if name not in self._calls:
            self._calls[name] = call_of(self, name)
        return self._calls[name]

    def scan(
        self, captured: list[Tensor], xs: list[Tensor], states: list[Tensor], layout: BatchLayout
    ) -> Generator[LoopCall, LoopResult, tuple[list[Tensor], list[Tensor]]]:
        """xs [*layout.lead, ...], states [batch, ...] → leaves of outputs, likewise, and of the last state. Asks for
        what `loops` gives, or what stands for it in a graph of torch.
        """
        pools = {"captured": captured, "transposed": captured, "input": xs}
        if not self.is_plain:
            rows = [x.flatten(0, 1) for x in xs] if layout.counts is None else xs
            invariant = self.invariant.forward(*captured, 0) if self.invariant is not None else []
            held = self._held(captured, invariant, layout)
            wide = self._over_time(held, self.held_before, layout) if self.before is not None else []
            before = []
            if self.before is not None:
                before = self.before.forward(*captured, *invariant, *wide, *rows, layout.total)
            pools |= {"invariant": invariant, "held": held, "before": before}
        tensors = [pools[kind][i] for kind, i in self.reads] + states
        tensors = [tensor if tensor.dtype == self.dtype else tensor.to(self.dtype) for tensor in tensors]
        for i in self._contiguous:
            tensors[i] = tensors[i].contiguous()
        last, sequences, kept = yield self, layout, tensors
        if self.after is None:
            return [(sequences if kind == "sequence" else kept)[i] for kind, i in self.ys], last
        flat = [each.view(layout.total, -1) for each in sequences]
        firsts = [state.reshape(layout.n_rows, -1) for state in states]
        before_last = self._cut(layout, tensors, flat)
        previous = [layout.before(firsts[i], before_last[self.sequences.index(i)]) for i in self.previous]
        kept = [each.view(layout.total, *shape) for each, shape in zip(kept, self.kept, strict=True)]
        of_states = [
            value.view(layout.total, *self.states[i])
            for value, i in zip((*previous, *flat), (*self.previous, *self.sequences), strict=True)
        ]
        wide = self._over_time(held, self.held_after, layout)
        ys = self.after.forward(*captured, *invariant, *wide, *rows, *before, *kept, *of_states, layout.total)
        ys = [y.view(*layout.lead, *y.shape[1:]) for y in ys]
        if layout.counts is not None:
            return ys, last  # which are unpacked into new tensors
        shared = self._shared[torch.is_grad_enabled() and any(y.requires_grad for y in ys)]
        # as stacked outputs are: one that was expanded, say, would be changed in several places by one write
        own = [
            copied(y, self.backend) if is_shared else y.contiguous() for y, is_shared in zip(ys, shared, strict=True)
        ]
        return own, last

    def _cut(self, layout: BatchLayout, tensors: list[Tensor], sequences: list[Tensor]) -> list[Tensor]:
        """Sequences of states, without a gradient where those before the last step have none. That of the last step may
        have one while fewer steps ran than the loop has states.
        """
        if type(layout.n_steps) is not int or not self.previous:  # or a graph's, which holds for every time
            return sequences
        n_before = layout.n_steps - 1
        if n_before > len(self.states) or not any(each.requires_grad for each in sequences):
            return sequences
        has = with_gradient(self, dataclasses.replace(layout, n_steps=n_before), [t.requires_grad for t in tensors])
        of_sequences = has[len(self.states) : len(self.states) + len(sequences)]
        return [each if keeps else each.detach() for each, keeps in zip(sequences, of_sequences, strict=True)]

    def _held(self, captured: list[Tensor], invariant: list[Tensor], layout: BatchLayout) -> list[Tensor]:
        """What has a row for each sequence, in the order of the layout's rows."""
        if self.held is None:
            return []
        held = list(self.held.forward(*captured, *invariant, layout.n_rows))
        for i in self.held_by_row:
            if held[i].shape[0] != layout.n_rows:  # the loop reads as many rows as the batch has
                raise RunsEagerly(
                    f"a tensor that the step captures has {held[i].shape[0]} rows, the batch {layout.n_rows}"
                )
            held[i] = layout.in_order(held[i])
        return held

    def _over_time(self, held: list[Tensor], read: list[int], layout: BatchLayout) -> list[Tensor]:
        """The same, those that are read with a row for each step and row of the batch."""
        return [layout.over_time(each) if i in read and i in self.held_by_row else each for i, each in enumerate(held)]

    def without_products(self, tensors: list[Tensor]) -> tuple["Plan", list[Tensor]]:
        """The plan whose loop is given what its products give, and what that loop is called with."""
        if self._bare is None:
            sources: list[Source | InputProduct] = [("before", i) for i in range(len(self.sources))]
            constants = [("captured", i) for i in range(len(self.constant_sources))]
            self._bare = dataclasses.replace(self, sources=sources, constant_sources=constants)
            self._bare.bind(self.backend)._kernels = self._kernels
        steps, rest = tensors[: len(self.sources)], iter(tensors[len(self.sources) :])
        for i, source in enumerate(self.sources):
            if isinstance(source, InputProduct):
                weight = next(rest)
                weight = weight.t() if source.weight[0] == "transposed" else weight
                bias = None if source.bias is None else next(rest)
                steps[i] = product_plus(bias, steps[i].flatten(0, -2), weight)
        rows = [next(rest).t() if kind == "transposed" else next(rest) for kind, _ in self.constant_sources]
        return self._bare, [*steps, *rows, *rest]

    def eager_loop(self, layout: BatchLayout, tensors: list[Tensor]) -> list[Tensor]:
        """The loop's definition, for what the compiled one does not give: derivatives of its derivatives.

        Takes and gives what `autograd.loops` does, sequences of states and kept outputs.
        """
        tensors = self.without_products(tensors)[1]
        n, sizes = len(self.steps), layout.sizes()
        constants = [
            constant.to(dtype)
            for constant, dtype in zip(tensors[n : n + len(self.constant_sources)], self.constant_dtypes, strict=True)
        ]
        is_by_row = [kind == "held" for kind, _ in self.programs.constants]
        columns = [
            step.to(dtype).view(layout.total, *shape).split(sizes)
            for step, (dtype, shape) in zip(tensors[:n], self.steps, strict=True)
        ]
        states = [
            state.view(layout.n_rows, *shape)
            for state, shape in zip(tensors[n + len(constants) :], self.states, strict=True)
        ]
        rows: list[Any] = [None] * layout.n_steps
        for t in reversed(range(layout.n_steps)) if layout.is_reversed else range(layout.n_steps):
            now = [state[: sizes[t]] for state in states]
            same = [c[: sizes[t]] if by_row else c for c, by_row in zip(constants, is_by_row, strict=True)]
            results = self.loop.forward(*[column[t] for column in columns], *same, *now, sizes[t])
            new = results[: len(states)]
            states = [torch.cat((a, b[sizes[t] :])) for a, b in zip(new, states, strict=True)]
            rows[t] = [new[i] for i in self.sequences] + results[len(states) :]
        joined = [torch.cat(each).reshape(*layout.lead, -1) for each in zip(*rows, strict=True)]
        firsts = tensors[n + len(constants) :]
        return [state.view_as(first) for state, first in zip(states, firsts, strict=True)] + joined
