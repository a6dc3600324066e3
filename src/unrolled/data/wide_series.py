"""Tables with a series in each row, as those of the M4 competition: a name, and its values, of different lengths.

Inputs: the text of a file. Outputs: the same as a long table, with a row for each value. A file of its own, as such
rows have no columns as other tables have.
"""

import csv
import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from unrolled.data.counted import counted
from unrolled.data.files import MISSING, decode, read_bytes
from unrolled.data.packed import is_workbook, unpacked
from unrolled.data.table import Table
from unrolled.data.time_columns import is_named_as_time, looks_like_time
from unrolled.errors import DataError

SERIES, VALUE = "series", "value"  # columns of the long table
_LEAST_VALUES = 3  # of the longest row
_LEAST_EVEN = 12  # columns of numbered ones, where all rows are as long: fewer may be features
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_STAMPS = frozenset([*_MONTHS.split(), "mon", "tue", "wed", "thu", "fri", "sat", "sun"])  # begins of names
_DATE = re.compile(r"(?:1[5-9]|20|21)\d\d(?:(?:0[1-9]|1[0-2])(?:\d\d)?)?")  # a year, a month or a day
_LONGEST_STEP = 18  # digits
_COUNTED = re.compile(r"([A-Za-z_]*)(\d+)")


def wide_table(paths: Sequence[Path], encoding: str) -> Table | None:
    """A long table of files with a series in each row; None where they are not so, or cannot be read."""
    columns: dict[str, list[str]] = {SERIES: [], VALUE: []}
    places: list[str] = []
    digest, lengths = "", list[int]()
    for path in paths:
        try:
            content = read_bytes(path)
            packed = unpacked(content, str(path))
            text = "" if packed.startswith(b"PAR1") or is_workbook(packed) else decode(packed, str(path), encoding)
        except DataError:
            return None  # told where it is read as a table
        digest += hashlib.sha256(content).hexdigest()
        rows = _rows(text)
        if not rows:
            return None
        for line, (name, *values) in rows:
            values = values or [""]  # without any: told as such
            columns[SERIES] += [name] * len(values)
            columns[VALUE] += values
            places += [f"{path}, line {line}"] * len(values)
            lengths.append(len(values))
    if len({name for name, _ in itertools.groupby(columns[SERIES])}) < len(lengths):
        return None  # two rows of a name
    span = f"{min(lengths):,} to " if min(lengths) < max(lengths) else ""
    told = (
        f"each row is a series, which its first cell names: {len(lengths):,} of {span}{counted(max(lengths), 'value')} "
        "without stamps"
    )
    return Table(columns, places, ", ".join(map(str, paths)), digest, (told,))


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Rows with their lines, without their empty ends; none where the text is no table of this form."""
    first = text[: text.find("\n")] if "\n" in text else text
    mark = next((each for each in "\t;," if each in first), None)
    if mark is None or first.lstrip()[:1] in ("{", "["):
        return []
    lines = text.split("\n")
    if _begin(next(csv.reader(lines[:1], delimiter=mark), [])) is None:
        return []
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(lines, delimiter=mark)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                found.append((reader.line_num, cells))
    except csv.Error:
        return []
    head = found[0][1] if found and _begin(found[0][1]) == "names" else None
    body = found[1:] if head else found
    if (head and is_named_as_time(head[0])) or looks_like_time([row[0] for _, row in body]):
        return []
    widths = {len(row) for _, row in body}
    has_form = len(widths) > 1 or (head is not None and len(head) > _LEAST_EVEN)
    if not body or not has_form or max(widths) <= _LEAST_VALUES or (head and max(widths) > len(head)):
        return []
    return body if all(_is_series(row) for _, row in body) else []


def _begin(row: Sequence[str]) -> str | None:
    """What a first row is: "names" that count the values, or the "values" of a series; None: something else, such as a
    name and numbers that go up evenly, or years and months, which name columns where no row is one of values.
    """
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    if len(cells) <= _LEAST_VALUES:
        return None
    names = cells if _COUNTED.fullmatch(cells[0]) else cells[1:]  # V1, V2 ... or a name and 1, 2 ...
    matches = [match for name in names if (match := _COUNTED.fullmatch(name))]
    marks, numbers = {match[1] for match in matches}, [int(match[2]) for match in matches]
    is_counted = len(matches) == len(names) and numbers[0] in (0, 1) and len(marks) == 1
    if is_counted and (names is cells or marks == {""}) and all(b - a == 1 for a, b in itertools.pairwise(numbers)):
        return "names"
    return "values" if _is_series(cells) and not _may_name(cells[1:]) else None


def _may_name(cells: Sequence[str]) -> bool:
    """Whether numbers may be names of columns: whole ones that go up by the same step, or years, months or days do."""
    if not all(map(str.isdecimal, cells)) or max(map(len, cells)) > _LONGEST_STEP:
        return False
    numbers = list(map(int, cells))
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    return min(steps) > 0 and (len(steps) == 1 or all(map(_DATE.fullmatch, cells)))


def _is_series(row: Sequence[str]) -> bool:
    """Whether a row has a name and numbers; one of them may be missing between others."""
    return _is_name(row[0]) and all(_NUMBER.fullmatch(cell) or cell.lower() in MISSING for cell in row[1:])


def _is_name(text: str) -> bool:
    """Whether a first cell names a series: it has a letter, and is no stamp or number."""
    is_stamp = re.match(r"\d{4}|.*\d[-/:.]\d", text) or text.lower()[:3] in _STAMPS
    return bool(re.search(r"[^\W\d_]", text)) and not _NUMBER.fullmatch(text) and not is_stamp
