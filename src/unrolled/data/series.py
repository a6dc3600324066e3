"""Time series with covariates, on an even grid of stamps.

Inputs: a table. Outputs: series. The user is told of each rule that was applied: rows are sorted by time; a missing
stamp becomes a row of interpolated values; stamps without a frequency (trading days) are taken as evenly spaced.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from unrolled.data.files import Faults
from unrolled.data.numbers import MISSING, is_number, numbers_of
from unrolled.data.table import Table
from unrolled.errors import DataError

_TIME_NAMES = ("date", "time", "timestamp", "datetime", "ds", "day", "month", "year", "stamp", "period")
_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y-%m",
    "%b %d %Y", "%d %b %Y", "%B %d %Y", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d",
)  # fmt: skip
_UNITS = ((86400 * 7, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_EVEN = 0.9  # share of the steps that must be of the frequency


@dataclass(frozen=True)
class Frequency:
    """How stamps follow each other: `count` units of "second", "month", or "row" where there is no telling."""

    unit: str
    count: int = 1

    @property
    def words(self) -> str:
        if self.unit == "row":
            return "row by row"
        if self.unit == "month":
            years, rest = divmod(self.count, 12)
            count, name = (years, "year") if not rest else (self.count, "month")
        else:
            size, name = next((size, name) for size, name in _UNITS if self.count % size == 0)
            count = self.count // size
        return f"every {name}" if count == 1 else f"every {count} {name}s"

    @property
    def season(self) -> int:
        """Steps after which values tend to come again: a day of hours, a week of days, a year of months; 1 for none."""
        if self.unit == "month":
            return max(1, 12 // self.count)
        if self.unit == "row":
            return 1
        if self.count < 86400:
            return max(1, 86400 // self.count)
        return 7 if self.count == 86400 else 52 if self.count == 7 * 86400 else 1

    def stamps(self, first: Any, start: int, stop: int) -> np.ndarray:
        """Stamps number `start` to `stop`, the first of the series being 0."""
        steps = np.arange(start, stop)
        if self.unit == "row":
            return int(first) + steps
        if self.unit == "second":
            return np.datetime64(first, "s") + steps * np.timedelta64(self.count, "s")
        month = np.datetime64(first, "M")
        day = np.datetime64(first, "D") - month
        months: np.ndarray = month + steps * self.count
        return (months.astype("datetime64[D]") + day).astype("datetime64[s]")


@dataclass(frozen=True)
class Series:
    """Series on an even grid.

    Attributes:
        names: of the series.
        values: float64 [length] of each, nothing missing.
        covariates: float64 [length or longer, features] of each: known-future ones, then past-only ones; rows beyond
            the values' length hold the future that is known (past-only ones NaN there).
        n_future: how many of the covariates are known in advance.
        static: float64 [series, features].
        first: first stamp of each.
        frequency: of all.
        covariate_names: of the covariates.
        target: name of what is forecast.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
    """

    names: list[str]
    values: list[np.ndarray]
    frequency: Frequency = Frequency("row")
    first: list[np.datetime64 | int] = field(default_factory=list)
    covariates: list[np.ndarray] = field(default_factory=list)
    n_future: int = 0
    static: np.ndarray | None = None
    covariate_names: tuple[str, ...] = ()
    target: str = "value"
    notes: tuple[str, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.first:
            object.__setattr__(self, "first", [0] * len(self.names))
        if not self.covariates:
            object.__setattr__(self, "covariates", [np.zeros((len(each), 0)) for each in self.values])
        if self.static is None:
            object.__setattr__(self, "static", np.zeros((len(self.names), 0)))

    def __len__(self) -> int:
        return len(self.names)

    def until(self, ends: Sequence[int]) -> "Series":
        """The series as they were known at their steps `ends`: later values gone, covariates known in advance kept."""
        covariates = [each.copy() for each in self.covariates]
        for each, end in zip(covariates, ends, strict=True):
            each[end:, self.n_future :] = np.nan
        values = [each[:end] for each, end in zip(self.values, ends, strict=True)]
        return replace(self, values=values, covariates=covariates)

    def calendar(self, place: int, start: int, stop: int) -> np.ndarray:
        """Calendar features [stop - start, n] of a series, pairs of sine and cosine; none where there are no dates."""
        return calendar_of(self.frequency, self.frequency.stamps(self.first[place], start, stop))


def calendar_of(frequency: Frequency, stamps: np.ndarray) -> np.ndarray:
    """Phases of the day, the week and the year that steps of a frequency run through, as sine and cosine."""
    if frequency.unit == "row":
        return np.zeros((len(stamps), 0))
    seconds = stamps.astype("datetime64[s]").astype(np.int64)
    year = stamps.astype("datetime64[Y]")
    in_year = (stamps.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64) / 366
    phases = [in_year]
    step = frequency.count if frequency.unit == "second" else 28 * 86400
    if step < 7 * 86400:
        phases.append((seconds // 86400 + 3) % 7 / 7)
    if step < 86400:
        phases.append(seconds % 86400 / 86400)
    return np.concatenate([[np.sin(2 * math.pi * phase), np.cos(2 * math.pi * phase)] for phase in phases]).T


def read_series(
    table: Table,
    *,
    target: str | None = None,
    time: str | None = None,
    series: str | None = None,
    future: Sequence[str] = (),
    past: Sequence[str] = (),
    static: Sequence[str] = (),
    thousands: str = "",
    decimal: str = "",
) -> Series:
    """Series out of a table: one; several below each other, told apart by a column; or several side by side.

    Args:
        table: as read.
        target: the column to forecast; several with commas between are series side by side; "*" are all of numbers.
        time: the column with the stamps; guessed if None.
        series: the column that tells series apart, in a long table.
        future: covariates that are known in advance.
        past: covariates known for the past alone.
        static: columns of one value a series, numbers or kinds.
        thousands: what groups thousands in numbers.
        decimal: the decimal mark of numbers, "," or "."; "" to tell it from the columns.

    Raises:
        DataError: columns are missing, numbers or stamps cannot be read, stamps occur twice; all faults at once.
    """
    faults = Faults()
    time = _time_column(table, time)
    targets = _targets(table, target, {time, series, *future, *past, *static}, thousands)
    _check_columns(table, (*targets, *future, *past, *static, *([series] if series else [])), faults)
    if series and len(targets) > 1:
        faults.add(f"--series goes with one target; got {', '.join(targets)}")
    faults.stop()
    notes = list(table.notes)
    numbers = numbers_of(table, (*targets, *future, *past), faults, notes, thousands=thousands, decimal=decimal)
    stamps = np.arange(len(table)) if time is None else _stamps(table, time, faults)
    faults.stop()
    groups = _groups(table.column(series) if series else [""] * len(table))
    frequency = _frequency([stamps[rows] for rows in groups.values()], notes)
    built: list[tuple[str, np.ndarray, np.ndarray, np.datetime64 | int]] = []
    n_missing = n_sorted = 0
    of_static = []
    for name, rows in groups.items():
        order = rows[np.argsort(stamps[rows], kind="stable")]
        n_sorted += bool((order != rows).any())
        _check_twice(table, stamps, order, time, faults)
        if faults.texts:
            continue
        places = _places(stamps[order], frequency)
        length = int(places[-1]) + 1
        origin = 0 if frequency.unit == "row" and stamps.dtype.kind == "M" else stamps[order][0]
        for column in targets:
            values = np.full(length, np.nan)
            values[places] = numbers[column][order]
            known = np.flatnonzero(~np.isnan(values))
            if not len(known):
                faults.add(f"{table.name}: the series {name or column!r} holds no numbers")
                continue
            begin, end = int(known[0]), int(known[-1]) + 1
            n_missing += int(np.isnan(values[begin:end]).sum())
            values = np.interp(np.arange(begin, end), known, values[known])
            beside = _at_places([numbers[each][order] for each in (*future, *past)], places)[begin:]
            built.append((name or column, values, _filled(beside), frequency.stamps(origin, begin, begin + 1)[0]))
            of_static.append([table.column(each)[order[0]].strip() for each in static])
    faults.stop()
    notes.append(f"{len(built):,} series of {_range([len(each[1]) for each in built])} values, {frequency.words}")
    notes += _notes(n_sorted, n_missing)
    return Series(
        [each[0] for each in built], [each[1] for each in built], frequency, [each[3] for each in built],
        [each[2] for each in built], len(future), _static(of_static), (*future, *past), ", ".join(targets),
        tuple(notes), table.sha256,
    )  # fmt: skip


def _check_columns(table: Table, names: Sequence[str], faults: Faults) -> None:
    for name in names:
        try:
            table.column(name)
        except DataError as fault:
            faults.add(str(fault))


def _at_places(columns: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Numbers at their places in time, [length, columns]; NaN where there are none."""
    found = np.full((int(places[-1]) + 1, len(columns)), np.nan)
    for i, column in enumerate(columns):
        found[places, i] = column
    return found


def _notes(n_sorted: int, n_missing: int) -> list[str]:
    notes = []
    if n_sorted:
        notes.append(f"{n_sorted:,} series were not in the order of time and are sorted")
    if n_missing:
        notes.append(f"{n_missing:,} missing values are drawn as straight lines between their neighbors")
    return notes


def _time_column(table: Table, asked: str | None) -> str | None:
    if asked is not None:
        table.column(asked)
        return asked
    lowered = {name.strip().lower(): name for name in reversed(list(table.columns))}
    usual = [lowered[name] for name in _TIME_NAMES if name in lowered]
    for name in (*usual, *table.columns):
        values = table.columns[name]
        if values and not is_number(values[0]) and _format_of(values) is not None:
            return name
    return None


def _targets(table: Table, target: str | None, others: set[str | None], thousands: str) -> list[str]:
    if target not in (None, "*"):
        assert target is not None
        return [target] if target in table.columns else [name.strip() for name in target.split(",")]
    free = [name for name, values in table.columns.items() if name not in others]
    fitting = [name for name in free if all(is_number(v, thousands) for v in table.columns[name][:100])]
    if target == "*" and fitting:
        return fitting
    if len(fitting) == 1:
        return fitting
    raise DataError(
        f"{table.name}: which column is the target? Pass --target with one of {', '.join(map(repr, fitting or free))}"
    )


def _format_of(values: Sequence[str]) -> str | None:
    """The form in which all of some stamps are written; looked for in the first and the last."""
    some = [text.strip() for text in (*values[:50], *values[-50:])]
    for form in _FORMATS:
        if all(_parsed(text, form) is not None for text in some):
            return form
    return None


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _stamps(table: Table, time: str, faults: Faults) -> np.ndarray:
    values = table.columns[time]
    form = _format_of(values)
    if form is None and all(is_number(text) for text in values) and all(text.strip() for text in values):
        return np.array([float(text) for text in values]).round().astype(np.int64)
    if form in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"):
        try:
            return np.array([text.strip() for text in values], dtype="datetime64[s]")
        except ValueError:
            pass  # told below, line by line
    stamps = np.zeros(len(values), dtype="datetime64[s]")
    for i, text in enumerate(values):
        parsed = _parsed(text.strip(), form) if form else None
        if parsed is None:
            like = f"; expected it as {form}" if form else "; expected such as 2024-01-31 or 2024-01-31 13:00"
            faults.add(f"{table.places[i]}, column {time!r}: {text!r} is no time{like}")
        else:
            stamps[i] = np.datetime64(parsed, "s")
    return stamps


def _groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name.strip(), []).append(i)
    return {name: np.array(places) for name, places in rows.items()}


def _frequency(groups: list[np.ndarray], notes: list[str]) -> Frequency:
    if groups[0].dtype.kind != "M":
        return Frequency("row")
    gaps: Counter[int] = Counter()
    months: Counter[int] = Counter()
    for stamps in groups:
        ordered = np.unique(stamps)
        gaps.update(np.diff(ordered.astype(np.int64)).tolist())
        same_day = len(
            np.unique(ordered.astype("datetime64[D]") - ordered.astype("datetime64[M]").astype("datetime64[D]"))
        )
        if same_day == 1:
            months.update(np.diff(ordered.astype("datetime64[M]").astype(np.int64)).tolist())
    if not gaps:
        return Frequency("row")
    gap, count = gaps.most_common(1)[0]
    if months and gap >= 28 * 86400:
        return Frequency("month", months.most_common(1)[0][0])
    whole = sum(n for each, n in gaps.items() if each % gap == 0)
    if count >= _EVEN * gaps.total() and whole == gaps.total():
        return Frequency("second", gap)
    steps = ", ".join(f"{Frequency('second', each).words} {n:,} times" for each, n in gaps.most_common(3))
    notes.append(f"the stamps follow no frequency ({steps}): rows are taken as evenly spaced")
    return Frequency("row")


def _check_twice(table: Table, stamps: np.ndarray, order: np.ndarray, time: str | None, faults: Faults) -> None:
    same = np.flatnonzero(stamps[order][1:] == stamps[order][:-1])
    for i in same:
        first, second = table.places[order[i]], table.places[order[i + 1]]
        faults.add(
            f"{second}, column {time!r}: the stamp {table.columns[time or ''][order[i + 1]]!r} is in {first} too. "
            "Leave one out, or name the column that tells series apart with --series"
        )


def _places(stamps: np.ndarray, frequency: Frequency) -> np.ndarray:
    """Numbers of the stamps on the grid."""
    if frequency.unit == "row":
        return np.arange(len(stamps))
    if frequency.unit == "second":
        return (stamps - stamps[0]).astype(np.int64) // frequency.count
    months = stamps.astype("datetime64[M]").astype(np.int64)
    return (months - months[0]) // frequency.count


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


def _static(rows: list[list[str]]) -> np.ndarray:
    """Numbers as they are, kinds as 0 and 1 for each."""
    columns = []
    for values in zip(*rows, strict=True):
        if all(is_number(value, decimal=".") and "," not in value for value in values):
            column = np.array([float(value) if value.lower() not in MISSING else 0.0 for value in values])
            columns.append((column - column.mean()) / (column.std() or 1))
        else:
            columns += [np.array([float(value == kind) for value in values]) for kind in sorted(set(values))]
    return np.stack(columns, 1) if columns else np.zeros((len(rows), 0))


def _range(lengths: Sequence[int]) -> str:
    return f"{min(lengths):,}" if min(lengths) == max(lengths) else f"{min(lengths):,} to {max(lengths):,}"
