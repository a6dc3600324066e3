"""Frequencies of stamps: how far apart they are, and the grid that they lie on.

Inputs: stamps, datetime64[us]. Outputs: a frequency, and the grid's stamps and places. Grids are NumPy's: datetime64
counts months, and its business days take any week; both go from stamps to places and back for whole arrays at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNITS = ("row", "microsecond", "second", "month", "session")
_SIZES = ((86400 * 7, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_DAY = 86400
_US = 1_000_000
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EVEN = 0.9  # share of neighbors one step apart that makes a frequency, however long the gaps are
_FILLED = 0.7  # share of the grid with a stamp that makes one, however the gaps lie


@dataclass(frozen=True)
class Frequency:
    """How stamps follow each other.

    Attributes:
        unit: "second", "microsecond", "month", "session" (steps within the hours of some days of the week), or "row"
            where there is no telling.
        count: of units from one stamp to the next; seconds for "session".
        anchor: of months: "end", "first weekday", "last weekday", or the day, the last where a month is shorter;
            "" for the day of the first stamp.
        days: of sessions: seven digits from Monday on, 1 for a day with stamps.
        start: of sessions: the second of the day that they begin at.
        per_day: of sessions: how many stamps a day has.
        step: of rows: from one number to the next, where numbers are their stamps.
    """

    unit: str
    count: int = 1
    anchor: str = ""
    days: str = ""
    start: int = 0
    per_day: int = 1
    step: float = 1.0

    @property
    def seconds(self) -> float:
        """From one stamp to the next, about; 0 for rows."""
        if self.unit == "session" and self.per_day == 1:
            return _DAY
        return self.count * {"row": 0, "microsecond": 1 / _US, "second": 1, "month": 28 * _DAY, "session": 1}[self.unit]

    @property
    def words(self) -> str:
        if self.unit == "row":
            return "row by row"
        if self.unit == "session":
            return self._session_words()
        if self.unit == "microsecond":
            return f"every {self.count / _US:g} seconds"
        if self.unit == "month":
            years, rest = divmod(self.count, 12)
            count, name = (years, "year") if not rest else (self.count, "month")
        else:
            size, name = next((size, name) for size, name in _SIZES if self.count % size == 0)
            count = self.count // size
        each = f"every {name}" if count == 1 else f"every {count} {name}s"
        where = {
            "end": ", at the end",
            "first weekday": ", on the first weekday",
            "last weekday": ", on the last weekday",
        }
        return each + where.get(self.anchor, "")

    def _session_words(self) -> str:
        names = [name for name, is_in in zip(_WEEKDAYS, self.days, strict=True) if is_in == "1"]
        days = {"1111100": "weekday", "1111111": "day"}.get(self.days, ", ".join(names))
        if self.per_day == 1:
            return f"every {days}"
        step = Frequency("second", self.count).words
        first, last = self.start, (self.start + (self.per_day - 1) * self.count) % _DAY
        clock = lambda second: f"{second // 3600:02}:{second % 3600 // 60:02}"
        return f"{step} from {clock(first)} to {clock(last)}, every {days}"

    @property
    def seasons(self) -> tuple[int, ...]:
        """Steps after which values tend to come again, longest first: a year of months, a week of days, ..."""
        if self.unit == "month":
            return (12 // self.count,) if self.count < 12 and 12 % self.count == 0 else ()
        if self.unit == "session":
            return (self.per_day,) if self.per_day > 1 else (self.days.count("1"),)
        if self.unit == "row":
            return ()
        if self.seconds >= _DAY:
            return {_DAY: (7,), 7 * _DAY: (52,)}.get(round(self.seconds), ())
        steps = [round(size / self.seconds) for size in (_DAY, 3600, 60) if size > self.seconds]
        return tuple(steps)

    @property
    def season(self) -> int:
        """The longest of the seasons; 1 for none."""
        return self.seasons[0] if self.seasons else 1

    def season_in(self, length: int) -> int:
        """The longest season that a series of a length has twice; 1 for none."""
        return next((season for season in self.seasons if 2 * season <= length), 1)

    @property
    def week(self) -> int:
        """Steps in a week, where a day has several; else 0."""
        if self.unit == "session":
            return self.per_day * self.days.count("1") if self.per_day > 1 else 0
        return 7 * self.season if 0 < self.seconds < _DAY else 0

    def stamps(self, first: np.datetime64 | float, start: int, stop: int) -> np.ndarray:
        """Stamps number `start` to `stop`, datetime64[us], the first of the series being 0; numbers for rows."""
        steps = np.arange(start, stop)
        if self.unit == "row":
            return np.asarray(first) + steps * self.step
        begin = np.datetime64(int(first), "s") if not isinstance(first, np.datetime64) else first
        return self._at(begin.astype("datetime64[us]"), steps)

    def _session(self, begin: np.datetime64, steps: np.ndarray) -> np.ndarray:
        moved = begin - np.timedelta64(self.start, "s")
        day = moved.astype("datetime64[D]")
        within = int((moved - day).astype(np.int64)) // (self.count * _US)
        ahead, slot = np.divmod(within + steps, self.per_day)
        days = np.busday_offset(day, ahead, weekmask=self.days)
        return days.astype("datetime64[us]") + (slot * self.count + self.start) * np.timedelta64(1, "s")

    def _month_days(self, months: np.ndarray, first: np.datetime64) -> np.ndarray:
        """The day of each month that the stamps are on, datetime64[us]."""
        begins, ends = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]") - 1
        if self.anchor == "first weekday":
            days = np.busday_offset(begins, 0, roll="forward")
        elif self.anchor == "last weekday":
            days = np.busday_offset(ends, 0, roll="backward")
        elif self.anchor == "end":
            days = ends
        else:
            day = int(self.anchor or (first - first.astype("datetime64[M]").astype("datetime64[D]")).astype(int) + 1)
            days = np.minimum(begins + (day - 1), ends)
        return days.astype("datetime64[us]")

    def places(self, stamps: np.ndarray) -> np.ndarray:
        """Numbers of stamps on the grid that begins with the first of them."""
        if self.unit == "row" or not len(stamps):
            return np.arange(len(stamps))
        if self.unit == "month":
            months = stamps.astype("datetime64[M]").astype(np.int64)
            return (months - months[0]) // self.count
        if self.unit == "session":
            moved = stamps - np.timedelta64(self.start, "s")
            days = moved.astype("datetime64[D]")
            slots = (moved - days).astype(np.int64) // (self.count * _US)
            places = np.busday_count(days[0], days, weekmask=self.days) * self.per_day + slots
            return places - places[0]
        size = self.count * (_US if self.unit == "second" else 1)
        return (stamps - stamps[0]).astype("timedelta64[us]").astype(np.int64) // size

    def holds(self, stamps: np.ndarray) -> bool:
        """Whether the stamps, in their order, lie on the grid that begins with the first of them."""
        places = self.places(stamps)
        wanted = {"row": lambda: stamps}.get(self.unit, lambda: self._at(stamps[0], places))()
        return bool((wanted == stamps).all() and (np.diff(places) > 0).all())

    def _at(self, first: np.datetime64, places: np.ndarray) -> np.ndarray:
        """The grid's stamps at places."""
        if self.unit in ("second", "microsecond"):
            return first + places * np.timedelta64(self.count * (_US if self.unit == "second" else 1), "us")
        if self.unit == "session":
            return self._session(first, places)
        day = first.astype("datetime64[D]")
        return self._month_days(day.astype("datetime64[M]") + places * self.count, day) + (first - day)


ROWS = Frequency("row")


@dataclass(frozen=True)
class Fit:
    """How well stamps follow a frequency.

    Attributes:
        frequency: "row" where none fits.
        filled: share of the grid that has a stamp.
        gaps: how often neighbors are so many microseconds apart, the most frequent first, where none fits.
    """

    frequency: Frequency
    filled: float
    gaps: tuple[tuple[int, int], ...] = ()


def find_frequency(groups: Sequence[np.ndarray]) -> Fit:
    """The frequency of stamps that leaves the fewest places of its grid empty.

    Args:
        groups: of each series, datetime64[us].
    """
    ordered = [np.unique(stamps) for stamps in groups]
    ordered = [stamps for stamps in ordered if len(stamps) > 1]
    if not ordered:
        return Fit(ROWS, 1.0)
    best: Fit | None = None
    for candidate in _candidates(ordered):
        filled, even = _share(candidate, ordered)
        if (filled >= _FILLED or even >= _EVEN) and (best is None or filled > best.filled):
            best = Fit(candidate, filled)
    if best is not None:
        return best
    steps = np.concatenate([np.diff(stamps).astype(np.int64) for stamps in ordered])
    gaps, counts = np.unique(steps, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return Fit(ROWS, 0.0, tuple((int(gaps[i]), int(counts[i])) for i in order))


def _share(frequency: Frequency, ordered: Sequence[np.ndarray]) -> tuple[float, float]:
    """The share of the grid with a stamp, and that of neighbors one step apart; zeros where stamps are beside it."""
    n_filled = n_places = n_even = 0
    for stamps in ordered:
        if not frequency.holds(stamps):
            return 0.0, 0.0
        places = frequency.places(stamps)
        n_filled, n_places = n_filled + len(stamps), n_places + int(places[-1]) + 1
        n_even += int((np.diff(places) == 1).sum())
    return n_filled / n_places, n_even / (n_filled - len(ordered))


def _candidates(ordered: Sequence[np.ndarray]) -> list[Frequency]:
    """Frequencies that may fit, the simplest first."""
    found = []
    if month := _months(ordered):
        found.append(month)
    step = _gcd([np.diff(stamps).astype(np.int64) for stamps in ordered])
    found.append(Frequency("second", step // _US) if step % _US == 0 else Frequency("microsecond", step))
    if session := _session(np.concatenate(ordered)):
        found.append(session)
    return found


def _gcd(steps: Sequence[np.ndarray]) -> int:
    return math.gcd(*(int(np.gcd.reduce(each)) for each in steps))


def _months(ordered: Sequence[np.ndarray]) -> Frequency | None:
    """Steps of months, if all stamps are on one kind of day."""
    steps = [np.diff(stamps.astype("datetime64[M]").astype(np.int64)) for stamps in ordered]
    if any((each < 1).any() for each in steps):
        return None
    days = np.concatenate(ordered).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    numbers = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    count = _gcd(steps)
    first, last = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]") - 1
    top = int(numbers.max())
    if (numbers == numbers[0]).all() and top <= 28:
        return Frequency("month", count, str(top))
    if (days == last).all():
        return Frequency("month", count, "end")
    if (days == np.minimum(first + (top - 1), last)).all():
        return Frequency("month", count, str(top))
    if (days == np.busday_offset(first, 0, roll="forward")).all():
        return Frequency("month", count, "first weekday")
    if (days == np.busday_offset(last, 0, roll="backward")).all():
        return Frequency("month", count, "last weekday")
    return None


def _session(stamps: np.ndarray) -> Frequency | None:
    """Steps within some hours of some days, if there are weeks enough to tell."""
    whole = stamps.astype("datetime64[s]")
    if (whole != stamps).any():
        return None
    days = whole.astype("datetime64[D]")
    clock = np.unique((whole - days).astype(np.int64))
    start, step, per_day = 0, _DAY, 1
    if len(clock) == 1:
        start = int(clock[0])
    else:
        step = int(np.gcd.reduce(np.diff(clock)))
        around = np.append(np.diff(clock), clock[0] + _DAY - clock[-1])
        start = int(clock[(int(np.argmax(around)) + 1) % len(clock)])
        per_day = (_DAY - int(around.max())) // step + 1
        if per_day * step >= _DAY:
            start, per_day = 0, _DAY // step
        if _DAY % step or per_day > 24 * 3600:
            return None
    moved = (whole - np.timedelta64(start, "s")).astype("datetime64[D]")
    of_week = np.unique((moved.astype(np.int64) + 3) % 7)
    n_days, span = len(np.unique(moved)), int((moved.max() - moved.min()).astype(int)) + 1
    is_plain = len(of_week) == 7 and per_day * step >= _DAY
    if len(of_week) < 2 or is_plain or (len(of_week) < 7 and (span < 8 or n_days < 5)):
        return None
    days_of_week = "".join(str(int(i in of_week)) for i in range(7))
    return Frequency("session", step, days=days_of_week, start=start, per_day=per_day)
