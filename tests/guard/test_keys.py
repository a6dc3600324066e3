"""Keys of dictionaries and orders of sets that a step reads, changed between two calls, however it reads them.

Torch guards no key that `list`, `[*d]` or `sum` reads, nor the order of those of a copy or a set, nor what `==` does
not tell apart.
"""

import collections
import enum
import functools
import itertools
import math
import types
from typing import Any

import pytest
import torch
from tests.guard.checks import slow_but_for

import unrolled

KINDS = {
    "dict": dict,
    "ordered": collections.OrderedDict,
    "default": lambda d: collections.defaultdict(int, d),
    "counter": collections.Counter,
    "own class": lambda d: Table(d),
    "proxy": types.MappingProxyType,
    "keys": lambda d: d.keys(),
    "items": lambda d: d.items(),
}
#: numbers of a dictionary's keys
READS = {
    "list": lambda d: list(d)[0],  # noqa: RUF015
    "tuple": lambda d: tuple(d)[0],  # noqa: RUF015
    "star": lambda d: [*d][0],  # noqa: RUF015
    "unpacked": lambda d: (lambda first, *_: first)(*d),
    "assigned": lambda d: _first(d),
    "loop": lambda d: [key for key in d][0],  # noqa: C416, RUF015
    "extended": lambda d: _extended(d),
    "sorted": lambda d: sorted(d)[0],
    "reversed": lambda d: list(reversed(d))[0],  # noqa: RUF015
    "set": lambda d: list(set(d))[0],  # noqa: RUF015
    "keys": lambda d: list(d.keys())[0],  # noqa: RUF015
    "items": lambda d: list(d.items())[0][0],  # noqa: RUF015
    "next": lambda d: next(iter(d)),
    "smallest": lambda d: min(d),
    "sum": lambda d: sum(d),
    "sum of keys": lambda d: sum(d.keys()),
    "product": lambda d: math.prod(d),
    "enumerated": lambda d: [key for _, key in enumerate(d)][0],  # noqa: RUF015
    "zip": lambda d: [key for key, _ in zip(d, (1,), strict=False)][0],  # noqa: RUF015
    "map": lambda d: list(map(float, d))[0],  # noqa: RUF015
    "chain": lambda d: list(itertools.chain(d))[0],  # noqa: RUF015
    "reduced": lambda d: functools.reduce(lambda a, b: a + b, d),
    "copy": lambda d: list(d.copy())[0],  # noqa: RUF015
    "dict": lambda d: list(dict(d))[0],  # noqa: RUF015
    "double star": lambda d: list({**d})[0],  # noqa: RUF015
    "or": lambda d: list(d | {})[0],  # noqa: RUF015
    "from keys": lambda d: list(dict.fromkeys(d))[0],  # noqa: RUF015
    "deque": lambda d: collections.deque(d)[0],
    "length": lambda d: float(len(d)),
    "is in": lambda d: 1.0 if 0.5 in d else 0.25,
    "equal": lambda d: 1.0 if d == {0.5: 2} else 0.25,
    "any": lambda d: 1.0 if any(key == 0.5 for key in d) else 0.25,
}
CHANGES: dict[str, tuple[dict, dict]] = {
    "another key": ({0.5: 2}, {0.75: 2}),
    "one more": ({0.5: 2}, {0.5: 2, 0.75: 2}),
    "the other order": ({0.5: 2, 0.75: 3}, {0.75: 3, 0.5: 2}),
    "the other zero": ({0.0: 2}, {-0.0: 2}),
    "true for one": ({1: 2}, {True: 2}),
    "a float for one": ({1: 2}, {1.0: 2}),
}


class Table(dict):
    """A dictionary of a class of its own."""


def _first(d):
    first, *_ = list(d)
    return first


def _extended(d):
    numbers = [7.0]
    numbers.extend(d)
    return numbers[1]


def _is_read(kind, read, change):
    """Whether Python can: some of these have no order, no length or no such method."""
    try:
        return all(isinstance(READS[read](KINDS[kind](held)), int | float) for held in CHANGES[change])
    except (TypeError, AttributeError):
        return False


ALL = itertools.product(KINDS, READS, CHANGES)
TABLE = {", ".join(names): names for names in ALL if _is_read(*names)}
SAMPLE = [
    f"dict, {read}, {change}"
    for read in ("list", "star", "assigned", "extended", "sum", "copy", "or", "double star", "loop")
    for change in CHANGES
] + ["default, or, another key", "ordered, list, another key", "own class, list, another key", "counter, sum, one more"]


class Step(torch.nn.Module):
    def __init__(self, read):
        super().__init__()
        self.read, self.held = read, None

    def forward(self, x, h):
        number: Any = self.read(self.held)
        factor = 0.1 if isinstance(number, bool) else math.copysign(abs(number) + 0.5, number)
        h = torch.tanh(x + h) * factor * (0.3 if isinstance(number, float) else 1.0)
        return h, h


@pytest.mark.filterwarnings("ignore::unrolled.errors.NotFusedWarning")
@pytest.mark.parametrize("name", slow_but_for(SAMPLE, TABLE))
def test_a_change_of_keys_is_seen(name):
    kind, read, change = TABLE[name]
    before, after = map(KINDS[kind], CHANGES[change])
    step = Step(READS[read])
    xs, state = torch.randn(3, 2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    for held in (before, after, before):
        step.held = held
        exact, _ = unrolled.scan(step, xs, state, engine="eager")
        torch.testing.assert_close(unrolled.scan(step, xs, state)[0], exact, rtol=1e-10, atol=1e-10)


def test_a_dictionary_that_is_read_by_a_key_still_fuses():
    step = Step(lambda d: d[0.5])
    step.held = {0.5: 2, 0.75: 3}
    xs, state = torch.randn(3, 2, 4), torch.zeros(2, 4)
    assert "fused" in str(unrolled.explain(step, xs, state))
    unrolled.scan(step, xs, state, engine="fused")


class Item:
    """An object that is itself alone."""

    def __init__(self, number):
        self.number = number


TEXTS = [f"w{i}" for i in range(60)]
#: elements of sets, enough of them for two of which the one that is put first comes first
ELEMENTS: dict[str, list[Any]] = {
    "texts": TEXTS,
    "bytes": [each.encode() for each in TEXTS],
    "tuples": [(each,) for each in TEXTS],
    "numbers and texts": [*range(10), *TEXTS],
    "None and texts": [None, *TEXTS],
    "dtypes": [torch.float64, torch.float32, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool],
    "members of an enum": list(enum.Enum("Colors", TEXTS)),
    "members and texts": [*enum.Enum("Colors", TEXTS[:8]), *TEXTS],
    "classes": [type(each, (), {}) for each in TEXTS],
    "objects": [Item(i) for i in range(60)],
}


def in_both_orders(elements, kind):
    """Two equal sets whose elements come in another order: two elements collide in the table."""
    for first, second in itertools.combinations(elements, 2):
        sets = kind([first, second]), kind([second, first])
        if list(sets[0]) != list(sets[1]):
            return first, sets
    raise AssertionError("no two collide")


@pytest.mark.parametrize("kind", [set, frozenset])
@pytest.mark.parametrize("name", ELEMENTS)
def test_the_order_of_a_set_is_seen(name, kind):
    first, sets = in_both_orders(ELEMENTS[name], kind)
    step = Step(lambda held: 1.0 if list(held)[0] == first else 0.25)  # noqa: RUF015
    xs, state = torch.randn(3, 2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    for held in (*sets, sets[0]):
        step.held = held
        exact, _ = unrolled.scan(step, xs, state, engine="eager")
        torch.testing.assert_close(unrolled.scan(step, xs, state)[0], exact, rtol=1e-10, atol=1e-10)
