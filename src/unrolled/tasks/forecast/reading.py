"""Series from what users have: files, data frames, arrays.

Inputs: data and settings. Outputs: series. A frame's index of dates is its time column, with its zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.frame_index import only_counts, with_index
from unrolled.data.missing import codes_of
from unrolled.data.series import Series
from unrolled.data.series_table import read_series
from unrolled.data.stamps import Reads
from unrolled.data.table import Table, of_frame, read_table
from unrolled.data.time_columns import ROWS
from unrolled.data.wide_series import SERIES, VALUE, wide_table
from unrolled.errors import DataError
from unrolled.tasks.arguments import accepts
from unrolled.tasks.estimator import Files, are_files, paths_of
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.settings import ForecastSettings

_COLUMNS = ("target", "time", "series", "future", "past", "static")  # settings that name columns


@dataclass(frozen=True)
class Reader:
    """Reads series.

    Attributes:
        settings: what the user chose.
        fitted: of the model that they are read for; None for a new training.
    """

    settings: ForecastSettings
    fitted: ForecastFitted | None = None

    @accepts("an array [time] of numbers, a list of those, or a data frame")
    def series(self, data: Any) -> Series:
        """From files, a data frame, an array [time], or a list of those.

        Raises:
            DataError: they cannot be used.
        """
        if isinstance(data, Series):
            return data
        if are_files(data):
            return self.files(data)
        if isinstance(data, np.ndarray | list | tuple):
            return _of_arrays(data)
        return self._of_frame(data)

    def files(self, files: Files) -> Series:
        paths, settings = paths_of(files), self.settings
        if settings.header is None and not any(getattr(settings, name) for name in _COLUMNS):
            wide = wide_table(list(map(Path, paths)), settings.encoding)
            if wide is not None:
                long = replace(settings, series=SERIES, target=VALUE, time=ROWS)
                return Reader(long, self.fitted)._of_table(wide)
        return self._of_table(read_table(paths, encoding=settings.encoding, header=settings.header))

    def _of_frame(self, frame: Any) -> Series:
        settings = self.settings
        is_indexed = type(frame).__module__.split(".")[0] == "pandas"
        if hasattr(frame, "to_frame") and not hasattr(frame, "columns"):  # a series
            if (not is_indexed or only_counts(frame.index)) and _is_whole(frame):
                return _of_arrays(np.asarray(frame, dtype=np.float64))
            frame = frame.to_frame(frame.name or "value")
            learnt = None if self.fitted is None else self.fitted.without("read_as")  # it has no columns
            return replace(Reader(settings, learnt)._of_frame(frame), read_as={})
        time, zone = None, ""
        if is_indexed:
            asked = ",".join(filter(None, (getattr(settings, name) for name in _COLUMNS)))
            frame, time, zone = with_index(frame, self._reads(), settings.series, _names(asked))
        if time is None:  # of a column: polars names it time_zone, pandas tz
            kinds = frame.schema.values() if hasattr(frame, "schema") else getattr(frame, "dtypes", ())
            zones = {str(each) for kind in kinds if (each := getattr(kind, "time_zone", getattr(kind, "tz", None)))}
            zone = zones.pop() if len(zones) == 1 else ""
        is_place = "/" in zone and not settings.zone
        settings = replace(settings, time=settings.time or time, zone=zone if is_place else settings.zone)
        found = Reader(settings, self.fitted)._of_table(of_frame(frame))
        if settings.time is None or settings.time == self.settings.time:
            return found
        return replace(found, read_as={**found.read_as, "time": ""})  # of the index, which files do not have

    def _reads(self) -> Reads:
        settings, fitted = self.settings, self.fitted
        day_first = settings.day_first if settings.day_first is not None or fitted is None else fitted.day_first
        return Reads(day_first, settings.time_format, settings.zone)

    def _of_table(self, table: Table) -> Series:
        settings, fitted = self.settings, self.fitted
        names = {name: _names(getattr(settings, name)) for name in ("future", "past", "static")}
        return read_series(
            table,
            target=settings.target,
            time=settings.time,
            series=settings.series,
            thousands=settings.thousands,
            decimal=settings.decimal or "",
            reads=self._reads(),
            duplicates=settings.duplicates,
            max_missing=settings.max_missing,
            missing=codes_of(settings.missing),
            like=None if fitted is None else fitted.like,
            **names,
        )


def _is_whole(series: object) -> bool:
    """Whether a series is of numbers, none missing."""
    try:
        return bool(np.isfinite(np.asarray(series, dtype=np.float64)).all())
    except (TypeError, ValueError):
        return False


def _of_arrays(data: np.ndarray | Sequence[Any]) -> Series:
    if not len(data):
        raise DataError("an array of values is empty; expected [time]")
    arrays = [data] if np.ndim(data[0]) == 0 else list(data)
    values = [np.asarray(each, dtype=np.float64) for each in arrays]
    if any(each.ndim != 1 or not len(each) or not np.isfinite(each).all() for each in values):
        raise DataError("an array of values must be [time], of finite numbers")
    return Series([str(i) if len(values) > 1 else "" for i in range(len(values))], values)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
