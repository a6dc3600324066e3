"""A scan runs as: what is invariant, what goes before for all time steps, the compiled loop, what comes after.

The parts around the loop are ordinary torch under autograd; the loop is one autograd function (loop.py) whose backward
is compiled too. A plan is made once for a step and the widths of its inputs, and serves every length and batch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from unrolled.engine.adjoint import LoopPrograms, programs
from unrolled.engine.backends.cpu.run import Kernel
from unrolled.engine.factors import Weight, Weights
from unrolled.engine.loop import loop
from unrolled.engine.lower import Lowering
from unrolled.engine.products import product, product_plus
from unrolled.engine.program import Builder, Value
from unrolled.engine.span import Span
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
from unrolled.engine.trees import Form

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
        if len(floats) != 1 or not floats <= {torch.float32, torch.float64, torch.bfloat16}:
            raise NotTraceable(
                f"its inputs and state are of {_words(floats)}; a fused loop takes one of float32, float64 and bfloat16"
            )
        if any(leaf.device.type != "cpu" for leaf in leaves):
            raise NotTraceable("its tensors are not on the CPU; there are no kernels for other devices yet")
        [self.dtype] = floats
        self.traced = trace(step, xs, state)
        if any(t.is_floating_point() and t.dtype != self.dtype for t in self.traced.captured):
            raise NotTraceable(f"it mixes {self.dtype} with tensors of another dtype")
        self.split = split(self.traced)
        self.programs: LoopPrograms = programs(self.split)
        self.outputs_form: Form = None if self.traced.outputs_spec.is_leaf() else self.traced.outputs_spec
        self._make_parts(self.split)
        self._kernels: dict[str, Kernel] = {}

    def kernel(self, name: str) -> Kernel:
        """The compiled "forward", "training" or "backward" program."""
        if name not in self._kernels:
            self._kernels[name] = Kernel(getattr(self.programs, name), self.dtype)
        return self._kernels[name]

    def prepare(self, *, training: bool) -> None:
        """Builds what a call needs, both compilers at once.

        Raises:
            NotTraceable: the compiler is missing or fails.
        """
        names = [name for name in (("training", "backward") if training else ("forward",)) if name not in self._kernels]
        if len(names) > 1:
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(self.kernel, names))
        elif names:
            self.kernel(names[0])

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
        self.read_states = {i for kind, i in self.programs.backward_inputs if kind in ("previous", "next")}
        self.read_states |= set(self.sequences)  # kept after every step, in training
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
        for node in self.invariant.graph.nodes:
            if node.target is aten.t.default:
                node.target = torch.t  # the same, called faster
        self.invariant.recompile()
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
        self.kept_is_output = self._outputs_as_they_are(parts)
        self.loop = part_of(parts.loop, parts.steps + parts.constants + parts.states, parts.next_states + parts.kept)

    def _outputs_as_they_are(self, parts: Split) -> list[tuple[str, int]] | None:
        """Where the loop's results are the step's outputs, which of them; None where more is to be done."""
        found = []
        for y in parts.ys:
            if operation_shape(y) != (int(torch.Size(operation_shape(y)).numel()),):
                return None
            if y in parts.next_states and parts.next_states.index(y) in self.sequences:
                found.append(("sequence", self.sequences.index(parts.next_states.index(y))))
            elif y in parts.kept:
                found.append(("kept", parts.kept.index(y)))
            else:
                return None
        return found if len(set(found)) == len(found) else None

    def __call__(
        self, captured: list[Tensor], xs: list[Tensor], states: list[Tensor], span: Span, through: Callable = loop
    ) -> Any:
        """Runs over time; xs [total, ...], states [batch, ...] → leaves of outputs and last state, likewise.

        `through` is `loop`, or what stands for it in a graph of torch.
        """
        invariant = self.invariant.forward(*captured, 0) if self.invariant_nodes else []
        before = self.before.forward(*captured, *invariant, *xs, span.total) if self.before_nodes else []
        pools = {"before": before, "input": xs, "captured": captured, "invariant": invariant}
        steps = [self._rows(pools[kind][i], span.total) for kind, i in self.sources]
        constants = [pools[kind][i] for kind, i in self.constant_sources]
        constants = [c if c.dtype == self.dtype else c.to(self.dtype) for c in constants]
        firsts = [self._rows(state, span.n_rows) for state in states]
        last, sequences, kept = through(self, span, [*steps, *constants, *firsts])
        last = [a if a.shape == b.shape else a.view(b.shape) for a, b in zip(last, states, strict=True)]
        if self.kept_is_output is not None:
            return [(sequences if kind == "sequence" else kept)[i] for kind, i in self.kept_is_output], last
        previous = [span.before(firsts[i], sequences[self.sequences.index(i)]) for i in self.previous]
        kept = [k.view(span.total, *operation_shape(node)) for k, node in zip(kept, self.split.kept, strict=True)]
        of_states = [
            value.view(span.total, *self.state_widths[i])
            for value, i in zip((*previous, *sequences), (*self.previous, *self.sequences), strict=True)
        ]
        return self.after.forward(*captured, *invariant, *xs, *before, *kept, *of_states, span.total), last

    def _rows(self, tensor: Tensor, n_rows: int) -> Tensor:
        """As [rows, width], contiguous."""
        if tensor.dim() != 2:
            tensor = tensor.reshape(n_rows, -1)
        return (tensor if tensor.dtype == self.dtype else tensor.to(self.dtype)).contiguous()

    def eager_loop(self, span: Span, tensors: list[Tensor]) -> list[Tensor]:
        """The loop's definition, for what the compiled one does not give: derivatives of its derivatives.

        Takes and gives what `loop` does, sequences of states and kept outputs.
        """
        parts, n, sizes = self.split, len(self.split.steps), span.sizes()
        constants = tensors[n : n + len(parts.constants)]
        columns = [
            step.to(node.meta["val"].dtype).view(span.total, *operation_shape(node)).split(sizes)
            for step, node in zip(tensors[:n], parts.steps, strict=True)
        ]
        states = [
            state.view(span.n_rows, *width)
            for state, width in zip(tensors[n + len(constants) :], self.state_widths, strict=True)
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
    graph = make_graph(lambda *leaves: fx.Interpreter(part).run(*leaves, BATCH), examples, table=decompositions())
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
        else:
            value = lowering.env[node] = lowering.constant(node, n_rows, n_weights)
            n_rows += isinstance(value, Value)
            n_weights += len(value.matrices) if isinstance(value, Weights) else isinstance(value, Weight)
    for node in graph.graph.nodes:
        if node.target in ROWWISE:
            lowering.env[node] = builder.input("step", n_steps, int(torch.Size(node.meta["val"].shape[1:]).numel()))
            n_steps += 1
        elif node.op == "call_function":
            lowering.run([node])
