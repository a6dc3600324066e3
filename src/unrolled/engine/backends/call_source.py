"""The generated call code of a plan's loop: a straight Python function for the forward, one for the backward.

Inputs: a plan, bound to a back-end, and the name of one of its kernels. Outputs: a generator function that makes
what a kernel is called with, asks for that call, and ends with what comes of it. All back-ends share this file: a
kernel says how it takes its arguments (base.py). A short call is mostly Python, where each loop over a list of tensors,
each small function and each view costs as much as a step: so what a plan knows is written down once.

The names: rows_i, or step_i that a product makes of them, is a step input; weight_i and bias_i are of that product;
constant_i, first_i (a first state), state_i (a state after every step), output_i (kept) and saved_i are those of
ir/loop_programs.py; in the backward to_i is an output of it, of_... a gradient that is given, gradient_i one that is
made.
"""

import builtins
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

import torch

from unrolled.engine.backends.base import Backend, Kernel, KernelCall
from unrolled.engine.backends.call_check import checked
from unrolled.engine.backends.products import products_by_row
from unrolled.engine.ir.loop_programs import Gradient, InputProduct, LoopPrograms, RowGradient, Source

# makes what a kernel is called with, asks for the call, and ends with what comes of it
Call = Callable[..., Generator[KernelCall, None, Any]]
_TAKEN = "layout, n_threads, tensors"
Factor = tuple[str, int]  # ("step", i) and ("output", i) of the backward, as in `Gradient`; ("rows", i) of a product
# for each right factor of products the left ones, as `sums_of_products` takes them, and whose gradients they go into
_Lefts = dict[Factor, list[tuple[str, int]]]


class CalledPlan(Protocol):
    """What the generated code is made from: a plan (`run/plan.py`), which lies above the back-ends."""

    dtype: torch.dtype
    backend: Backend
    programs: LoopPrograms
    ys: list[tuple[str, int]]
    sources: list[Source | InputProduct]
    constant_sources: list[Source]
    steps: list[tuple[torch.dtype, tuple[int, ...]]]
    constants: list[tuple[int, ...]]
    states: list[tuple[int, ...]]
    sequences: list[int]
    read_states: list[int]

    def kernel(self, name: str) -> Kernel:
        """The compiled "forward", "training" or "backward" program."""


def call_of(plan: CalledPlan, name: str) -> Callable:
    """The call of the kernel "forward", "training" or "backward", or the "straight" one, as `forward_source` and
    `backward_source` say.
    """
    kernel, backend = plan.kernel("forward" if name == "straight" else name), plan.backend
    names: dict[str, Any] = {
        **kernel.names(), "kernel": kernel, "run": kernel.run, "new_tensor": backend.new_tensor,
        "rows_times": backend.rows_times, "sums_of_products": backend.sums_of_products,
        "products_by_row": products_by_row, "empty_like": torch.empty_like, "zeros_like": torch.zeros_like,
        "stack": torch.stack,
        "computed_in": torch.float32 if plan.dtype == torch.bfloat16 else plan.dtype,
    }  # fmt: skip
    source = backward_source(plan) if name == "backward" else forward_source(plan, name)
    # `checked` has closed the names; C code of torch imports by way of the frame that calls it
    names["__builtins__"] = builtins
    exec(compile(checked(source, names), f"<the {name} call of a plan>", "exec"), names)
    return names["call"]


def forward_source(plan: CalledPlan, name: str) -> str:
    """The source of a call "forward", "training" or "straight".

    It takes `(layout, n_threads, tensors)`, and ends with lists: last states, states after every step (None where they
    are not kept), kept outputs, and what else the backward reads: values of the loop, and what products gave.

    "straight" is "forward" of a plan without anything around its loop: a function that runs the kernel, and returns the
    leaves of the step's outputs, and of its last state. Its tensors need not be contiguous.
    """
    is_straight = name == "straight"
    names, made, kernel = _Names(plan), plan.programs, plan.kernel("forward" if is_straight else name)
    program = kernel.program
    wanted = plan.read_states if name == "training" else plan.sequences
    lines = [f"{_listed(names.tensors)} = tensors", "total, lead = layout.total, layout.lead"]
    if is_straight:
        rows = [f"rows_{i}" for i in range(len(plan.steps))]
        lines += [f"{name} = {name}.contiguous()" for name in (*rows, *names.firsts)]
    for i, product in names.products.items():
        bias = f"bias_{i}" if product.bias else "None"
        is_transposed = names.is_transposed[f"weight_{i}"]
        lines.append(f"step_{i} = rows_times(rows_{i}, weight_{i}, {bias}, is_transposed={is_transposed})")
    constants, rows, weights, held = names.constants()
    lines += constants
    lines += [f"state_{i} = new_tensor(first_0, *lead, {program.states[i]})" for i in wanted]
    lines += [f"output_{i} = new_tensor(first_0, *lead, {value.width})" for i, value in enumerate(program.outputs)]
    last = [f"last_{i}" for i in range(len(plan.states))]
    lines += _alike(zip(last, names.firsts, names.firsts, strict=True))
    steps = [names.step(i) for i in range(len(plan.steps))]
    states = [f"state_{i}" if i in wanted else "" for i in range(len(plan.states))]
    outputs = [f"output_{i}" for i in range(len(program.outputs))]
    more, packed = kernel.arguments(
        steps, [""] * len(steps), states, names.firsts, last, rows, weights, outputs, held,
        is_reversed="layout.is_reversed",
    )  # fmt: skip
    kept, saved = outputs[: made.n_kept], outputs[made.n_kept :]
    if name == "training":
        saved += names.read
    if is_straight:
        ys = [f"state_{plan.sequences[i]}" if kind == "sequence" else f"output_{i}" for kind, i in plan.ys]
        lines += [*more, f"run({packed})", f"return {_list(ys)}, {_list(last)}"]
        return _source(_TAKEN, lines)
    lines += [*more, f"yield kernel, {packed}"]
    lines.append(f"return {_list(last)}, {_list(state or 'None' for state in states)}, {_list(kept)}, {_list(saved)}")
    return _source(_TAKEN, lines)


def backward_source(plan: CalledPlan) -> str:
    """The source of the call "backward".

    It takes `(layout, n_threads, saved, gradients, needed)`: the layout of the forward; the loop's tensors, the states
    and outputs that are kept, and what else was saved; gradients of last states, sequences of states and kept outputs,
    None for zeros; for each of the loop's tensors whether its gradient is wanted. It ends with those gradients, None
    where there is none.
    """
    return _Backward(plan).source()


class _Names:
    """The loop's tensors by name, in the order in which it is called with them."""

    def __init__(self, plan: CalledPlan) -> None:
        self.plan = plan
        self.products = {i: source for i, source in enumerate(plan.sources) if isinstance(source, InputProduct)}
        self.firsts = [f"first_{i}" for i in range(len(plan.states))]
        self.tensors = [f"rows_{i}" for i in range(len(plan.steps))]
        for i, product in self.products.items():
            self.tensors += [f"weight_{i}", f"bias_{i}"] if product.bias else [f"weight_{i}"]
        self.tensors += [f"constant_{i}" for i in range(len(plan.constants))] + self.firsts
        #: whether a matrix is given transposed
        self.is_transposed = {f"weight_{i}": each.weight[0] == "transposed" for i, each in self.products.items()}
        self.is_transposed |= {
            f"constant_{i}": kind == "transposed" for i, (kind, _) in enumerate(plan.constant_sources)
        }
        #: what products gave, as far as the backward reads it
        self.read = [f"step_{i}" for kind, i in plan.programs.backward_inputs if kind == "step" and i in self.products]

    def step(self, i: int) -> str:
        return f"step_{i}" if i in self.products else f"rows_{i}"

    def constants(self) -> tuple[list[str], list[str], list[tuple[str, bool]], list[str]]:
        """Lines, the rows, the matrices with whether they are given transposed, and those by sequence."""
        lines: list[str] = []
        rows: list[str] = []
        weights: list[tuple[str, bool]] = []
        held: list[str] = []
        for i, ((kind, count), shape) in enumerate(zip(self.plan.programs.constants, self.plan.constants, strict=True)):
            name = f"constant_{i}"
            if kind == "row":
                lines.append(f"row_of_{i} = {name}{'' if len(shape) == 1 else '.reshape(-1)'}.contiguous()")
                rows.append(f"row_of_{i}")
            elif kind == "held":
                lines.append(f"held_{i} = {name}.contiguous()")
                held.append(f"held_{i}")
            elif len(shape) == 2:
                weights.append((name, self.is_transposed[name]))
            else:
                parts = [f"matrix_{i}_{j}" for j in range(count)]
                lines.append(f"{_listed(parts)} = {name}")
                weights += [(part, False) for part in parts]
        return lines, rows, weights, held


class _Backward:
    def __init__(self, plan: CalledPlan) -> None:
        self.plan, self.names, self.made = plan, _Names(plan), plan.programs
        self.program = plan.kernel("backward").program
        n_kept, n_states = self.made.n_kept, len(plan.states)
        self.saved = [f"state_{i}" for i in plan.read_states] + [f"output_{i}" for i in range(n_kept)]
        self.saved += [f"saved_{i}" for i in range(len(self.made.training.outputs) - n_kept)] + self.names.read
        self.of_last = [f"of_last_{i}" for i in range(n_states)]
        self.of_outputs = [f"of_kept_{i}" for i in range(n_kept)]
        self.of_sequences = [f"of_sequence_{i}" for i in range(len(plan.sequences))]
        self.inputs = [self._input(*each) for each in self.made.backward_inputs]
        self.edges = [f"first_{i}" if kind == "previous" else "" for kind, i in self.made.backward_inputs]
        self.gradients = self._gradients()
        self.given_out: set[str] = set()

    def _input(self, kind: str, i: int) -> str:
        if kind == "gradient":
            return [*self.of_outputs, *self.of_sequences][i]
        return self.names.step(i) if kind == "step" else f"{'saved' if kind == 'saved' else _OF_FORWARD[kind]}_{i}"

    def _gradients(self) -> dict[str, Any]:
        """For each of the loop's tensors the expression of its gradient, or the sums over time that make it."""
        found: dict[str, Any] = {}
        for i, at in enumerate(self.made.step_gradients):
            if at is None:
                continue
            made = f"to_{at}"
            if i in self.names.products:
                is_across = not self.names.is_transposed[f"weight_{i}"]
                made = f"rows_times({made}, weight_{i}, is_transposed={is_across})"
                found[f"weight_{i}"] = Gradient(((("rows", i), ("output", at)),), is_transposed=False)
                found[f"bias_{i}"] = Gradient(((None, ("output", at)),), is_transposed=False)
            found[f"rows_{i}"] = f"{made}.view_as(rows_{i})"
        found |= {f"constant_{i}": gradient for i, gradient in enumerate(self.made.constant_gradients)}
        return found | {first: f"to_{first}" for first in self.names.firsts}

    def source(self) -> str:
        names, given = self.names, [*self.of_last, *self.of_sequences, *self.of_outputs]
        to_first = [f"to_{first}" for first in names.firsts]
        outputs = [f"to_{i}" for i in range(len(self.program.outputs))]
        constants, rows, weights, held = names.constants()
        totals = [f"total_{i}" for i in range(len(self.program.totals))]
        more, packed = self.plan.kernel("backward").arguments(
            self.inputs,
            self.edges,
            [""] * len(to_first),
            self.of_last,
            to_first,
            rows,
            weights,
            outputs,
            held,
            totals,
            is_reversed="not layout.is_reversed",
        )
        lines = [
            f"{_listed(names.tensors + self.saved)} = saved",
            f"{_listed(given)} = gradients",
            "total = layout.total",
            *self._given(),
            *[f"to_{i} = new_tensor(first_0, total, {value.width})" for i, value in enumerate(self.program.outputs)],
            *[
                f"total_{i} = first_0.new_zeros(layout.n_rows, {value.width}, dtype=computed_in)"
                for i, value in enumerate(self.program.totals)
            ],
            # rows of no steps pass the gradient of their last state on to their first
            *_alike(zip(to_first, names.firsts, self.of_last, strict=True)),
            *constants,
            *more,
            f"yield kernel, {packed}",
            *self._sums(),
        ]
        results = []
        for i, name in enumerate(names.tensors):
            gradient = self.gradients.get(name)
            if isinstance(gradient, str):
                results.append(f"{gradient} if needed[{i}] else None")
            else:
                results.append("None" if gradient is None else f"gradient_{i}")
        return _source("layout, n_threads, saved, gradients, needed", [*lines, f"return {_list(results)}"])

    def _given(self) -> list[str]:
        """The lines of the gradients that the kernel reads; None are zeros."""
        program = self.made.forward
        widths = {name: value.width for name, value in zip(self.of_outputs, program.outputs, strict=True)}
        widths |= {name: program.states[i] for name, i in zip(self.of_sequences, self.plan.sequences, strict=True)}
        zeros = {last: f"zeros_like({first})" for last, first in zip(self.of_last, self.names.firsts, strict=True)}
        zeros |= {name: f"first_0.new_zeros(*layout.lead, {width})" for name, width in widths.items()}
        read = [name for name in zeros if name in self.of_last or name in self.inputs]
        return [f"{name} = {zeros[name]} if {name} is None else {name}.contiguous()" for name in read]

    def _sums(self) -> list[str]:
        """The lines of sums over time. Products come first, those of one right factor together, which adds up that
        factor alone on the way.
        """
        wanted = [(i, name, self.gradients.get(name)) for i, name in enumerate(self.names.tensors)]
        by_row = [(i, name, one) for i, name, one in wanted if isinstance(one, RowGradient)]
        wanted = [each for each in wanted if not isinstance(each[2], RowGradient)]
        each = [(i, name, one) for i, name, one in wanted if one is not None and not isinstance(one, str)]
        parts = [part for _, _, one in each for g in (one if isinstance(one, tuple) else (one,)) for part in g.parts]
        alone = {right for left, right in parts if left is None}
        lefts: _Lefts = {right: [] for left, right in parts if left is not None}
        totals: list[str] = []
        for i, name, one in sorted(each, key=lambda e: isinstance(e[2], Gradient) and _is_of_rows(e[2])):
            if isinstance(one, Gradient):
                block = self._total(f"gradient_{i}", one, name, i, lefts)
            else:
                block = [
                    line for j, g in enumerate(one) for line in self._total(f"part_{j}", g, f"{name}[{j}]", i, lefts)
                ]
                block.append(f"gradient_{i} = stack({_list(f'part_{j}' for j in range(len(one)))})")
            totals += [f"gradient_{i} = None", f"if needed[{i}]:", *[f"    {line}" for line in block]]
        lines = [f"{_sum(right)} = None" for right in sorted(alone - lefts.keys())]
        for right, found in lefts.items():
            sums, width = "None", self._width(right)
            if right in alone:
                sums = _sum(right)
                is_any = " or ".join(f"needed[{i}]" for i in sorted({i for _, i in found}))
                lines.append(f"{sums} = {self._factor(right)}.new_zeros({width}) if {is_any} else None")
            each_left = _list(f"({left}) if needed[{i}] else None" for left, i in found)
            given = f"{self._factor(right)}, {width}, {each_left}, {sums}, layout"
            lines.append(f"products_of_{right[0]}_{right[1]} = sums_of_products({given})")
        return [*lines, *totals, *(line for each in by_row for line in self._by_row(*each))]

    def _by_row(self, number: int, name: str, gradient: RowGradient) -> list[str]:
        """The lines of the gradient of what has a row for each sequence."""
        parts = _list(f"(({self._of_row(left)}), ({self._of_row(right)}))" for left, right in gradient.parts)
        total = None if gradient.total is None else f"total_{gradient.total}"
        made = f"products_by_row({parts}, {total}, {name}, layout)"
        return [f"gradient_{number} = {made} if needed[{number}] else None"]

    def _of_row(self, factor: Factor) -> str:
        edge = (self.edges[factor[1]] if factor[0] == "step" else "") or "None"
        return f"{self._factor(factor)}, {self._width(factor)}, {edge}"

    def _total(self, result: str, gradient: Gradient, like: str, number: int, lefts: _Lefts) -> list[str]:
        """The lines of the gradient of one constant, or of a part of it; its products are added to those to be made."""
        if not gradient.parts:
            return [f"{result} = zeros_like({like})"]
        is_flipped = gradient.is_transposed != self.names.is_transposed.get(like, False)
        lines: list[str] = []
        found: list[str] = []
        for left, right in gradient.parts:
            if left is None:
                found.append(_sum(right))
                total = f"{self._factor(right)}.view(total, {self._width(right)}).sum(0)"
                lines += [f"if {_sum(right)} is None:", f"    {_sum(right)} = {total}"]
                continue
            found.append(f"products_of_{right[0]}_{right[1]}[{len(lefts[right])}]")
            edge = (self.edges[left[1]] if left[0] == "step" else "") or "None"
            given = f"{self._factor(left)}, {self._width(left)}, {edge}, {like}, {is_flipped}"
            lefts[right].append((given, number))
        total = found[0] if len(found) == 1 else f"({' + '.join(found)})"
        if _is_of_rows(gradient):
            if total in self.given_out:  # one tensor is no two gradients: whoever changes one in place keeps the other
                total += ".clone()"
            self.given_out.add(total)
            total += "" if like.startswith("bias") else f".view_as({like})"
        return [*lines, f"{result} = {total}"]

    def _factor(self, factor: Factor) -> str:
        kind, i = factor
        return self.inputs[i] if kind == "step" else f"{'rows' if kind == 'rows' else 'to'}_{i}"

    def _width(self, factor: Factor) -> str:
        kind, i = factor
        if kind == "rows":
            return f"rows_{i}.shape[-1]"
        return str(self.program.steps[i] if kind == "step" else self.program.outputs[i].width)


_OF_FORWARD = {"previous": "state", "next": "state", "output": "output"}


def _is_of_rows(gradient: Gradient) -> bool:
    return bool(gradient.parts) and all(left is None for left, _ in gradient.parts)


def _sum(factor: Factor) -> str:
    return f"sum_of_{factor[0]}_{factor[1]}"


def _alike(tensors: Iterable[tuple[str, str, str]]) -> list[str]:
    """Lines that make each tensor as large as a second one; where rows end sooner, of the third one's numbers."""
    named = list(tensors)
    return [
        "if layout.counts is None:",
        *[f"    {name} = empty_like({like})" for name, like, _ in named],
        "else:",
        *[f"    {name} = {start}.clone()" for name, _, start in named],
    ]


def _listed(names: Iterable[str]) -> str:
    return "".join(f"{name}, " for name in names).strip()


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"


def _source(arguments: str, lines: list[str]) -> str:
    return "\n".join([f"def call({arguments}):", *[f"    {line}" for line in lines]]) + "\n"
