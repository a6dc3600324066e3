"""The index of a pandas frame as columns, where it says something.

Inputs: a frame. Outputs: the frame with columns out of its index, and which one has the time stamps. An index of time
stamps, or one that is clearly the time, is the time. A plain number of rows never stands before a column of dates.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from unrolled.data.stamps import Reads
from unrolled.data.table import of_frame
from unrolled.data.time_columns import has_times, is_clearly_time, numbers_kind

_YEARS = (1700, 2101)  # numbers from the first to before the second, one a row, may be years


def with_index(
    frame: Any, reads: Reads, series: str | None = None, asked: Collection[str] = ()
) -> tuple[Any, str | None, str]:
    """A frame of pandas with what its index says as columns, the first ones.

    Args:
        frame: of pandas.
        reads: what is known of stamps.
        series: the column that tells series apart.
        asked: names of columns that the user wants.

    Returns:
        The frame, the name of the column with the time, None if the index is not it, and the zone, "" for none.
    """
    index, plain = frame.index, frame.reset_index(drop=True)
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    names = [_name(level, i, len(levels), plain.columns) for i, level in enumerate(levels)]
    texts = [level.astype(str) for level in levels]
    groups = _groups(dict(zip(names, texts, strict=True)), plain, series)
    clear = [
        _is_typed(level) or (_is_said(level, name, len(levels)) and is_clearly_time(name, list(shown), reads, groups))
        for level, name, shown in zip(levels, names, texts, strict=True)
    ]
    has_other = any(clear) or (len(plain.columns) > 0 and has_times(of_frame(plain), reads, groups))
    for name, level, shown, is_clear in reversed(list(zip(names, levels, texts, clear, strict=True))):
        is_kind = len(levels) > 1 and level.dtype.kind not in "iuf"  # what tells series apart
        if is_clear or name in asked or is_kind or not (has_other or only_counts(level)):
            plain.insert(0, name, shown)
    found = clear.index(True) if any(clear) else None
    if found is None:
        return plain, None, ""
    return plain, names[found], str(getattr(levels[found], "tz", None) or "")


def _is_typed(level: object) -> bool:
    return type(level).__name__ in ("DatetimeIndex", "PeriodIndex")


def _is_said(level: Any, name: str, n_levels: int) -> bool:
    """Whether a level bears its own name, or none that would make numbers time."""
    return level.name is not None or level.dtype.kind not in "iuf" or n_levels > 1 or name != "time"


def _name(level: Any, number: int, n_levels: int, taken: Collection[Any]) -> str:
    is_time = level.dtype.kind in "iufM" or _is_typed(level)
    usual = f"level_{number}" if n_levels > 1 else "time" if is_time else "index"
    known = {str(each) for each in taken}
    return next(each for each in (str(level.name or ""), usual, f"index of {usual}") if each and each not in known)


def _groups(levels: dict[str, Any], plain: Any, series: str | None) -> list[np.ndarray]:
    """Rows of each series."""
    if series is None or not (series in levels or series in plain.columns):
        return [np.arange(len(plain))]
    names = np.asarray(levels[series] if series in levels else plain[series].astype(str))
    return [np.flatnonzero(names == each) for each in dict.fromkeys(names.tolist())]


def only_counts(level: Any) -> bool:
    """Whether an index numbers the rows alone: 0, 1, 2 ..., or a frame turned round, whose rows stand as they should.
    Of others without a name years count as time.
    """
    if level.name is not None or level.dtype.kind not in "iu":
        return False
    if type(level).__name__ == "RangeIndex":  # of a slice it starts anywhere
        return level.step != 1 or level.start < _YEARS[0] or level.stop > _YEARS[1]
    is_falling = len(level) > 1 and bool((np.diff(level.to_numpy()) < 0).all())
    return is_falling and numbers_kind(list(level.astype(str))) != "M"
