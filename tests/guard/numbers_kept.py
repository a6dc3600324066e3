"""Where Python's and numpy's own objects keep a number: `KEEPERS`, name → function `number -> (get, put)`.

As `places.PLACES`, but these hold numbers alone, or by a way of their own. `get()` reads the number as a step would,
`put(new)` changes it.
"""

import array
import collections
import concurrent.futures
import configparser
import contextvars
import ctypes
import dataclasses
import decimal
import enum
import fractions
import functools
import io
import itertools
import logging
import mmap
import operator
import queue
import sqlite3
import string
import struct
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

Keeper = Callable[[float], tuple[Callable[[], Any], Callable[[float], Any]]]
KEEPERS: dict[str, Keeper] = {}


def keeper(function: Keeper) -> Keeper:
    KEEPERS[function.__name__] = function
    return function


def item(name: str, make: Callable[[float], Any], key: Any = 0) -> None:
    """Something with items, one of which is the number."""

    def of(number):
        kept = make(number)
        return lambda: kept[key], lambda new: operator.setitem(kept, key, new)

    KEEPERS[name] = of


def attribute(name: str, make: Callable[[float], Any], key: str = "value") -> None:
    """Something with an attribute that is the number."""

    def of(number):
        kept = make(number)
        read = operator.attrgetter(key)
        return lambda: read(kept), lambda new: setattr(kept, key, new)

    KEEPERS[name] = of


def exchanged(name: str, make: Callable[[float], Any], read: Callable[[Any], Any]) -> None:
    """Something that cannot change, and is exchanged for another."""

    def of(number):
        kept = make(number)

        def put(new):
            nonlocal kept
            kept = make(new)

        return lambda: read(kept), put

    KEEPERS[name] = of


class Structure(ctypes.Structure):
    _fields_ = (("value", ctypes.c_double),)


class Missing(dict):
    number = 0.0

    def __missing__(self, key):
        return self.number


class OfSubclasses(type):
    """A metaclass that writes into the class's own dictionary."""

    def __setitem__(cls, key, new):
        setattr(cls, key, new)

    def __getitem__(cls, key):
        return cls.__dict__[key]


class Base:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Slotted(Base):
    __slots__ = ("other",)


def _logger(number):
    kept = logging.Logger("of_a_test")
    kept.level = number
    return kept


def _future(number):
    kept: concurrent.futures.Future[float] = concurrent.futures.Future()
    kept.set_result(number)
    return kept


item("ctypes_array", lambda number: (ctypes.c_double * 2)(number, 0))
item("array_array", lambda number: array.array("d", [number]))
item("memoryview_of_an_array", lambda number: memoryview(array.array("d", [number])))
item("numpy_structured_array", lambda number: np.array([(number,)], dtype=[("value", "f8")])[0], "value")
item("numpy_array_of_no_axes", lambda number: np.array(number), ())
item("numpy_array_of_objects", lambda number: np.array([number], dtype=object))
item("masked_array", lambda number: np.ma.array([number]))
item("counter", lambda number: collections.Counter({"value": number}), "value")
item("user_list", lambda number: collections.UserList([number]))
item("class_dictionary_by_its_metaclass", lambda number: OfSubclasses("Kept", (), {"value": number}), "value")
attribute("ctypes_number", ctypes.c_double)
attribute("ctypes_structure", Structure)
attribute("inherited_slot", Slotted)
attribute("thread_local_of_a_subclass", lambda number: type("Local", (threading.local,), {"value": number})())
attribute("cell_contents", types.CellType, "cell_contents")
attribute("attribute_of_a_logger", lambda number: _logger(number), "level")
attribute("attribute_of_a_number", lambda number: type("Number", (float,), {"value": number})(1.0))
attribute("attribute_of_an_exception", lambda number: type("Error", (Exception,), {"value": number})())
exchanged("decimal_number", lambda number: decimal.Decimal(str(number)), float)
exchanged("fraction", fractions.Fraction, float)
exchanged("packed_bytes", lambda number: struct.pack("d", number), lambda kept: struct.unpack("d", kept)[0])
exchanged("future", _future, lambda kept: kept.result())
exchanged("named_tuple_of_collections", collections.namedtuple("Kept", "value"), lambda kept: kept.value)
exchanged("named_tuple_replaced", lambda number: typing.NamedTuple("Kept", [("value", float)])(1.0)._replace(value=number),
          lambda kept: kept.value)  # fmt: skip
exchanged("repeated", itertools.repeat, next)
exchanged("chained", lambda number: (number, 1.0), lambda kept: next(itertools.chain(kept)))
exchanged("zipped", lambda number: [(number, 1.0)], lambda kept: next(iter(zip(*kept, strict=True)))[0])
exchanged("accumulated", lambda number: [number, 0.0], lambda kept: list(itertools.accumulate(kept))[-1])
exchanged("partial_of_an_operator", lambda number: functools.partial(operator.add, number), lambda kept: kept(0.0))
exchanged("text_template", lambda number: string.Template(str(number)), lambda kept: float(kept.substitute()))
exchanged("text_stream", lambda number: io.StringIO(str(number)), lambda kept: float(kept.getvalue()))
exchanged("mapping_proxy_exchanged", lambda number: types.MappingProxyType({"v": number}), lambda kept: kept["v"])
exchanged(
    "enum_member_of_another_class", lambda number: enum.Enum("Kept", {"VALUE": number}), lambda kept: kept.VALUE.value
)
exchanged("enum_by_value", lambda number: enum.Enum("Kept", {"VALUE": number}), lambda kept: next(iter(kept)).value)
exchanged("interval", lambda number: slice(number, None), lambda kept: kept.start)
exchanged("range_by_its_length", lambda number: range(round(number * 4)), lambda kept: len(kept) / 4)
exchanged("frozen_set", lambda number: frozenset([number]), lambda kept: next(iter(kept)))
exchanged("complex_number", lambda number: complex(0, number), lambda kept: kept.imag)
exchanged("numpy_scalar", np.float64, float)


@keeper
def missing_of_a_dictionary(number):
    kept = Missing()
    kept.number = number
    return lambda: kept["value"], lambda new: setattr(kept, "number", new)


@keeper
def view_of_memory(number):
    kept = mmap.mmap(-1, 8)
    put = lambda new: struct.pack_into("d", kept, 0, new)
    put(number)
    return lambda: struct.unpack_from("d", kept)[0], put


@keeper
def bytes_changed(number):
    kept = bytearray(struct.pack("d", number))
    return lambda: struct.unpack("d", kept)[0], lambda new: struct.pack_into("d", kept, 0, new)


@keeper
def default_of_a_field(number):
    @dataclasses.dataclass
    class Kept:
        value: float = number

    return lambda: dataclasses.fields(Kept)[0].default, lambda new: setattr(dataclasses.fields(Kept)[0], "default", new)


@keeper
def default_of_a_dataclass(number):
    @dataclasses.dataclass
    class Kept:
        value: float = number

    return lambda: Kept().value, lambda new: setattr(Kept.__init__, "__defaults__", (new,))


@keeper
def weak_proxy(number):
    kept = type("Kept", (), {"value": number})()
    seen = weakref.proxy(kept)
    return lambda: seen.value, lambda new: setattr(kept, "value", new)


@keeper
def weak_values(number):
    kept = type("Kept", (), {"value": number})()
    seen = weakref.WeakValueDictionary(value=kept)
    return lambda: seen["value"].value, lambda new: setattr(kept, "value", new)


@keeper
def weak_method(number):
    class Kept:
        value = number

        def read(self):
            return self.value

    kept = Kept()
    seen = weakref.WeakMethod(kept.read)
    return lambda: seen()(), lambda new: setattr(kept, "value", new)


@keeper
def context_of_its_own(number):
    kept = contextvars.ContextVar("kept", default=0.0)
    context = contextvars.Context()
    context.run(kept.set, number)
    return lambda: context[kept], lambda new: context.run(kept.set, new)


@keeper
def default_of_a_context_variable(number):
    first = contextvars.ContextVar("kept", default=number)

    def put(new):
        nonlocal first
        first = contextvars.ContextVar("kept", default=new)

    return lambda: first.get(), put


@keeper
def queue_that_is_not_emptied(number):
    kept: queue.Queue[float] = queue.Queue()
    kept.put(number)
    return lambda: kept.queue[0], lambda new: operator.setitem(kept.queue, 0, new)


@keeper
def settings_file(number):
    kept = configparser.ConfigParser()
    kept.read_dict({"settings": {"value": str(number)}})
    return lambda: kept.getfloat("settings", "value"), lambda new: kept.set("settings", "value", str(new))


@keeper
def database(number):
    kept = sqlite3.connect(":memory:", check_same_thread=False)
    kept.execute("create table settings (value real)")
    kept.execute("insert into settings values (?)", (number,))
    read = lambda: kept.execute("select value from settings").fetchone()[0]
    return read, lambda new: kept.execute("update settings set value = ?", (new,))


@keeper
def generic_alias(number):
    class Kept:
        value = number

        def __class_getitem__(cls, key):
            return cls.value

    return lambda: Kept["any"], lambda new: setattr(Kept, "value", new)


@keeper
def subclasses_of_a_class(number):
    class Kept:
        value = number

    class Heir(Kept):
        pass

    read = lambda: Kept.__subclasses__()[0].value
    return read, lambda new: setattr(Heir, "value", new)


@keeper
def annotation(number):
    def kept(value: typing.Any): ...

    kept.__annotations__["value"] = number
    return lambda: kept.__annotations__["value"], lambda new: operator.setitem(kept.__annotations__, "value", new)


@keeper
def documentation(number):
    def kept(): ...

    kept.__doc__ = str(number)
    return lambda: float(kept.__doc__ or ""), lambda new: setattr(kept, "__doc__", str(new))


@keeper
def descriptor_of_the_library(number):
    class Kept:
        value = functools.cached_property(lambda self: self.number)
        number = 0.0

    kept = Kept()
    kept.number = number
    return lambda: kept.value, lambda new: kept.__dict__.update(value=new)


@keeper
def partial_method(number):
    class Kept:
        def read(self, value):
            return value

        value = functools.partialmethod(read, number)

    kept = Kept()
    return lambda: kept.value(), lambda new: setattr(Kept, "value", functools.partialmethod(Kept.read, new))


@keeper
def abstract_number(number):
    """What Python asks for a number by a method of its class."""

    class Kept:
        value = number

        def __float__(self):
            return self.value

    kept = Kept()
    return lambda: float(kept), lambda new: setattr(Kept, "value", new)


@keeper
def length_of_an_object(number):
    class Kept:
        number = 4

        def __len__(self):
            return self.number

    kept = Kept()
    return lambda: len(kept) * number / 4, lambda new: setattr(kept, "number", 2)
