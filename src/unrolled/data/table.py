"""Tables, as columns of texts.

Inputs: files or data frames. Outputs: columns, each row with its line in the file. CSV and JSON lines are parsed here,
so that an error has its line. Parquet files and data frames of pandas, polars and others go through polars and
narwhals, workbooks through calamine (extra: tables).
"""

import datetime
import difflib
import hashlib
import io
import itertools
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unrolled import optional_libraries
from unrolled.data.files import Faults, decode, read_bytes, shortened
from unrolled.data.packed import check_size, is_workbook, unpacked
from unrolled.data.parquet import read_parquet
from unrolled.data.rows import Row, headed, rows_of
from unrolled.errors import DataError

SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".xlsx", ".xlsm", ".xls", ".ods")
_MOST_NAMES = 20  # of columns, in a message
_LOOKED_AT = 1000  # rows
#: what reading data found out by itself, by name, such as the column of texts; other data of the same model are read so
Learnt = Mapping[str, Any]
NOTHING: Learnt = MappingProxyType({})
#: the name of a file, its columns' names and its first rows → the columns that are read
Chosen = Callable[[str, list[str], list[list[str]]], list[str]]


@dataclass(frozen=True)
class Table:
    """Columns of texts.

    Attributes:
        columns: by name, of the same length.
        places: of each row, such as "prices.csv, line 7".
        name: of the table.
        sha256: of the files.
        notes: what was noticed on reading, for the user.
        is_frame: whether it was a data frame, whose numbers are not written in any way.
    """

    columns: dict[str, list[str]]
    places: list[str]
    name: str
    sha256: str = ""
    notes: tuple[str, ...] = ()
    is_frame: bool = False

    def __len__(self) -> int:
        return len(self.places)

    @property
    def lines(self) -> list[int]:
        """The number of each row's line, or row, in its file."""
        return [int(place.rsplit(" ", 1)[1]) for place in self.places]

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
    near = difflib.get_close_matches(name, [each[:100] for each in head[:1000]], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {names_shown(head)}"
    return f"{table}: has no column {name!r}. {hint}"


def check_learnt(name: str, head: Sequence[str], columns: Sequence[str], *, option: str = "") -> None:
    """Holds a table to have the columns that a model learnt from.

    Args:
        name: of the table.
        head: names of its columns.
        columns: those that the model learnt from.
        option: that names another one; "" where none does.

    Raises:
        DataError: one is not there.
    """
    for each in columns:
        if each not in head:
            way = f"pass --{option} with the one that is meant" if option else "name the columns as in the training"
            raise DataError(
                f"{name}: has no column {each!r}, from which the model learnt. It has {names_shown(head)}; {way}"
            )


def choose_column(name: str, head: Sequence[str], asked: str | None, usual: Sequence[str], option: str) -> str:
    """The column that was asked for, or else the first that has one of the usual names.

    Raises:
        DataError: there is none; the option that names it is told.
    """
    if asked is not None:
        if asked in head:
            return asked
        raise DataError(no_column(name, head, asked))
    found = of_usual_name(head, usual)
    if found is not None:
        return found
    raise DataError(f"{name}: which column is the {option}? Pass --{option} with one of {names_shown(head)}")


def of_usual_name(head: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column that has the first of some usual names, in any case."""
    lowered = {each.strip().lower(): each for each in reversed(head)}
    return next((lowered[each] for each in usual if each in lowered), None)


def names_shown(head: Sequence[str]) -> str:
    """The names of columns, in quotes; of very many the first."""
    more = f" and {len(head) - _MOST_NAMES:,} more" if len(head) > _MOST_NAMES else ""
    return ", ".join(map(shortened, head[:_MOST_NAMES])) + more


def is_table(path: Path) -> bool:
    """Whether a file's name is one of a table, packed or not."""
    suffixes = [each.lower() for each in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in (".gz", ".bz2", ".xz", ".zip"):
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def read_table(
    files: Sequence[Path | str],
    *,
    encoding: str = "utf-8",
    header: bool | None = None,
    has_option: bool = True,
    choose: Chosen | None = None,
    faults: Faults | None = None,
) -> Table:
    """Reads files with the same columns, one below the other.

    Args:
        files: CSV, JSON lines, Parquet or workbooks; packed ones are unpacked.
        encoding: of texts.
        header: whether the first line names the columns; None if it should, and is to be refused if it looks like data.
            Without one the columns are named 1, 2, 3 ...
        has_option: whether a user can tell it.
        choose: takes a file's name, its columns' and its first rows, returns the names of the columns to keep; None for
            all of them.
        faults: gets what is wrong, for a caller that finds more and raises it all; None to raise it here.

    Raises:
        DataError: they cannot be used; all faults are told at once.
    """
    found, notes = faults or Faults(), list[str]()
    columns: dict[str, list[str]] = {}
    places: list[str] = []
    digest = ""
    for file in map(Path, files):
        try:
            content = read_bytes(file)
            digest += hashlib.sha256(content).hexdigest()
            head, rows = _rows(str(file), content, encoding, found, notes, header=header, has_option=has_option)
            if not head:
                continue  # no row could be read: what is wrong with them is told, or that there are none
            some = list(itertools.islice(rows, _LOOKED_AT))
            kept = choose(str(file), head, [row for _, row in some]) if choose else head
        except DataError as fault:
            found.add(str(fault))
            continue
        if columns and list(columns) != kept:
            found.add(f"{file}: has the columns {names_shown(kept)}; the file before has {names_shown(list(columns))}")
            continue
        columns = columns or {name: [] for name in kept}
        number = {name: i for i, name in enumerate(head)}
        chosen = [(columns[name], number[name]) for name in kept]
        for place, row in itertools.chain(some, rows):
            places.append(place)
            for values, i in chosen:
                values.append(row[i])
    if faults is None or not columns:
        found.stop()
    name = ", ".join(map(str, files))
    if not places:
        found.stop()
        raise DataError(f"{name}: holds no rows{' below the names of its columns' if columns else ''}")
    return Table(columns, places, name, digest, tuple(notes))


def _rows(
    name: str,
    content: bytes,
    encoding: str,
    faults: Faults,
    notes: list[str],
    *,
    header: bool | None,
    has_option: bool,
) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """The names of a file's columns, and its rows with their places."""
    content = unpacked(content, name)
    if content.startswith(b"PAR1"):
        found = of_frame(read_parquet(name, content), name)
        return list(found.columns), zip(found.places, map(list, zip(*found.columns.values(), strict=True)), strict=True)
    if is_workbook(content):
        sheet = _sheet(name, content, notes)
        head, rows = headed(name, sheet, faults, notes, header=header, has_option=has_option, place="row")
        return head, ((f"{name}, row {row}", values) for row, values in rows)
    head, rows = rows_of(name, decode(content, name, encoding), faults, notes, header=header, has_option=has_option)
    return head, ((f"{name}, line {line}", values) for line, values in rows)


def of_frame(frame: object, name: str = "the table") -> Table:
    """A data frame of pandas, polars or another library that narwhals knows.

    Raises:
        MissingExtraError: narwhals is not installed.
        DataError: it is no data frame.
    """
    narwhals = optional_libraries.library("narwhals", "data frames need", "tables")
    try:
        known = narwhals.from_native(frame, eager_only=True)
    except (TypeError, narwhals.exceptions.NarwhalsError) as fault:
        raise DataError(f"{name}: is no data frame that can be read: {' '.join(str(fault).split())}") from fault
    twice = [repr(each) for each, count in Counter(map(str, known.columns)).items() if count > 1]  # as 1 and "1" are
    if twice:
        raise DataError(f"{name}: has several columns named {', '.join(twice[:5])}; give each a name of its own")
    columns = {str(each.name): _texts(each.to_list()) for each in known.iter_columns()}
    return Table(columns, [f"{name}, row {i + 1}" for i in range(len(known))], name, is_frame=True)


def _texts(values: Sequence[object]) -> list[str]:
    """Values of a column as texts; stamps without a time of day as days."""
    texts = [_text(value) for value in values]
    is_of_days = isinstance(values[0] if len(values) else None, datetime.datetime) and all(
        text.endswith(" 00:00:00") or not text for text in texts
    )
    return [text.removesuffix(" 00:00:00") for text in texts] if is_of_days else texts


def _text(value: object) -> str:
    if value is None or str(value) in ("<NA>", "NaT", "nan"):  # pandas' NA is neither equal to itself nor not
        return ""
    if isinstance(value, dict):  # of a column with several fields
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat(" ") if isinstance(value, datetime.datetime) else str(value)


def _sheet(name: str, content: bytes, notes: list[str]) -> Iterator[Row]:
    """The rows of a workbook's first sheet that has any, without empty ones and empty columns at the end."""
    calamine = optional_libraries.library("python_calamine", "workbooks need", "tables")
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_size(name, len(content), sum(each.file_size for each in archive.infolist()), "zip")
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = {each: book.get_sheet_by_name(each).to_python(skip_empty_area=False) for each in book.sheet_names}
    except (calamine.CalamineError, OSError, ValueError) as fault:
        raise DataError(f"{name}: cannot be read as a workbook: {fault}") from fault
    filled = {each: rows for each, rows in sheets.items() if any(any(value != "" for value in row) for row in rows)}
    if not filled:
        raise DataError(f"{name}: holds no rows in any of its sheets")
    sheet, rows = next(iter(filled.items()))
    if len(filled) > 1:
        notes.append(f"{name}: the sheet {sheet!r} is read, {', '.join(map(repr, list(filled)[1:]))} not")
    width = max(i + 1 for row in rows for i, value in enumerate(row) if value != "")
    for number, row in enumerate(rows, 1):
        if any(value != "" for value in row):
            yield number, [_of_cell(value) for value in (*row, *[""] * width)[:width]]


def _of_cell(value: object) -> str:
    """A cell as a text: whole numbers without a point, midnights as dates."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return _text(value)
