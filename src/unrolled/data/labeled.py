"""Texts, or windows of numbers, with their classes.

Inputs: a user's table, folder or files. Outputs: items with their classes.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.files import MISSING, Faults, read_texts, shortened
from unrolled.data.in_memory import MOST_SIZE, as_list, column_of, is_frame, items_of, labels_of, same_number
from unrolled.data.numbers import is_number, mark_to_keep, numbers_of
from unrolled.data.roles import ROWS, TEXT_NAMES, Roles, Wanted, roles_of, roles_of_frame
from unrolled.data.table import NOTHING, Learnt, Table, is_table, read_table
from unrolled.data.tag_columns import are_lists, cells
from unrolled.errors import DataError

_LABEL_NAMES = ("label", "class", "sentiment", "category", "target", "intent", "topic", "rating", "labels", "tags")

MOST_CLASSES = 3000  # the baseline has a number for each word and class
_MANY = 20  # texts
_SEPARATORS = ";|,/+&"  # what usually stands between labels


@dataclass(frozen=True)
class Labeled:
    """Items with their classes.

    Attributes:
        items: texts, none of them empty; or windows of numbers [time, features].
        labels: the classes of each item; one, unless `is_multiple`.
        is_multiple: whether an item may have none or several.
        notes: what was noticed on reading, for the user.
        names: of the items, where they have any.
        beside: what a table has beside each window: all of its row, or the name in the column that tells windows apart.
        sha256: of the files.
        kind: what the labels were before they became texts: a key of `LABEL_KINDS`.
        read_as: what reading a table found out by itself: the columns "text" and "label", or the mark "decimal".
    """

    items: list[Any]
    labels: list[list[str]]
    is_multiple: bool = False
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    beside: tuple[dict[str, str], ...] = ()
    sha256: str = ""
    kind: str = "str"
    read_as: Learnt = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def part(self, places: Sequence[int]) -> "Labeled":
        """The items at some places."""
        items, labels = [self.items[i] for i in places], [self.labels[i] for i in places]
        return Labeled(items, labels, self.is_multiple, kind=self.kind)

    def stratified(self, share: float, seed: int) -> tuple["Labeled", "Labeled"]:
        """Two parts, the second with `share` of each class, drawn by the seed."""
        draw = np.random.default_rng((seed, 0x5917))
        kinds: dict[tuple[str, ...], list[int]] = {}
        for i, names in enumerate(self.labels):
            kinds.setdefault(tuple(names), []).append(i)
        second = [
            int(i) for kind in sorted(kinds) for i in draw.permutation(kinds[kind])[: round(share * len(kinds[kind]))]
        ]
        if not second:  # classes too small to be cut
            second = [int(draw.integers(len(self)))]
        held = set(second)
        return self.part([i for i in range(len(self)) if i not in held]), self.part(sorted(held))


def read_labeled(
    files: Sequence[Path | str],
    *,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    learnt: Learnt = NOTHING,
) -> Labeled:
    """Reads tables; or folders whose sub-folders are the classes, a text each file; or a file of lines for each class.

    Args:
        files: tables with the same columns each (see `read_table`); or one folder; or several files of lines.
        text: name of the column with the texts; guessed from usual names if None.
        label: name of the column with the classes, likewise.
        separator: what stands between the labels of a text that may have several; None where each has one.
        encoding: of the files.
        header: whether the first line of a table names the columns; see `read_table`.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: a column is missing, or rows cannot be used; all faults are told at once.
    """
    paths = list(map(Path, files))
    if text is None and label is None and (classes := classes_of(paths)):
        return _of_classes(classes, encoding)
    found_roles: list[Roles] = []

    def choose(name: str, head: list[str], rows: list[list[str]]) -> list[str]:
        if not found_roles:
            wanted = Wanted(text, label, "label", _LABEL_NAMES).like(learnt)
            found_roles.append(roles_of(name, head, rows, wanted))
        return found_roles[0].in_head(name, head)

    faults, n_empty, unlabeled = Faults(), 0, list[str]()
    table = read_table(paths, encoding=encoding, header=header, choose=choose, faults=faults)
    names = (found_roles[0].text, found_roles[0].answer)
    found: list[str] = []
    labels: list[list[str]] = []
    cut, is_multiple = _cut(table.columns[names[1]], separator)
    for place, value, cell, classes in zip(table.places, *(table.columns[name] for name in names), cut, strict=True):
        if classes is None:
            faults.add(f"{place}, column {names[1]!r}: {shortened(cell)} is no list of labels; most cells are")
        elif not classes and not is_multiple:
            unlabeled.append(f"{place}, column {names[1]!r}: is empty; expected a label")
        elif not value.strip():
            n_empty += 1
        else:
            found.append(value.strip())
            labels.append(sorted(set(classes)))
    _tell_unlabeled(unlabeled, table.columns[names[1]], faults)
    faults.stop()
    if not found:
        raise DataError(f"{table.name}: holds no texts: all {len(table):,} rows are empty in column {names[0]!r}")
    of_table = [*found_roles[0].notes, *table.notes]
    notes = _notes_on(found, labels, names, of_table, is_cut=separator is not None, is_multiple=is_multiple)
    if n_empty:
        notes.append(counted(n_empty, "row[|s] without a text [is|are] left out"))
    read_as = {"text": names[0], "label": names[1]}
    return Labeled(found, labels, is_multiple, tuple(notes), sha256=table.sha256, read_as=read_as)


def _notes_on(
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    names: tuple[str, str],
    of_table: Sequence[str],
    *,
    is_cut: bool,
    is_multiple: bool,
) -> list[str]:
    """What a user is told of texts and classes in a table: how many, and what may be meant in another way."""
    where, kinds = f"column {names[1]!r}", {each for row in labels for each in row}
    n_kinds = len(kinds)
    notes = [f"{counted(len(texts), 'text')} in column {names[0]!r}, {counted(n_kinds, 'class')} in {where}", *of_table]
    if len(texts) >= _MANY and 2 * n_kinds > len(texts):
        notes.append(f"most labels stand at one text alone; are the classes in another column than {names[1]!r}?")
    if 2 * n_kinds > _MANY and all(map(is_number, kinds)) and not all(map(str.isdigit, kinds)):
        notes.append(
            f"{where} holds {n_kinds:,} numbers, taken as classes; to predict them as numbers: "
            f"unrolled train regress ... --target {names[1]!r}"
        )
    if is_multiple and not is_cut:
        notes.append(f"{where} holds lists: a text may have several labels")
    if not is_cut:
        notes += _joined(kinds, names[1])
    return notes + _alike(kinds, where)


def _cut(column: Sequence[str], separator: str | None) -> tuple[list[list[str] | None], bool]:
    """The labels of each cell, None where one is no list among lists, and whether a text may have several."""
    if separator is not None:
        return [[name for each in cell.split(separator) if (name := each.strip())] for cell in column], True
    if are_lists(column):
        found = cells(column)
        return found, any(each is None or len(each) != 1 for each in found)
    return [[name] if (name := cell.strip()) else [] for cell in column], False


def _alike(kinds: Collection[str], where: str) -> list[str]:
    """A note on labels that one may have written in two ways, as Yes and yes, or 1 and 1.0."""
    plain: dict[str | float, list[str]] = {}
    for label in sorted(kinds):
        number = float(label) if re.fullmatch(r"[+-]?\d+(\.\d+)?", label, re.ASCII) else None
        plain.setdefault(" ".join(label.casefold().split()) if number is None else number, []).append(label)
    alike = [names for names in plain.values() if len(names) > 1]
    if not alike:
        return []
    shown = " and ".join(map(shortened, alike[0][:2]))
    more = f", and so are {counted(len(alike) - 1, 'such pair')} more" if len(alike) > 1 else ""
    return [f"{where}: {shown} are taken as two classes{more}; write them alike if they are one"]


def _tell_unlabeled(texts: Sequence[str], cells: Sequence[str], faults: Faults) -> None:
    """Tells of cells without a label, and at the first what to do about them."""
    for i, text in enumerate(texts):
        faults.add(text if i else f"{text}{_several(cells)}")


def _several(cells: Sequence[str]) -> str:
    """What to do about a cell without a label, where others seem to hold several."""
    held = {mark: [cell for cell in cells if mark in cell] for mark in _SEPARATORS[:3]}
    mark = max(held, key=lambda each: len(held[each]))
    if not held[mark]:
        return ""
    return f". If a text has none, one or several, as in {shortened(held[mark][0])}, pass --separator {mark!r}"


def _joined(kinds: Collection[str], column: str) -> list[str]:
    """A note on a label that is several others put together, where there is one."""
    for label in sorted(kinds):
        for mark in _SEPARATORS:
            parts = [each.strip() for each in label.split(mark)]
            if len(parts) > 1 and all(part in kinds for part in parts):
                return [
                    f"column {column!r}: {label!r} is taken as one label; if it is several, pass --separator {mark!r}"
                ]
    return []


def check_count(n: int, noun: str) -> None:
    """Refuses more classes than a model can tell apart in memory.

    Raises:
        DataError: there are.
    """
    if n > MOST_CLASSES:
        raise DataError(f"there are {n:,} {noun}; expected at most {MOST_CLASSES:,}. Is it the right column?")


def classes_of(paths: Sequence[Path]) -> dict[str, list[Path]] | None:
    """Files by class: the sub-folders of one folder, with a text a file; files, with a text a line. None for tables.

    Raises:
        DataError: a folder is named that holds neither.
    """
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        inside = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
        folders = {each.name: sorted(_texts_in(each)) for each in inside if each.is_dir()}
        if found := {name: files for name, files in folders.items() if files}:
            return found
        paths = [each for each in inside if each.is_file()]
        if len(paths) < 2 or any(map(is_table, paths)):
            raise DataError(
                f"{folder}: is a folder; expected a sub-folder for each class with a text a file, or a file for each "
                "class with a text a line. Of tables name the files"
            )
    elif len(paths) < 2 or any(path.is_dir() or is_table(path) or not path.is_file() for path in paths):
        return None
    for names in ([path.stem for path in paths], [path.suffix.lstrip(".") for path in paths]):
        if len(set(names)) == len(names):
            return {name: [path] for name, path in zip(names, paths, strict=True)}
    return None


def _texts_in(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if each.is_file() and not each.name.startswith("."))


def _of_classes(classes: dict[str, list[Path]], encoding: str) -> Labeled:
    """Texts out of a file each, if a class has several; else out of the lines of its one file."""
    are_lines = all(len(files) == 1 for files in classes.values())
    texts, sha256 = read_texts([file for files in classes.values() for file in files], encoding=encoding)
    items: list[str] = []
    labels: list[list[str]] = []
    for name, files in classes.items():
        whole = [texts[str(file)] for file in files]
        found = [
            text for each in whole for part in (each.split("\n") if are_lines else [each]) if (text := part.strip())
        ]
        items += found
        labels += [[name]] * len(found)
    counts = Counter(name for names in labels for name in names)
    shown = ", ".join(f"{name!r} {n:,}" for name, n in counts.most_common(20)) + (", ..." if len(counts) > 20 else "")
    how = "lines are texts, and files classes" if are_lines else "files are texts, and folders classes"
    note = f"{counted(len(items), 'text')}: {how} ({shown})"
    one = hashlib.sha256(sha256.encode()).hexdigest()  # there may be a file for each text
    return Labeled(items, labels, notes=(note,), sha256=one)


def read_windows(
    table: Table,
    *,
    values: Sequence[str],
    series: str,
    label: str | None,
    decimal: str = "",
    learnt: Learnt = NOTHING,
) -> Labeled:
    """Windows of numbers out of a long table: the rows with the same name are one window, in their order.

    Args:
        table: as read.
        values: the columns with the numbers.
        series: the column that tells windows apart; "row": each row is a window.
        label: the column with the class, the same in all rows of a window; None where classes are not known.
        decimal: the decimal mark of numbers, "," or "."; "" to tell it from the columns.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: columns are missing, values are no numbers, a window has two labels; all faults are told at once.
    """
    faults = Faults()
    is_by_row = series == ROWS and ROWS not in table.columns
    for name in (*values, *([] if is_by_row else [series]), *([label] if label else [])):
        try:
            table.column(name)
        except DataError as fault:
            faults.add(str(fault))
    faults.stop()
    notes: list[str] = []
    read = numbers_of(table, values, faults, notes, decimal=decimal, learnt=learnt.get("decimal", ""))
    columns = np.stack([read[name] for name in values], 1)
    is_empty = np.array([[text.strip().lower() in MISSING for text in table.columns[name]] for name in values]).T
    for i, name in np.argwhere(is_empty):
        faults.add(f"{table.places[i]}, column {values[name]!r}: is empty; expected a number")
    for i, k in np.argwhere(np.abs(columns) > MOST_SIZE):
        shown = table.columns[values[k]][i]
        faults.add(f"{table.places[i]}, column {values[k]!r}: {shown!r} is beyond {MOST_SIZE:g} in size")
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(map(str, range(1, len(table) + 1)) if is_by_row else table.column(series)):
        rows.setdefault(name.strip(), []).append(i)
    labels: list[list[str]] = []
    for name, places in rows.items():
        found = {table.column(label)[i].strip() for i in places} if label else set()
        if len(found) > 1 or "" in found:
            shown = ", ".join(sorted(map(repr, found)))
            faults.add(
                f"{table.places[places[0]]}: the window {name!r} has the labels {shown}; expected one for all its rows"
            )
        labels.append(sorted(found))
    faults.stop()
    items = [columns[places] for places in rows.values()]
    lengths = [len(each) for each in items]
    span = f"{min(lengths):,}" + (f" to {max(lengths):,}" if max(lengths) > min(lengths) else "")
    note = (
        f"{counted(len(items), 'window')} of {span} row{'' if span == '1' else 's'} of {counted(len(values), 'number')}"
    )
    notes += _alike({each for found in labels for each in found}, f"column {label!r}")
    all_notes, read_as = (note, *notes, *table.notes), {"decimal": mark_to_keep(table, values, decimal)}
    of_rows = (dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True))
    beside = tuple(of_rows) if is_by_row else tuple({series: name} for name in rows)
    return Labeled(
        items, labels, False, all_notes, names=tuple(rows), beside=beside, sha256=table.sha256, read_as=read_as
    )


def items_of_frame(frame: Any, text: str | None, learnt: Learnt = NOTHING) -> list[Any]:
    """The texts in a frame's column, or the rows of a frame of numbers alone as windows [time, 1].

    Args:
        frame: with the items.
        text: name of the column; None for the one that a model learnt from, where it is there, or one of a usual name.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: there is no such column.
    """
    if text is None and frame.to_numpy().dtype.kind in "fiub":
        return items_of(frame)
    text = text or next((name for name in map(str, frame.columns) if name == learnt.get("text")), None)
    return items_of(as_list(column_of(frame, text, TEXT_NAMES, "text")))


def labeled_in_memory(data: object, answers: object, *, text: str | None = None) -> Labeled:
    """Items in memory, in a frame's column or by themselves, with their labels.

    Raises:
        DataError: an item or a label cannot be used, or they are not as many.
    """
    items = items_of_frame(data, text) if is_frame(data) else items_of(data)
    labels, is_multiple, kind = labels_of(answers)
    same_number(items, labels)
    if not items:
        raise DataError("there are no items; expected some, with a label each")
    return Labeled(items, labels, is_multiple, kind=kind)


def labeled_frame(
    frame: object, *, text: str | None, label: str | None, separator: str | None, learnt: Learnt = NOTHING
) -> Labeled:
    """A frame with a column of texts and one of labels; see `read_labeled`.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    roles = roles_of_frame(frame, Wanted(text, label, "label", _LABEL_NAMES).like(learnt))
    of_text, answers = column_of(frame, roles.text, (), "text"), as_list(column_of(frame, roles.answer, (), "label"))
    if separator is not None:
        answers = [[each.strip() for each in str(row).split(separator) if each.strip()] for row in answers]
    found = labeled_in_memory(of_text, answers)
    kinds = {each for row in found.labels for each in row}
    several = [*([] if found.is_multiple else _joined(kinds, roles.answer)), *_alike(kinds, f"column {roles.answer!r}")]
    read_as = {"text": roles.text, "label": roles.answer}
    return replace(found, notes=(*roles.notes, *several), read_as=read_as)
