"""Tables become series: one, several below each other, or several side by side.

Inputs: a table, and which column is what. Outputs: series on an even grid. The user is told of each rule that was
applied: rows are sorted by time; a missing stamp becomes a row of values drawn between its neighbors, which never count
as truth; stamps without a frequency are taken as evenly spaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypedDict

import numpy as np

from unrolled.data.beside import covariates_of, static_of
from unrolled.data.files import Faults
from unrolled.data.frequency import Frequency, find_frequency
from unrolled.data.numbers import is_number, numbers_of
from unrolled.data.series import Column, Series
from unrolled.data.stamps import Reads
from unrolled.data.table import Table
from unrolled.data.time_columns import Times, rows_with_stamps, times_of
from unrolled.errors import DataError

DUPLICATES = ("refuse", "first", "mean")
_INDEXES = ("1", "unnamed: 0", "index", "rownames", "row", "no", "no.", "id")


@dataclass(frozen=True)
class Like:
    """What a model learnt of its series, to read others alike.

    Attributes:
        frequency: of the stamps.
        columns, static_columns: how texts became numbers.
    """

    frequency: Frequency
    columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class _One:
    """A series: its name, values, which of them are known, what is beside them, its first stamp, one of its rows."""

    name: str
    values: np.ndarray
    known: np.ndarray
    beside: np.ndarray
    first: np.datetime64 | float
    row: int


@dataclass
class _Built:
    """Series as they are made, with what is to be told."""

    series: list[_One] = field(default_factory=list)
    sparse: list[str] = field(default_factory=list)
    n_sorted: int = 0
    n_missing: int = 0
    n_twice: int = 0


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
    reads: Reads | None = None,
    duplicates: str = "refuse",
    max_missing: float = 0.3,
    like: Like | None = None,
) -> Series:
    """Series out of a table: one; several below each other, told apart by a column; or several side by side.

    Args:
        table: as read.
        target: the column to forecast; several with commas between are series side by side; "*" are all of numbers.
        time: the column with the stamps, several with commas between, or "row" for none; guessed if None.
        series: the column that tells series apart, in a long table.
        future: covariates that are known in advance, numbers or kinds.
        past: covariates known for the past alone, numbers or kinds.
        static: columns of one value a series, numbers or kinds.
        thousands: what groups thousands in numbers.
        decimal: the decimal mark of numbers, "," or "."; "" to tell it from the columns.
        reads: how stamps are read.
        duplicates: what becomes of rows of a series with the same stamp: "refuse", "first" or "mean".
        max_missing: share of a series that may be missing.
        like: what a model learnt, if the series are read for it.

    Raises:
        DataError: columns are missing, numbers or stamps cannot be read, stamps occur twice, too much is missing; all
            faults at once.
    """
    faults = Faults()
    _check_columns(table, (*future, *past, *static, *([series] if series else [])), faults)
    faults.stop()
    rows = _groups(table.column(series) if series else [""] * len(table))
    times = times_of(table, time, reads or Reads(), list(rows.values()))
    notes = [*table.notes, *times.notes]
    good, left_out = rows_with_stamps(table, times, faults)
    notes += left_out
    own = set(times.name.split(", ")) | {times.name}
    targets = _targets(table, target, {series, *own, *future, *past, *static}, thousands, decimal, notes)
    _check_columns(table, targets, faults)
    if series and len(targets) > 1:
        faults.add(f"--series goes with one target; got {', '.join(targets)}")
    faults.stop()
    if len(good) < len(table):
        table = _rows_of(table, good)
        rows = _groups(table.column(series) if series else [""] * len(table))
    stamps = times.stamps.values[good]
    read = partial(numbers_of, table, faults=faults, notes=notes, thousands=thousands, decimal=decimal)
    numbers = read(targets)
    columns, beside = covariates_of(table, (*future, *past), read, faults, like.columns if like else (), notes)
    faults.stop()
    frequency = _frequency_of(table, times, [stamps[each] for each in rows.values()], like, notes)
    built = _Built()
    for name, places in rows.items():
        _add(built, table, times, stamps, places, numbers, beside, frequency, faults, duplicates, name)
    faults.stop()
    _drop_sparse(built, table, max_missing, notes)
    static_columns, described = static_of(
        table, static, [each.row for each in built.series], read, like.static_columns if like else ()
    )
    faults.stop()
    notes += _told(built, frequency)
    return Series(
        **_parts(built.series),
        frequency=frequency,
        n_future=sum(len(column.names) for column in columns[: len(future)]),
        static=described,
        covariate_names=tuple(name for column in columns for name in column.names),
        target=", ".join(targets),
        notes=tuple(notes),
        sha256=table.sha256,
        form=times.stamps.form,
        day_first=times.stamps.day_first,
        columns=columns,
        static_columns=static_columns,
    )


class _Parts(TypedDict):
    names: list[str]
    values: list[np.ndarray]
    known: list[np.ndarray]
    first: list[np.datetime64 | float]
    covariates: list[np.ndarray]


def _parts(made: Sequence[_One]) -> _Parts:
    """What series are made of, each a list."""
    return {
        "names": [each.name for each in made],
        "values": [each.values for each in made],
        "known": [each.known for each in made],
        "first": [each.first for each in made],
        "covariates": [each.beside for each in made],
    }


def _rows_of(table: Table, rows: np.ndarray) -> Table:
    columns = {name: [values[i] for i in rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, places=[table.places[i] for i in rows])


def _check_columns(table: Table, names: Sequence[str], faults: Faults) -> None:
    for name in names:
        try:
            table.column(name)
        except DataError as fault:
            faults.add(str(fault))


def _groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name.strip(), []).append(i)
    return {name: np.array(places) for name, places in rows.items()}


def _targets(
    table: Table, target: str | None, others: set[str | None], thousands: str, decimal: str, notes: list[str]
) -> list[str]:
    if target not in (None, "*"):
        assert target is not None
        return [target] if target in table.columns else [name.strip() for name in target.split(",")]
    free = [name for name in table.columns if name not in others]
    fitting = [name for name in free if all(is_number(v, thousands, decimal) for v in table.columns[name][:100])]
    counting = [name for name in fitting if name.strip().lower() in _INDEXES and _counts(table.columns[name])]
    if len(fitting) > len(counting):
        fitting = [name for name in fitting if name not in counting]
        notes += [f"column {name!r} numbers the rows, and is left out" for name in counting]
    if target == "*" and fitting:
        return fitting
    if len(fitting) == 1:
        return fitting
    raise DataError(
        f"{table.name}: which column is the target? Pass --target with one of "
        f"{', '.join(map(repr, (fitting or free)[:20]))}{', ...' if len(fitting or free) > 20 else ''}"
    )


def _counts(texts: Sequence[str]) -> bool:
    """Whether texts are whole numbers, one after the other."""
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        return False
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _frequency_of(
    table: Table, times: Times, groups: list[np.ndarray], like: Like | None, notes: list[str]
) -> Frequency:
    """The frequency of the stamps; the model's, where there is one.

    Raises:
        DataError: the model learnt another.
    """
    if groups[0].dtype.kind != "M":
        return _of_numbers(groups, times, notes)
    fit = find_frequency(groups)
    learnt = like.frequency if like is not None else None
    if learnt is not None:
        if learnt.unit == "row" or all(learnt.holds(np.unique(each)) for each in groups):
            return learnt
        if fit.frequency.unit != "row":
            raise DataError(
                f"{table.name}: the stamps go {fit.frequency.words}; the model learnt from stamps that go "
                f"{learnt.words}"
            )
    if fit.frequency.unit == "row" and fit.gaps:
        shown = ", ".join(f"{_gap_words(gap)} {n:,} times" for gap, n in fit.gaps)
        notes.append(
            f"the stamps follow no frequency ({shown}): rows are taken as evenly spaced, forecasts bear numbers"
        )
    return fit.frequency


def _gap_words(gap: int) -> str:
    return Frequency("second", gap // 10**6).words if gap % 10**6 == 0 else Frequency("microsecond", gap).words


def _of_numbers(groups: list[np.ndarray], times: Times, notes: list[str]) -> Frequency:
    """Rows, whose stamps are numbers."""
    steps = np.concatenate([np.diff(np.sort(each)) for each in groups])
    steps = steps[steps > 0]
    if not times.name or not len(steps):
        return Frequency("row")
    step = float(np.median(steps))
    if np.allclose(steps, step, rtol=1e-3):
        return Frequency("row", step=step)
    notes.append(f"the numbers of column {times.name!r} are not evenly spaced; rows are taken as if they were")
    return Frequency("row")


def _add(
    built: _Built, table: Table, times: Times, stamps: np.ndarray, rows: np.ndarray, numbers: dict[str, np.ndarray],
    beside: np.ndarray, frequency: Frequency, faults: Faults, duplicates: str, name: str,
) -> None:  # fmt: skip
    """Adds the series of some rows, one for each target."""
    order = rows[np.argsort(stamps[rows], kind="stable")]
    built.n_sorted += bool((order != rows).any())
    is_first = np.append(True, stamps[order][1:] != stamps[order][:-1])
    if not is_first.all():
        if duplicates == "refuse":
            _tell_twice(table, times, order, is_first, faults)
            return
        built.n_twice += int((~is_first).sum())
    firsts = order[is_first]
    member = np.cumsum(is_first) - 1
    joined = (lambda column: _means(column[order], member)) if duplicates == "mean" else (lambda column: column[firsts])
    places = frequency.places(stamps[firsts])
    length = int(places[-1]) + 1
    if length > 1000 * len(firsts) + 1000:  # a stray stamp: no memory for what would be invented
        built.sparse.append(f"{name or ', '.join(numbers)!r} has {len(firsts):,} of {length:,} stamps")
        return
    origin = (
        0.0
        if frequency.unit == "row" and (stamps.dtype.kind == "M" or not _is_even(stamps[firsts], frequency))
        else stamps[firsts[0]]
    )
    around = np.full((length, beside.shape[1]), np.nan)
    around[places] = beside[firsts]
    for column, every in numbers.items():
        values = np.full(length, np.nan)
        values[places] = joined(every)
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            faults.add(f"{table.name}: the series {name or column!r} holds no numbers")
            continue
        begin, end = int(known[0]), int(known[-1]) + 1
        built.n_missing += end - begin - len(known)
        drawn = np.interp(np.arange(begin, end), known, values[known])
        first = frequency.stamps(origin, begin, begin + 1)[0]
        is_known = ~np.isnan(values[begin:end])
        built.series.append(_One(name or column, drawn, is_known, _filled(around[begin:]), first, int(firsts[0])))


def _is_even(numbers: np.ndarray, frequency: Frequency) -> bool:
    return bool(np.allclose(np.diff(numbers), frequency.step, rtol=1e-3))


def _means(column: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The mean of what is there, for rows with the same stamp."""
    is_there = ~np.isnan(column)
    sums = np.bincount(member, np.where(is_there, column, 0.0))
    counts = np.bincount(member, is_there)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _tell_twice(table: Table, times: Times, order: np.ndarray, is_first: np.ndarray, faults: Faults) -> None:
    for i in np.flatnonzero(~is_first):
        first, second = table.places[order[i - 1]], table.places[order[i]]
        faults.add(
            f"{second}, column {times.name!r}: the stamp {times.texts[order[i]]!r} is in {first} too. Pass "
            "--duplicates first or mean, name the column that tells series apart with --series, or, if a clock was set "
            "back, pass --zone"
        )


def _drop_sparse(built: _Built, table: Table, max_missing: float, notes: list[str]) -> None:
    """Leaves out series of which more is missing than may be.

    Raises:
        DataError: none is left.
    """
    kept = []
    for each in built.series:
        n, length = int((~each.known).sum()), len(each.known)
        if n > max_missing * length:
            built.sparse.append(f"{each.name!r} has {length - n:,} of {length:,} values")
            built.n_missing -= n
        else:
            kept.append(each)
    if not built.sparse:
        return
    shown = "; ".join(built.sparse[:10]) + ("; ..." if len(built.sparse) > 10 else "")
    told = f"more than {100 * max_missing:g} % would have to be drawn between neighbors: {shown}"
    if not kept:
        raise DataError(
            f"{table.name}: {told}. Pass --max-missing with a larger share, or a part of the file without the gap"
        )
    notes.append(f"{len(built.sparse):,} series left out, as {told}")
    built.series = kept


def _told(built: _Built, frequency: Frequency) -> list[str]:
    lengths = [len(each.values) for each in built.series]
    notes = [f"{len(lengths):,} series of {_range(lengths)} values, {frequency.words}"]
    if built.n_sorted:
        notes.append(f"{built.n_sorted:,} series were not in the order of time and are sorted")
    if built.n_twice:
        notes.append(f"{built.n_twice:,} rows have the stamp of another row and are joined with it")
    if built.n_missing:
        notes.append(
            f"{built.n_missing:,} missing values are drawn as straight lines between their neighbors, and count in no "
            "metric"
        )
    return notes


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


def _range(lengths: Sequence[int]) -> str:
    return f"{min(lengths):,}" if min(lengths) == max(lengths) else f"{min(lengths):,} to {max(lengths):,}"
