"""The loop program: what one time step does to rows of the batch, in a form that a back-end can emit.

A program is a graph of values. A value is a row of `width` numbers for every row of the batch, or, where `per_row` is
false, one row that is the same for all. Equal values are one object. The operations:

    step(i)            input i of the step, an array [time, batch, width]
    state(i)           state i, carried from the step before, [batch, width]
    row(i)             input i that is the same at every step and row, [width]
    held(i)            input i that is the same at every step and has a row for each sequence, [batch, width]
    const(number)      width 1
    slice(a; start)    width numbers of a, from `start`; only of inputs, matmul, cumsum, flip, rowsums and colsums
    cat(a, b, ...)     one after the other; only as an output or as the operand of what reads whole rows
    matmul(a; i)       a times weight i [a.width, width], the same at every step
    matmul(a, m; i)    the same, added to another matmul m
    sum(a), max(a)     over the row's numbers, width 1
    cumsum(a), flip(a) along the row's numbers
    tile(a; n)         the numbers of a, n times
    repeat(a; n)       each number of a, n times
    rowsums(a; n)      the sum of each n numbers, one after the other
    colsums(a; n)      n sums: of every n-th number
    any other name     elementwise over its arguments, whose widths are `width` or 1; see POINTWISE

A matrix within each row of the batch, [places, width], is its numbers one after the other: `repeat` makes it of a
column, `tile` of a row, and `rowsums` and `colsums` sum it along one of its axes. `verify` holds a program to this.
"""
# long: the language, what makes programs in it, and what checks them define each other

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# name: number of arguments
POINTWISE = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1, "sign": 1,
    "exp": 1, "log": 1, "log1p": 1, "expm1": 1, "tanh": 1, "sigmoid": 1, "sqrt": 1, "erf": 1, "sin": 1, "cos": 1,
    "tan": 1, "asin": 1, "acos": 1, "atan": 1, "sinh": 1, "cosh": 1, "asinh": 1, "acosh": 1, "atanh": 1,
    "log2": 1, "log10": 1, "exp2": 1, "erfc": 1, "floor": 1, "ceil": 1, "trunc": 1, "round": 1,
    "pow": 2, "atan2": 2, "fmod": 2, "remainder": 2, "floordiv": 2, "copysign": 2, "hypot": 2,
    "min": 2, "max2": 2, "where": 3,
    "gt": 2, "lt": 2, "ge": 2, "le": 2, "eq": 2, "ne": 2, "and": 2, "or": 2, "not": 1,
}  # fmt: skip
INPUTS = ("step", "state", "row", "held")
REDUCTIONS = ("sum", "max")
ALONG = ("cumsum", "flip")
BROADCASTS = ("tile", "repeat")  # of a vector to a matrix; never stored by themselves
MATRIX_SUMS = ("rowsums", "colsums")
VIEWED = (*INPUTS, "matmul", *ALONG, *MATRIX_SUMS)  # what a slice can be taken of without computing anything
EXPENSIVE = (
    "exp", "log", "log1p", "expm1", "tanh", "sigmoid", "sqrt", "erf", "sin", "cos", "pow", "div",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "log2", "log10", "exp2", "erfc",
    "atan2", "fmod", "remainder", "floordiv", "hypot",
)  # fmt: skip
#: all operations that a value may have
OPERATIONS = frozenset(
    (*POINTWISE, *INPUTS, *REDUCTIONS, *ALONG, *BROADCASTS, *MATRIX_SUMS, "const", "fill", "slice", "cat", "matmul")
)
_NUMBERED = (*INPUTS, "slice", "matmul", *BROADCASTS, *MATRIX_SUMS)  # whose attribute is a number of something
_UNARY = ("slice", *REDUCTIONS, *ALONG, *BROADCASTS, *MATRIX_SUMS)


@dataclass(frozen=True, eq=False)
class Value:
    """One value of a program; made by `Builder` alone."""

    op: str
    args: tuple["Value", ...]
    attribute: float | int | None
    width: int
    per_row: bool

    @property
    def number(self) -> float:
        """Of a constant; -0.0 too, which `attribute or 0` would make 0."""
        assert self.attribute is not None
        return float(self.attribute)

    @property
    def is_zero(self) -> bool:
        """Whether all its numbers are a constant 0."""
        return self.op in ("const", "fill") and self.attribute == 0

    @functools.cached_property
    def row_width(self) -> int:
        """Of the rows of a matrix that a broadcast makes within a row of the batch; 0 where none does."""
        if self.op in BROADCASTS:
            return self.args[0].width if self.op == "tile" else int(self.attribute or 0)
        return max([0, *(arg.row_width for arg in self.args if arg.width > 1)]) if self.op in POINTWISE else 0

    def __repr__(self) -> str:
        inside = ", ".join(
            [f"%{id(arg) % 9973}" for arg in self.args] + ([str(self.attribute)] * (self.attribute is not None))
        )
        return f"%{id(self) % 9973} = {self.op}({inside}) [{self.width}]"


class Builder:
    """Makes values, equal ones once, simple ones simpler, sums of products as one product if asked to."""

    def __init__(self, *, sums_products: bool = True) -> None:
        self._values: dict[tuple, Value] = {}
        self._sums_products = sums_products

    def _make(
        self, op: str, args: tuple[Value, ...], attribute: float | int | None, width: int, *, per_row: bool
    ) -> Value:
        # repr tells 0.0 from -0.0 and finds nan equal to itself
        key = (op, tuple(map(id, args)), repr(attribute), width, per_row)
        value = self._values.setdefault(key, Value(op, args, attribute, width, per_row))
        value.row_width  # noqa: B018 - found now, from the arguments': of a long chain Python would go too deep
        return value

    def input(self, op: str, index: int, width: int) -> Value:
        """step, state, row or held number `index`."""
        return self._make(op, (), index, width, per_row=op != "row")

    def const(self, number: float) -> Value:
        return self._make("const", (), float(number), 1, per_row=False)

    def matmul(self, a: Value, weight: int, width: int, base: Value | None = None) -> Value:
        return self._make("matmul", (a,) if base is None else (a, base), weight, width, per_row=True)

    def reduce(self, op: str, a: Value) -> Value:
        if a.width == 1:
            return a if a.op != "fill" else self.const(a.number)
        if a.op == "fill":
            return self.const(a.number * (a.width if op == "sum" else 1))
        if a.op == "cat":
            join = "add" if op == "sum" else "max2"
            return functools.reduce(lambda x, y: self.pointwise(join, x, y), [self.reduce(op, part) for part in a.args])
        return self._make(op, (a,), None, 1, per_row=a.per_row)

    def along(self, op: str, a: Value) -> Value:
        """cumsum or flip."""
        if a.width == 1 or (a.op == "fill" and op == "flip"):
            return a
        return self._make(op, (a,), None, a.width, per_row=a.per_row)

    def broadcast(self, op: str, a: Value, times: int) -> Value:
        """tile or repeat; a number stays one."""
        if a.width == 1 or times == 1:
            return a
        if a.op == "fill":
            return self.fill(a.number, a.width * times)
        return self._make(op, (a,), times, a.width * times, per_row=a.per_row)

    def matrix_sum(self, op: str, a: Value, n: int, width: int) -> Value:
        """rowsums, [n], or colsums, [width], of a matrix [n, width], or of one number that stands for all of its."""
        count = width if op == "rowsums" else n
        if a.width == 1 or a.op == "fill":
            number = self.const(a.number) if a.op == "fill" else a
            return self.widened(self.pointwise("mul", number, self.const(count)), n if op == "rowsums" else width)
        return self._make(op, (a,), width, n if op == "rowsums" else width, per_row=a.per_row)

    def slice(self, a: Value, start: int, width: int) -> Value:
        """`width` numbers of a from `start`; moves inward to what can be viewed."""
        if start == 0 and width == a.width:
            return a
        if a.op in BROADCASTS:
            return self._slice_of_broadcast(a, start, width)
        if a.op in VIEWED:
            return self._make("slice", (a,), start, width, per_row=a.per_row)
        if a.op == "slice":
            return self.slice(a.args[0], int(a.attribute or 0) + start, width)
        if a.op == "cat":
            return self.cat(list(_slices(self, a, start, width)))
        if a.op == "fill":
            return self.fill(a.number, width)
        if a.width == 1:
            return a
        return self.pointwise(a.op, *(arg if arg.width == 1 else self.slice(arg, start, width) for arg in a.args))

    def _slice_of_broadcast(self, a: Value, start: int, width: int) -> Value:
        """Of whole rows of a matrix, or of a part of one row."""
        inner = a.row_width
        first, offset = divmod(start, inner)
        if offset + width > inner and (offset or width % inner):
            until = inner - offset  # the end of the first row, and the rest
            parts = [(start, until), (start + until, width - until)]
            return self.cat([self.widened(self._slice_of_broadcast(a, at, n), n) for at, n in parts])
        [vector] = a.args
        n_rows = max(1, width // inner)
        if a.op == "repeat":
            return self.broadcast("repeat", self.slice(vector, first, n_rows), min(width, inner))
        return self.broadcast("tile", self.slice(vector, offset, min(width, inner)), n_rows)

    def cat(self, parts: list[Value]) -> Value:
        flat = [each for part in parts for each in (part.args if part.op == "cat" else (part,))]
        flat = list(_joined(self, flat))
        if len(flat) == 1:
            return flat[0]
        return self._make(
            "cat", tuple(flat), None, sum(part.width for part in flat), per_row=any(part.per_row for part in flat)
        )

    def widened(self, a: Value, width: int) -> Value:
        """A value of width 1 as one of `width`."""
        if a.width == width:
            return a
        if a.op == "const":
            return self.fill(a.number, width)
        # -0 added to any number, of either zero too, is that number
        return self._make("add", (a, self.fill(-0.0, width)), None, width, per_row=a.per_row)

    def fill(self, number: float, width: int) -> Value:
        """One number, `width` times."""
        return self._make("fill", (), float(number), width, per_row=False)

    def pointwise(self, op: str, *args: Value) -> Value:
        simple = self._simplified(op, args)
        if simple is not None:
            return simple
        if op == "add" and self._sums_products and (summed := self._summed(*args)) is not None:
            return summed
        width = max(arg.width for arg in args)
        if any(arg.op == "cat" for arg in args):
            cuts = sorted({cut for arg in args if arg.op == "cat" for cut in _cuts(arg)})
            bounds = zip([0, *cuts], [*cuts, width], strict=True)
            slices = [
                self.pointwise(op, *(arg if arg.width == 1 else self.slice(arg, at, stop - at) for arg in args))
                for at, stop in bounds
            ]
            slices = [
                self.widened(each, stop - at)
                for each, (at, stop) in zip(slices, zip([0, *cuts], [*cuts, width], strict=True), strict=True)
            ]
            return self.cat(slices)
        return self._make(op, args, None, width, per_row=any(arg.per_row for arg in args))

    def rebuilt(self, value: Value, args: list[Value]) -> Value:
        """The same operation on other arguments."""
        match value.op:
            case "slice":
                return self.slice(args[0], int(value.attribute or 0), value.width)
            case "cat":
                return self.cat(args)
            case "matmul":
                product = self.matmul(args[0], int(value.attribute or 0), value.width)
                return self.pointwise("add", args[1], product) if len(args) > 1 else product
            case "sum" | "max":
                return self.reduce(value.op, args[0])
            case "cumsum" | "flip":
                return self.along(value.op, args[0])
            case "tile" | "repeat":
                return self.broadcast(value.op, args[0], int(value.attribute or 0))
            case "rowsums" | "colsums":
                width = int(value.attribute or 0)
                return self.matrix_sum(value.op, args[0], value.args[0].width // width, width)
        return self.pointwise(value.op, *args)

    def _summed(self, a: Value, b: Value) -> Value | None:
        """The sum of two products, one of which may already have been added to something, as one product."""
        for one, other in ((a, b), (b, a)):
            if one.op != "matmul" or len(one.args) > 1 or one.width != other.width:
                continue
            onto = lambda base: self.matmul(one.args[0], int(one.attribute or 0), one.width, base)  # noqa: B023 - called at once
            if other.op == "matmul":
                return onto(other)
            if other.op == "add":
                for base, rest in (other.args, other.args[::-1]):
                    if base.op == "matmul" and base.width == one.width:
                        return self.pointwise("add", onto(base), rest)
        return None

    def _simplified(self, op: str, args: tuple[Value, ...]) -> Value | None:
        """The identities that hold for every number, NaN and infinities included."""
        match op, args:
            case "mul", (a, Value(op="const", attribute=1.0)):
                return a
            case "mul", (Value(op="const", attribute=1.0), a):
                return a
            case "div", (a, Value(op="const", attribute=1.0)):
                return a
            case "neg", (Value(op="neg", args=(a,)),):
                return a
            case "sub", (a, zero) if repr(zero.attribute) == "0.0" and zero.is_zero and a.width >= zero.width:
                return a
            # x + 0 differs from x for x = -0 alone; the derivative's zeros come from here, and autograd adds none
            case "add", (a, zero) if zero.is_zero and a.width >= zero.width:
                return a
            case "add", (zero, a) if zero.is_zero and a.width >= zero.width:
                return a
            case _:
                return None


def _cuts(cat: Value) -> Iterator[int]:
    at = 0
    for part in cat.args[:-1]:
        at += part.width
        yield at


def _slices(builder: Builder, cat: Value, start: int, width: int) -> Iterator[Value]:
    at = 0
    for part in cat.args:
        first, last = max(start, at), min(start + width, at + part.width)
        if first < last:
            # a part of width 1 is never wider than one number of the cat
            yield builder.slice(part, first - at, last - first) if part.width > 1 else part
        at += part.width


def _joined(builder: Builder, parts: list[Value]) -> Iterator[Value]:
    """Neighbouring slices of one value become one slice, and neighbours that hold one number one of that number."""
    current: Value | None = None
    for part in parts:
        if current is not None:
            if {current.op, part.op} <= {"const", "fill"} and repr(current.attribute) == repr(part.attribute):
                current = builder.fill(part.number, current.width + part.width)
                continue
            (base, at), (other, start) = _view(current), _view(part)
            if base is other and base.op in VIEWED and start == at + current.width:
                current = builder.slice(base, at, current.width + part.width)
                continue
            yield current
        current = part
    if current is not None:
        yield current


def _view(a: Value) -> tuple[Value, int]:
    return (a.args[0], int(a.attribute or 0)) if a.op == "slice" else (a, 0)


@dataclass(frozen=True)
class Program:
    """One time step.

    Attributes:
        steps, states, rows, held: widths of the inputs of each kind.
        weights: shapes (in, out) of the weights.
        next_states: the states that the next step gets, one for each of `states`.
        outputs: what is kept of every step, arrays [time, batch, width].
        shifted: those of the step inputs that are read as they are at the step that runs next; where there is none,
            a value for that edge is read.
        totals: what is added up over all steps, for each row of the batch: arrays [batch, width].
    """

    steps: tuple[int, ...]
    states: tuple[int, ...]
    rows: tuple[int, ...]
    weights: tuple[tuple[int, int], ...]
    next_states: tuple[Value, ...]
    outputs: tuple[Value, ...]
    shifted: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    totals: tuple[Value, ...] = ()

    @property
    def results(self) -> tuple[Value, ...]:
        """All that is computed for."""
        return (*self.next_states, *self.outputs, *self.totals)

    def values(self) -> list[Value]:
        """All values that count, arguments first."""
        return in_order(self.results)

    def products(self) -> list[Value]:
        """Those that are computed: one that is only ever added to is a part of the one that adds to it."""
        values = self.values()
        read = {id(arg) for value in values for arg in (value.args[:1] if value.op == "matmul" else value.args)}
        read |= {id(value) for value in self.results}
        return [value for value in values if value.op == "matmul" and id(value) in read]

    def __str__(self) -> str:
        values = self.values()
        place = {id(value): i for i, value in enumerate(values)}
        lines = []
        for i, value in enumerate(values):
            inside = [f"%{place[id(arg)]}" for arg in value.args]
            if value.attribute is not None:
                inside.append(f"{value.attribute:g}")
            same = "" if value.per_row else " same for all rows"
            lines.append(f"%{i} = {value.op}({', '.join(inside)})  [{value.width}]{same}")
        lines += [f"next state {i} = %{place[id(value)]}" for i, value in enumerate(self.next_states)]
        lines += [f"output {i} = %{place[id(value)]}" for i, value in enumerate(self.outputs)]
        lines += [f"total {i} += %{place[id(value)]}" for i, value in enumerate(self.totals)]
        return "\n".join(lines)


def parts_of(product: Value) -> list[Value]:
    """The matmuls that one is the sum of."""
    return [*(part for base in product.args[1:] for part in parts_of(base)), product]


def with_products_once(program: Program) -> Program:
    """The program, its sums of products taken apart if a product would be computed for two of them."""
    parts = [(id(part.args[0]), part.attribute) for product in program.products() for part in parts_of(product)]
    if len(set(parts)) == len(parts):
        return program
    builder, made = Builder(sums_products=False), dict[int, Value]()
    for value in program.values():
        args = [made[id(arg)] for arg in value.args]
        made[id(value)] = builder.rebuilt(value, args) if args else value
    states, outputs, totals = (
        tuple(made[id(value)] for value in each) for each in (program.next_states, program.outputs, program.totals)
    )
    return dataclasses.replace(program, next_states=states, outputs=outputs, totals=totals)


def in_order(roots: Iterable[Value]) -> list[Value]:
    """The roots and all that they need, arguments first."""
    order: list[Value] = []
    done: set[int] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        value, is_ready = stack.pop()
        if id(value) in done:
            continue
        if is_ready:
            done.add(id(value))
            order.append(value)
        else:
            stack.append((value, True))
            stack.extend((arg, False) for arg in reversed(value.args))
    return order


def verify(program: Program) -> Program:
    """Holds a program to its specification; returns it.

    Raises:
        AssertionError: a stage before made it wrongly; this is a bug, never the user's fault.
    """
    assert len(program.next_states) == len(program.states)
    assert all(new.width == width for new, width in zip(program.next_states, program.states, strict=True))
    roots = {id(value) for value in program.results}
    values = program.values()
    operands = {id(value.args[0]) for value in values if value.op in ("matmul", *ALONG, *BROADCASTS)}
    widths = {"step": program.steps, "state": program.states, "row": program.rows, "held": program.held}
    assert all(i < len(program.steps) for i in program.shifted)
    for value in values:
        _verify_form(value)
        if value.op in INPUTS:
            assert widths[value.op][int(value.attribute or 0)] == value.width, value
        elif value.op == "slice":
            [base] = value.args
            assert base.op in VIEWED, value
            assert 0 <= int(value.attribute or 0) <= base.width - value.width, value
        elif value.op == "cat":
            assert id(value) in roots | operands, value
            assert sum(arg.width for arg in value.args) == value.width, value
        elif value.op == "matmul":
            assert program.weights[int(value.attribute or 0)] == (value.args[0].width, value.width), value
            assert all(base.op == "matmul" and base.width == value.width for base in value.args[1:]), value
            assert len(value.args) <= 2, value
        elif value.op in REDUCTIONS:
            assert value.width == 1, value
            assert not value.args[0].row_width, value
        elif value.op in BROADCASTS:
            assert value.width == value.args[0].width * int(value.attribute or 0), value
            assert not value.args[0].row_width, value
        elif value.op in MATRIX_SUMS:
            width = int(value.attribute or 0)
            assert value.width == (value.args[0].width // width if value.op == "rowsums" else width), value
            assert value.args[0].width % width == 0, value
            assert value.args[0].row_width in (0, width), value
        elif value.op in ALONG:
            assert value.args[0].width == value.width, value
        elif value.op in ("const", "fill"):
            assert not value.args, value
        else:
            assert len(value.args) == POINTWISE[value.op], value
            assert all(arg.width in (1, value.width) for arg in value.args), value
            assert len({arg.row_width for arg in value.args} - {0}) <= 1, value
        assert not (value.op == "cat" and any(arg.op == "cat" for arg in value.args)), value
    return program


def _verify_form(value: Value) -> None:
    """What holds of a value by itself. Its parts become source, so their types are held to as well."""
    n_args, attribute = len(value.args), value.attribute
    assert value.op in OPERATIONS, value
    assert type(value.width) is int, value
    assert value.width >= 0, value
    if value.op in _NUMBERED:
        assert type(attribute) is int, value
        assert attribute >= 0, value
    else:
        assert type(attribute) is (float if value.op in ("const", "fill") else type(None)), value
    if value.op in (*INPUTS, "const", "fill"):
        assert n_args == 0, value
        assert value.width == 1 or value.op != "const", value
        assert value.per_row is (value.op in INPUTS and value.op != "row"), value
        return
    assert n_args >= 1, value
    assert n_args == 1 or value.op not in _UNARY, value
    assert value.per_row is (value.op == "matmul" or any(arg.per_row for arg in value.args)), value
    if value.op in POINTWISE:
        assert value.width == max(arg.width for arg in value.args), value
