"""When each value of a loop program is computed within a step, and where it lies.

Input: a program. Output: a `Schedule`: levels, the loops of each level with what they store, places in memory, and what
each phase of a step reads and writes.

Within a step the work falls into levels. At each level first come loops over the features that compute and store what
the next products, reductions and the step's results need (everything pointwise between is in registers), then the
products and reductions.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from unrolled.engine.backends.cpu.barriers import Access
from unrolled.engine.ir.program import (
    ALONG,
    BROADCASTS,
    EXPENSIVE,
    INPUTS,
    MATRIX_SUMS,
    POINTWISE,
    REDUCTIONS,
    Program,
    Value,
    parts_of,
)

Address = tuple[str, str, int]  # pointer, row stride, offset

# what is computed after a level's loops, and lies in memory then
_REDUCED = (*REDUCTIONS, *ALONG, *MATRIX_SUMS)


@dataclass
class Loop:
    """One loop over rows and features: values to store, or to add to totals, and where. Where they are matrices within
    a row, `row_width` is that of their rows.
    """

    width: int
    row_width: int = 0
    stores: list[tuple[Address, Value]] = field(default_factory=list)

    @property
    def share(self) -> object:
        """How threads share the features of what is stored."""
        return "rows" if self.width == 1 else ("matrix", self.row_width) if self.row_width else "features"


class Schedule:
    """The schedule of one program. Narrow: what is stored is not what is computed in.

    Attributes:
        level: of each value, by its id.
        n_levels: how many.
        place: where a value can be read once its level's loops are done.
        scratch: name, and numbers per row.
        operands: of products, where they are widened, the name of their scratch.
        loops: of each level, by widths.
        segments: of products that threads share by the loops that read them, the width of such a part.
    """

    def __init__(self, program: Program, *, is_narrow: bool) -> None:
        self.program, self.is_narrow = program, is_narrow
        self.values = program.values()
        self.names = {id(value): i for i, value in enumerate(self.values)}
        self.products = program.products()
        self.level: dict[int, int] = {}
        for value in self.values:
            self.level[id(value)] = self._level(value)
        self.n_levels = 1 + max([0, *(self.level[id(value)] for value in self.values)])
        self.place: dict[int, Address] = {}
        self.scratch: list[tuple[str, str]] = []
        self.operands: dict[int, str] = {}
        self.loops: dict[int, dict[tuple[int, int], Loop]] = defaultdict(dict)
        self._place_inputs()
        self._place_results()
        self._share_what_is_expensive()
        self.segments = {id(product): width for product in self.products if (width := self._segments(product))}

    def _level(self, value: Value) -> int:
        if value.op == "matmul":
            return 1 + max(self.level[id(part.args[0])] for part in parts_of(value))
        before = max([0, *(self.level[id(arg)] for arg in value.args)])
        if value.op in BROADCASTS:  # what is read from memory
            return before + (value.args[0].op not in (*INPUTS, "slice", "matmul", *_REDUCED))
        return before + 1 if value.op in _REDUCED else before

    # ---- where things are
    def _place_inputs(self) -> None:
        for value in self.values:
            if value.op in INPUTS:
                name = {"step": "x", "state": "s", "row": "p", "held": "d"}[value.op] + str(value.attribute)
                self.place[id(value)] = (name, "0" if value.op == "row" else str(value.width), 0)
            elif value in self.products:
                name = f"m{self.names[id(value)]}"
                self.scratch.append(
                    (name, f"ceil_div({value.width}, FIT<{vectors_of(value)}> * VL) * FIT<{vectors_of(value)}> * VL")
                )
                self.place[id(value)] = (name, f"{name}_width", 0)
            elif value.op in _REDUCED:
                self._new_scratch(value)

    def _new_scratch(self, value: Value) -> str:
        name = f"v{self.names[id(value)]}"
        self.scratch.append((name, str(value.width)))
        self.place[id(value)] = (name, f"{name}_width", 0)
        return name

    def _place_results(self) -> None:
        # a rounded result is no place to read a value from: to its own maximum, not rounded, it is not equal
        result = self._write if self.is_narrow else self._store
        for i, value in enumerate(self.program.next_states):
            result(value, f"n{i}", str(value.width))
        for i, value in enumerate(self.program.outputs):
            result(value, f"o{i}", str(value.width))
        for i, value in enumerate(self.program.totals):
            self._write(value, f"g{i}", str(value.width))
        for value in self.values:
            if value.op in BROADCASTS and not self._is_in_memory(value.args[0]):
                self._store(value.args[0], self._new_scratch(value.args[0]), None)
        readers = [*(part for product in self.products for part in parts_of(product)), *self.along_at()]
        for operand in (reader.args[0] for reader in readers):
            where = self.where(operand)
            if where is None:
                self._store(operand, self._new_scratch(operand), None)
            elif self.is_narrow and where[0][0] not in "mv" and id(operand) not in self.operands:
                # a product reads what is computed in
                name = self.operands[id(operand)] = f"w{self.names[id(operand)]}"
                self.scratch.append((name, str(operand.width)))
                self._store(operand, name, None)

    def _store(self, value: Value, pointer: str, stride: str | None) -> None:
        stride = stride or f"{pointer}_width"
        self._write(value, pointer, stride)
        self.place.setdefault(id(value), (pointer, stride, 0))

    def _write(self, value: Value, pointer: str, stride: str) -> None:
        parts = value.args if value.op == "cat" else (value,)
        at = 0
        for part in parts:
            self._loop_of(part, value).stores.append(((pointer, stride, at), part))
            at += part.width

    def _loop_of(self, value: Value, whole: Value | None = None) -> Loop:
        """The one that stores a value, at the level of the whole that it is a part of."""
        loops = self.loops[self.level[id(whole or value)]]
        return loops.setdefault((value.width, value.row_width), Loop(value.width, value.row_width))

    def _is_in_memory(self, value: Value) -> bool:
        return self.where(value) is not None

    def where(self, value: Value) -> Address | None:
        if value.op == "slice":
            pointer, stride, at = self.place[id(value.args[0])]
            return pointer, stride, at + int(value.attribute or 0)
        return self.place.get(id(value))

    def _share_what_is_expensive(self) -> None:
        """A value that is dear and needed in several loops is stored in the first."""
        while True:
            users: dict[int, int] = defaultdict(int)
            for level in range(self.n_levels):
                contexts = [[value for _, value in loop.stores] for loop in self.loops[level].values()]
                contexts += [[value.args[0]] for value in (*self.reductions_at(level), *self.matrix_sums_at(level))]
                for roots in contexts:
                    for value in self._inlined(roots, level):
                        users[id(value)] += 1
            shared = [
                value
                for value in self.values
                if users[id(value)] > 1 and value.op in EXPENSIVE and id(value) not in self.place and value.per_row
            ]
            if not shared:
                return
            value = shared[0]
            self._store(value, self._new_scratch(value), None)

    def _inlined(self, roots: list[Value], level: int) -> list[Value]:
        """What a loop of a level computes in registers for these roots, arguments first."""
        order: list[Value] = []
        done: set[int] = set()

        def visit(value: Value, *, is_root: bool) -> None:
            if id(value) in done or (not is_root and self.is_readable(value, level)):
                return
            done.add(id(value))
            for arg in value.args:
                visit(arg, is_root=False)
            if value.op in POINTWISE:
                order.append(value)

        for root in roots:
            visit(root, is_root=not self.is_readable(root, level))
        return order

    def is_readable(self, value: Value, level: int) -> bool:
        """Whether a loop of this level may read the value from memory: not what loops of the same level store."""
        if value.op in (*INPUTS, "slice", "matmul", *_REDUCED):
            return True
        return id(value) in self.place and self.level[id(value)] < level

    def _read(self, roots: list[Value], level: int) -> list[Value]:
        """What a loop of a level reads from memory for these roots."""
        found: dict[int, Value] = {}

        def visit(value: Value) -> None:
            if self.is_readable(value, level) and self._is_in_memory(value):
                found[id(value)] = value
            else:
                for arg in value.args:
                    visit(arg)

        for root in roots:
            visit(root)
        return list(found.values())

    # ---- threads that share the features
    def _segments(self, product: Value) -> int:
        """The width of the parts of a product that loops read at their own features; 0 where they read it otherwise."""
        widths = set()
        pointer = self.place[id(product)][0]
        for level, loops in self.loops.items():
            for loop in loops.values():
                for value in self._read([value for _, value in loop.stores], level):
                    where = self.where(value)
                    if where is not None and where[0] == pointer:
                        is_own = value.width == loop.width and where[2] % loop.width == 0 and not loop.row_width
                        widths.add(loop.width if is_own else 0)
        [width] = widths if len(widths) == 1 else [0]
        return width if width and vectors_of(product) == 4 and product.width % width == 0 else 0

    def accesses(self, phase: int, step: int) -> list[Access]:
        """Of the phases of a step: the loops of each level, and after them its products and reductions."""
        level, found = phase // 2, list[Access]()

        def add(place: Address | None, *, is_write: bool = False, width: int = 0, share: object = None) -> None:
            assert place is not None
            pointer, _, at = place
            kind, number = pointer[0], pointer[1:]
            if kind in "sn":  # two slots that take turns
                buffer = ("state", number, (step - (kind == "s")) % 2)
            elif kind == "o":
                buffer = ("output", number, step)
            elif kind in "xpd":
                return
            else:
                buffer = ("scratch", pointer, 0)
            found.append(Access(buffer, is_write, share, (at, width) if share == "features" else None))

        if phase % 2 == 0:
            for loop in self.loops[level].values():
                for value in self._read([value for _, value in loop.stores], level):
                    is_own = loop.width in (1, value.width)
                    add(self.where(value), width=loop.width, share=loop.share if is_own else None)
                for place, _ in loop.stores:
                    add(place, is_write=True, width=loop.width, share=loop.share)
        for product in self.products_at(level) if phase % 2 else ():
            for part in parts_of(product):
                add(self.operand(part))
            width = self.segments.get(id(product), 0)
            for at in range(0, product.width, width or product.width):
                pointer, stride, _ = self.place[id(product)]
                add((pointer, stride, at), is_write=True, width=width, share="features" if width else "panels")
        for along in self.along_at(level) if phase % 2 else ():
            add(self.operand(along))
            add(self.place[id(along)], is_write=True, share="rows")
        for reduction in (*self.reductions_at(level), *self.matrix_sums_at(level)) if phase % 2 else ():
            for value in self._read([reduction.args[0]], level):
                add(self.where(value), share="rows" if value.width == 1 else None)
            add(self.place[id(reduction)], is_write=True, share="rows")
        return found

    def reductions_at(self, level: int) -> list[Value]:
        return [v for v in self.values if v.op in REDUCTIONS and self.level[id(v)] == level + 1]

    def matrix_sums_at(self, level: int) -> list[Value]:
        return [v for v in self.values if v.op in MATRIX_SUMS and self.level[id(v)] == level + 1]

    def along_at(self, level: int | None = None) -> list[Value]:
        return [v for v in self.values if v.op in ALONG and level in (None, self.level[id(v)] - 1)]

    def products_at(self, level: int) -> list[Value]:
        return [v for v in self.products if self.level[id(v)] == level + 1]

    def operand(self, value: Value) -> Address:
        """Where what reads whole rows finds them."""
        name = self.operands.get(id(value.args[0]))
        where = self.where(value.args[0]) if name is None else (name, f"{name}_width", 0)
        assert where is not None, "what whole rows are read of lies in memory"
        return where


def vectors_of(value: Value) -> int:
    """Vectors a panel: 4, the best tile, unless the product is narrower than two of them (16 numbers each at most)."""
    return 4 if value.width > 32 else 2 if value.width > 16 else 1
