"""Columns of time stamps: texts or numbers become datetime64.

Inputs: texts. Outputs: stamps, and the form in which to write more of them. pandas parses. The order of day and month
is the one that makes the stamps regular, and where two orders do, the user is asked.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unrolled.data.frequency import find_frequency
from unrolled.data.stamp_forms import SHEET_EPOCH, Part, Reading, StampForm, form_of, offset_minutes, readings
from unrolled.data.time_formats import expanded, form_of_pattern
from unrolled.errors import DataError, SettingsError

NOT = np.datetime64("NaT", "us")
LAST_SHORT_YEAR = 2035  # the last year that two digits mean: series are of the past
_SHORT_YEARS = (
    f"years of two digits are {LAST_SHORT_YEAR - 99} to {LAST_SHORT_YEAR}; for others pass --time-format, whose %y is "
    "1969 to 2068"
)
_DIGITS = str.maketrans("123456789", "000000000")
_MOST_SHAPES = 2000  # texts of more shapes are no stamps
_REGULAR = 0.7  # share of a grid's places with a stamp


@dataclass(frozen=True)
class Reads:
    """What is known of stamps beforehand.

    Attributes:
        day_first: whether 01/02/2010 is in February; None: what makes the stamps regular.
        pattern: a strptime format for all, "" for none.
        place: a zone by name, "" for none.
    """

    day_first: bool | None = None
    pattern: str = ""
    place: str = ""


@dataclass(frozen=True)
class Stamps:
    """Stamps of a column.

    Attributes:
        values: datetime64[us], NaT where a text is none; or float64, where numbers are only an order.
        form: how they are written.
        day_first: the order that was found, None where nothing depended on it.
        notes: for the user.
    """

    values: np.ndarray
    form: StampForm
    day_first: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def bad(self) -> np.ndarray:
        """Rows that are no stamps."""
        return np.flatnonzero(np.isnat(self.values) if self.values.dtype.kind == "M" else np.isnan(self.values))


class AmbiguousError(DataError):
    """Two orders of day and month fit equally."""


def read_stamps(texts: Sequence[str], reads: Reads, groups: Sequence[np.ndarray] | None = None) -> Stamps | None:
    """Reads texts as stamps, as many as can be; None if hardly one can.

    Args:
        texts: a column.
        reads: what is known beforehand.
        groups: rows of each series; all of one if None.

    Raises:
        AmbiguousError: day and month can be either way.
        SettingsError: there is no such zone, or no such format.
    """
    plain = [text.strip() for text in texts]
    groups = [np.arange(len(texts))] if groups is None else groups
    if reads.pattern:
        return _zoned(_by_pattern(plain, reads.pattern), np.zeros(len(plain)), reads, groups)
    shapes: dict[str, list[int]] = {}
    for i, text in enumerate(plain):
        shapes.setdefault(text.translate(_DIGITS), []).append(i)
        if len(shapes) > _MOST_SHAPES:
            return None
    ways = {shape: readings(plain[rows[0]]) for shape, rows in shapes.items()}
    coverage: Counter[str] = Counter()
    for shape, found in ways.items():
        for reading in found:
            coverage[reading.order] += len(shapes[shape])
    if not coverage or 2 * max(coverage.values()) < len(plain):
        return None
    if reads.day_first is not None:
        allowed = {each for each in coverage if _is_day_first(each) in (None, reads.day_first) and each != "ydm"}
        if len(allowed) > 1 and allowed & {"dmy", "mdy"}:
            allowed.discard("ymd")  # of a year with two digits
        coverage = Counter({each: coverage[each] for each in allowed})
    tops = [order for order, n in coverage.items() if n == max(coverage.values())]
    parsed = {order: _by_order(plain, shapes, ways, order) for order in tops if order != "ydm"}
    if not parsed or any(np.isnat(values).any() for values, _, _ in parsed.values()):
        parsed |= {order: _by_order(plain, shapes, ways, order) for order in tops if order == "ydm"}  # a rare one
    order = _choose(parsed, groups, plain)
    values, offsets, used = parsed[order]
    stamps = Stamps(values, form_of(used, next((each.zone for each in used if each.zone), "")))
    is_free = len({each for each in coverage if _is_day_first(each) is not None}) > 1
    stamps = _zoned(stamps, offsets, reads, groups)
    notes = (*stamps.notes, _SHORT_YEARS) if any(map(_has_short_years, used)) else stamps.notes
    return replace(stamps, day_first=_is_day_first(order) if is_free else None, notes=notes)


Found = tuple[np.ndarray, np.ndarray, list[Reading]]  # stamps, minutes before UTC, and how they were read


def _is_day_first(order: str) -> bool | None:
    """Of an order such as "dmy"; None where it has no choice."""
    return {"dmy": True, "mdy": False, "ydm": True}.get(order)


def _by_order(texts: Sequence[str], shapes: dict[str, list[int]], ways: dict[str, list[Reading]], order: str) -> Found:
    values = np.full(len(texts), NOT)
    offsets = np.full(len(texts), np.nan)
    used = []
    for shape, rows in shapes.items():
        reading = next((each for each in ways[shape] if each.order == order), None)
        if reading is None:
            continue
        used.append(reading)
        cut = len(reading.zone)
        values[rows] = _parsed([texts[i][: -cut or None] for i in rows], reading)
        if cut:
            known = {zone: offset_minutes(zone) for zone in {texts[i][-cut:] for i in rows}}
            offsets[rows] = [known[texts[i][-cut:]] for i in rows]
    return values, offsets, used


def _parsed(texts: list[str], reading: Reading) -> np.ndarray:
    """Texts of one shape without their zone, as datetime64[us]."""
    import pandas

    pattern, begin = reading.pattern, 0
    for part in reading.parts:
        end = begin + len(part.text)
        if part.field == "q" or part.field == "h":
            return _halves(texts, reading, 3 if part.field == "q" else 6)
        if part.field == "p" and "." in part.text:
            texts = [text[:begin] + text[begin:end].replace(".", "") + text[end:] for text in texts]
        if part.field == "b" and end - begin == 4:  # Sept
            texts = [text[: end - 1] + text[end:] for text in texts]
        begin = end
    if "w" in reading.order and "u" not in reading.order:
        texts, pattern = [f"{text} 1" for text in texts], f"{pattern} %u"
    found = pandas.to_datetime(pandas.Series(texts, dtype=object), format=pattern, errors="coerce")
    if _has_short_years(reading):  # the library's are 1969 to 2068
        found = found.where(~(found.dt.year > LAST_SHORT_YEAR), found - pandas.DateOffset(years=100))
    return found.to_numpy().astype("datetime64[us]")


def _has_short_years(reading: Reading) -> bool:
    return any(part.field == "y" for part in reading.parts)


def _halves(texts: list[str], reading: Reading, n_months: int) -> np.ndarray:
    """Quarters, or half years, as their first day."""
    values, begin, places = [], 0, {}
    for part in reading.parts:
        places[part.field] = slice(begin, begin + len(part.text))
        begin += len(part.text)
    for text in texts:
        year = int(text[places["Y"]]) if "Y" in places else _century(int(text[places["y"]]))
        number = int(text[places["q" if "q" in places else "h"]])
        months = 12 * (year - 1970) + n_months * (number - 1)
        is_one = 1 <= number <= 12 // n_months
        values.append(np.datetime64(months, "M").astype("datetime64[us]") if is_one else NOT)
    return np.array(values, dtype="datetime64[us]")


def _century(year: int) -> int:
    return year + (1900 if year > LAST_SHORT_YEAR % 100 else 2000)


def _choose(found: dict[str, Found], groups: Sequence[np.ndarray], texts: Sequence[str]) -> str:
    """The order that reads the most texts, makes the frequency regular, and goes with the order of the rows.

    Raises:
        AmbiguousError: two do equally.
    """
    counts = {order: int((~np.isnat(values)).sum()) for order, (values, _, _) in found.items()}
    best = [order for order in found if counts[order] == max(counts.values())]
    if "ydm" in best and len(best) > 1:  # nobody writes it, unless no month fits
        best.remove("ydm")
    alike: list[str] = []
    for order in best:
        if not any(np.array_equal(found[order][0], found[each][0], equal_nan=True) for each in alike):
            alike.append(order)
    scores = {order: _regularity(found[order][0], groups) for order in alike}
    tops = [order for order in alike if scores[order] == max(scores.values())]
    if len(tops) == 1:
        return tops[0]
    shown = next(text for text, a, b in zip(texts, found[tops[0]][0], found[tops[1]][0], strict=True) if a != b)
    ways = " or ".join({"dmy": "day first", "mdy": "month first", "ymd": "year first"}[order] for order in tops)
    more = "; for the year first pass --time-format '%y/%m/%d'" if "ymd" in tops else ""
    raise AmbiguousError(
        f"{shown!r} can be read {ways}, and the stamps are as regular either way. Pass --day-first or "
        f"--month-first{more}"
    )


def _regularity(values: np.ndarray, groups: Sequence[np.ndarray]) -> tuple[bool, bool]:
    """Whether stamps have a frequency, and whether they stand in the order of time, or in the reverse."""
    parts = [values[rows][~np.isnat(values[rows])] for rows in groups]
    steps = [np.diff(each).astype(np.int64) for each in parts]
    in_order = all((each >= 0).all() for each in steps) or all((each <= 0).all() for each in steps)
    return find_frequency(parts).filled >= _REGULAR, in_order


def _goes_on_clock(clock: np.ndarray, utc: np.ndarray, groups: Sequence[np.ndarray]) -> bool:
    """Whether stamps are regular as the clock shows them rather than in UTC.

    Where they are either way, steps of hours and less go on in UTC, as a clock that is changed leaves one out.
    """
    shown, instants = ([each[rows] for rows in groups] for each in (clock, utc))
    shown, instants = ([each[~np.isnat(each)] for each in parts] for parts in (shown, instants))
    n_shown, n_instants = (sum(len(np.unique(each)) for each in parts) for parts in (shown, instants))
    on_clock, in_utc = find_frequency(shown), find_frequency(instants)
    if n_shown < n_instants or on_clock.filled != in_utc.filled:
        return n_shown == n_instants and on_clock.filled > in_utc.filled
    frequency = on_clock.frequency
    return frequency.unit in ("session", "month") or frequency.seconds >= 86400


def _by_pattern(texts: Sequence[str], pattern: str) -> Stamps:
    """Stamps of a strptime format."""
    import pandas

    form = form_of_pattern(pattern, texts[0] if texts else "")
    try:
        found = pandas.to_datetime(pandas.Series(texts, dtype=object), format=expanded(pattern), errors="coerce")
    except (ValueError, re.error) as fault:
        raise SettingsError(f"time_format={pattern!r}: {str(fault).splitlines()[0]}") from fault
    if found.dt.tz is not None:
        found = found.dt.tz_convert("UTC").dt.tz_localize(None)
    return Stamps(found.to_numpy().astype("datetime64[us]"), form)


def _zoned(stamps: Stamps, offsets: np.ndarray, reads: Reads, groups: Sequence[np.ndarray]) -> Stamps:
    """Stamps with their zone: on the clock where it stays the same or the days are regular on it, else as UTC."""
    values = stamps.values.copy()
    has = ~np.isnan(offsets) & ~np.isnat(values)
    if stamps.form.zone == "":
        return stamps if not reads.place else _at_place(stamps, None, reads.place, groups)
    values[~has] = NOT  # among stamps with an offset, one without cannot be compared
    minutes = np.unique(offsets[has])
    utc = values.copy()
    utc[has] -= offsets[has].astype("timedelta64[m]")
    if reads.place:
        return _at_place(replace(stamps, values=values), utc, reads.place, groups)
    form = replace(stamps.form, offset=int(minutes[0]) if len(minutes) else 0)
    if len(minutes) < 2:
        return replace(stamps, values=values, form=form)
    last = int(offsets[has][np.argmax(utc[has])])
    on_clock = _goes_on_clock(values, utc, groups)
    form = replace(form, offset=last, is_utc=not on_clock)
    written = form.write(np.array([utc[has].max()]))[0] if form.is_utc else form.write(np.array([values[has].max()]))[0]
    notes = (
        f"the offset from UTC changes between {len(minutes)} values; forecasts bear the last, as in {written}. "
        "Pass --zone, such as Europe/Berlin, for the clock of a place",
    )
    return replace(stamps, values=values if on_clock else utc, form=form, notes=notes)


def _at_place(stamps: Stamps, utc: np.ndarray | None, place: str, groups: Sequence[np.ndarray]) -> Stamps:
    """Stamps on the clock of a place."""
    import pandas

    clock: Any = stamps.values
    try:
        if utc is None:
            local = pandas.DatetimeIndex(clock).tz_localize(place, ambiguous="NaT", nonexistent="NaT")
            if (lost := pandas.isna(local) & ~np.isnat(clock)).any():
                local = pandas.DatetimeIndex(clock).tz_localize(
                    place, ambiguous=~_second(clock, lost, groups), nonexistent="NaT"
                )
        else:
            local = pandas.DatetimeIndex(utc).tz_localize("UTC").tz_convert(place)
    except (KeyError, ValueError, OSError, TypeError) as fault:
        raise SettingsError(
            f"zone={place!r}: there is no zone of that name; expected such as Europe/Berlin or UTC"
        ) from fault
    utc = np.asarray(local.tz_convert("UTC").tz_localize(None), dtype="datetime64[us]")
    on_clock = np.asarray(local.tz_localize(None), dtype="datetime64[us]")
    is_utc = not _goes_on_clock(on_clock, utc, groups)
    if stamps.form.zone == "" and not is_utc:
        return replace(stamps, values=on_clock, form=replace(stamps.form, place=place))
    return replace(stamps, values=utc if is_utc else on_clock, form=replace(stamps.form, place=place, is_utc=is_utc))


def _second(clock: np.ndarray, ambiguous: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the times that a clock shows twice are the second ones: in each series, those that stand again."""
    second = np.zeros(len(clock), dtype=bool)
    for rows in groups:
        seen: set[int] = set()
        for i in rows[ambiguous[rows]]:
            stamp = int(clock[i].astype(np.int64))
            second[i] = stamp in seen
            seen.add(stamp)
    return second


def numbers_as_stamps(
    numbers: np.ndarray, texts: Sequence[str], *, is_named: bool, is_dated: bool = False
) -> Stamps | None:
    """Numbers as stamps: days as 20100131, years, months as 201001, time since 1970; or only an order.

    Args:
        numbers: float64, nothing missing.
        texts: as they stand.
        is_named: whether the column is named as time, or was asked for; else only days are taken for time.
        is_dated: whether it is named as dates, so that numbers such as 45292 are days as sheets count them.
    """
    is_whole = bool((numbers == np.round(numbers)).all())
    plain = [text.strip() for text in texts]
    lengths = {len(text) for text in plain}
    if is_whole and len(lengths) == 1 and lengths <= {8, 10, 12, 14} and (found := _digits(plain)) is not None:
        return found
    if not is_named:
        return None
    if lengths == {7} and all(text[2] == "." for text in plain) and (found := read_stamps(plain, Reads())) is not None:
        return None if len(found.bad) else found
    if is_whole and lengths == {6} and (found := _digits(plain)) is not None:
        return found
    low, high = float(numbers.min()), float(numbers.max())
    if is_dated and low >= _FIRST_OF_SHEETS and high < _END_OF_SHEETS:
        return _of_sheet(numbers, plain[0])
    is_year = low >= 1000 and high <= 2500 and len(numbers) > 1
    if is_year and (years := _years(numbers, plain, is_whole=is_whole)) is not None:
        return years
    for unit, least, most, size in (
        ("s", 1e8, 1e11, 1e6),
        ("ms", 1e11, 1e14, 1e3),
        ("us", 1e14, 1e17, 1),
        ("ns", 1e17, 1e19, 1e-3),
    ):
        if least <= low and high < most:
            if all(re.fullmatch(r"\+?\d+", text) for text in plain):  # float64 holds no nanoseconds of today
                micro = np.array([int(text) * int(size) if size >= 1 else int(text) // 1000 for text in plain])
            else:
                micro = np.round(numbers * size)
            note = f"numbers such as {plain[0]} are taken as {_UNIT_WORDS[unit]} since 1970, in UTC"
            return Stamps(micro.astype(np.int64).astype("datetime64[us]"), StampForm(number=unit), notes=(note,))
    return Stamps(numbers.astype(np.float64), StampForm())


_FIRST_OF_SHEETS, _END_OF_SHEETS = 20_000, 80_000  # 1954 to 2119


def _of_sheet(numbers: np.ndarray, first: str) -> Stamps:
    """Days as sheets count them, with the time of day as their fraction, to the second."""
    seconds = np.round(numbers * 86400).astype(np.int64)
    values = SHEET_EPOCH + seconds * np.timedelta64(1_000_000, "us")
    day = str(values[0].astype("datetime64[D]" if (seconds % 86400 == 0).all() else "datetime64[s]")).replace("T", " ")
    note = f"numbers such as {first} are taken as days since 1899-12-30, as sheets count them: {day}"
    return Stamps(values, StampForm(number="day"), notes=(f"{note}; if they are none, pass --time row",))


_UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _digits(texts: Sequence[str]) -> Stamps | None:
    """Days, hours, ... months written without marks; None if one is not."""
    length = len(texts[0])
    fields = (("Y", 4), ("m", 2), ("d", 2), ("H", 2), ("M", 2), ("S", 2))
    reading = Reading(tuple(Part(field, "0" * width, width) for field, width in fields[: (length - 2) // 2]))
    values = _parsed(list(texts), reading)
    is_time = (
        not np.isnat(values).any()
        and (values >= np.datetime64("1700")).all()
        and (values < np.datetime64("2200")).all()
    )
    return Stamps(values, form_of([reading])) if is_time else None


def _years(numbers: np.ndarray, texts: Sequence[str], *, is_whole: bool) -> Stamps | None:
    """Years, and years with their parts as decimals, as R writes time series."""
    months = np.round(numbers * 12)
    if not is_whole and (np.abs(numbers * 12 - months) > 0.12).any():
        return None
    values = (months.astype(np.int64) - 1970 * 12).astype("datetime64[M]").astype("datetime64[us]")
    if is_whole and all(text.isdigit() for text in texts):
        return Stamps(values, form_of([Reading((Part("Y", texts[0], 4),))]))
    return Stamps(values, StampForm(number="year"))
