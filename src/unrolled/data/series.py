"""Time series with covariates, on an even grid of stamps.

Inputs: values, and what is known beside them. Outputs: series as windows are cut from, their calendar, their stamps as
texts. Tables become series in series_table.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unrolled.data.frequency import ROWS, Frequency
from unrolled.data.stamp_forms import ISO, ISO_DAY, StampForm
from unrolled.data.table import Learnt


@dataclass(frozen=True)
class Column:
    """How a column beside the values became numbers.

    Attributes:
        name: of the column.
        kinds: of texts, in the order of their 0/1 columns; none for numbers.
        mean, spread: of numbers of one value a series, which are standardized.
    """

    name: str
    kinds: tuple[str, ...] = ()
    mean: float = 0.0
    spread: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of numbers that it became."""
        return tuple(f"{self.name}={kind}" for kind in self.kinds) or (self.name,)


@dataclass(frozen=True)
class Series:
    """Series on an even grid.

    Attributes:
        names: of the series.
        values: float64 [length] of each, nothing missing.
        known: bool [length] of each: false where a value is drawn between its neighbors; all true if not given.
        covariates: float64 [length or longer, features] of each: known-future ones, then past-only ones; rows beyond
            the values' length hold the future that is known (past-only ones NaN there).
        n_future: how many of the covariates are known in advance.
        static: float64 [series, features].
        first: first stamp of each.
        frequency: of all.
        form: how their stamps are written.
        day_first: the order of day and month in their file, None where it did not matter.
        covariate_names: of the covariates.
        columns: how covariates became numbers.
        static_columns: the same of what describes series as a whole.
        target: name of what is forecast.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
        read_as: what reading a table found out by itself: the column "time", the "targets", the mark "decimal".
    """

    names: list[str]
    values: list[np.ndarray]
    frequency: Frequency = ROWS
    first: list[np.datetime64 | float] = field(default_factory=list)
    covariates: list[np.ndarray] = field(default_factory=list)
    n_future: int = 0
    static: np.ndarray | None = None
    covariate_names: tuple[str, ...] = ()
    target: str = "value"
    notes: tuple[str, ...] = ()
    sha256: str = ""
    known: list[np.ndarray] = field(default_factory=list)
    form: StampForm | None = None
    day_first: bool | None = None
    columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()
    read_as: Learnt = field(default_factory=dict)
    _calendars: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)
    _changes: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.first:
            object.__setattr__(self, "first", [0] * len(self.names))
        if not self.covariates:
            object.__setattr__(self, "covariates", [np.zeros((len(each), 0)) for each in self.values])
        if self.static is None:
            object.__setattr__(self, "static", np.zeros((len(self.names), 0)))
        if not self.known:
            object.__setattr__(self, "known", [np.ones(len(each), dtype=bool) for each in self.values])

    def __len__(self) -> int:
        return len(self.names)

    def until(self, ends: Sequence[int]) -> "Series":
        """The series as they were known at their steps `ends`: later values gone, covariates known in advance kept."""
        covariates = [each.copy() for each in self.covariates]
        for each, end in zip(covariates, ends, strict=True):
            each[end:, self.n_future :] = np.nan
        values, known = (
            [each[:end] for each, end in zip(all_of, ends, strict=True)] for all_of in (self.values, self.known)
        )
        return replace(self, values=values, known=known, covariates=covariates, _calendars={}, _changes={})

    def part(self, places: Sequence[int]) -> "Series":
        """Some of the series."""
        assert self.static is not None
        return replace(
            self,
            names=[self.names[i] for i in places],
            values=[self.values[i] for i in places],
            known=[self.known[i] for i in places],
            first=[self.first[i] for i in places],
            covariates=[self.covariates[i] for i in places],
            static=self.static[list(places)],
            _calendars={},
            _changes={},
        )

    def change(self, place: int, end: int) -> float:
        """The root mean square of the steps of a series before its step `end`; 0 for none."""
        if place not in self._changes:
            steps = np.square(np.diff(self.values[place]))
            self._changes[place] = np.sqrt(np.cumsum(steps) / np.arange(1, len(steps) + 1))
        changes = self._changes[place]
        return float(changes[min(end, len(changes) + 1) - 2]) if end > 1 and len(changes) else 0.0

    def least(self, place: int, end: int) -> float:
        """The least value of a series before its step `end`."""
        return float(self.values[place][:end].min())

    def stamps(self, place: int, start: int, stop: int) -> list[str]:
        """Stamps number `start` to `stop` of a series, in the form of its file."""
        found = self.frequency.stamps(self.first[place], start, stop)
        form = self.form or StampForm()
        if found.dtype.kind == "M" and not (form.parts or form.number):
            form = ISO_DAY if (found == found.astype("datetime64[D]")).all() else ISO
        return form.write(found)

    def calendar(self, place: int, start: int, stop: int) -> np.ndarray:
        """Calendar features [stop - start, n] of a series, pairs of sine and cosine; none where there are no dates."""
        if self.frequency.unit == "row":
            return np.zeros((stop - start, 0))
        begin, found = self._calendars.get(place, (0, np.zeros((0, 0))))
        if start < begin or stop > begin + len(found) or not found.size:
            begin, end = min(start, begin), max(stop, begin + len(found), len(self.values[place]) + stop - start)
            found = self._calendar(place, begin, end)
            self._calendars[place] = (begin, found)
        return found[start - begin : stop - begin]

    def _calendar(self, place: int, start: int, stop: int) -> np.ndarray:
        stamps = self.frequency.stamps(self.first[place], start, stop)
        return calendar_of(self.frequency, self.form.clock(stamps) if self.form is not None else stamps)


def calendar_of(frequency: Frequency, stamps: np.ndarray) -> np.ndarray:
    """Phases of the day, the week and the year that steps of a frequency run through, as sine and cosine."""
    if frequency.unit == "row":
        return np.zeros((len(stamps), 0))
    seconds = stamps.astype("datetime64[s]").astype(np.int64)
    year = stamps.astype("datetime64[Y]")
    in_year = (stamps.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64) / 366
    phases = [in_year]
    if frequency.seconds < 7 * 86400:
        phases.append((seconds // 86400 + 3) % 7 / 7)
    if frequency.seconds < 86400:
        phases.append(seconds % 86400 / 86400)
    return np.concatenate([[np.sin(2 * math.pi * phase), np.cos(2 * math.pi * phase)] for phase in phases]).T
