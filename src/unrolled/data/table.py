"""Tables, as columns of texts.

Inputs: files or data frames. Outputs: columns, each row with its line in the file. CSV (comma, semicolon or tab) and
JSON lines are parsed here, so that an error has its line. Parquet files and data frames of pandas, polars and others go
through polars and narwhals (extra: tables).
"""

import csv
import difflib
import hashlib
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import optional_libraries
from unrolled.data.files import Faults, read_bytes, read_texts
from unrolled.errors import DataError

MISSING = {"", "na", "nan", "n/a", "null", "none", "-", "?"}


@dataclass(frozen=True)
class Table:
    """Columns of texts.

    Attributes:
        columns: by name, of the same length.
        places: of each row, such as "prices.csv, line 7".
        name: of the table.
        sha256: of the files.
    """

    columns: dict[str, list[str]]
    places: list[str]
    name: str
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.places)

    def column(self, name: str) -> list[str]:
        """A column.

        Raises:
            DataError: there is none of that name; the nearest are offered.
        """
        if name not in self.columns:
            raise DataError(no_column(self.name, list(self.columns), name))
        return self.columns[name]


def no_column(table: str, head: Sequence[str], name: str) -> str:
    """That there is no such column, with those that are meant perhaps."""
    near = difflib.get_close_matches(name, head, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {', '.join(map(repr, head[:20]))}"
    return f"{table}: has no column {name!r}. {hint}"


def choose_column(name: str, head: Sequence[str], asked: str | None, usual: Sequence[str], option: str) -> str:
    """The column that was asked for, or else the first that has one of the usual names.

    Raises:
        DataError: there is none; the option that names it is told.
    """
    if asked is not None:
        if asked in head:
            return asked
        raise DataError(no_column(name, head, asked))
    lowered = {each.strip().lower(): each for each in reversed(head)}
    for each in usual:
        if each in lowered:
            return lowered[each]
    raise DataError(
        f"{name}: which column is the {option}? Pass --{option} with one of {', '.join(map(repr, head[:20]))}"
    )


def read_table(files: Sequence[Path | str], *, encoding: str = "utf-8") -> Table:
    """Reads files with the same columns, one below the other.

    Raises:
        DataError: they cannot be used; all faults are told at once.
    """
    faults = Faults()
    columns: dict[str, list[str]] = {}
    places: list[str] = []
    digest = ""
    for file in map(Path, files):
        if file.suffix.lower() in (".parquet", ".pq"):
            digest += hashlib.sha256(read_bytes(file)).hexdigest()
            found = of_frame(_parquet(file), str(file))
            head, rows = list(found.columns), zip(found.places, zip(*found.columns.values(), strict=True), strict=True)
        else:
            texts, sha256 = read_texts([file], encoding=encoding)
            digest += sha256
            head, lines = rows_of(str(file), texts[str(file)], faults)
            rows = ((f"{file}, line {line}", row) for line, row in lines)  # type: ignore[assignment]
        if columns and list(columns) != head:
            faults.add(f"{file}: has the columns {', '.join(head)}; the file before has {', '.join(columns)}")
            continue
        columns = columns or {name: [] for name in head}
        for place, row in rows:
            places.append(place)
            for values, value in zip(columns.values(), row, strict=True):
                values.append(value)
    faults.stop()
    name = ", ".join(map(str, files))
    if not places:
        raise DataError(f"{name}: holds no rows")
    return Table(columns, places, name, digest)


def of_frame(frame: Any, name: str = "the table") -> Table:
    """A data frame of pandas, polars or another library that narwhals knows.

    Raises:
        MissingExtraError: narwhals is not installed.
        DataError: it is no data frame.
    """
    narwhals: Any = optional_libraries.library("narwhals", "data frames need", "tables")
    try:
        known = narwhals.from_native(frame, eager_only=True)
    except TypeError as fault:
        raise DataError(f"{name}: is no data frame: {fault}") from fault
    columns = {str(each.name): [_text(value) for value in each.to_list()] for each in known.iter_columns()}
    return Table(columns, [f"{name}, row {i + 1}" for i in range(len(known))], name)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return value.isoformat(" ") if hasattr(value, "isoformat") else str(value)


def _parquet(file: Path) -> Any:
    polars: Any = optional_libraries.library("polars", "Parquet files need", "tables")
    try:
        return polars.read_parquet(file)
    except (polars.exceptions.PolarsError, OSError) as fault:
        raise DataError(f"{file}: cannot be read as Parquet: {str(fault).splitlines()[0]}") from fault


def rows_of(name: str, content: str, faults: Faults) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with the line that each begins on; faults are told as rows are taken."""
    rows = _json_rows(name, content, faults) if content.lstrip()[:1] == "{" else _csv_rows(name, content, faults)
    _, head = next(rows, (0, []))
    twice = sorted({each for each in head if head.count(each) > 1})
    if twice:
        faults.add(f"{name}, line 1: has several columns named {', '.join(map(repr, twice))}")
    return head, rows


def _csv_rows(name: str, content: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    first = content.split("\n", 1)[0]
    delimiter = max("\t,;", key=first.count)
    # tables between tabs are written without quotes
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    n_columns, line = 0, 1
    try:
        for row in reader:
            if not n_columns:
                n_columns = len(row)
                yield line, [each.strip() for each in row]
            elif row and len(row) != n_columns:
                faults.add(f"{name}, line {line}: has {len(row)} columns, the header {n_columns}")
            elif row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as fault:
        faults.add(f"{name}, line {line}: {fault}; is a quotation mark left open?")


def _json_rows(name: str, content: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    head: list[str] = []
    for line, row in enumerate(content.split("\n"), 1):
        if not row.strip():
            continue
        try:
            item: Any = json.loads(row)
        except (ValueError, RecursionError) as fault:
            faults.add(f"{name}, line {line}: is no JSON: {fault}")
            continue
        if not isinstance(item, dict):
            faults.add(f'{name}, line {line}: expected an object such as {{"text": ..., "label": ...}}')
            continue
        if not head:
            head = list(item)
            yield 0, head
        missing = [each for each in head if each not in item]
        if missing:
            faults.add(f"{name}, line {line}: has no {', '.join(map(repr, missing))}, which the first line has")
            continue
        yield line, ["" if item[each] is None else str(item[each]) for each in head]


def is_number(text: str, thousands: str = "") -> bool:
    """Whether a text is a number, or stands for a missing one."""
    try:
        float(text.replace(thousands, "") if thousands else text)
    except ValueError:
        return text.strip().lower() in MISSING
    return True


def numbers_of(table: Table, name: str, thousands: str, faults: Faults) -> np.ndarray:
    """A column as float64, NaN where a value is missing."""
    values = table.columns[name]
    result = np.full(len(values), np.nan)
    for i, text in enumerate(values):
        plain = text.strip().replace(thousands, "") if thousands else text.strip()
        if plain.lower() in MISSING:
            continue
        try:
            result[i] = float(plain)
        except ValueError:
            hint = " If ',' groups thousands, pass --thousands ','." if "," in plain else ""
            faults.add(f"{table.places[i]}, column {name!r}: {text!r} is not a number.{hint}")
        if math.isinf(result[i]):
            faults.add(f"{table.places[i]}, column {name!r}: {text!r} is not finite")
    return result
