"""A scan runs as: what is invariant, what goes before for all time steps, the compiled loop, what comes after.

The parts around the loop are ordinary torch under autograd; the loop is one autograd function whose backward is
compiled too. A plan is made once for a step and the widths of its inputs, and serves every length and batch.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from unrolled.engine.adjoint import Gradient, LoopPrograms, programs
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.backends.cpu.run import Kernel
from unrolled.engine.lower import Lowering, Weight
from unrolled.engine.products import outer_sum, product, product_plus
from unrolled.engine.program import Builder
from unrolled.engine.split import RANDOM, Split, part_of, split
from unrolled.engine.trace import (
    BATCH,
    NotTraceable,
    decompositions,
    fake_like,
    lift_captured,
    make_graph,
    operation_shape,
    trace,
)

aten = torch.ops.aten
# operations outside the loop that work on each row by itself, beside those that a loop can hold
ROWWISE = {*RANDOM, aten.embedding.default, aten.empty.memory_format, aten.empty_like.default}


class Plan:
    """How a step runs fused.

    Raises:
        NotTraceable: it cannot; the text says why.
    """

    def __init__(self, step: Any, xs: Any, state: Any) -> None:
        leaves = pytree.tree_leaves((xs, state))
        floats = {leaf.dtype for leaf in leaves if leaf.is_floating_point()}
        if len(floats) != 1 or not floats <= {torch.float32, torch.float64}:
            raise NotTraceable(f"its inputs and state are of {_words(floats)}; a fused loop takes float32 or float64")
        if any(leaf.device.type != "cpu" for leaf in leaves):
            raise NotTraceable("its tensors are not on the CPU; there are no kernels for other devices yet")
        [self.dtype] = floats
        self.traced = trace(step, xs, state)
        if any(t.is_floating_point() and t.dtype != self.dtype for t in self.traced.captured):
            raise NotTraceable(f"it mixes {self.dtype} with tensors of another dtype")
        self.split = split(self.traced)
        self.programs: LoopPrograms = programs(self.split)
        self._make_parts(self.split)
        self._kernels: dict[str, Kernel] = {}

    def kernel(self, name: str) -> Kernel:
        """The compiled "forward", "training" or "backward" program."""
        if name not in self._kernels:
            self._kernels[name] = Kernel(getattr(self.programs, name), self.dtype)
        return self._kernels[name]

    def prepare(self, *, training: bool) -> None:
        """Builds what a call needs.

        Raises:
            NotTraceable: the compiler is missing or fails.
        """
        for name in ("training", "backward") if training else ("forward",):
            self.kernel(name)

    def _make_parts(self, parts: Split) -> None:
        placeholders = [node for node in self.traced.graph.graph.nodes if node.op == "placeholder"]
        captured = placeholders[: len(self.traced.captured)]
        inputs = placeholders[len(captured) : len(captured) + self.traced.n_inputs]
        read_after = {arg for node in parts.after for arg in node.all_input_nodes} | set(parts.ys)
        read_before = {arg for node in parts.before for arg in node.all_input_nodes}
        own = set(captured)
        self.invariant_nodes = [
            node for node in parts.invariant
            if node in read_after or node in read_before or node in parts.constants
        ]  # fmt: skip
        self.invariant = part_of(parts.invariant, captured, self.invariant_nodes)
        before = set(parts.before)
        self.before_nodes = [node for node in parts.before if node in parts.steps or node in read_after]
        self.before = part_of(parts.before, [*captured, *self.invariant_nodes, *inputs], self.before_nodes)
        self.previous, self.sequences = parts.previous, parts.sequences
        self.after_inputs = [*captured, *self.invariant_nodes, *inputs, *self.before_nodes, *parts.kept]
        self.after_inputs += [parts.states[i] for i in self.previous] + [parts.next_states[i] for i in self.sequences]
        self.after = part_of(parts.after, self.after_inputs, parts.ys)
        for y in parts.ys:
            if y in own or y in self.invariant_nodes:
                raise NotTraceable("its output is the same for all rows")
        _check_rowwise(self.before, [*captured, *self.invariant_nodes, *inputs])
        _check_rowwise(self.after, self.after_inputs)
        for part in (self.before, self.after):
            _take_products(part)
        self.sources: list[tuple[str, int]] = []  # of the loop's step inputs
        for node in parts.steps:
            self.sources.append(
                ("before", self.before_nodes.index(node)) if node in before else ("input", inputs.index(node))
            )
        self.constant_sources = [
            ("captured", captured.index(node)) if node in own else ("invariant", self.invariant_nodes.index(node))
            for node in parts.constants
        ]
        self.state_widths = [operation_shape(node) for node in parts.states]
        self.loop = part_of(parts.loop, parts.steps + parts.constants + parts.states, parts.next_states + parts.kept)

    def __call__(self, captured: list[Tensor], xs: list[Tensor], states: list[Tensor], *, is_reversed: bool) -> Any:
        """Runs over time; xs [time, batch, ...], states [batch, ...] → leaves of the outputs and of the last state."""
        n_steps, n_rows = int(xs[0].shape[0]), int(xs[0].shape[1])
        total = n_steps * n_rows
        flat = [x.reshape(total, *x.shape[2:]) for x in xs]
        invariant = self.invariant(*captured, 0) if self.invariant_nodes else []
        before = self.before(*captured, *invariant, *flat, total) if self.before_nodes else []
        pools = {"before": before, "input": flat, "captured": captured, "invariant": invariant}
        steps = [pools[kind][i].to(self.dtype).reshape(n_steps, n_rows, -1).contiguous() for kind, i in self.sources]
        constants = [pools[kind][i].to(self.dtype) for kind, i in self.constant_sources]
        flat_states = [state.reshape(n_rows, -1).contiguous() for state in states]
        results = _Loop.apply(self, n_steps, n_rows, is_reversed, *steps, *constants, *flat_states)
        n = len(states)
        last, sequences, kept = results[:n], results[n : n + len(self.sequences)], results[n + len(self.sequences) :]
        last = [value.view(state.shape) for value, state in zip(last, states, strict=True)]
        previous = []
        for i in self.previous:
            whole = sequences[self.sequences.index(i)]
            first = flat_states[i].unsqueeze(0)
            previous.append(torch.cat((whole[1:], first)) if is_reversed else torch.cat((first, whole[:-1])))
        kept_values = [
            value.view(total, *operation_shape(node)) for value, node in zip(kept, self.split.kept, strict=True)
        ]
        of_states = [
            value.view(total, *self.state_widths[i])
            for value, i in zip((*previous, *sequences), (*self.previous, *self.sequences), strict=True)
        ]
        ys = self.after(*captured, *invariant, *flat, *before, *kept_values, *of_states, total)
        return [y.view(n_steps, n_rows, *y.shape[1:]) for y in ys], last

    def eager_loop(self, n_steps: int, n_rows: int, is_reversed: bool, tensors: list[Tensor]) -> list[Tensor]:
        """The loop's definition, for what the compiled one does not give: derivatives of its derivatives."""
        parts, n = self.split, len(self.split.steps)
        constants = tensors[n : n + len(parts.constants)]
        columns = [
            step.to(node.meta["val"].dtype).view(n_steps, n_rows, *operation_shape(node)).unbind(0)
            for step, node in zip(tensors[:n], parts.steps, strict=True)
        ]
        states = [
            state.view(n_rows, *width)
            for state, width in zip(tensors[n + len(constants) :], self.state_widths, strict=True)
        ]
        rows: list[Any] = [None] * n_steps
        for t in reversed(range(n_steps)) if is_reversed else range(n_steps):
            results = self.loop(*[column[t] for column in columns], *constants, *states, n_rows)
            states = results[: len(states)]
            rows[t] = [states[i] for i in self.sequences] + results[len(states) :]
        stacked = [torch.stack(each).view(n_steps, n_rows, -1) for each in zip(*rows, strict=True)]
        return [state.reshape(n_rows, -1) for state in states] + stacked


def _take_products(part: fx.GraphModule) -> None:
    """Products of rows with a weight go through `products`."""
    for node in part.graph.nodes:
        if node.target is aten.mm.default:
            node.target = product
        elif node.target is aten.addmm.default and not node.kwargs and node.args[0].meta["val"].dim() == 1:
            node.target = product_plus
    part.recompile()


def _words(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(map(str, dtypes))) or "no floating dtype"


def _check_rowwise(part: fx.GraphModule, inputs: list[fx.Node]) -> None:
    """Holds the operations outside the loop to work on each row by itself, so that time may go into the batch."""
    examples = [fake_like(node) for node in inputs]
    graph = make_graph(lambda *leaves: part(*leaves, BATCH), examples, table=decompositions())
    if lift_captured(graph):
        raise NotTraceable("it makes a tensor of its own outside the loop")
    builder = Builder()
    lowering = Lowering(builder)
    n_steps = n_rows = n_weights = 0
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for node, example in zip(placeholders, examples, strict=True):
        shape = tuple(example.shape)
        if shape[:1] == (BATCH,):
            lowering.env[node] = builder.input("step", n_steps, int(torch.Size(shape[1:]).numel()))
            n_steps += 1
        elif len(shape) == 2:
            lowering.env[node] = Weight(n_weights, (int(shape[0]), int(shape[1])))
            n_weights += 1
        else:
            lowering.env[node] = builder.input("row", n_rows, int(torch.Size(shape).numel()))
            n_rows += 1
    for node in graph.graph.nodes:
        if node.target in ROWWISE:
            lowering.env[node] = builder.input("step", n_steps, int(torch.Size(node.meta["val"].shape[1:]).numel()))
            n_steps += 1
        elif node.op == "call_function":
            lowering.run([node])


class _Loop(torch.autograd.Function):
    """The compiled loop. Tensors in: steps [time, batch, width], constants, states [batch, width]. Tensors out: last
    states, wanted sequences of states, kept outputs.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, n_steps: int, n_rows: int, is_reversed: bool, *tensors: Tensor) -> Any:
        made = plan.programs
        needs_backward = any(ctx.needs_input_grad)
        n, m = len(plan.split.steps), len(made.constants)
        steps, constants, firsts = tensors[:n], tensors[n : n + m], tensors[n + m :]
        rows, weights = _constants(made, constants)
        wanted = (
            {index for kind, index in made.backward_inputs if kind in ("previous", "next")} if needs_backward else set()
        )
        wanted |= set(plan.sequences)
        states = [
            new_tensor((n_steps if i in wanted else 2, *first.shape), first.dtype) for i, first in enumerate(firsts)
        ]
        kernel = plan.kernel("training" if needs_backward else "forward")
        rings = [i not in wanted for i in range(len(states))]
        outputs = kernel(n_steps, n_rows, steps, states, firsts, rows, weights, rings=rings, is_reversed=is_reversed)
        end = 0 if is_reversed else n_steps - 1
        last = [s[(n_steps - 1) % 2 if ring else end].clone() for s, ring in zip(states, rings, strict=True)]
        kept, saved = outputs[: made.n_kept], outputs[made.n_kept :]
        ctx.plan, ctx.sizes, ctx.n_saved = plan, (n_steps, n_rows, is_reversed), len(saved)
        if needs_backward:
            ctx.save_for_backward(*tensors, *[s if i in wanted else None for i, s in enumerate(states)], *saved, *kept)
        return (*last, *[states[i] for i in plan.sequences], *kept)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        plan, made = ctx.plan, ctx.plan.programs
        n_steps, n_rows, is_reversed = ctx.sizes
        n, m, n_states = len(plan.split.steps), len(made.constants), len(plan.split.states)
        tensors = list(ctx.saved_tensors[: n + m + n_states])
        if torch.is_grad_enabled():
            return None, None, None, None, *_differentiable(plan, ctx, tensors, gradients)
        states = ctx.saved_tensors[n + m + n_states : n + m + 2 * n_states]
        rest = ctx.saved_tensors[n + m + 2 * n_states :]
        saved, kept = rest[: ctx.n_saved], rest[ctx.n_saved :]
        n_sequences = len(plan.sequences)
        of_last, of_sequences, of_kept = (
            [gradient.contiguous() for gradient in part]
            for part in (gradients[:n_states], gradients[n_states:][:n_sequences], gradients[n_states + n_sequences :])
        )
        steps, firsts = tensors[:n], tensors[n + m :]
        pools = {
            "step": steps,
            "previous": states,
            "next": states,
            "saved": saved,
            "output": kept,
            "gradient": of_kept + of_sequences,
        }
        inputs = [pools[kind][i] for kind, i in made.backward_inputs]
        edges = [firsts[i] if kind == "previous" else None for kind, i in made.backward_inputs]
        rows, weights = _constants(made, tensors[n : n + m])
        carried = [first.new_empty((2, *first.shape)) for first in firsts]
        kernel = plan.kernel("backward")
        outputs = kernel(
            n_steps, n_rows, inputs, carried, of_last, rows, weights,
            rings=[True] * n_states, is_reversed=not is_reversed, firsts=edges, before=1 if is_reversed else -1,
        )  # fmt: skip
        of_steps = [None if at is None else outputs[at] for at in made.step_gradients]
        of_constants = [
            _constant_gradient(gradient, constant, inputs, edges, outputs, is_reversed) if needed else None
            for gradient, constant, needed in zip(
                made.constant_gradients, tensors[n : n + m], ctx.needs_input_grad[4 + n : 4 + n + m], strict=True
            )
        ]
        return None, None, None, None, *of_steps, *of_constants, *[c[(n_steps - 1) % 2] for c in carried]


def _constants(made: LoopPrograms, constants: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Rows, contiguous, and matrices as they are and transposed."""
    rows = [c.reshape(-1).contiguous() for c, (kind, _) in zip(constants, made.constants, strict=True) if kind == "row"]
    matrices = [c for c, (kind, _) in zip(constants, made.constants, strict=True) if kind == "matrix"]
    return rows, [each for matrix in matrices for each in (matrix, matrix.t())]


def _constant_gradient(
    gradient: Gradient | None,
    constant: Tensor,
    inputs: list[Tensor],
    edges: list[Tensor | None],
    outputs: list[Tensor],
    is_reversed: bool,
) -> Tensor | None:
    """One large product for the sum over time."""
    if gradient is None:
        return None
    total: Tensor | None = None
    for left, (kind, at) in gradient.parts:
        right = inputs[at] if kind == "step" else outputs[at]
        if left is None:
            part = right.sum((0, 1))
        else:
            kind, at = left
            values, first = (inputs[at], edges[at]) if kind == "step" else (outputs[at], None)
            part = _outer_sum(values, first, right, is_reversed)
        total = part if total is None else total + part
    assert total is not None, "a gradient has parts"
    return (total.t() if gradient.is_transposed else total).reshape(constant.shape)


def _outer_sum(left: Tensor, first: Tensor | None, right: Tensor, is_reversed: bool) -> Tensor:
    """Σ left^T · right over time and batch; with `first`, left is read one step before, and `first` at the edge."""
    if first is None:
        return outer_sum(left.flatten(0, 1), right.flatten(0, 1))
    edge, late, early = (-1, right[:-1], left[1:]) if is_reversed else (0, right[1:], left[:-1])
    return outer_sum(first, right[edge]) + outer_sum(early.flatten(0, 1), late.flatten(0, 1))


def _differentiable(plan: Plan, ctx: Any, tensors: list[Tensor], gradients: Any) -> list[Tensor | None]:
    """The same gradients by way of the eager loop, with a graph of their own."""
    n_steps, n_rows, is_reversed = ctx.sizes
    needed = ctx.needs_input_grad[4:]
    with torch.enable_grad():
        copies = [t.view_as(t) for t in tensors]
        results = plan.eager_loop(n_steps, n_rows, is_reversed, copies)
        wanted = [copy for copy, need in zip(copies, needed, strict=True) if need]
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
    return [next(found) if need else None for need in needed]
