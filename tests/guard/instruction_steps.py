# ruff: noqa: T201, UP031
"""Refused steps of what Python's versions compile to other instructions, with the exact reasons. Importing this puts
them into the table.

Since 3.12 slices, and attributes by `super()`, have instructions of their own; since 3.13 what is called lies below a
null, two local variables are read or written at once, and names of arguments lie on top; since 3.14 an item is one of
the binary operators, `with` calls a function, and a call with `*` has a null for `**`.
"""

import functools
import zlib

import torch
from tests.guard.python_steps import BYTES, CANNOT, PRINTS
from tests.guard.refused_steps import SETS, SETTINGS, new
from tests.guard.refused_steps import refused as _refused

refused = functools.partial(_refused, file=__file__)
ASKS, DICTIONARY, ONE, ENDING = (id, SETTINGS), {"rate": 0.5}, 1, {"end": ""}
ADDRESS = "it asks for the address of an object"
ATTRIBUTES = "it reads all attributes of an object at once, of which no guard sees new ones"
TEXT = "it turns a dict into text, whose changes no guard sees"


@refused(f"it takes an item of a bytearray{CANNOT}", "return h, new(x, h) * BYTES[:ONE][0]")
def slice_of_bytes(x, h):
    return h, new(x, h) * BYTES[:ONE][0]


@refused(f"it changes a bytearray{CANNOT}", 'BYTES[:ONE] = b"a"')
def changed_slice(x, h):
    BYTES[:ONE] = b"a"
    return h, new(x, h)


@refused(ADDRESS, "ask, of = ASKS")
def unpacked_asks(x, h):
    ask, of = ASKS
    return h, new(x, h) * (ask(of) % 3)


@refused(ADDRESS, "return h, new(x, h) * (lambda of, ask: ask(of) % 3)(*ASKS[::-1])")
def asks_among_arguments(x, h):
    return h, new(x, h) * (lambda of, ask: ask(of) % 3)(*ASKS[::-1])


@refused(SETS, "set_to, n = torch.set_num_threads, 1")
def unpacked_setter(x, h):
    set_to, n = torch.set_num_threads, 1
    set_to(n)
    return h, new(x, h)


@refused(TEXT, 'return h, new(x, h) * len(f"{DICTIONARY!r}")')
def converted_dictionary(x, h):
    return h, new(x, h) * len(f"{DICTIONARY!r}")


@refused("it turns a tensor into text", 'return h, new(x, h) * len("%s" % (h,))')
def tensor_by_percent(x, h):
    return h, new(x, h) * len("%s" % (h,))


class Above:
    """It has a number."""

    def __init__(self):
        self.rate = 0.5


class Below(Above):
    """It reads all attributes by `super()`."""

    def rates(self):
        return sum(super().__dict__.values())


BELOW = Below()


@refused(ATTRIBUTES, "return sum(super().__dict__.values())")
def attributes_by_super(x, h):
    return h, new(x, h) * BELOW.rates()


@refused(f"it calls zlib.compress{CANNOT}", 'return h, new(x, h) * len(zlib.compress(b"a", level=1))')
def called_by_keyword(x, h):
    return h, new(x, h) * len(zlib.compress(b"a", level=1))


@refused(PRINTS, "print(*DICTIONARY)")
def called_by_star(x, h):
    print(*DICTIONARY)
    return h, new(x, h)


@refused(PRINTS, "print(*DICTIONARY, **ENDING)")
def called_by_two_stars(x, h):
    print(*DICTIONARY, **ENDING)
    return h, new(x, h)
