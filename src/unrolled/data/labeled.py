"""Texts, or windows of numbers, with their classes.

Inputs: a user's table. Outputs: items with their classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.files import Faults, read_texts
from unrolled.data.table import MISSING, Table, choose_column, numbers_of, rows_of
from unrolled.errors import DataError

_TEXT_NAMES = ("text", "review", "sentence", "content", "comment", "message", "body", "tweet", "document", "title")
_LABEL_NAMES = ("label", "class", "sentiment", "category", "target", "intent", "topic", "rating", "labels", "tags")


@dataclass(frozen=True)
class Labeled:
    """Items with their classes.

    Attributes:
        items: texts, none of them empty; or windows of numbers [time, features].
        labels: the classes of each item; one, unless `is_multiple`.
        is_multiple: whether an item may have none or several.
        notes: what was noticed on reading, for the user.
        names: of the items, where they have any.
        sha256: of the files.
    """

    items: list[Any]
    labels: list[list[str]]
    is_multiple: bool = False
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def part(self, places: Sequence[int]) -> "Labeled":
        """The items at some places."""
        return Labeled([self.items[i] for i in places], [self.labels[i] for i in places], self.is_multiple)

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
) -> Labeled:
    """Reads CSV (comma, semicolon or tab) with a header, or JSON lines.

    Args:
        files: with the same columns each.
        text: name of the column with the texts; guessed from usual names if None.
        label: name of the column with the classes, likewise.
        separator: what stands between the labels of a text that may have several; None where each has one.
        encoding: of the files.

    Raises:
        DataError: a column is missing, or rows cannot be used; all faults are told at once.
    """
    texts, sha256 = read_texts(files, encoding=encoding)
    faults = Faults()
    found: list[str] = []
    labels: list[list[str]] = []
    n_empty = 0
    names = ("", "")
    for name, content in texts.items():
        head, rows = rows_of(name, content, faults)
        try:
            of_text = choose_column(name, head, text, _TEXT_NAMES, "text")
            rest = [each for each in head if each != of_text]
            # of two columns the other one
            names = (
                of_text,
                choose_column(name, head, label or (rest[0] if len(rest) == 1 else None), _LABEL_NAMES, "label"),
            )
        except DataError as fault:
            faults.add(str(fault))
            continue
        places = [head.index(each) for each in names]
        for line, row in rows:
            value, classes = (row[place].strip() for place in places)
            if not classes and separator is None:
                faults.add(f"{name}, line {line}, column {names[1]!r}: is empty; expected a label")
            elif not value:
                n_empty += 1
            else:
                found.append(value)
                cut = [classes] if separator is None else classes.split(separator)
                labels.append(sorted({each.strip() for each in cut if each.strip()}))
    faults.stop()
    if not found:
        raise DataError(f"{', '.join(texts)}: holds no texts")
    kinds = {each for row in labels for each in row}
    notes = [f"{len(found):,} texts in column {names[0]!r}, {len(kinds):,} classes in column {names[1]!r}"]
    if n_empty:
        notes.append(f"{n_empty:,} rows without a text are left out")
    return Labeled(found, labels, separator is not None, tuple(notes), sha256=sha256)


def read_windows(table: Table, *, values: Sequence[str], series: str, label: str | None) -> Labeled:
    """Windows of numbers out of a long table: the rows with the same name are one window, in their order.

    Args:
        table: as read.
        values: the columns with the numbers.
        series: the column that tells windows apart.
        label: the column with the class, the same in all rows of a window; None where classes are not known.

    Raises:
        DataError: columns are missing, values are no numbers, a window has two labels; all faults are told at once.
    """
    faults = Faults()
    for name in (*values, series, *([label] if label else [])):
        try:
            table.column(name)
        except DataError as fault:
            faults.add(str(fault))
    faults.stop()
    columns = np.stack([numbers_of(table, name, "", faults) for name in values], 1)
    is_empty = np.array(
        [[table.columns[name][i].strip().lower() in MISSING for name in values] for i in range(len(table))]
    )
    for i, name in np.argwhere(is_empty):
        faults.add(f"{table.places[i]}, column {values[name]!r}: is empty; expected a number")
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(table.column(series)):
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
    note = f"{len(items):,} windows of {min(lengths):,} to {max(lengths):,} rows of {len(values)} numbers"
    return Labeled(items, labels, notes=(note,), names=tuple(rows), sha256=table.sha256)
