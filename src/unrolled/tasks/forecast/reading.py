"""Series from what users have: files, data frames, arrays.

Inputs: data and settings. Outputs: series. A frame's index of dates is its time column, with its zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.series import Series
from unrolled.data.series_table import read_series
from unrolled.data.stamps import Reads
from unrolled.data.table import Table, of_frame, read_table
from unrolled.errors import DataError
from unrolled.tasks.arguments import accepts
from unrolled.tasks.estimator import Files, are_files
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.settings import ForecastSettings


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
        paths = [files] if isinstance(files, str | Path) else list(files)
        return self._of_table(read_table(paths, encoding=self.settings.encoding, header=self.settings.header))

    def _of_frame(self, frame: Any) -> Series:
        library = type(frame).__module__.split(".")[0]
        is_indexed = library == "pandas" and type(frame.index).__name__ != "RangeIndex"
        if hasattr(frame, "to_frame") and not hasattr(frame, "columns"):  # a series
            if not is_indexed and _is_whole(frame):
                return _of_arrays(np.asarray(frame, dtype=np.float64))
            frame = frame.to_frame(frame.name or "value")
        time, zone = None, ""
        if is_indexed and type(frame.index).__name__ in ("DatetimeIndex", "PeriodIndex"):
            zone = str(getattr(frame.index, "tz", None) or "")
            frame, time = _with_index(frame)
        elif is_indexed:  # a name tells whether it is time, or else its values
            frame, _ = _with_index(frame)
        else:  # of a column: polars names it time_zone, pandas tz
            kinds = frame.schema.values() if hasattr(frame, "schema") else getattr(frame, "dtypes", ())
            zones = {str(each) for kind in kinds if (each := getattr(kind, "time_zone", getattr(kind, "tz", None)))}
            zone = zones.pop() if len(zones) == 1 else ""
        is_place = "/" in zone and not self.settings.zone
        settings = replace(
            self.settings, time=self.settings.time or time, zone=zone if is_place else self.settings.zone
        )
        return Reader(settings, self.fitted)._of_table(of_frame(frame))

    def _of_table(self, table: Table) -> Series:
        settings, fitted = self.settings, self.fitted
        day_first = settings.day_first if settings.day_first is not None or fitted is None else fitted.day_first
        names = {name: _names(getattr(settings, name)) for name in ("future", "past", "static")}
        return read_series(
            table,
            target=settings.target,
            time=settings.time,
            series=settings.series,
            thousands=settings.thousands,
            decimal=settings.decimal or "",
            reads=Reads(day_first, settings.time_format, settings.zone),
            duplicates=settings.duplicates,
            max_missing=settings.max_missing,
            like=None if fitted is None else fitted.like,
            **names,
        )


def _with_index(frame: Any) -> tuple[Any, str]:
    """A frame of pandas with its index as columns, the first ones, and the name of the first."""
    if frame.index.nlevels > 1:
        frame = frame.reset_index()
        return frame, str(frame.columns[0])
    index, is_number = frame.index, frame.index.dtype.kind in "iuf"
    usual = "time" if is_number or index.dtype.kind == "M" or type(index).__name__ == "PeriodIndex" else "index"
    name = next(each for each in (index.name, usual, f"index of {usual}") if each and each not in frame.columns)
    frame = frame.reset_index(drop=True)
    frame.insert(0, name, index.astype(str))
    return frame, str(name)


def _is_whole(series: Any) -> bool:
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
