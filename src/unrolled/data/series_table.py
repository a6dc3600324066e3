"""Tables become series: one, several below each other, or several side by side.

Inputs: a table, and which column is what. Outputs: series on an even grid. The user is told of each rule that was
applied: rows are sorted by time; a missing stamp becomes a row of values drawn between its neighbors, which never count
as truth; stamps without a frequency are taken as evenly spaced.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from unrolled.data.beside import covariates_of, static_of
from unrolled.data.counted import counted
from unrolled.data.files import MISSING, Faults, shortened
from unrolled.data.frequency import Frequency, find_frequency
from unrolled.data.missing import without_codes
from unrolled.data.numbers import is_number, mark_to_keep, numbers_of
from unrolled.data.series import Column, Series
from unrolled.data.series_builder import Builder, parts_of
from unrolled.data.stamps import Reads
from unrolled.data.table import NOTHING, Learnt, Table, check_learnt
from unrolled.data.time_columns import ROWS, Times, is_named_as_time, rows_with_stamps, times_of
from unrolled.errors import DataError

_STAMP = re.compile(
    r"(?:1[5-9]|20|21)\d\d(?:[-/.]?(?:\d{1,2}|[QqWw]\d{1,2})(?:[-/.]\d{1,2})?)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
)
_LEAST_STAMPS = 3  # among the names of columns
_INDEXES = ("1", "unnamed: 0", "index", "rownames", "row", "no", "no.", "id")


@dataclass(frozen=True)
class Like:
    """What a model learnt of its series, to read others alike.

    Attributes:
        frequency: of the stamps.
        columns, static_columns: how texts became numbers.
        read_as: what reading the table found out by itself; see `Series`.
    """

    frequency: Frequency
    columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()
    read_as: Learnt = field(default_factory=dict)


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
    missing: Sequence[str] = (),
    like: Like | None = None,
) -> Series:
    """Series out of a table: one; several below each other, told apart by a column; or several side by side.

    Args:
        table: as read.
        target: the column to forecast; several with commas between are series side by side; "*" are all of numbers.
        time: the column with the stamps, several with commas between, or "row" for none; guessed if None.
        series: the column that tells series apart, in a long table; several that do together, with commas.
        future: covariates that are known in advance, numbers or kinds.
        past: covariates known for the past alone, numbers or kinds.
        static: columns of one value a series, numbers or kinds.
        thousands: what groups thousands in numbers.
        decimal: the decimal mark of numbers, "," or "."; "" to tell it from the columns.
        reads: how stamps are read.
        duplicates: what becomes of rows of a series with the same stamp: "refuse", "first" or "mean".
        max_missing: share of a series that may be missing.
        missing: what stands for a missing value, beside the usual words.
        like: what a model learnt, if the series are read for it.

    Raises:
        DataError: columns are missing, numbers or stamps cannot be read, stamps occur twice, too much is missing; all
            faults at once.
    """
    faults, learnt = Faults(), like.read_as if like is not None else NOTHING
    table, apart = _with_joined(table, series)
    _check_columns(table, (*future, *past, *static, *([series] if series else [])), faults)
    table, times, notes = _timed(table, time or _learnt_time(table, learnt), reads or Reads(), series, faults)
    own = {*times.name.split(", "), times.name, series, *apart, *future, *past, *static}
    table = without_codes(table, missing, own - {*future, *past}, notes)
    targets = _learnt_targets(table, target, learnt) or _targets(table, target, own, thousands, decimal, notes)
    _check_columns(table, targets, faults, of_series=series, of_time=times.name)
    rows, stamps = _groups(table, series), times.stamps.values
    mark = learnt.get("decimal", "")
    read = partial(numbers_of, table, faults=faults, notes=notes, thousands=thousands, decimal=decimal, learnt=mark)
    numbers = read(targets)
    columns, beside = covariates_of(table, (*future, *past), read, faults, like.columns if like else (), notes)
    faults.stop()
    frequency = _frequency_of(table, times, [stamps[each] for each in rows.values()], like, notes)
    builder = Builder(table, times, stamps, numbers, beside, frequency, duplicates, faults)
    for name, places in rows.items():
        builder.add(name, places)
    faults.stop()
    builder.drop_sparse(max_missing, notes)
    static_columns, described = static_of(
        table, static, [each.row for each in builder.made], read, like.static_columns if like else ()
    )
    faults.stop()
    notes += builder.notes()
    return Series(
        **parts_of(builder.made),
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
        read_as={"time": times.name or ROWS, "targets": targets, "decimal": mark_to_keep(table, targets, decimal)},
    )


def _learnt_time(table: Table, learnt: Learnt) -> str | None:
    """The column of stamps that a model learnt from, if it is known.

    Raises:
        DataError: the table does not have it.
    """
    time = learnt.get("time")
    if time is not None and time != ROWS:
        check_learnt(
            table.name, list(table.columns), [time] if time in table.columns else time.split(", "), option="time"
        )
    return time


def _learnt_targets(table: Table, target: str | None, learnt: Learnt) -> list[str]:
    """The targets that a model learnt from, if they are known and the user named none; of all columns of numbers none
    where one of them is not there, as such a model forecasts others as well.

    Raises:
        DataError: the table does not have the one that was told by itself.
    """
    targets = list(learnt.get("targets", ())) if target in (None, "*") else []
    if target is None:
        check_learnt(table.name, list(table.columns), targets, option="target")
    return targets if all(each in table.columns for each in targets) else []


def _timed(
    table: Table, time: str | None, reads: Reads, series: str | None, faults: Faults
) -> tuple[Table, Times, list[str]]:
    """The rows that have a stamp, their stamps, and notes."""
    times = times_of(table, time, reads, list(_groups(table, series).values()))
    good, left_out = rows_with_stamps(table, times, faults)
    notes = [*table.notes, *times.notes, *left_out]
    if len(good) == len(table):
        return table, times, notes
    columns = {name: [values[i] for i in good] for name, values in table.columns.items()}
    texts = [times.texts[i] for i in good]
    times = replace(times, texts=texts, stamps=replace(times.stamps, values=times.stamps.values[good]))
    return replace(table, columns=columns, places=[table.places[i] for i in good]), times, notes


def _check_columns(
    table: Table, names: Sequence[str], faults: Faults, *, of_series: str | None = None, of_time: str = ""
) -> None:
    """Holds columns to be there; targets not to tell the time, and to be one where a column tells series apart.

    Raises:
        DataError: they are not.
    """
    for name in names:
        try:
            table.column(name)
        except DataError as fault:
            faults.add(str(fault))
    for name in set(names) & set(of_time.split(", ")):
        faults.add(
            f"{table.name}: column {name!r} tells the time, and cannot be the target too; pass another --target, or "
            "--time row to take the rows in their order"
        )
    if of_series and len(names) > 1:
        faults.add(f"--series goes with one target; got {', '.join(names)}")
    faults.stop()


def _with_joined(table: Table, series: str | None) -> tuple[Table, list[str]]:
    """A table with a column of the names of series that several columns tell apart, as "store 1, apples", and these.

    Raises:
        DataError: one of them is not there.
    """
    parts = [] if series is None or series in table.columns else [each.strip() for each in series.split(",")]
    if series is None or len(parts) < 2:
        return table, []
    cells = [[text.strip() for text in table.column(name)] for name in parts]
    joined = [", ".join(row) for row in zip(*cells, strict=True)]
    return replace(table, columns=table.columns | {series: joined}), parts


def _groups(table: Table, series: str | None) -> dict[str, np.ndarray]:
    """Rows of each series."""
    if series is None:
        return {"": np.arange(len(table))}
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(table.column(series)):
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
    empty = [name for name in fitting if all(v.strip().lower() in MISSING for v in table.columns[name])]
    fitting = [name for name in fitting if name not in empty]
    counting = [name for name in fitting if name.strip().lower() in _INDEXES and _counts(table.columns[name])]
    timely = [name for name in fitting if name not in counting and is_named_as_time(name)]
    left = [name for name in fitting if name not in (*counting, *timely)]
    if target == "*" and "" in others and (hint := _as_rows(table, left)):
        raise DataError(f"{table.name}: columns are named as times, and no column has times{hint}")
    if len(left) == 1 or (target == "*" and left):
        notes += [f"column {name!r} numbers the rows, and is left out" for name in counting]
        notes += [f"column {name!r} holds no values, and is left out" for name in empty]
        notes += [f"column {name!r} is named as time, and is left out of the targets" for name in timely]
        return left
    if fitting and not left:
        shown = [
            *(f"{name!r} numbers the rows" for name in counting),
            *(f"{name!r} is named as time" for name in timely),
        ]
        raise DataError(
            f"{table.name}: has no column of numbers to forecast: {'; '.join(shown)}. Pass --target {fitting[0]!r} if "
            "it is meant all the same"
        )
    if not left:
        raise DataError(f"{table.name}: has no column of numbers to forecast{_no_numbers(table, free)}")
    raise DataError(
        f"{table.name}: which column is the target? Pass --target with one of "
        f"{', '.join(map(shortened, left[:20]))}{', ...' if len(left) > 20 else ''}{_as_rows(table, left)}"
    )


def _as_rows(table: Table, names: Sequence[str]) -> str:
    """How a table is turned whose columns are named by times, as where each row is a series."""
    stamps = [name for name in names if _STAMP.fullmatch(name.strip())]
    beside = [name for name in table.columns if name not in names]
    if len(stamps) < _LEAST_STAMPS or 2 * len(stamps) < len(names) or not beside:
        return ""
    name = next((each for each in beside if len(set(table.columns[each])) == len(table)), beside[0])
    return (
        f". If each row is a series over {shortened(stamps[0])} to {shortened(stamps[-1])}, turn the table first: "
        f"pandas.read_csv(FILE).melt({beside}, var_name='time').to_csv('long.csv', index=False); then pass --series "
        f"{shlex.quote(name)} --time time --target value"
    )


def _no_numbers(table: Table, names: Sequence[str]) -> str:
    """What stands in columns in place of numbers, for a message."""
    shown = []
    for name in names[:5]:
        values = table.columns[name]
        i = next((i for i, text in enumerate(values) if not is_number(text)), None)
        shown.append(
            f"{name!r} holds no values" if i is None else f"{name!r} has {shortened(values[i])} in {table.places[i]}"
        )
    return f": {'; '.join(shown)}{'; ...' if len(names) > 5 else ''}" if shown else ""


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
        shown = ", ".join(f"{_gap_words(gap)} {counted(n, 'time')}" for gap, n in fit.gaps)
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
