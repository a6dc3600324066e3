"""A back-end in one file: loop programs run in NumPy, value by value. It is the example of the protocol (base.py).

It is slow, and as exact as NumPy. It reads factors of products in their own dtype, also under autocast.
"""

import functools
import math
import time

import numpy as np
import torch

from unrolled.engine.ir.program import Program, Value
from unrolled.engine.reasons import NotTraceable

# what each pointwise operation of a program does
POINTWISE = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "sign": np.sign, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "sqrt": np.sqrt, "erf": np.vectorize(math.erf),
    "erfc": np.vectorize(math.erfc), "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "log2": np.log2, "log10": np.log10, "exp2": np.exp2, "floor": np.floor, "ceil": np.ceil,
    "trunc": np.trunc, "round": np.rint, "pow": np.power, "atan2": np.arctan2, "fmod": np.fmod,
    "remainder": np.remainder, "floordiv": np.floor_divide, "copysign": np.copysign, "hypot": np.hypot, "min": np.minimum,
    "max2": np.maximum, "where": lambda a, b, c: np.where(a != 0, b, c), "gt": np.greater, "lt": np.less,
    "ge": np.greater_equal, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal, "and": np.logical_and,
    "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip
# what the other operations do to their one argument, given the value's attribute
OTHERS = {
    "sum": lambda a, _: a.sum(1, keepdims=True),
    "max": lambda a, _: a.max(1, keepdims=True),
    "cumsum": lambda a, _: a.cumsum(1),
    "flip": lambda a, _: a[:, ::-1],
    "tile": lambda a, n: np.tile(a, (1, n)),
    "repeat": lambda a, n: np.repeat(a, n, 1),
    "rowsums": lambda a, n: a.reshape(len(a), -1, n).sum(2),
    "colsums": lambda a, n: a.reshape(len(a), -1, n).sum(1),
}


class Kernel:
    """A program, as the protocol has it. Nothing is compiled: `run` goes over the values at each step."""

    language = "NumPy"

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        if dtype == torch.bfloat16:
            raise NotTraceable("NumPy has no bfloat16")
        self.program, self.values, self.source = program, program.values(), str(program)
        self.dtype = torch.empty(0, dtype=dtype).numpy().dtype

    def names(self):
        return {"no_tensor": None}

    def arguments(
        self, steps, firsts, states, first_states, last_states, rows, weights, outputs, held, totals=(), *, is_reversed
    ):
        """No lines, and a tuple: the layout, the direction, the matrices, and a list of tensors for each group."""
        matrices = [f"({name}.t(), {name})" if is_across else f"({name}, {name}.t())" for name, is_across in weights]
        groups = steps, firsts, states, first_states, last_states, rows, outputs, held, totals
        lists = [f"[{', '.join(name or 'no_tensor' for name in group)}]" for group in groups]
        return [], f"(layout, {is_reversed}, [{', '.join(matrices)}], [{', '.join(lists)}])"

    def run(self, arguments) -> None:
        (layout, is_reversed, matrices, groups), program = arguments, self.program
        outputs, totals = ([value.width for value in values] for values in (program.outputs, program.totals))
        widths = [program.steps, program.steps, *[program.states] * 3, program.rows, outputs, program.held, totals]
        # what is written to the views is written to the tensors
        views = [list(map(as_rows, group, each)) for group, each in zip(groups, widths, strict=True)]
        steps, firsts, states, first_states, last_states, rows, outputs, held, totals = views
        weights = [as_array(matrix) for pair in matrices for matrix in pair]
        carried = [first.copy() for first in first_states]
        sizes = layout.sizes()
        places = [slice(end - n, end) for end, n in zip(np.cumsum(sizes), sizes, strict=True)]
        order = range(layout.n_steps)[:: -1 if is_reversed else 1]
        for t, following in zip(order, [*order[1:], None], strict=True):
            n, here = sizes[t], places[t]
            now = [step[here] for step in steps]
            for i in program.shifted:
                now[i] = shifted(steps[i], firsts[i], n, slice(0) if following is None else places[following])
            inputs = {"step": now, "state": [state[:n] for state in carried], "row": rows}
            results = self.evaluated(inputs | {"held": [each[:n] for each in held]}, weights, n)
            new = [results[value].copy() for value in program.next_states]  # states may change places
            for state, kept, result in zip(carried, states, new, strict=True):
                state[:n] = result
                if kept is not None:
                    kept[here] = result
            for output, value in zip(outputs, program.outputs, strict=True):
                output[here] = results[value]
            for total, value in zip(totals, program.totals, strict=True):
                total[:n] += results[value]
        for last, state in zip(last_states, carried, strict=True):
            last[:] = state

    def evaluated(self, inputs, weights, n) -> dict[Value, np.ndarray]:
        """All values of one step, each [n, width], or [1, width] where it is the same for all rows."""
        found: dict[Value, np.ndarray] = {}
        for value in self.values:
            args, attribute = [found[arg] for arg in value.args], value.attribute
            if value.op in inputs:
                result = inputs[value.op][attribute]
            elif value.op in ("const", "fill"):
                result = np.full((1, value.width), attribute)
            elif value.op == "slice":
                result = args[0][:, attribute : attribute + value.width]
            elif value.op == "cat":
                result = np.concatenate([np.broadcast_to(arg, (n, arg.shape[1])) for arg in args], 1)
            elif value.op == "matmul":
                result = sum(args[1:], args[0] @ weights[attribute])
            elif value.op in OTHERS:
                result = OTHERS[value.op](args[0], attribute)
            else:
                with np.errstate(all="ignore"):
                    result = POINTWISE[value.op](*args)
            found[value] = result.astype(self.dtype, copy=False)  # a constant's is float64, a comparison's bool
        return found


def shifted(step, first, n, there):
    """Rows of an input as they are at the step that runs next, `there`; the edge's where they do not run then."""
    both = min(n, there.stop - (there.start or 0))
    return np.concatenate((step[there][:both], first[both:n]))


def as_array(tensor):
    return tensor.detach().numpy()


def as_rows(tensor, width):
    """A view [rows, width]; None where there is no tensor."""
    return None if tensor is None else as_array(tensor.view(-1, width))


def kernels(programs, dtype):
    return [Kernel(program, dtype) for program in programs]


def begin(dtype):
    pass


def stop(dtype):
    pass


def way_of(layouts):
    def run_in_turn(calls):
        for kernel, arguments in calls:
            kernel.run(arguments)
        return [None] * len(calls)

    return 1, run_in_turn


def least_rows_inside():
    return 1 << 30


def new_tensor(like, *shape):
    return like.new_empty(*shape)


def rows_times(rows, weight, bias=None, *, is_transposed=False):
    result = as_array(rows).reshape(-1, rows.shape[-1]) @ as_array(weight.t() if is_transposed else weight)
    return torch.from_numpy(result if bias is None else result + as_array(bias))


def outer_sum(left, right, like=None, sums=None):
    if sums is not None:
        sums += right.sum(0)
    return torch.from_numpy(as_array(left).T @ as_array(right))


def sums_of_products(right, m, lefts, sums, layout):
    right, found = right.view(layout.total, m), []
    for left in lefts:
        if left is None:
            found.append(None)
            continue
        rows, k, first, _, is_flipped = left
        rows = rows.view(layout.total, k)
        if first is not None:
            rows = layout.before(first.view(layout.n_rows, k), rows)
        result = outer_sum(rows, right, sums=sums)
        found.append(result.t() if is_flipped else result)
        sums = None
    return found


def rows_at(places, rows):
    none = rows.new_zeros(1, *rows.shape[1:])
    return torch.cat((rows, none))[places]  # -1 is the last row


def arranged(active):
    lengths, counts = active.sum(0), active.sum(1)
    order = lengths.argsort(descending=True, stable=True)
    time, row = active[:, order].nonzero(as_tuple=True)
    places = time * active.shape[1] + order[row]
    packed_places = torch.full((active.numel(),), -1)
    packed_places[places] = torch.arange(len(places))
    return counts, counts.cumsum(0) - counts, order, order.argsort(), places, packed_places


@functools.cache
def peak(dtype=torch.float32):
    matrix = torch.ones(256, 256, dtype=dtype).numpy()
    start = time.perf_counter()
    matrix @ matrix
    return 2 * 256**3 / (time.perf_counter() - start) / 1e9


def diagnosis():
    yield f"NumPy     {np.__version__}"
