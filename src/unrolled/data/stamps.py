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
from unrolled.data.stamp_forms import Reading, StampForm, form_of, is_name, offset_minutes, readings
from unrolled.data.time_formats import expanded, form_of_pattern
from unrolled.data.zones import from_utc, of_calendar, on_clock, second_ones
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
    for shape, possible in ways.items():
        for reading in possible:
            coverage[reading.order] += len(shapes[shape])
    if not coverage or 2 * max(coverage.values()) < len(plain):
        return None
    if reads.day_first is not None:
        allowed = {each for each in coverage if _is_day_first(each) in (None, reads.day_first) and each != "ydm"}
        if len(allowed) > 1 and allowed & {"dmy", "mdy"}:
            allowed.discard("ymd")  # of a year with two digits
        coverage = Counter({each: coverage[each] for each in allowed})
    tops = [order for order, n in coverage.items() if n == max(coverage.values())]
    found = {order: _by_order(plain, shapes, ways, order) for order in tops if order != "ydm"}
    if not found or any(np.isnat(each.values).any() for each in found.values()):
        found |= {order: _by_order(plain, shapes, ways, order) for order in tops if order == "ydm"}  # a rare one
    order = _choose(found, groups, plain)
    _check_years(found[order].values, order, plain)
    _check_mixture(found, order, groups, plain)
    used = found[order].used
    form = form_of(used, next((each.zone for each in used if each.zone), ""))
    hours = found[order].hours
    stamps = Stamps(found[order].values, replace(form, has_24="24" in hours and "00" not in hours))
    offsets, of_names = _of_names(found[order], reads.place, plain)
    is_free = len({each for each in coverage if _is_day_first(each) is not None}) > 1
    stamps = _zoned(stamps, offsets, reads, groups)
    notes = (*stamps.notes, *of_names, *of_calendar(stamps.values))
    notes = (*notes, _SHORT_YEARS) if any(map(_has_short_years, used)) else notes
    return replace(stamps, day_first=_is_day_first(order) if is_free else None, notes=notes)


@dataclass(frozen=True)
class _Found:
    """Texts read in one order.

    Attributes:
        values: stamps.
        offsets: minutes before UTC's clock.
        names: of zones that are written as names, "" for none.
        used: how the texts were read.
        hours: as they are written.
    """

    values: np.ndarray
    offsets: np.ndarray
    names: np.ndarray
    used: list[Reading]
    hours: set[str]


def _is_day_first(order: str) -> bool | None:
    """Of an order such as "dmy"; None where it has no choice."""
    return {"dmy": True, "mdy": False, "ydm": True}.get(order)


def _by_order(texts: Sequence[str], shapes: dict[str, list[int]], ways: dict[str, list[Reading]], order: str) -> _Found:
    found = _Found(np.full(len(texts), NOT), np.full(len(texts), np.nan), np.full(len(texts), "", object), [], set())
    for shape, rows in shapes.items():
        reading = next((each for each in ways[shape] if each.order == order), None)
        if reading is None:
            continue
        found.used.append(reading)
        cut = len(reading.zone)
        found.values[rows] = parsed([texts[i][: -cut or None] for i in rows], reading)
        if cut:
            known = {zone: offset_minutes(zone) for zone in {texts[i][-cut:] for i in rows}}
            found.offsets[rows] = [known[texts[i][-cut:]] for i in rows]
        if is_name(reading.zone):
            found.names[rows] = [texts[i][-cut:].strip() for i in rows]
        begin = 0
        for part in reading.parts:
            if part.field == "H":
                found.hours.update(texts[i][begin : begin + len(part.text)] for i in rows)
            begin += len(part.text)
    return found


def parsed(texts: list[str], reading: Reading) -> np.ndarray:
    """Texts of one shape without their zone, as datetime64[us]; 24:00 is the midnight after the day."""
    import pandas

    pattern, end = reading.pattern, sum(len(part.text) for part in reading.parts)
    is_late = np.zeros(len(texts), dtype=bool)
    for part in reversed(reading.parts):  # so that what is cut shifts nothing that is still to come
        begin = end - len(part.text)
        if part.field == "q" or part.field == "h":
            return _halves(texts, reading, 3 if part.field == "q" else 6)
        if part.field == "p" and "." in part.text:
            texts = [text[:begin] + text[begin:end].replace(".", "") + text[end:] for text in texts]
        if part.field == "b" and end - begin == 4:  # Sept
            texts = [text[: end - 1] + text[end:] for text in texts]
        if part.field == "o":
            texts = [text[:begin] + text[end:] for text in texts]
        if part.field == "H":
            is_late = np.array([text[begin:end] == "24" for text in texts])
            texts = [
                f"{text[:begin]}00{text[end:]}" if late else text for text, late in zip(texts, is_late, strict=True)
            ]
        end = begin
    if "w" in reading.order and "u" not in reading.order:
        texts, pattern = [f"{text} 1" for text in texts], f"{pattern} %u"
    found = pandas.to_datetime(pandas.Series(texts, dtype=object), format=pattern, errors="coerce")
    if _has_short_years(reading):  # the library's are 1969 to 2068
        found = found.where(~(found.dt.year > LAST_SHORT_YEAR), found - pandas.DateOffset(years=100))
    values = found.to_numpy().astype("datetime64[us]")
    values[is_late & (values != values.astype("datetime64[D]"))] = NOT  # 24:30
    return values + is_late * np.timedelta64(1, "D")


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


def _choose(found: dict[str, _Found], groups: Sequence[np.ndarray], texts: Sequence[str]) -> str:
    """The order that reads the most texts, makes the frequency regular, and goes with the order of the rows.

    Raises:
        AmbiguousError: two do equally.
    """
    counts = {order: int((~np.isnat(each.values)).sum()) for order, each in found.items()}
    best = [order for order in found if counts[order] == max(counts.values())]
    if "ydm" in best and len(best) > 1:  # nobody writes it, unless no month fits
        best.remove("ydm")
    alike: list[str] = []
    for order in best:
        if not any(np.array_equal(found[order].values, found[each].values, equal_nan=True) for each in alike):
            alike.append(order)
    scores = {order: _regularity(found[order].values, groups) for order in alike}
    tops = [order for order in alike if scores[order] == max(scores.values())]
    if len(tops) == 1:
        return tops[0]
    first, second = (found[order].values for order in tops[:2])
    shown = next(text for text, a, b in zip(texts, first, second, strict=True) if a != b)
    ways = " or ".join({"dmy": "day first", "mdy": "month first", "ymd": "year first"}[order] for order in tops)
    more = "; for the year first pass --time-format '%y/%m/%d'" if "ymd" in tops else ""
    raise AmbiguousError(
        f"{shown!r} can be read {ways}, and the stamps are as regular either way. Pass --day-first or "
        f"--month-first{more}"
    )


def _check_years(values: np.ndarray, order: str, texts: Sequence[str]) -> None:
    """Years that go on into the next, as 2001-02, are no months, though each of 2001-02 to 2011-12 could be one.

    Raises:
        AmbiguousError: all stamps are of that kind.
    """
    if order != "ym":
        return
    months = np.unique(values[~np.isnat(values)]).astype("datetime64[M]").astype(np.int64)
    if len(months) > 1 and (months % 12 + 1 == (1970 + months // 12 + 1) % 100).all():
        shown = texts[0]
        raise AmbiguousError(
            f"{shown!r} may be a year that goes on into the next, as all stamps may. Write the year that it begins in "
            "alone, or pass --time-format, such as %Y-%m, if they are months"
        )


def _check_mixture(found: dict[str, _Found], order: str, groups: Sequence[np.ndarray], texts: Sequence[str]) -> None:
    """A sheet that takes a part of the dates for its own, and turns them, leaves two orders in one column.

    Raises:
        AmbiguousError: stamps are regular only if a part of them is read in the other order.
    """
    other = {"dmy": "mdy", "mdy": "dmy"}.get(order, "")
    if other not in found or all(_regularity(found[order].values, groups)):
        return
    mixed = np.where(np.isnat(found[other].values), found[order].values, found[other].values)
    turned = np.flatnonzero(mixed != found[order].values)
    if len(turned) and all(_regularity(mixed, groups)):
        rest = next(text for text, is_other in zip(texts, np.isnat(found[other].values), strict=True) if is_other)
        raise AmbiguousError(
            f"some stamps have the month first, others the day, such as {texts[turned[0]]!r} and {rest!r}: together "
            "they are regular only so, as after a sheet has turned a part of them. Write all of them in one order"
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
    is_on_clock = _goes_on_clock(values, utc, groups)
    form = replace(form, offset=last, is_utc=not is_on_clock)
    written = form.write(np.array([utc[has].max()]))[0] if form.is_utc else form.write(np.array([values[has].max()]))[0]
    notes = (
        f"the offset from UTC changes between {len(minutes)} values; forecasts bear the last, as in {written}. "
        "Pass --zone, such as Europe/Berlin, for the clock of a place",
    )
    return replace(stamps, values=values if is_on_clock else utc, form=form, notes=notes)


def _of_names(found: _Found, place: str, texts: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Minutes before UTC's clock where zones are written as names, such as EST, and notes; a name has several meanings.

    Raises:
        AmbiguousError: they change, and no place is given; or the clock of the place has no such name then.
    """
    names = sorted(set(found.names) - {""})
    if not names:
        return found.offsets, ()
    if not place:
        if len(names) > 1 or (~np.isnan(found.offsets) & (found.names == "")).any():
            raise AmbiguousError(
                f"zones are written as {' and '.join(map(repr, names))}, and such a name has several meanings. Pass "
                "--zone with the place whose clock the stamps show, such as America/New_York"
            )
        note = f"the zone {names[0]!r} is kept as it is written, and its clock is taken to stay the same"
        return found.offsets, (f"{note}; for the clock of a place pass --zone, such as America/New_York",)
    rows = np.flatnonzero((found.names != "") & ~np.isnat(found.values))
    offsets = found.offsets.copy()
    shown = np.full(len(rows), "", object)
    for is_summer in (True, False):  # of an hour that the clock shows twice
        local = on_clock(found.values[rows], place, ambiguous=np.full(len(rows), is_summer))
        for i, (row, each) in enumerate(zip(rows, local, strict=True)):
            if each.tzname() == found.names[row]:
                shown[i], offsets[row] = found.names[row], round(each.utcoffset().total_seconds() / 60)
    if (wrong := rows[shown == ""]).size:
        raise AmbiguousError(f"{texts[wrong[0]]!r}: the clock of {place} has no {found.names[wrong[0]]} then")
    return offsets, ()


def _at_place(stamps: Stamps, utc: np.ndarray | None, place: str, groups: Sequence[np.ndarray]) -> Stamps:
    """Stamps on the clock of a place."""
    import pandas

    clock: Any = stamps.values
    if utc is None:
        local = on_clock(clock, place, ambiguous="NaT")
        if (lost := pandas.isna(local) & ~np.isnat(clock)).any():
            local = on_clock(clock, place, ambiguous=~second_ones(clock, lost, groups))
    else:
        local = from_utc(utc, place)
    utc = np.asarray(local.tz_convert("UTC").tz_localize(None), dtype="datetime64[us]")
    shown = np.asarray(local.tz_localize(None), dtype="datetime64[us]")
    is_utc = not _goes_on_clock(shown, utc, groups)
    if stamps.form.zone == "" and not is_utc:
        return replace(stamps, values=shown, form=replace(stamps.form, place=place))
    return replace(stamps, values=utc if is_utc else shown, form=replace(stamps.form, place=place, is_utc=is_utc))
