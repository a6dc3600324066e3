"""Tables with sentences in two languages: CSV, JSON lines, Parquet, workbooks.

Inputs: files. Outputs: rows with both sides. A file of its own, as columns are chosen by name here, and by place in
lines with tabs.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unrolled.data.files import Faults, shortened
from unrolled.data.items import ItemForm, Items, lines_of, of_table, opened_file
from unrolled.data.pair_sides import AskedSides, Sides, named_sides, sides_of
from unrolled.data.table import NOTHING, Learnt, Table, check_learnt, is_table, read_table
from unrolled.errors import DataError
from unrolled.files.bounds import reading

_OF_LINES = (".tsv", ".tab")  # tables by name whose lines are read with tabs
_NAMED = (".json", ".jsonl", ".ndjson", ".parquet", ".pq")
_OBJECTS = ("translation", "translations")  # columns of objects, whatever the languages
_PACKED = (".gz", ".bz2", ".xz", ".zip")


@dataclass(frozen=True)
class PairTable:
    """Rows of a table.

    Attributes:
        rows: sources and translations, some of them empty.
        places: of the rows.
        sides: the columns.
        notes: how the table was read, for the user.
        sha256: of the files.
    """

    rows: list[tuple[str, str]]
    places: list[str]
    sides: Sides
    notes: tuple[str, ...] = field(default_factory=tuple)
    sha256: str = ""


def is_pair_table(path: Path, encoding: str, asked: AskedSides, *, header: bool | None = None) -> bool:
    """Whether a file is a table by its name or its content, or its first line has the columns that are named."""
    if not path.is_file():
        return False
    if is_table(path) and _suffix(path) not in (*_OF_LINES, ".csv"):
        return True
    with contextlib.suppress(DataError), opened_file(path) as file, reading(str(path)):
        if file.peek(4)[:4] == b"PAR1":
            return True
    with contextlib.suppress(DataError):
        first = first_line(path, encoding).strip()
        if _is_object(first):
            return True
        named = [each for each in (asked.source, asked.target) if each is not None]
        columns = [each.strip() for each in first.split("\t")]
        if named and (len(columns) > 1 if header is False else all(each in columns for each in named)):
            return True
        return _suffix(path) == ".csv" and len(columns) == 1  # Tatoeba names files so that have tabs
    return _suffix(path) == ".csv"


def first_line(path: Path, encoding: str) -> str:
    """The first line of a file that holds more than blanks; "" where there is none."""
    return next((line for line in lines_of(opened_file(path), str(path), encoding) if line.strip()), "")


def read_pair_table(
    files: Sequence[Path],
    asked: AskedSides,
    faults: Faults,
    *,
    encoding: str = "utf-8",
    header: bool | None = None,
    learnt: Learnt = NOTHING,
) -> PairTable:
    """Reads tables with the same columns, or with objects of both sides in one column, as data sets of Hugging Face.

    Raises:
        DataError: they cannot be used, or columns cannot be told.
    """
    found: list[tuple[str | None, Sides]] = []

    def choose(name: str, head: list[str], rows: list[list[str]]) -> list[str]:
        if not found:
            found.append(
                _chosen(name, head, rows, asked, learnt, is_named=header is not None or _has_names(Path(name)))
            )
        nested, sides = found[0]
        wanted = [nested] if nested is not None else [sides.source, sides.target]
        check_learnt(name, head, wanted)
        return wanted

    table = read_table(files, encoding=encoding, header=header, choose=choose, faults=faults)
    nested, sides = found[0]
    columns = _unfolded(table, nested, (sides.source, sides.target), faults) if nested else table.columns
    rows = list(zip(columns[sides.source], columns[sides.target], strict=True))
    notes = (*([sides.note] if sides.note else []), *table.notes)
    return PairTable([(_line(a), _line(b)) for a, b in rows], table.places, sides, notes, table.sha256)


def sources_in_table(
    path: Path, form: ItemForm, asked: AskedSides, learnt: Learnt, *, is_backward: bool
) -> Items | None:
    """The sources in a table, with its other columns; None where it is not known which column has them."""
    option = "target" if is_backward else "source"
    column = asked.target if is_backward else asked.source
    column = column or learnt.get(option)
    with_header = replace(form, text=column, learnt=None)
    if column is not None and not _is_nested(path, form, asked, learnt):
        return of_table(path, with_header)
    faults = Faults()
    try:
        found = read_pair_table(
            [path], asked, faults, encoding=form.encoding, header=form.header, learnt=learnt if column else NOTHING
        )
        faults.stop()
    except DataError:
        if column is not None:
            raise
        return None
    if column is None and not found.sides.are_named:  # two columns of any names may be a class and a text
        return None
    named = found.sides.source, found.sides.target
    rows = [dict(zip(named, row, strict=True)) for row in found.rows]
    source = named[1] if is_backward else named[0]
    return Items(
        [(row[source], row) for row in rows], f"{path}: a table of {len(rows):,} rows, texts in column {source!r}"
    )


def _chosen(
    name: str, head: list[str], rows: list[list[str]], asked: AskedSides, learnt: Learnt, *, is_named: bool
) -> tuple[str | None, Sides]:
    """The column that holds objects of both sides, if one does; and the sides."""
    sides = asked.source or learnt.get("source"), asked.target or learnt.get("target")
    nested, keys = _nested(head, rows, sides)
    own_head, own_rows = head, rows
    if nested is not None:
        place, own_head = head.index(nested), keys
        objects = [_object(row[place]) or {} for row in rows]
        own_rows = [[str(each.get(key) or "") for key in own_head] for each in objects]
    if asked.source is asked.target is None and None not in sides:
        for option, column in zip(("source", "target"), sides, strict=True):
            check_learnt(name, own_head, [str(column)], option=option)
    return nested, sides_of(name, own_head, own_rows, AskedSides(*sides), are_named=is_named or nested is not None)


def _nested(
    head: Sequence[str], rows: Sequence[Sequence[str]], sides: Sequence[str | None]
) -> tuple[str | None, list[str]]:
    """The column with objects of both sides, and their keys; None where columns of the table are the sides, or where
    neither the keys nor the name of the column tell sides: an object that describes a text has keys, too.
    """
    named = [each for each in sides if each is not None]
    if any(each in head for each in named):
        return None, []
    objects = {each: keys for i, each in enumerate(head) if (keys := list(_languages([row[i] for row in rows])))}
    if named:
        return next(((each, keys) for each, keys in objects.items() if set(named) <= {*keys}), (None, []))
    fitting = {
        each: keys
        for each, keys in objects.items()
        if named_sides(keys) is not None or each.strip().lower() in _OBJECTS or len(head) == 1
    }
    has_sides = named_sides([each for each in head if each not in fitting]) is not None
    return (None, []) if has_sides else next(iter(fitting.items()), (None, []))


def _languages(cells: Sequence[str]) -> dict[str, None]:
    """The keys of cells that are objects of texts, two at least in each; none of other cells."""
    objects = [_object(cell) for cell in cells if cell.strip()]
    if not objects or not all(each is not None and len(each) > 1 for each in objects):
        return {}
    return dict.fromkeys(key for each in objects if each for key in each)


def _object(cell: str) -> Mapping[str, object] | None:
    """A cell's object of texts."""
    if not cell.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(each, str | None) for each in found.values()) else None


def _unfolded(table: Table, nested: str, keys: Sequence[str], faults: Faults) -> dict[str, list[str]]:
    """Columns out of the objects in one."""
    columns: dict[str, list[str]] = {key: [] for key in keys}
    for place, cell in zip(table.places, table.columns[nested], strict=True):
        found = _object(cell) if cell.strip() else {}
        if found is None:
            faults.add(
                f'{place}, column {nested!r}: {shortened(cell)} is no object of texts such as {{"en": ..., "de": ...}}'
            )
        for key in keys:
            columns[key].append(str((found or {}).get(key) or ""))
    return columns


def _is_nested(path: Path, form: ItemForm, asked: AskedSides, learnt: Learnt) -> bool:
    """Whether a table has objects of both sides in its rows."""
    is_nested = False

    def choose(_: str, head: list[str], rows: list[list[str]]) -> list[str]:
        nonlocal is_nested
        sides = asked.source or learnt.get("source"), asked.target or learnt.get("target")
        is_nested = _nested(head, rows, sides)[0] is not None
        raise DataError("the other rows need not be read")

    with contextlib.suppress(DataError):
        read_table([path], encoding=form.encoding, header=form.header, choose=choose)
    return is_nested


def _suffix(path: Path) -> str:
    suffixes = [each.lower() for each in path.suffixes]
    return next((each for each in reversed(suffixes) if each not in _PACKED), "")


def _has_names(path: Path) -> bool:
    """Whether a file's columns have names whatever its first line is."""
    if _suffix(path) in _NAMED:
        return True
    with contextlib.suppress(DataError):
        return _is_object(first_line(path, "utf-8").strip())
    return False


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _line(text: str) -> str:
    """A text as one line: a translation is one, too."""
    return re.sub(r"\s*\n\s*", " ", text.strip())
