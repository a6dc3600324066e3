"""Windows of numbers with their classes.

Inputs: a long table. Outputs: windows. A file of its own, as classes and numbers are learnt from the same windows.
"""

from collections.abc import Sequence

import numpy as np

from unrolled.data.alike import told_alike
from unrolled.data.counted import counted
from unrolled.data.files import MISSING, Faults
from unrolled.data.in_memory import MOST_SIZE
from unrolled.data.labeled import Labeled
from unrolled.data.numbers import mark_to_keep, numbers_of
from unrolled.data.roles import ROWS
from unrolled.data.table import NOTHING, Learnt, Table
from unrolled.errors import DataError


def read_windows(
    table: Table,
    *,
    values: Sequence[str],
    series: str,
    label: str | None,
    decimal: str = "",
    learnt: Learnt = NOTHING,
    are_numbers: bool = False,
) -> Labeled:
    """Windows of numbers out of a long table: the rows with the same name are one window, in their order.

    Args:
        table: as read.
        values: the columns with the numbers.
        series: the column that tells windows apart; "row": each row is a window.
        label: the column with the class, the same in all rows of a window; None where classes are not known.
        decimal: the decimal mark of numbers, "," or "."; "" to tell it from the columns.
        learnt: how the data were read that a model learnt from.
        are_numbers: whether labels are numbers to be predicted, and no classes.

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
    if not are_numbers:
        notes += told_alike((each for row in labels for each in row), f"column {label!r}")
    all_notes, read_as = (note, *notes, *table.notes), {"decimal": mark_to_keep(table, values, decimal)}
    of_rows = (dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True))
    beside = tuple(of_rows) if is_by_row else tuple({series: name} for name in rows)
    return Labeled(
        items, labels, False, all_notes, names=tuple(rows), beside=beside, sha256=table.sha256, read_as=read_as
    )
