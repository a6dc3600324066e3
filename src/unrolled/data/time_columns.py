"""Which column of a table has the time stamps, and what they are.

Inputs: a table. Outputs: its stamps, and the rows that have one. A column that is named as time and cannot be read is
told, with its line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.files import MISSING, Faults, shortened
from unrolled.data.frequency import find_frequency
from unrolled.data.number_stamps import numbers_as_stamps
from unrolled.data.stamp_forms import StampForm, readings
from unrolled.data.stamps import AmbiguousError, Reads, Stamps, read_stamps
from unrolled.data.table import Table
from unrolled.errors import DataError

#: what a column of stamps is called
_NAMES = ("date", "time", "timestamp", "datetime", "ds", "day", "month", "year", "stamp", "period", "quarter", "week",
          "ts", "epoch", "unixtime", "unix", "dt", "datum", "fecha", "zeit",
          "日期", "时间", "年份", "月份")  # fmt: skip
#: columns that make one stamp together
_TOGETHER = (("date", "time"), ("date", "hour", "minute", "second"), ("date", "hour", "minute"), ("date", "hour"),
             ("date",), ("datetime",), ("timestamp",), ("ds",),
             ("year", "month", "day", "hour", "minute", "second"), ("year", "month", "day", "hour", "minute"),
             ("year", "month", "day", "hour"), ("year", "month", "day"), ("year", "month"), ("year", "quarter"),
             ("year", "week"))  # fmt: skip
_CLOCK = re.compile(r"\d{1,2}[:.]\d{2}([:.]\d{2})?(\s*[AaPp][Mm])?")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp][Mm])?")
_RESEMBLES = re.compile(
    r"\b(?:1[89]|20)\d\d\D+\d|\d\D+(?:1[89]|20)\d\d\b|\d.*\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|\w年.*月.*\d",
    re.I,
)
#: a day or a year beside a word, in which a month may stand; in East Asia beside the sign of months
_WORDED = re.compile(r"(?=.*\d)(?:.*[^\W\d_]{3}|.*\w月|.*月\w|.*월)", re.DOTALL)
_DATED = re.compile(r"\b(?:date|datetime|day|datum|fecha|ds)\b|(?<=[a-z_ ])(?:date|Date|DATE)\b|日期", re.I)
_SMALL_PARTS = ("minute", "second")
_PART = re.compile(r"\d{1,2}(?:\.\d+)?")
_GAP = "NA"  # for a part of a stamp that is missing
_MOST_TRAILING = 3  # rows after the last stamp that are left out
_READABLE = 0.8  # share of a column's texts that makes it one of stamps
ROWS = "row"  # in place of a column's name: rows as they stand


@dataclass(frozen=True)
class Times:
    """Stamps of a table.

    Attributes:
        name: of the column, or of the columns, "" for none.
        stamps: as read.
        texts: as they stand.
        notes: for the user.
    """

    name: str
    stamps: Stamps
    texts: Sequence[str]
    notes: tuple[str, ...] = ()


def times_of(table: Table, asked: str | None, reads: Reads, groups: Sequence[np.ndarray]) -> Times:
    """The stamps of a table's rows; numbers from 0 on where there are none.

    Args:
        table: as read.
        asked: a column, several with commas between, "row" for none; guessed if None.
        reads: what is known of the stamps.
        groups: rows of each series.

    Raises:
        DataError: the column asked for, or one that is named as time, cannot be read.
    """
    if asked is not None and not (asked == ROWS and ROWS not in table.columns):
        names = [asked] if asked in table.columns else [each.strip() for each in asked.split(",")]
        texts = _joined(table, names)
        found = _read(table, ", ".join(names), texts, reads, groups, is_named=True)
        if found is None:
            raise DataError(_unreadable(table, ", ".join(names), texts, reads))
        return Times(", ".join(names), found, texts, found.notes)
    rows = Times("", Stamps(np.arange(float(len(table))), StampForm()), [])
    if asked is not None:
        return rows
    refused: list[tuple[str, bool]] = []
    unused: list[str] = []
    for names, is_exact in _likely(table):
        texts = _joined(table, names)
        name = ", ".join(names)
        found = _read(table, name, texts, reads, groups, is_named=is_exact)
        if found is not None and found.values.dtype.kind != "M" and not _is_order(found.values, groups):
            unused.append(
                f"the numbers of column {name!r} do not go up from row to row, so they are taken for no times"
            )
            continue
        if found is not None:
            notes = (*found.notes, *(_unreadable(table, each, table.columns[each], reads) for each, _ in refused))
            return Times(name, found, texts, notes)
        if len(names) == 1 and not _are_numbers(texts) and (is_exact or _is_named(name) or _resembles_time(texts)):
            refused.append((name, is_exact))
        elif _is_named(name) and _are_numbers(texts):
            unused.append(
                f"the numbers of column {name!r} are no dates in a known form; --time {name!r} takes their order"
            )
    for name, is_exact in refused:
        if is_exact:
            raise DataError(_unreadable(table, name, table.columns[name], reads))
    notes = tuple(_unreadable(table, name, table.columns[name], reads) for name, _ in refused)
    unused += _unnamed(table, groups)
    return Times("", rows.stamps, [], (*notes, *unused, "no column has time stamps: rows are taken in their order"))


def _unnamed(table: Table, groups: Sequence[np.ndarray]) -> list[str]:
    """Notes on columns of numbers that go up or down as times do, under names that say nothing of time."""
    notes = []
    for name, texts in table.columns.items():
        if _is_named(name) or is_named_as_time(name) or not _are_numbers(texts):
            continue
        found = _read(table, name, texts, Reads(), groups, is_named=True)
        if found is None or found.values.dtype.kind != "M" or len(found.bad):
            continue
        if _is_order(found.values.astype(np.int64), groups) and find_frequency([found.values]).frequency.unit != "row":
            shown = found.values.min().astype("datetime64[s]")
            notes.append(f"the numbers of column {name!r} may be times from {shown} on; if so, pass --time {name!r}")
    return notes


def _likely(table: Table) -> Iterator[tuple[list[str], bool]]:
    """Columns that may have stamps, the likeliest first, and whether their names say so."""
    lowered = {name.strip().lower(): name for name in reversed(list(table.columns))}
    for names in _TOGETHER:
        if all(each in lowered for each in names) and _belong(table, [lowered[each] for each in names]):
            yield [lowered[each] for each in names], True
    usual = [lowered[name] for name in _NAMES if name in lowered]  # those above again, where they have numbers
    for name in usual:
        yield [name], True
    named = [name for name in table.columns if name not in usual and _is_named(name)]
    for name in (*named, *(each for each in table.columns if each not in usual and each not in named)):
        if name in named or looks_like_time(table.columns[name]) or _resembles_time(table.columns[name]):
            yield [name], False


def is_named_as_time(name: str) -> bool:
    """Whether a column's name is a usual one of stamps."""
    return name.strip().lower() in _NAMES


def _is_named(name: str) -> bool:
    """Whether one of a name's words is a usual one."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+", name)
    return any(word.lower() in _NAMES[:6] + _NAMES[8:10] for word in words)


def is_clearly_time(name: str, texts: Sequence[str], reads: Reads, groups: Sequence[np.ndarray]) -> bool:
    """Whether a column has stamps by its texts alone, or by its name and numbers that go up from row to row.

    Args:
        name: of the column.
        texts: its values.
        reads: what is known of the stamps.
        groups: rows of each series.
    """
    if not texts or (not _are_numbers(texts) and not reads.pattern):
        return bool(texts) and looks_like_time(texts)
    if reads.pattern:
        found = read_stamps(texts, reads, groups)
        return found is not None and not len(found.bad)
    numbers = np.array([float(text) for text in texts])
    is_named = is_named_as_time(name) or _is_named(name)
    found = numbers_as_stamps(numbers, texts, is_named=is_named) if np.isfinite(numbers).all() else None
    return found is not None and (found.values.dtype.kind == "M" or _is_order(found.values, groups))


def numbers_kind(texts: Sequence[str]) -> str:
    """Of numbers in a column that is named as time: "M" where they are dates, "f" where they are an order, "" else."""
    numbers = np.array([float(text) for text in texts])
    found = numbers_as_stamps(numbers, texts, is_named=True) if np.isfinite(numbers).all() else None
    return "" if found is None else found.values.dtype.kind


def has_times(table: Table, reads: Reads, groups: Sequence[np.ndarray]) -> bool:
    """Whether a column of a table is taken for its times, or named so and not readable, which is told on reading."""
    try:
        return bool(times_of(table, None, reads, groups).name)
    except DataError:
        return True


def clock_beside(table: Table, name: str) -> str | None:
    """The column that has times of day, beside one that has dates; None where there is none."""
    return next(
        (
            each
            for each, texts in table.columns.items()
            if each not in name.split(", ") and all(_TIME_OF_DAY.fullmatch(text.strip()) for text in texts)
        ),
        None,
    )


def _belong(table: Table, names: list[str]) -> bool:
    """Whether columns are the parts of one stamp, and the first alone is not; one column: whether it has whole ones."""
    first, *rest = (table.columns[name] for name in names)
    if not rest:
        return not _are_numbers(first[:100]) and looks_like_time(first)
    if names[-1].strip().lower() == "time":
        return all(_CLOCK.fullmatch(text.strip()) for text in rest[0][:100])
    small = [table.columns[name] for name in names if name.strip().lower() in _SMALL_PARTS]
    if not all(_PART.fullmatch(text.strip()) for column in small for text in column[:100]):
        return False
    if names[0].strip().lower() == "date":
        return all(re.fullmatch(r"\d{1,2}(:00)?(:00)?", text.strip()) for text in rest[0][:100])
    return all(re.fullmatch(r"\d{4}(\.0+)?", text.strip()) for text in first[:100])


def looks_like_time(values: Sequence[str]) -> bool:
    """Whether most of some texts can be read as stamps; numbers only where they are days such as 20240131."""
    some = [text.strip() for text in (*values[:50], *values[-50:])]
    if _are_numbers(some):
        return all(len(text) == 8 and text.isdigit() for text in some)
    return sum(bool(text) and not _is_plain(text) and bool(readings(text)) for text in some) >= _READABLE * len(some)


def _resembles_time(texts: Sequence[str]) -> bool:
    """Whether texts have a year, or a month by name, beside other digits: stamps in a form that is not known."""
    some = texts[:20]
    return sum(bool(_RESEMBLES.search(text)) for text in some) >= _READABLE * len(some)


def _joined(table: Table, names: Sequence[str]) -> Sequence[str]:
    """Texts of one column, or of several as one stamp."""
    columns = [table.column(name) for name in names]
    if len(columns) == 1:
        return columns[0]
    kinds = [name.strip().lower() for name in names]
    rows = ([re.sub(r"^(\d+)\.0+$", r"\1", text.strip()) for text in row] for row in zip(*columns, strict=True))
    plain = list(zip(*map(_with_gaps, rows), strict=True))
    if kinds[1] in ("quarter", "week"):
        if len(kinds) > 2:
            raise DataError(f"{table.name}: a stamp of {', '.join(names)}: expected a {kinds[1]} beside a year alone")
        mark = "Q" if kinds[1] == "quarter" else "-W"
        numbers = [re.sub(r"^[QqWw]", "", text) for text in plain[1]]
        return [
            f"{year}{mark}{number if mark == 'Q' else number.zfill(2)}"
            for year, number in zip(plain[0], numbers, strict=True)
        ]
    n_of_day = _n_of_day(kinds, plain)
    if kinds[n_of_day : n_of_day + 1] and kinds[n_of_day].removesuffix("s") in _SMALL_PARTS:
        raise DataError(
            f"{table.name}: a stamp of {', '.join(names)}: expected the hours beside the day, before {names[n_of_day]}"
        )
    days = (
        plain[0] if n_of_day == 1 else ["-".join(map(_of_two, parts)) for parts in zip(*plain[:n_of_day], strict=True)]
    )
    if n_of_day == len(plain):
        return days
    clocks = [_clock(parts, is_named=kinds[-1] == "time") for parts in zip(*plain[n_of_day:], strict=True)]
    return [f"{day} {clock}" for day, clock in zip(days, clocks, strict=True)]


def _with_gaps(row: Sequence[str]) -> list[str]:
    """The parts of a stamp; for those that are missing, if others are there, what makes it none. Else a day whose time
    is missing would be a midnight, as signs alone say nothing.
    """
    are_there = [bool(re.search(r"[^\W_]", text)) and text.lower() not in MISSING for text in row]
    return [text if is_there or not any(are_there) else _GAP for text, is_there in zip(row, are_there, strict=True)]


def _n_of_day(kinds: Sequence[str], plain: Sequence[Sequence[str]]) -> int:
    """How many of some columns, the first ones, make the day; those after them are its time."""
    first, last = ([text for text in column if text and text != _GAP] for column in (plain[0], plain[-1]))
    if kinds[0] == "date" or all(re.search(r"\d\D+\d", text) for text in first):
        return 1
    has_clock = kinds[-1] == "time" or all(map(_TIME_OF_DAY.fullmatch, last))
    return min(3, len(plain) - has_clock)


def _of_two(part: str) -> str:
    whole, point, rest = part.partition(".")
    return f"{whole.zfill(2)}{point}{rest}" if whole.isdigit() else part


def _clock(parts: Sequence[str], *, is_named: bool) -> str:
    """A time of day: of one text, of an hour, or of an hour, its minute and its second."""
    if len(parts) > 1:
        return ":".join(_of_two(part) if _PART.fullmatch(part) else _GAP for part in parts)
    [text] = parts
    if is_named or _CLOCK.fullmatch(text):
        return text.replace(".", ":")
    return f"{_of_two(text)}:00" if text.isdigit() else text


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # 2024_01_31 is a date, though Python takes it for a number


def _are_numbers(texts: Sequence[str]) -> bool:
    return all(_is_plain(text) for text in texts)


def _read(
    table: Table, name: str, texts: Sequence[str], reads: Reads, groups: Sequence[np.ndarray], *, is_named: bool
) -> Stamps | None:
    """A column's stamps; None if most of it is none."""
    if not reads.pattern and _are_numbers(texts):
        numbers = np.array([float(text) for text in texts])
        if not np.isfinite(numbers).all():
            return None
        return numbers_as_stamps(numbers, texts, is_named=is_named, is_dated=bool(_DATED.search(name)))
    try:
        found = read_stamps(texts, reads, groups)
    except AmbiguousError as fault:
        raise DataError(f"{table.name}, column {name!r}: {fault}") from fault
    most_bad = min(len(texts) - 1, (1 - _READABLE) * len(texts) + 1)
    return found if found is not None and len(found.bad) <= most_bad else None


def _is_order(numbers: np.ndarray, groups: Sequence[np.ndarray]) -> bool:
    """Whether numbers go up, or down, from row to row of each series."""
    steps = [np.diff(numbers[rows]) for rows in groups]
    return all((each > 0).all() for each in steps) or all((each < 0).all() for each in steps)


def _in_words(text: str) -> str:
    """What to do where a month may be written in another language; "" where a text has no word beside a number."""
    if not _WORDED.match(text):
        return ""
    return ". Names of months are read in English; write others as numbers, such as 2024-05-03"


def _unreadable(table: Table, name: str, texts: Sequence[str], reads: Reads) -> str:
    found = read_stamps(texts, reads) if not _are_numbers(texts) else None
    bad = found.bad if found is not None else [i for i, text in enumerate(texts) if not readings(text.strip())]
    row = int(bad[0]) if len(bad) else 0
    words = _in_words(texts[row])
    form = "" if words else "--time-format, such as '%d.%m.%Y', or "  # which knows no other names of months
    return (
        f"{table.places[row]}, column {name!r}: {shortened(texts[row])} is no time{words}. Expected "
        f"such as 2024-01-31 or 2024-01-31 13:00; pass {form}--time row to take the rows in their order"
    )


def rows_with_stamps(table: Table, times: Times, faults: Faults) -> tuple[np.ndarray, list[str]]:
    """The rows that have a stamp, and notes on empty ones and those after the last one, which are left out; others are
    faults.
    """
    without = times.stamps.bad
    if not len(without):
        return np.arange(len(table)), []
    good = np.setdiff1d(np.arange(len(table)), without)
    bad = [i for i in without if any(values[i].strip() for values in table.columns.values())]
    of_empty = [counted(n, "empty row[|s] [is|are] left out")] if (n := len(without) - len(bad)) else []
    last = int(good[-1]) if len(good) else -1
    trailing = [int(i) for i in bad if i > last and not readings(times.texts[i].strip())]
    notes = []
    if len(trailing) <= _MOST_TRAILING:
        notes = [
            f"{table.places[i]} is left out: {shortened(times.texts[i])} in column {times.name!r} is no time"
            for i in trailing
        ]
    like = times.texts[int(good[0])] if len(good) else "2024-01-31"
    for i in bad:
        if not notes or int(i) not in trailing:
            shown = shortened(times.texts[i])
            faults.add(
                f"{table.places[i]}, column {times.name!r}: {shown} is no time; expected it as {like!r}"
                f"{_in_words(times.texts[i])}"
            )
    return good, [*of_empty, *notes]
