"""The type of JSON: what model files, run folders, logs and answers hold as plain data.

Input: values out of a file, of which nothing is known yet. Output: the same as numbers, tables and texts; or a
TypeError, which readers of files report as damage. At the bottom, as all parts of the library have such data.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard, Union

# Union, as a name of itself takes no |
Json: TypeAlias = Union[  # noqa: UP007
    Mapping[str, "Json"],
    Sequence["Json"],
    str,
    int,
    float,
    bool,
    None,
]
JsonObject: TypeAlias = dict[str, Json]


def number(value: Json) -> float:
    """A number; texts of numbers count as such, as `float` takes them.

    Raises:
        TypeError: it is none. ValueError means the same.
    """
    try:
        return float(_scalar(value, "a number"))
    except OverflowError:  # a whole number beyond a float's range
        raise ValueError("expected a number, got one of more than 300 digits") from None


def whole(value: Json) -> int:
    """A whole number, as `int` takes them.

    Raises:
        TypeError: it is none. ValueError means the same.
    """
    try:
        return int(_scalar(value, "a whole number"))
    except OverflowError:
        raise ValueError("expected a whole number, got infinity") from None


def _scalar(value: Json, expected: str) -> int | float | str:
    if isinstance(value, int | float | str):
        return value
    raise TypeError(f"expected {expected}, got {type(value).__name__}")


def table(value: Json) -> JsonObject:
    """Values by name.

    Raises:
        TypeError: it is no such table.
    """
    if isinstance(value, dict):
        return value
    raise TypeError(f"expected values by name, got {type(value).__name__}")


def numbers_of(value: Json) -> dict[str, float]:
    """Numbers by name.

    Raises:
        TypeError: it is no such table. ValueError means the same.
    """
    return {name: number(each) for name, each in table(value).items()}


def entries(value: Json) -> list[Json]:
    """The values of a list.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, list):
        return value
    raise TypeError(f"expected a list, got {type(value).__name__}")


def texts(value: Json) -> list[str]:
    """The values of a list, as texts.

    Raises:
        TypeError: it is none.
    """
    return list(map(str, entries(value)))


def are_texts(value: Json) -> TypeGuard[list[str]]:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
