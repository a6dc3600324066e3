"""Texts, or windows of numbers, with their classes.

Inputs: a user's table, folder or files. Outputs: items with their classes.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data import fasttext
from unrolled.data.alike import told_alike
from unrolled.data.counted import counted
from unrolled.data.files import Faults, read_texts, shortened
from unrolled.data.flags import flagged
from unrolled.data.in_memory import as_list, column_of, is_frame, items_of, labels_of, same_number
from unrolled.data.items import is_fasttext
from unrolled.data.numbers import is_number
from unrolled.data.roles import TEXT_NAMES, Roles, Wanted, roles_of, roles_of_frame
from unrolled.data.sound import NO_CLASSES, SUFFIXES
from unrolled.data.table import NOTHING, Learnt, Table, is_table, names_shown, of_frame, read_table
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
        read_as: what reading files found out by itself: the columns "text" and "label" of a table, the mark "decimal",
            or the amount of "labels" in a line.
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
    """Reads tables; or folders whose sub-folders are the classes, a text each file; or a file of lines for each class;
    or lines with their labels, as fastText has them.

    Args:
        files: tables with the same columns each (see `read_table`); or one folder; or several files of lines; or files
            of lines with labels.
        text: name of the column with the texts; guessed from usual names if None.
        label: name of the column with the classes, likewise; or of several columns of 0 and 1, with commas between.
        separator: what stands between the labels of a text that may have several; None where each has one.
        encoding: of the files.
        header: whether the first line of a table names the columns; see `read_table`.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: a column is missing, or rows cannot be used; all faults are told at once.
    """
    paths = list(map(Path, files))
    if header is None and any(are_labeled := [is_fasttext(path, encoding) for path in paths]):
        if not all(are_labeled):
            labeled, other = paths[are_labeled.index(True)], paths[are_labeled.index(False)]
            raise DataError(f"{labeled} has lines as fastText has them, {other} has not; name files of one form")
        return _of_fasttext(paths, encoding, learnt, has_columns=bool(text or label), separator=separator)
    if text is None and label is None and (classes := classes_of(paths)):
        return _of_classes(classes, encoding)
    return _of_tables(
        paths, Wanted(text, label, "label", _LABEL_NAMES).like(learnt), separator, encoding, header=header
    )


def _of_tables(
    paths: Sequence[Path], wanted: Wanted, separator: str | None, encoding: str, *, header: bool | None
) -> Labeled:
    """Texts and labels in the columns of tables."""
    found_roles: list[Roles] = []

    def choose(name: str, head: list[str], rows: list[list[str]]) -> list[str]:
        if not found_roles:
            found_roles.append(roles_of(name, head, rows, wanted))
        return found_roles[0].in_head(name, head)

    faults = Faults()
    table = read_table(paths, encoding=encoding, header=header, choose=choose, faults=faults)
    [roles] = found_roles
    texts = [value.strip() for value in table.columns[roles.text]]
    rows, is_multiple = _labels_in(table, roles, separator, faults)
    faults.stop()
    kept = [i for i, text in enumerate(texts) if text]
    if not kept:
        raise DataError(f"{table.name}: holds no texts: all {len(table):,} rows are empty in column {roles.text!r}")
    labels = [rows[i] for i in kept]
    notes = _told(roles, labels, table.notes, is_cut=separator is not None, is_multiple=is_multiple)
    if len(kept) < len(texts):
        notes.append(counted(len(texts) - len(kept), "row[|s] without a text [is|are] left out"))
    read_as = {"text": roles.text, "label": roles.answer}
    return Labeled([texts[i] for i in kept], labels, is_multiple, tuple(notes), sha256=table.sha256, read_as=read_as)


def _labels_in(table: Table, roles: Roles, separator: str | None, faults: Faults) -> tuple[list[list[str]], bool]:
    """The labels of each row, and whether a text may have several; a missing one is told."""
    if len(roles.answers) > 1:
        if separator is not None:
            faults.add(f"{table.name}: labels are in {len(roles.answers)} columns; leave --separator out")
        return flagged(table, roles.answers, faults), True
    name, unlabeled = roles.answer, list[str]()
    column = table.columns[name]
    found, is_multiple = _cut(column, separator)
    for place, cell, labels in zip(table.places, column, found, strict=True):
        if labels is None:
            faults.add(f"{place}, column {name!r}: {shortened(cell)} is no list of labels; most cells are")
        elif not labels and not is_multiple:
            unlabeled.append(f"{place}, column {name!r}: is empty; expected a label")
    for i, text in enumerate(unlabeled):
        faults.add(text if i else f"{text}{_several(column)}")
    return [sorted(set(labels or [])) for labels in found], is_multiple


def _cut(column: Sequence[str], separator: str | None) -> tuple[list[list[str] | None], bool]:
    """The labels of each cell, None where one is no list among lists, and whether a text may have several."""
    if separator is not None:
        return [[name for each in cell.split(separator) if (name := each.strip())] for cell in column], True
    if are_lists(column):
        found = cells(column)
        return found, any(each is None or len(each) != 1 for each in found)
    return [[name] if (name := cell.strip()) else [] for cell in column], False


def _told(
    roles: Roles, labels: Sequence[Sequence[str]], of_table: Sequence[str], *, is_cut: bool, is_multiple: bool
) -> list[str]:
    """What a user is told of texts and classes in a table: how many, and what may be meant in another way."""
    kinds = {each for row in labels for each in row}
    n_kinds, name = len(kinds), roles.answer
    where = f"{counted(n_kinds, 'class')} in column {name!r}"
    if len(roles.answers) > 1:
        n_none = sum(not row for row in labels)
        where = f"{len(roles.answers)} columns of 0 and 1 are the labels ({counted(n_none, 'text')} without any)"
    notes = [f"{counted(len(labels), 'text')} in column {roles.text!r}, {where}", *roles.notes, *of_table]
    if len(roles.answers) > 1 and (never := [each for each in roles.answers if each not in kinds]):
        notes.append(f"no text has the label{'s' if len(never) > 1 else ''} {names_shown(never)}")
    if len(labels) >= _MANY and 2 * n_kinds > len(labels):
        notes.append(f"most labels stand at one text alone; are the classes in another column than {name!r}?")
    if 2 * n_kinds > _MANY and all(map(is_number, kinds)) and not all(map(str.isdigit, kinds)):
        notes.append(
            f"column {name!r} holds {n_kinds:,} numbers, taken as classes; to predict them as numbers: "
            f"unrolled train regress ... --target {name!r}"
        )
    if len(roles.answers) == 1 and not is_cut:
        notes += [f"column {name!r} holds lists: a text may have several labels"] if is_multiple else []
        notes += _joined(kinds, name)
    return notes + told_alike(kinds, f"column {name!r}")


def _of_fasttext(
    paths: Sequence[Path], encoding: str, learnt: Learnt, *, has_columns: bool, separator: str | None
) -> Labeled:
    """Texts out of lines that have their labels in them."""
    texts, sha256 = read_texts(paths, encoding=encoding)
    faults = Faults()
    amount = learnt.get("labels") if separator is None else fasttext.SEVERAL
    found = fasttext.read_lines(texts, faults, amount=amount)
    faults.stop()
    if not found.texts:
        raise DataError(f"{', '.join(texts)}: holds no texts behind the labels")
    notes = [*found.notes, *told_alike((each for row in found.labels for each in row), "labels")]
    if has_columns:
        notes.append(f"{', '.join(texts)}: has no columns; --text and --label make no difference")
    read_as = {"labels": fasttext.SEVERAL if found.is_multiple else fasttext.ONE}
    return Labeled(found.texts, found.labels, found.is_multiple, tuple(notes), sha256=sha256, read_as=read_as)


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
    sound = next((file for files in classes.values() for file in files if file.suffix.lower() in SUFFIXES), None)
    if sound is not None:
        raise DataError(f"{sound}: is a sound, and no text; {NO_CLASSES}")
    texts, sha256 = read_texts([file for files in classes.values() for file in files], encoding=encoding)
    items: list[str] = []
    labels: list[list[str]] = []
    for [file] in classes.values() if are_lines else ():
        if fasttext.are_labeled(texts[str(file)].split("\n")):
            raise DataError(f"{file}: has labels in its lines, as fastText has them; name it, not the folder")
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
    notes = (f"{counted(len(items), 'text')}: {how} ({shown})", *told_alike(counts, "labels"))
    one = hashlib.sha256(sha256.encode()).hexdigest()  # there may be a file for each text
    return Labeled(items, labels, notes=notes, sha256=one)


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
    alike = told_alike((each for row in labels for each in row), "labels") if kind == "str" else ()
    return Labeled(items, labels, is_multiple, tuple(alike), kind=kind)


def labeled_frame(
    frame: object, *, text: str | None, label: str | None, separator: str | None, learnt: Learnt = NOTHING
) -> Labeled:
    """A frame with a column of texts and one of labels; see `read_labeled`.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    roles = roles_of_frame(frame, Wanted(text, label, "label", _LABEL_NAMES).like(learnt))
    of_text = column_of(frame, roles.text, (), "text")
    if len(roles.answers) > 1:
        faults = Faults()
        flags, _ = _labels_in(of_frame(frame), roles, separator, faults)
        faults.stop()
        found = labeled_in_memory(of_text, flags)
        read_as = {"text": roles.text, "label": roles.answer}
        return replace(
            found, notes=tuple(_told(roles, found.labels, (), is_cut=True, is_multiple=True)), read_as=read_as
        )
    answers = as_list(column_of(frame, roles.answer, (), "label"))
    if separator is not None:
        answers = [[each.strip() for each in str(row).split(separator) if each.strip()] for row in answers]
    found = labeled_in_memory(of_text, answers)
    several = [] if found.is_multiple else _joined({each for row in found.labels for each in row}, roles.answer)
    read_as = {"text": roles.text, "label": roles.answer}
    return replace(found, notes=(*roles.notes, *several, *found.notes), read_as=read_as)
