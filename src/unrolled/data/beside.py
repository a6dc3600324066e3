"""Columns beside the values of series: covariates, and what describes a series as a whole.

Inputs: a table. Outputs: numbers; texts become 0 and 1 for each kind, such as the names of holidays.
"""

from collections.abc import Callable, Sequence

import numpy as np

from unrolled.data.files import Faults
from unrolled.data.numbers import MISSING, is_number
from unrolled.data.series import Column
from unrolled.data.table import Table

_MOST_KINDS = 50


Numbers = Callable[[Sequence[str]], dict[str, np.ndarray]]  # reads columns of numbers, by name


def covariates_of(
    table: Table, names: Sequence[str], read: Numbers, faults: Faults, learnt: Sequence[Column], notes: list[str]
) -> tuple[tuple[Column, ...], np.ndarray]:
    """Covariates as numbers [rows, columns], NaN where a number is missing; a text that is missing is no kind.

    Args:
        table: as read.
        names: of the covariates.
        read: takes names of columns, returns their numbers.
        faults: what cannot be read is added.
        learnt: how a model's covariates became numbers; () for new ones.
        notes: what the user is told is added.
    """
    known = {column.name: column for column in learnt}
    columns = [known.get(name) or Column(name, _kinds(table, name, faults, notes)) for name in names]
    numbers = read([column.name for column in columns if not column.kinds])
    found = []
    for column in columns:
        if not column.kinds:
            found.append(numbers[column.name])
            continue
        texts = np.array([_kind(text) for text in table.columns[column.name]], dtype=object)
        found += [(texts == kind).astype(np.float64) for kind in column.kinds]
        if new := sorted(set(texts) - {"", *column.kinds}):
            shown = ", ".join(map(repr, new[:5]))
            notes.append(f"column {column.name!r}: the model never saw {shown}, which count as none of its kinds")
    return tuple(columns), np.stack(found, 1) if found else np.zeros((len(table), 0))


def _kind(text: str) -> str:
    return "" if text.strip().lower() in MISSING else text.strip()


def _kinds(table: Table, name: str, faults: Faults, notes: list[str]) -> tuple[str, ...]:
    """The kinds of a column of texts; none for one of numbers, which may have single faults."""
    texts = [kind for text in table.columns[name] if (kind := _kind(text))]
    n_numbers = sum(is_number(text) for text in texts)
    if not texts or 2 * n_numbers >= len(texts):
        return ()
    kinds = tuple(sorted(set(texts)))
    if len(kinds) > _MOST_KINDS:
        faults.add(
            f"{table.name}: column {name!r} has {len(kinds):,} kinds of text; expected numbers, or at most "
            f"{_MOST_KINDS} kinds"
        )
    shown = ", ".join(kinds[:5]) + (", ..." if len(kinds) > 5 else "")
    notes.append(f"column {name!r} has {len(kinds)} kinds: {shown}")
    return kinds


def static_of(
    table: Table, names: Sequence[str], rows: Sequence[int], read: Numbers, learnt: Sequence[Column]
) -> tuple[tuple[Column, ...], np.ndarray]:
    """What describes series as a whole [series, columns]: numbers standardized, kinds as 0 and 1 for each.

    Args:
        table: as read.
        names: of the columns.
        rows: one of each series.
        read: takes names of columns, returns their numbers.
        learnt: how a model's became numbers; () for new ones.
    """
    known = {column.name: column for column in learnt}
    columns, found = [], []
    for name in names:
        values = [table.column(name)[row].strip() for row in rows]
        column = known.get(name)
        if column is None and not all(is_number(value) for value in values):
            column = Column(name, tuple(sorted(set(values))))
        if column is not None and column.kinds:
            found += [np.array([float(value == kind) for value in values]) for kind in column.kinds]
        else:
            numbers = np.nan_to_num(read([name])[name][list(rows)])
            column = column or Column(name, mean=float(numbers.mean()), spread=float(numbers.std()) or 1.0)
            found.append((numbers - column.mean) / column.spread)
        columns.append(column)
    return tuple(columns), np.stack(found, 1) if found else np.zeros((len(rows), 0))
