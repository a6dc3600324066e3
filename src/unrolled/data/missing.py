"""Codes for values that are missing, such as -200, 9999 or "none measured": as the user names them.

Inputs: a table, codes. Outputs: the same with empty cells in their place, and what is told of it. A file of its own, as
reading numbers knows only the usual words for what is missing.
"""

import math
from collections.abc import Collection
from dataclasses import replace

from unrolled.data.counted import counted
from unrolled.data.table import Table


def codes_of(text: str) -> list[str]:
    """The codes that stand in a text, with commas between."""
    return [code.strip() for code in text.split(",") if code.strip()]


def without_codes(table: Table, codes: Collection[str], kept: Collection[str | None], notes: list[str]) -> Table:
    """A table with empty cells where a code stands; a number is the same number however it is written.

    Args:
        table: as read.
        codes: what stands for a missing value.
        kept: columns that are left as they are, as they hold no values.
        notes: get where each code stood, also that it stood nowhere.
    """
    if not codes:
        return table
    words = {code.casefold() for code in codes}
    numbers = {number: code for code in codes if not math.isnan(number := _number(code))}
    counts: dict[tuple[str, str], int] = {}
    columns = dict(table.columns)
    for name, cells in table.columns.items():
        if name in kept:
            continue
        found = [_code(cell, words, numbers) for cell in cells]
        for code in filter(None, found):
            counts[name, code] = counts.get((name, code), 0) + 1
        columns[name] = ["" if code else cell for cell, code in zip(cells, found, strict=True)]
    for (name, code), n in counts.items():
        notes.append(f"column {name!r}: " + counted(n, f"value[|s] [is|are] {code}, and missing"))
    there = {code.casefold() for _, code in counts}
    notes += [f"--missing {code}: stands in no column" for code in codes if code.casefold() not in there]
    return replace(table, columns=columns)


def _code(cell: str, words: Collection[str], numbers: dict[float, str]) -> str:
    """The code that a cell holds; "" for a value."""
    text = cell.strip()
    if text.casefold() in words:
        number = _number(text)
        return numbers.get(number, text.casefold())
    return numbers.get(_number(text), "") if text else ""


def _number(text: str) -> float:
    """A number with a decimal point or comma; NaN of another text."""
    try:
        return float(text.replace(",", ".").replace("\u2212", "-"))
    except ValueError:
        return math.nan
