"""Texts of objects that a step makes: `TEXTS`, what is turned into text and how.

`OBJECTS` has what makes it and what changes it, `WAYS` how; `UNCHANGED` are those whose text stays as it is.
"""

import collections
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Spoken:
    """Has a text of its own."""

    size = 1

    def __str__(self) -> str:
        return "a" * self.size


class Shown(Spoken):
    """Has two."""

    def __repr__(self) -> str:
        return "b" * self.size


class OnlyShown:
    """Has one by `repr` alone."""

    size = 1

    def __repr__(self) -> str:
        return "b" * self.size


class Layer(nn.Module):
    """As torch shows it."""

    size = 1

    def extra_repr(self) -> str:
        return "c" * self.size


def grow(value: Any) -> None:
    value.size = 12


OBJECTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "spoken": (Spoken, grow),
    "shown": (Shown, grow),
    "only_shown": (OnlyShown, grow),
    "layer": (Layer, grow),
    "layers": (lambda: nn.ModuleList([nn.Tanh()]), lambda layers: layers.append(nn.Tanh())),
    "namespace": (lambda: types.SimpleNamespace(size=1), grow),
    "list": (lambda: [1], lambda items: items.append(7)),
    "dict": (lambda: {"a": 1}, lambda items: items.update(b=2)),
    "ordered": (lambda: collections.OrderedDict(a=1), lambda items: items.update(b=2)),
    "counter": (lambda: collections.Counter(a=1), lambda items: items.update(b=2)),
    "default": (lambda: collections.defaultdict(int, a=1), lambda items: items.update(b=2)),
    "deque": (lambda: collections.deque([1]), lambda items: items.append(7)),
    "set": (lambda: {1}, lambda items: items.add(7)),
    "dict_in_a_list": (lambda: [{"a": 1}], lambda items: items[0].update(b=2)),
    "object_in_a_list": (lambda: [OnlyShown()], lambda items: grow(items[0])),
    "object_in_a_dict": (lambda: {"a": OnlyShown()}, lambda items: grow(items["a"])),
    "function": (lambda: lambda: 1, lambda function: setattr(function, "__qualname__", "another name")),
    "class": (lambda: type("A", (), {}), lambda kind: setattr(kind, "__qualname__", "another name")),
    "buffer": (lambda: torch.ones(2), lambda numbers: numbers.mul_(1.12345)),
}
WAYS: dict[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "formatted": lambda value: f"{value}",
    "formatted_repr": lambda value: f"{value!r}",
    "format_method": "{}".format,
    "percent": lambda value: "%s" % (value,),  # noqa: UP031 - a way
    "mapped": lambda value: "".join(map(str, [value])),
    "method": lambda value: value.__str__(),
    "repr_method": lambda value: value.__repr__(),
    "keys": lambda value: str(value.keys()) if hasattr(type(value), "keys") else str(value),
}
UNCHANGED = {
    "spoken-repr", "spoken-formatted_repr", "spoken-repr_method", "object_in_a_dict-keys", "class-method",
    "class-repr_method",
}  # fmt: skip
TEXTS = sorted({f"{what}-{how}" for what in OBJECTS for how in WAYS} - UNCHANGED)
