"""Objects that a step makes of classes of the user's: which class it is, and what its functions hold, is guarded.

Torch guards what a step reads off a class or an object that was there before. Of an object that the step makes, it guards
neither which class is called nor what the functions of that class hold.
"""

import collections
import dataclasses
import functools
import itertools
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.guard.checks import Case, assert_as_eager, assert_change_is_seen, slow_but_for
from torch import nn

SHARED: dict[str, Any] = {}


class Held:
    """An object with a number."""

    def __init__(self, number):
        self.number = number


def tensor_of(number):
    return torch.full((4,), number, dtype=torch.float64)


#: what holds a number: how it is made, how it is read, how it is changed in place (None: it cannot be)
HOLDS: dict[str, tuple[Callable, Callable, Callable | None]] = {
    "number": (lambda n: n, lambda held: held, None),
    "tuple": (lambda n: (n,), lambda held: held[0], None),
    "list": (lambda n: [n], lambda held: held[0], lambda held, n: held.__setitem__(0, n)),
    "list in a tuple": (lambda n: ([n],), lambda held: held[0][0], lambda held, n: held[0].__setitem__(0, n)),
    "dict": (lambda n: {"a": n}, lambda held: held["a"], lambda held, n: held.update(a=n)),
    "object": (Held, lambda held: held.number, lambda held, n: setattr(held, "number", n)),
    "tensor": (tensor_of, lambda held: held, lambda held, n: held.fill_(n)),
}


# where a function holds it: the function, what it holds now, and how that is exchanged


def by_default(read, held, finish):
    def function(self, other=None, rate=held):
        return finish(self, read(rate))

    return function, lambda: function.__defaults__[1], lambda new: setattr(function, "__defaults__", (None, new))


def by_keyword(read, held, finish):
    def function(self, other=None, *, rate=held):
        return finish(self, read(rate))

    return function, lambda: function.__kwdefaults__["rate"], lambda new: function.__kwdefaults__.update(rate=new)


def by_keywords(read, held, finish):
    function, get, _ = by_keyword(read, held, finish)
    return function, get, lambda new: setattr(function, "__kwdefaults__", {"rate": new})


def by_closure(read, held, finish):
    def change(new):
        nonlocal held
        held = new

    return lambda self, other=None: finish(self, read(held)), lambda: held, change


def by_global(read, held, finish):
    SHARED["rate"] = held
    function = lambda self, other=None: finish(self, read(SHARED["rate"]))
    return function, lambda: SHARED["rate"], lambda new: SHARED.update(rate=new)


PLACES = {
    "default": by_default, "keyword": by_keyword, "keywords": by_keywords, "closure": by_closure, "global": by_global,
}  # fmt: skip


def as_it_is(_self, value):
    return value


def as_attribute(made, value):
    made.value = value


def as_new(kind, value):
    made = object.__new__(kind)
    made.value = value
    return made


def is_half(_self, value):
    return value == 0.5


def entered(made):
    with made as value:
        return value


def of_class(use, **space):
    """The number that a step makes with an object of a class, made in the step."""
    kind = type("Made", (), space)
    return lambda: use(kind())


def of_base(function):
    kind = type("Made", (type("Base", (), {"value": function}),), {})
    return lambda: kind().value()


def of_data_class(function):
    kind = dataclasses.make_dataclass("Made", [("rate", float)], namespace={"__post_init__": function})
    return lambda: kind(1.0).value


def of_one_that_was_there(use, **space):
    made = type("Made", (), space)()
    return lambda: use(made)


#: how a step calls a function of an object, and what the function does with the number
USES: dict[str, tuple[Callable, Callable]] = {
    "method": (lambda f: of_class(lambda made: made.value(), value=f), as_it_is),
    "property": (lambda f: of_class(lambda made: made.value, value=property(f)), as_it_is),
    "static method": (lambda f: of_class(lambda made: made.value(0), value=staticmethod(f)), as_it_is),
    "class method": (lambda f: of_class(lambda made: made.value(), value=classmethod(f)), as_it_is),
    "call": (lambda f: of_class(lambda made: made(), __call__=f), as_it_is),
    "item": (lambda f: of_class(lambda made: made[0], __getitem__=f), as_it_is),
    "product": (lambda f: of_class(lambda made: made * 2, __mul__=f), as_it_is),
    "product turned": (lambda f: of_class(lambda made: 2 * made, __rmul__=f), as_it_is),
    "minus": (lambda f: of_class(lambda made: -made, __neg__=f), as_it_is),
    "equal": (lambda f: of_class(lambda made: made == 1, __eq__=f), is_half),
    "less": (lambda f: of_class(lambda made: made < 1, __lt__=f), is_half),
    "with": (lambda f: of_class(entered, __enter__=f, __exit__=lambda *_: None), as_it_is),
    "init": (lambda f: of_class(lambda made: made.value, __init__=f), as_attribute),
    "new": (lambda f: of_class(lambda made: made.value, __new__=f), as_new),
    "post init": (of_data_class, as_attribute),
    "base": (of_base, as_it_is),
    "equal, there": (lambda f: of_one_that_was_there(lambda made: made == 1, __eq__=f), is_half),
    "less, there": (lambda f: of_one_that_was_there(lambda made: made < 1, __lt__=f), is_half),
    "product, there": (lambda f: of_one_that_was_there(lambda made: made * 2, __mul__=f), as_it_is),
    "call, there": (lambda f: of_one_that_was_there(lambda made: made(), __call__=f), as_it_is),
    "property, there": (lambda f: of_one_that_was_there(lambda made: made.value, value=property(f)), as_it_is),
}


def step_of(number: Callable) -> Callable:
    return lambda x, h: (h, torch.tanh(h + x.sum(1, keepdim=True)) * (1.0 + number()))


def held_case(use: str, place: str, held: str, way: str) -> Case:
    make, read, change = HOLDS[held]
    wrap, finish = USES[use]
    function, get, put = PLACES[place](read, make(0.5), finish)
    change_it = (lambda: put(make(0.25))) if way == "exchanged" else (lambda: change(get(), 0.25))
    return Case(step_of(wrap(function)), change_it, fuses=False)


#: of these all that they hold, in all places; of the others a list
WHOLE = ("init", "method", "equal, there")
HELD = {
    ", ".join(names): names
    for names in itertools.product(USES, PLACES, HOLDS, ("exchanged", "in place"))
    if (names[3] == "exchanged" or HOLDS[names[2]][2] is not None) and (names[0] in WHOLE or names[2] == "list")
}
SAMPLE = [
    *(f"{use}, default, list, in place" for use in USES),
    *(f"init, {place}, {held}, exchanged" for place in PLACES for held in ("number", "tensor")),
    *(f"equal, there, {place}, number, exchanged" for place in PLACES),
    "init, default, object, in place",
    "init, keyword, list in a tuple, in place",
]


@pytest.mark.parametrize("name", slow_but_for(SAMPLE, HELD))
def test_what_functions_of_made_objects_hold_is_seen(name):
    assert_change_is_seen(held_case(*HELD[name]))


def made(number):
    """A class like the last one, whose objects have another number."""
    return type("Made", (), {"__init__": lambda self: setattr(self, "rate", number), "number": number})


def made_by_value(number):
    class Made:
        def value(self):
            return number

    return Made


#: how a step uses a class, and two classes that differ in nothing that is read off them
CLASSES: dict[str, tuple[Callable, Callable[[], list[Any]]]] = {
    "made": (lambda kind: kind().rate, lambda: [made(0.5), made(0.25)]),
    "method": (lambda kind: kind().value(), lambda: [made_by_value(0.5), made_by_value(0.25)]),
    "is instance": (lambda kind: float(isinstance(AN_A, kind)), lambda: [A, B]),
    "is subclass": (lambda kind: float(issubclass(A, kind)), lambda: [A, B]),
    "is": (lambda kind: float(kind is A), lambda: [A, B]),
    "is equal": (lambda kind: float(kind == A), lambda: [A, B]),
    "is key": (lambda kind: {A: 0.5, B: 0.25}[kind], lambda: [A, B]),
    "name": (lambda kind: float(len(kind.__name__)), lambda: [A, type("Longer", (), {})]),
    "data class": (lambda kind: kind().rate, lambda: [data_class(0.5), data_class(0.25)]),
    "named tuple": (lambda kind: kind().rate, lambda: [named_tuple(0.5), named_tuple(0.25)]),
    "map": (lambda kind: next(iter(map(kind, [1]))).rate, lambda: [with_argument(0.5), with_argument(0.25)]),
    "module": (lambda kind: kind().rate, lambda: [module(0.5), module(0.25)]),
}


class A:
    """A class."""


class B:
    """Another one."""


AN_A = A()


def data_class(number):
    return dataclasses.make_dataclass("Made", [("rate", float, number)])


def named_tuple(number):
    return collections.namedtuple("Made", ["rate"], defaults=[number])


def with_argument(number):
    return type("Made", (), {"__init__": lambda self, _: setattr(self, "rate", number)})


def module(number):
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = number

    return Made


# where a step reads the class from: how it gets it, and how another one is put there


def in_closure(kind):
    def put(new):
        nonlocal kind
        kind = new

    return lambda: kind, put


KIND: Any = None


def in_global(kind):
    globals()["KIND"] = kind
    return lambda: KIND, lambda new: globals().update(KIND=new)


def in_dict(kind):
    table = {"kind": kind}
    return lambda: table["kind"], lambda new: table.update(kind=new)


def in_list(kind):
    table = [kind]
    return lambda: table[0], lambda new: table.__setitem__(0, new)


def in_object(kind):
    held = types.SimpleNamespace(kind=kind)
    return lambda: held.kind, lambda new: setattr(held, "kind", new)


def in_module(kind):
    held = nn.Module()
    held.kind = kind
    return lambda: held.kind, lambda new: setattr(held, "kind", new)


def in_class(kind):
    holder = type("Holder", (), {"kind": kind})
    return lambda: holder.kind, lambda new: setattr(holder, "kind", new)


def in_default(kind):
    def get(kind=kind):
        return kind

    return lambda: get(), lambda new: setattr(get, "__defaults__", (new,))


def in_property(kind):
    held = types.SimpleNamespace(kind=kind)
    holder = type("Holder", (), {"kind": property(lambda _: held.kind)})()
    return lambda: holder.kind, lambda new: setattr(held, "kind", new)


def in_type_of_object(kind):
    held = [object.__new__(kind)]
    return lambda: type(held[0]), lambda new: held.__setitem__(0, object.__new__(new))


BINDINGS = {
    function.__name__: function
    for function in (
        in_closure, in_global, in_dict, in_list, in_object, in_module, in_class, in_default, in_property,
        in_type_of_object,
    )
}  # fmt: skip
BOUND = {
    f"{use}, {where}": (use, where)
    for use in CLASSES
    for where in BINDINGS
    if where != "in_type_of_object" or use not in ("named tuple", "module")
}


@pytest.mark.parametrize(
    "name", slow_but_for([*(f"{use}, in_closure" for use in CLASSES), *(f"made, {b}" for b in BINDINGS)], BOUND)
)
def test_another_class_is_seen(name):
    use, where = BOUND[name]
    read, classes = CLASSES[use]
    first, second = classes()
    get, put = BINDINGS[where](first)
    assert_change_is_seen(Case(step_of(lambda: read(get())), lambda: put(second), fuses=False))


def test_two_steps_of_one_code_make_objects_of_their_own_classes():
    for number in (0.5, 0.25, 0.5):
        kind = made(number)
        assert_as_eager(Case(step_of(lambda: kind().rate)), times=2)  # noqa: B023 - called before the next one
        partial = functools.partial(kind)
        assert_as_eager(Case(step_of(lambda: partial().rate)), times=2)  # noqa: B023
