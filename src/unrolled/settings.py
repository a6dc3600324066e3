"""Settings as frozen dataclasses: name, type, range and help of an option are declared once.

Inputs: declarations of fields. Outputs: checked settings, and what the command line needs to offer them.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from unrolled.errors import SettingsError
from unrolled.json_values import JsonObject


def option(
    default: object,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    against: str | None = None,
    was: str | None = None,
    with_start: str = "usual",
    reads: str | None = None,
) -> Any:
    """A dataclass field with its help text and its range: `least` <= value <= `most`, value > `above`.

    `against` names the other side of what is true or false on the command line, such as "month-first" of --day-first;
    `was` is the field's name in files of earlier versions. `with_start`: where a training starts from a model, the
    value is "fixed"; "usual", unless the user chooses another; or "new", as without a model: how files are written.
    `reads` says that the value is of how files are read, and so may be another for a later file: of "inputs", or of the
    "answers" in it.
    """
    metadata = {"help": help, "choices": choices, "least": least, "most": most, "above": above, "against": against}
    metadata |= {"was": was, "with_start": with_start, "reads": reads}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of the settings' dataclasses: checks every field against its declaration, and tells all faults at once."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), np.generic):  # as a search over parameters has them
                object.__setattr__(self, field.name, value.item())
        faults = [fault for field in dataclasses.fields(self) for fault in _faults(field, getattr(self, field.name))]
        if faults:
            raise SettingsError("; ".join(faults))

    def to_dict(self) -> JsonObject:
        """The settings as plain data."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Any) -> typing.Self:
        """The settings from plain data, as read from a file; every fault of it raises SettingsError."""
        if not isinstance(values, dict):
            raise SettingsError(f"settings: expected a table of names and values, got {type(values).__name__}")
        names = {field.name for field in dataclasses.fields(cls)}
        earlier = {was: field.name for field in dataclasses.fields(cls) if (was := field.metadata["was"])}
        values = {earlier.get(name, name): value for name, value in values.items()}
        unknown = sorted(str(name) for name in values if name not in names)
        if unknown:
            raise SettingsError(f"settings: {', '.join(unknown)} not known to this version")
        return cls(**values)


def value_type(field: dataclasses.Field) -> tuple[type, bool]:
    """A field's plain type, and whether None is allowed."""
    declared = field.type
    if isinstance(declared, types.UnionType):
        parts = typing.get_args(declared)
        [plain] = [part for part in parts if part not in (types.NoneType, Mapping)]
        return plain, types.NoneType in parts
    return typing.cast(type, declared), False


def _faults(field: dataclasses.Field, value: Any) -> list[str]:
    kind, is_optional = value_type(field)
    if value is None:
        return [] if is_optional else [f"{field.name}: expected {_words(kind)}, got None"]
    if isinstance(value, Mapping) and Mapping in typing.get_args(field.type):
        return []  # by name; the command line has texts alone, and a class of settings checks it
    is_number = kind in (int, float)
    fits = isinstance(value, (int, float) if kind is float else kind) and not (is_number and isinstance(value, bool))
    if not fits:
        return [f"{field.name}={value!r}: expected {_words(kind)}"]
    if kind is float and not math.isfinite(value):
        return [f"{field.name}={value!r}: expected a finite number"]
    limits = field.metadata
    if limits["choices"] and value not in limits["choices"]:
        return [f"{field.name}={value!r}: expected one of {', '.join(limits['choices'])}"]
    if limits["least"] is not None and value < limits["least"]:
        return [f"{field.name}={value!r}: expected at least {limits['least']}"]
    if limits["above"] is not None and value <= limits["above"]:
        return [f"{field.name}={value!r}: expected more than {limits['above']}"]
    if limits["most"] is not None and value > limits["most"]:
        return [f"{field.name}={value!r}: expected at most {limits['most']}"]
    return []


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]
