"""Texts, or windows of numbers, with a number each.

Inputs: a user's table or data in memory. Outputs: items with their numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.files import Faults, shortened
from unrolled.data.in_memory import MOST_SIZE, as_list, column_of, is_frame, items_of, same_number
from unrolled.data.labeled import items_of_frame
from unrolled.data.numbers import is_number, mark_to_keep, numbers_of
from unrolled.data.roles import Roles, Wanted, roles_of, roles_of_frame
from unrolled.data.table import NOTHING, Learnt, Table, read_table
from unrolled.data.windows_of_table import read_windows
from unrolled.errors import DataError

_TARGET_NAMES = ("target", "number", "value", "price", "score", "rating", "stars", "amount", "label", "y")


@dataclass(frozen=True)
class Numbered:
    """Items with their numbers.

    Attributes:
        items: texts, none of them empty; or windows of numbers [time, features].
        targets: float64 [items].
        notes: what was noticed on reading, for the user.
        names: of the items, where they have any.
        sha256: of the files.
        read_as: what reading a table found out by itself: the columns "text" and "target", the mark "decimal".
    """

    items: list[Any]
    targets: np.ndarray
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    sha256: str = ""
    read_as: Learnt = field(default_factory=dict)

    def __post_init__(self) -> None:
        far = np.flatnonzero(np.abs(self.targets) > MOST_SIZE)
        if len(far):
            i = int(far[0])
            where = f"item {i}" if not self.names else f"window {self.names[i]!r}"
            raise DataError(f"{where} has the target {self.targets[i]:g}; expected at most {MOST_SIZE:g} in size")

    def __len__(self) -> int:
        return len(self.items)

    def part(self, places: Sequence[int]) -> "Numbered":
        """The items at some places."""
        return Numbered([self.items[i] for i in places], self.targets[list(places)])


def read_numbered(
    files: Sequence[Path | str],
    *,
    text: str | None = None,
    target: str | None = None,
    decimal: str = "",
    encoding: str = "utf-8",
    header: bool | None = None,
    learnt: Learnt = NOTHING,
) -> Numbered:
    """Texts with a number each, out of tables.

    Args:
        files: tables with the same columns; see `read_table`.
        text: name of the column with the texts; guessed from usual names if None.
        target: name of the column with the numbers, likewise.
        decimal: the decimal mark, "," or "."; "" to tell it from the column.
        encoding: of the files.
        header: whether the first line names the columns.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: a column is missing, or rows cannot be used; all faults are told at once.
    """
    found_roles: list[Roles] = []

    def choose(name: str, head: list[str], rows: list[list[str]]) -> list[str]:
        if not found_roles:
            wanted = Wanted(text, target, "target", _TARGET_NAMES, are_numbers=True).like(learnt)
            found_roles.append(roles_of(name, head, rows, wanted))
        return found_roles[0].in_head(name, head)

    faults, notes = Faults(), list[str]()
    table = read_table(list(files), encoding=encoding, header=header, choose=choose, faults=faults)
    names = (found_roles[0].text, found_roles[0].answer)
    _check_for_numbers(table, names[1], faults)
    mark = learnt.get("decimal", "")
    targets = numbers_of(table, names[1:], faults, notes, decimal=decimal, learnt=mark)[names[1]]
    faults.stop()
    texts = [each.strip() for each in table.columns[names[0]]]
    kept = [i for i, each in enumerate(texts) if each and np.isfinite(targets[i])]
    if not kept:
        raise DataError(f"{table.name}: no row has a text in column {names[0]!r} and a number in column {names[1]!r}")
    left = len(texts) - len(kept)
    notes = [
        f"{counted(len(kept), 'text')} in column {names[0]!r}, numbers in column {names[1]!r}",
        *found_roles[0].notes,
        *notes,
        *table.notes,
    ]
    if left:
        notes.append(counted(left, "row[|s] without a text or a number [is|are] left out"))
    read_as = {"text": names[0], "target": names[1], "decimal": mark_to_keep(table, names[1:], decimal)}
    return Numbered([texts[i] for i in kept], targets[kept], tuple(notes), sha256=table.sha256, read_as=read_as)


def _check_for_numbers(table: Table, name: str, faults: Faults) -> None:
    """A column of words alone is one fault, and another task.

    Raises:
        DataError: none of the column's values is a number.
    """
    values = [(place, text) for place, text in zip(table.places, table.columns[name], strict=True) if text.strip()]
    if values and not any(is_number(text) for _, text in values):
        place, text = values[0]
        faults.add(
            f"{place}, column {name!r}: {shortened(text)} is no number, nor is any other value of the column. To learn "
            "which class a text belongs to: unrolled train classify"
        )
        faults.stop()


def read_numbered_windows(
    table: Table, *, values: Sequence[str], series: str, target: str, decimal: str = "", learnt: Learnt = NOTHING
) -> Numbered:
    """Windows out of a long table, with a number that is the same in all rows of a window; see `read_windows`.

    Raises:
        DataError: columns are missing, values are no numbers, a window has two numbers; all faults are told at once.
    """
    found = read_windows(
        table, values=values, series=series, label=target, decimal=decimal, learnt=learnt, are_numbers=True
    )
    faults = Faults()
    numbers = Table(
        {target: [row[0] for row in found.labels]}, [f"{table.name}, window {n!r}" for n in found.names], ""
    )
    mark = str(found.read_as["decimal"]) or learnt.get("decimal", "")
    targets = numbers_of(numbers, [target], faults, [], decimal=decimal, learnt=mark)[target]
    for i in np.flatnonzero(~np.isfinite(targets)):
        faults.add(f"{numbers.places[i]}, column {target!r}: is empty; expected a number")
    faults.stop()
    read_as = {"decimal": mark_to_keep(table, [*values, target], decimal)}
    return Numbered(found.items, targets, found.notes, found.names, found.sha256, read_as)


def numbered_frame(frame: object, *, text: str | None, target: str | None, learnt: Learnt = NOTHING) -> Numbered:
    """A frame with a column of texts and one of numbers; see `read_numbered`.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    wanted = Wanted(text, target, "target", _TARGET_NAMES, are_numbers=True).like(learnt)
    roles = roles_of_frame(frame, wanted)
    of_text, numbers = (column_of(frame, each, (), "text") for each in (roles.text, roles.answer))
    read_as = {"text": roles.text, "target": roles.answer}
    return replace(numbered_in_memory(of_text, as_list(numbers)), notes=roles.notes, read_as=read_as)


def numbered_in_memory(data: object, answers: Any, *, text: str | None = None) -> Numbered:
    """Items in memory, in a frame's column or by themselves, with their numbers.

    Raises:
        DataError: an item or a number cannot be used, or they are not as many.
    """
    items = items_of_frame(data, text) if is_frame(data) else items_of(data)
    found = answers.to_numpy() if is_frame(answers) else as_list(answers)
    same_number(items, found)
    try:
        targets = np.asarray(found, dtype=np.float64).reshape(len(items))
    except (TypeError, ValueError) as fault:
        raise DataError(f"targets must be a number for each item: {fault}") from fault
    if not len(items):
        raise DataError("there are no items; expected some, with a number each")
    wrong = np.flatnonzero(~np.isfinite(targets))
    if len(wrong):
        raise DataError(f"item {wrong[0]} has the target {targets[wrong[0]]}; input y contains NaN or infinity")
    return Numbered(items, targets)
