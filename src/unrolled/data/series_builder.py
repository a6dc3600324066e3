"""Rows of a table become series on a grid: sorted, joined where a stamp stands twice, filled where one is missing.

Inputs: stamps and numbers of rows. Outputs: series, and what the user is told of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.files import Faults
from unrolled.data.frequency import Frequency
from unrolled.data.table import Table
from unrolled.data.time_columns import Times, clock_beside
from unrolled.errors import DataError

DUPLICATES = ("refuse", "first", "mean")
_MOST_SPARSE = 1000  # places of a grid for a stamp; beyond that no memory is taken


@dataclass(frozen=True)
class Made:
    """A series: its name, values, which of them are known, what is beside them, its first stamp, one of its rows."""

    name: str
    values: np.ndarray
    known: np.ndarray
    beside: np.ndarray
    first: np.datetime64 | float
    row: int


@dataclass
class Builder:
    """Makes series of rows.

    Attributes:
        table, times: as read.
        stamps: of each row.
        numbers: of each row, by target.
        beside: covariates [rows, columns].
        frequency: of all series.
        duplicates: what becomes of rows of a series with the same stamp.
        faults: what cannot be used is added.
        made: the series so far.
    """

    table: Table
    times: Times
    stamps: np.ndarray
    numbers: dict[str, np.ndarray]
    beside: np.ndarray
    frequency: Frequency
    duplicates: str
    faults: Faults
    made: list[Made] = field(default_factory=list)
    _sparse: list[str] = field(default_factory=list)
    _n_sorted: int = 0
    _n_missing: int = 0
    _n_twice: int = 0

    def add(self, name: str, rows: np.ndarray) -> None:
        """Adds the series of some rows, one for each target."""
        order = rows[np.argsort(self.stamps[rows], kind="stable")]
        self._n_sorted += bool((order != rows).any())
        is_first = np.append(True, self.stamps[order][1:] != self.stamps[order][:-1])
        if not is_first.all() and self.duplicates == "refuse":
            self._tell_twice(order, is_first)
            return
        self._n_twice += int((~is_first).sum())
        firsts = order[is_first]
        group = np.cumsum(is_first) - 1
        places = self.frequency.places(self.stamps[firsts])
        length = int(places[-1]) + 1
        if length > _MOST_SPARSE * (len(firsts) + 1):
            self._sparse.append(f"{name or ', '.join(self.numbers)!r} has {len(firsts):,} of {length:,} stamps")
            return
        around = np.full((length, self.beside.shape[1]), np.nan)
        around[places] = self.beside[firsts]
        origin = self._origin(self.stamps[firsts])
        for column, numbers in self.numbers.items():
            values = np.full(length, np.nan)
            values[places] = _means(numbers[order], group) if self.duplicates == "mean" else numbers[firsts]
            known = np.flatnonzero(~np.isnan(values))
            if not len(known):
                self.faults.add(f"{self.table.name}: the series {name or column!r} holds no numbers")
                continue
            begin, end = int(known[0]), int(known[-1]) + 1
            self._n_missing += end - begin - len(known)
            drawn = np.interp(np.arange(begin, end), known, values[known])
            first = self.frequency.stamps(origin, begin, begin + 1)[0]
            is_known = ~np.isnan(values[begin:end])
            self.made.append(Made(name or column, drawn, is_known, _filled(around[begin:]), first, int(firsts[0])))

    def _origin(self, stamps: np.ndarray) -> np.datetime64 | float:
        """The first stamp; 0 where stamps follow no frequency and rows are counted."""
        if self.frequency.unit != "row":
            return stamps[0]
        is_even = stamps.dtype.kind != "M" and np.allclose(np.diff(stamps), self.frequency.step, rtol=1e-3)
        return float(stamps[0]) if is_even else 0.0

    def _tell_twice(self, order: np.ndarray, is_first: np.ndarray) -> None:
        places, times, n = self.table.places, self.times, int((~is_first).sum())
        i = int(np.argmin(is_first))
        more = f", and so are {n - 1:,} more" if n > 1 else ""
        clock = None if ":" in times.texts[order[i]] else clock_beside(self.table, times.name)
        way = f"Pass --time {f'{times.name},{clock}'!r}, as {clock!r} has times of day; or pass" if clock else "Pass"
        self.faults.add(
            f"{places[order[i]]}, column {times.name!r}: the stamp {times.texts[order[i]]!r} is in "
            f"{places[order[i - 1]]} too{more}. {way} --duplicates first or mean, name the column that tells "
            "series apart with --series, or, if a clock was set back, pass --zone"
        )

    def drop_sparse(self, max_missing: float, notes: list[str]) -> None:
        """Leaves out series of which more is missing than may be, with a note.

        Raises:
            DataError: none is left.
        """
        kept = []
        for each in self.made:
            n, length = int((~each.known).sum()), len(each.known)
            if n > max_missing * length:
                self._sparse.append(f"{each.name!r} has {length - n:,} of {length:,} values")
                self._n_missing -= n
            else:
                kept.append(each)
        if not self._sparse:
            return
        shown = "; ".join(self._sparse[:10]) + ("; ..." if len(self._sparse) > 10 else "")
        told = f"more than {100 * max_missing:g} % would have to be drawn between neighbors: {shown}"
        if not kept:
            raise DataError(
                f"{self.table.name}: {told}. Pass --max-missing with a larger share, or a part of the file without the "
                "gap"
            )
        notes.append(counted(len(self._sparse), "series [is|are] left out") + f", as {told}")
        self.made = kept

    def notes(self) -> list[str]:
        """What was made, and how."""
        lengths = [len(each.values) for each in self.made]
        length = counted(max(lengths), "value")
        length = length if min(lengths) == max(lengths) else f"{min(lengths):,} to {length}"
        notes = [f"{len(lengths):,} series of {length}, {self.frequency.words}"]
        if self._n_sorted:
            notes.append(counted(self._n_sorted, "series [was|were] not in the order of time and [is|are] sorted"))
        if self._n_twice:
            notes.append(
                counted(self._n_twice, "row[|s] [has|have] the stamp of another row and [is|are] joined with it")
            )
        if self._n_missing:
            notes.append(
                counted(self._n_missing, "missing value[|s] [is|are] drawn in a straight line between [its|their] ")
                + f"neighbors, and {'counts' if self._n_missing == 1 else 'count'} in no metric"
            )
        return notes


class _Parts(TypedDict):
    names: list[str]
    values: list[np.ndarray]
    known: list[np.ndarray]
    first: list[np.datetime64 | float]
    covariates: list[np.ndarray]


def parts_of(made: Sequence[Made]) -> _Parts:
    """What series are made of, each a list."""
    return {
        "names": [each.name for each in made],
        "values": [each.values for each in made],
        "known": [each.known for each in made],
        "first": [each.first for each in made],
        "covariates": [each.beside for each in made],
    }


def _means(column: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The mean of what is there, for rows with the same stamp."""
    is_there = ~np.isnan(column)
    sums = np.bincount(group, np.where(is_there, column, 0.0))
    counts = np.bincount(group, is_there)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _filled(columns: np.ndarray) -> np.ndarray:
    """Each column with gaps filled by the value before, the first by the one after; NaN beyond its last value."""
    result = columns.copy()
    for column in result.T:
        known = np.flatnonzero(~np.isnan(column))
        if len(known):
            at = np.maximum.accumulate(np.where(~np.isnan(column), np.arange(len(column)), known[0]))
            end = known[-1] + 1
            column[:end] = column[at[:end]]
    return result
