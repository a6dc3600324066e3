"""Where a step may read a value from: `PLACES`, name → function `(first, patch) -> (get, put)`.

`get()` reads the value as a step would, `put(new)` changes it as a user would. `patch` undoes what touches a module or a
class that others use.
"""

import builtins
import collections
import contextvars
import dataclasses
import enum
import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

Place = Callable[[Any, Any], tuple[Callable[[], Any], Callable[[Any], Any]]]
PLACES: dict[str, Place] = {}
PLAIN: set[str] = set()  # places that any step may read from and stay fused

VALUE: Any = None
SCRATCH = types.ModuleType("tests_guard_settings")
sys.modules[SCRATCH.__name__] = SCRATCH


def place(function: Place) -> Place:
    PLACES[function.__name__] = function
    return function


def plain(function: Place) -> Place:
    PLAIN.add(function.__name__)
    return place(function)


@plain
def closure(first, patch):
    value = first

    def put(new):
        nonlocal value
        value = new

    return lambda: value, put


@plain
def closure_of_a_helper(first, patch):
    get, put = closure(first, patch)

    def helper():
        return get()

    return lambda: helper(), put


@plain
def global_of_this_module(first, patch):
    def put(new):
        patch.setitem(globals(), "VALUE", new)

    put(first)
    return lambda: VALUE, put


@plain
def global_of_another_module(first, patch):
    def put(new):
        patch.setattr(SCRATCH, "value", new, raising=False)

    put(first)
    return lambda: SCRATCH.value, put


@place
def global_by_globals(first, patch):
    _, put = global_of_this_module(first, patch)
    return lambda: globals()["VALUE"], put


@place
def module_by_sys_modules(first, patch):
    _, put = global_of_another_module(first, patch)
    return lambda: sys.modules["tests_guard_settings"].value, put


@place
def import_within_the_step(first, patch):
    _, put = global_of_another_module(first, patch)

    def get():
        from tests_guard_settings import value

        return value

    return get, put


@place
def dict_of_another_module(first, patch):
    patch.setattr(SCRATCH, "table", {"value": first}, raising=False)
    return lambda: SCRATCH.table["value"], lambda new: SCRATCH.table.update(value=new)


@place
def class_in_another_module(first, patch):
    class Settings:
        value = first

    patch.setattr(SCRATCH, "Settings", Settings, raising=False)
    return lambda: SCRATCH.Settings.value, lambda new: setattr(Settings, "value", new)


@place
def namespace_in_another_module(first, patch):
    patch.setattr(SCRATCH, "names", types.SimpleNamespace(inner=types.SimpleNamespace(value=first)), raising=False)
    return lambda: SCRATCH.names.inner.value, lambda new: setattr(SCRATCH.names.inner, "value", new)


@place
def tuple_in_another_module(first, patch):
    def put(new):
        patch.setattr(SCRATCH, "pair", (new, 1.0), raising=False)

    put(first)
    return lambda: SCRATCH.pair[0], put


@place
def builtin_name(first, patch):
    def put(new):
        patch.setattr(builtins, "a_value_of_a_test", new, raising=False)

    put(first)
    return lambda: a_value_of_a_test, put  # type: ignore[name-defined]  # noqa: F821


@plain
def class_attribute(first, patch):
    class Settings:
        value = first

    return lambda: Settings.value, lambda new: setattr(Settings, "value", new)


@plain
def class_attribute_by_an_instance(first, patch):
    class Settings:
        value = first

    one = Settings()
    return lambda: one.value, lambda new: setattr(Settings, "value", new)


@plain
def attribute_of_a_base_class(first, patch):
    class Base:
        value = first

    class Settings(Base):
        pass

    one = Settings()
    return lambda: one.value, lambda new: setattr(Base, "value", new)


@place
def override_on_a_subclass(first, patch):
    class Base:
        value = first

    class Settings(Base):
        pass

    one = Settings()
    return lambda: one.value, lambda new: setattr(Settings, "value", new)


@place
def override_on_an_instance(first, patch):
    class Settings:
        value = first

    one = Settings()
    return lambda: one.value, lambda new: setattr(one, "value", new)


@plain
def instance_attribute(first, patch):
    class Settings:
        def __init__(self):
            self.value = first

    one = Settings()
    return lambda: one.value, lambda new: setattr(one, "value", new)


@place
def attribute_by_its_dictionary(first, patch):
    get, _ = instance_attribute(first, patch)
    one = get.__closure__[0].cell_contents
    return get, lambda new: vars(one).update(value=new)


@place
def attribute_by_getattr(first, patch):
    one = types.SimpleNamespace(value=first)
    return lambda: getattr(one, "val" + "ue"), lambda new: setattr(one, "value", new)


@place
def default_of_getattr(first, patch):
    class Empty:
        pass

    one = Empty()
    return lambda: getattr(one, "value", first), lambda new: setattr(one, "value", new)


@place
def deletion_down_to_the_class(first, patch):
    class Settings:
        value = None

    one = Settings()
    one.value = first

    def put(new):
        Settings.value = new
        if "value" in vars(one):
            del one.value

    return lambda: one.value, put


@place
def another_dictionary(first, patch):
    class Settings:
        pass

    one = Settings()
    one.value = first
    return lambda: one.value, lambda new: setattr(one, "__dict__", {"value": new})


@place
def another_class(first, patch):
    class Settings:
        value = first

    one = Settings()
    return lambda: one.value, lambda new: setattr(one, "__class__", type("Others", (), {"value": new}))


@plain
def property_(first, patch):
    class Settings:
        def __init__(self):
            self._value = first

        @property
        def value(self):
            return self._value

    one = Settings()
    return lambda: one.value, lambda new: setattr(one, "_value", new)


@place
def property_exchanged(first, patch):
    class Settings:
        value = property(lambda self: first)

    one = Settings()
    return lambda: one.value, lambda new: setattr(Settings, "value", property(lambda self: new))


@place
def cached_property_emptied(first, patch):
    class Settings:
        source = first

        @functools.cached_property
        def value(self):
            return self.source

    one = Settings()
    assert one.value is first

    def put(new):
        one.source = new
        vars(one).pop("value", None)

    return lambda: one.value, put


@place
def slots(first, patch):
    class Settings:
        __slots__ = ("value",)

    one = Settings()
    one.value = first
    return lambda: one.value, lambda new: setattr(one, "value", new)


@place
def slots_under_a_dictionary(first, patch):
    class Base:
        __slots__ = ("value",)

    class Settings(Base):
        pass

    one = Settings()
    one.value = first
    one.other = 1
    return lambda: one.value, lambda new: setattr(one, "value", new)


@place
def descriptor(first, patch):
    class Field:
        def __get__(self, owner, kind):
            return owner.kept["value"]

    class Settings:
        value = Field()

        def __init__(self):
            self.kept = {"value": first}

    one = Settings()
    return lambda: one.value, lambda new: one.kept.update(value=new)


@place
def getattr_method(first, patch):
    class Settings:
        def __init__(self):
            self.kept = {"value": first}

        def __getattr__(self, name):
            return self.kept[name]

    one = Settings()
    return lambda: one.value, lambda new: one.kept.update(value=new)


@place
def attribute_over_getattr_method(first, patch):
    class Settings:
        def __getattr__(self, name):
            return first

    one = Settings()
    return lambda: one.value, lambda new: setattr(one, "value", new)


@place
def getattribute_method(first, patch):
    table = {"value": first}

    class Settings:
        def __getattribute__(self, name):
            return table[name]

    one = Settings()
    return lambda: one.value, lambda new: table.update(value=new)


@place
def metaclass_attribute(first, patch):
    class Meta(type):
        value = first

    class Settings(metaclass=Meta):
        pass

    return lambda: Settings.value, lambda new: setattr(Meta, "value", new)


@place
def metaclass_property(first, patch):
    class Meta(type):
        @property
        def value(cls):
            return cls.kept

    class Settings(metaclass=Meta):
        kept = first

    return lambda: Settings.value, lambda new: setattr(Settings, "kept", new)


@plain
def dict_(first, patch):
    table = {"value": first}
    return lambda: table["value"], lambda new: table.update(value=new)


@plain
def nested_dict(first, patch):
    table = {"a": {"b": [{"value": first}]}}
    return lambda: table["a"]["b"][0]["value"], lambda new: table["a"]["b"][0].update(value=new)


@place
def default_of_dict_get(first, patch):
    table: dict[str, Any] = {}
    return lambda: table.get("value", first), lambda new: table.update(value=new)


@place
def first_value_of_a_dict(first, patch):
    table = {"a": first}

    def put(new):
        table.clear()
        table.update(b=new, a=first)

    return lambda: next(iter(table.values())), put


@place
def dict_by_number(first, patch):
    table = {0: first, 1: None}
    return lambda: table[0], lambda new: table.update({0: new})


@place
def ordered_dict(first, patch):
    table = collections.OrderedDict(value=first)
    return lambda: table["value"], lambda new: table.update(value=new)


@place
def default_dict(first, patch):
    table = collections.defaultdict(lambda: first)
    return lambda: table["value"], lambda new: table.update(value=new)


@place
def chain_map(first, patch):
    lower = {"value": first}
    table = collections.ChainMap({}, lower)
    return lambda: table["value"], lambda new: table.update(value=new)


@place
def mapping_proxy(first, patch):
    table = {"value": first}
    shown = types.MappingProxyType(table)
    return lambda: shown["value"], lambda new: table.update(value=new)


@place
def user_dict(first, patch):
    table = collections.UserDict(value=first)
    return lambda: table["value"], lambda new: table.update(value=new)


@place
def subclass_of_dict(first, patch):
    class Table(dict):
        def __missing__(self, key):
            return first

    table = Table()
    return lambda: table["value"], lambda new: table.update(value=new)


@plain
def list_(first, patch):
    values = [first]
    return lambda: values[0], lambda new: values.__setitem__(0, new)


@place
def end_of_a_list(first, patch):
    values = [None, first]
    return lambda: values[-1], values.append


@place
def list_in_a_tuple(first, patch):
    pair = ([first], 1.0)
    return lambda: pair[0][0], lambda new: pair[0].__setitem__(0, new)


@place
def deque_(first, patch):
    values = collections.deque([first], maxlen=1)
    return lambda: values[0], values.append


@plain
def tuple_(first, patch):
    pair = (first, 1.0)

    def put(new):
        nonlocal pair
        pair = (new, 1.0)

    return lambda: pair[0], put


@plain
def named_tuple(first, patch):
    class Pair(NamedTuple):
        value: Any
        other: float = 1.0

    pair = Pair(first)

    def put(new):
        nonlocal pair
        pair = pair._replace(value=new)

    return lambda: pair.value, put


@plain
def simple_namespace(first, patch):
    names = types.SimpleNamespace(value=first)
    return lambda: names.value, lambda new: setattr(names, "value", new)


@plain
def dataclass_(first, patch):
    @dataclasses.dataclass
    class Settings:
        value: Any

    one = Settings(first)
    return lambda: one.value, lambda new: setattr(one, "value", new)


@plain
def frozen_dataclass(first, patch):
    @dataclasses.dataclass(frozen=True)
    class Settings:
        value: Any

    kept = [Settings(first)]
    return lambda: kept[0].value, lambda new: kept.__setitem__(0, dataclasses.replace(kept[0], value=new))


@place
def frozen_dataclass_forced(first, patch):
    @dataclasses.dataclass(frozen=True)
    class Settings:
        value: Any

    one = Settings(first)
    return lambda: one.value, lambda new: object.__setattr__(one, "value", new)


@place
def enum_member(first, patch):
    kept = enum.Enum("Kept", {"ONE": types.SimpleNamespace(value=first)})
    return lambda: kept.ONE.value.value, lambda new: setattr(kept.ONE.value, "value", new)


@plain
def default_argument(first, patch):
    def get(value=first):
        return value

    return get, lambda new: setattr(get, "__defaults__", (new,))


@plain
def keyword_default(first, patch):
    def get(*, value=first):
        return value

    return get, lambda new: setattr(get, "__kwdefaults__", {"value": new})


@place
def keyword_default_in_place(first, patch):
    def get(*, value=first):
        return value

    return get, lambda new: get.__kwdefaults__.update(value=new)


@place
def list_as_default_argument(first, patch):
    def get(values=[first]):  # noqa: B006
        return values[0]

    return get, lambda new: get.__defaults__[0].__setitem__(0, new)


@place
def default_of_a_method(first, patch):
    class Settings:
        def read(self, value=first):
            return value

    one = Settings()
    return lambda: one.read(), lambda new: setattr(Settings.read, "__defaults__", (new,))


@plain
def partial_exchanged(first, patch):
    get = functools.partial(lambda value: value, first)

    def put(new):
        nonlocal get
        get = functools.partial(lambda value: value, new)

    return lambda: get(), put


@place
def keyword_of_a_partial(first, patch):
    get = functools.partial(lambda value: value, value=first)
    return lambda: get(), lambda new: get.keywords.update(value=new)


@place
def state_of_a_partial(first, patch):
    get = functools.partial(lambda value: value, first)
    put = lambda new: get.__setstate__((get.func, (new,), {}, {}))
    return lambda: get(), put


@plain
def callable_object(first, patch):
    class Read:
        def __init__(self):
            self.value = first

        def __call__(self):
            return self.value

    read = Read()
    return lambda: read(), lambda new: setattr(read, "value", new)


@place
def class_of_a_callable_object(first, patch):
    class Read:
        value = first

        def __call__(self):
            return self.value

    read = Read()
    return lambda: read(), lambda new: setattr(Read, "value", new)


@place
def call_exchanged_on_the_class(first, patch):
    class Read:
        def __call__(self):
            return first

    read = Read()
    return lambda: read(), lambda new: setattr(Read, "__call__", lambda self: new)


@plain
def bound_method(first, patch):
    class Settings:
        def __init__(self):
            self.value = first

        def read(self):
            return self.value

    one = Settings()
    read = one.read
    return lambda: read(), lambda new: setattr(one, "value", new)


@place
def method_exchanged(first, patch):
    class Settings:
        def read(self):
            return first

    one = Settings()
    return lambda: one.read(), lambda new: setattr(Settings, "read", lambda self: new)


@place
def method_on_an_instance(first, patch):
    class Settings:
        def read(self):
            return first

    one = Settings()
    return lambda: one.read(), lambda new: setattr(one, "read", lambda: new)


@place
def method_by_super(first, patch):
    class Base:
        def read(self):
            return first

    class Settings(Base):
        def read(self):
            return super().read()

    one = Settings()
    return lambda: one.read(), lambda new: setattr(Base, "read", lambda self: new)


@place
def bases_exchanged(first, patch):
    one_base, other_base = (type(name, (object,), {"value": first}) for name in ("One", "Other"))

    class Settings(one_base):
        pass

    one = Settings()

    def put(new):
        other_base.value = new
        Settings.__bases__ = (other_base,)

    return lambda: one.value, put


@plain
def static_method(first, patch):
    get, put = closure(first, patch)

    class Settings:
        @staticmethod
        def read():
            return get()

    return lambda: Settings.read(), put


@place
def static_method_exchanged(first, patch):
    class Settings:
        @staticmethod
        def read():
            return first

    return lambda: Settings.read(), lambda new: setattr(Settings, "read", staticmethod(lambda: new))


@plain
def class_method(first, patch):
    class Settings:
        value = first

        @classmethod
        def read(cls):
            return cls.value

    return lambda: Settings.read(), lambda new: setattr(Settings, "value", new)


@place
def function_attribute(first, patch):
    def helper():
        return helper.value

    helper.value = first
    return helper, lambda new: setattr(helper, "value", new)


@place
def code_of_a_helper(first, patch):
    def helper(one=first, two=None):
        return one

    def other(one, two):
        return two

    def put(new):
        helper.__defaults__ = (first, new)
        helper.__code__ = other.__code__

    return lambda: helper(), put


@place
def lambda_in_a_dict(first, patch):
    table = {"read": lambda: first}
    return lambda: table["read"](), lambda new: table.update(read=lambda: new)


@plain
def helper_exchanged(first, patch):
    helper = lambda: first

    def put(new):
        nonlocal helper
        helper = lambda: new

    return lambda: helper(), put


@place
def notebook_cell_run_again(first, patch):
    names: dict[str, Any] = {"value": first}
    exec("def helper():\n    return value\ndef get():\n    return helper()", names)

    def put(new):
        names["other"] = new
        exec("def helper():\n    return other", names)

    return names["get"], put


@place
def lru_cache_emptied(first, patch):
    source = [first]

    @functools.lru_cache
    def get():
        return source[0]

    def put(new):
        source[0] = new
        get.cache_clear()

    return lambda: get(), put


@place
def wrapped_function(first, patch):
    def doubled(function):
        @functools.wraps(function)
        def wrapper(*arguments):
            return function(*arguments)

        return wrapper

    source = [first]
    get = doubled(lambda: source[0])
    return get, lambda new: source.__setitem__(0, new)


@place
def generator_within_the_step(first, patch):
    source = [first]

    def values():
        yield from source

    return lambda: next(values()), lambda new: source.__setitem__(0, new)


@place
def context_variable(first, patch):
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("value", default=first)
    return variable.get, variable.set


@place
def thread_local(first, patch):
    local = threading.local()
    local.value = first
    return lambda: local.value, lambda new: setattr(local, "value", new)


@place
def weak_reference(first, patch):
    class Settings:
        pass

    kept = Settings()
    kept.value = first
    reference = weakref.ref(kept)
    reference_and_owner = types.SimpleNamespace(reference=reference, owner=kept)
    return lambda: reference_and_owner.reference().value, lambda new: setattr(kept, "value", new)


@place
def weak_key_dictionary(first, patch):
    class Key:
        pass

    key = Key()
    table = weakref.WeakKeyDictionary({key: first})
    return lambda: table[key], lambda new: table.update({key: new})


@place
def evaluated_text(first, patch):
    value = {"value": first}
    return lambda: eval("value['value']", {"value": value}), lambda new: value.update(value=new)


class Holder(nn.Module):
    """A module that holds a value; `read` is called by the step."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def read(self):
        return self.value


@plain
def module_attribute(first, patch):
    holder = Holder(first)
    return holder.read, lambda new: setattr(holder, "value", new)


@plain
def attribute_of_a_submodule(first, patch):
    outer = nn.Module()
    outer.inner = nn.ModuleList([Holder(first)])
    return lambda: outer.inner[0].value, lambda new: setattr(outer.inner[0], "value", new)


@place
def submodule_exchanged(first, patch):
    outer = nn.ModuleDict({"inner": Holder(first)})
    return lambda: outer["inner"].value, lambda new: outer.update({"inner": Holder(new)})


@place
def class_attribute_of_a_module(first, patch):
    class Settings(nn.Module):
        value = first

    module = Settings()
    return lambda: module.value, lambda new: setattr(Settings, "value", new)


@place
def property_of_a_module(first, patch):
    class Settings(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = {"value": first}

        @property
        def value(self):
            return self.kept["value"]

    module = Settings()
    return lambda: module.value, lambda new: module.kept.update(value=new)


@place
def helper_exchanged_on_a_module_class(first, patch):
    class Settings(nn.Module):
        def read(self):
            return first

    module = Settings()
    return lambda: module.read(), lambda new: setattr(Settings, "read", lambda self: new)
