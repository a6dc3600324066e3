"""Clocks of places, and years of other calendars.

Inputs: what a clock shows, or UTC, as datetime64. Outputs: times of a place, as pandas has them; notes on years.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.errors import SettingsError

_BUDDHIST = 2400  # the year 1857 of the Thai calendar


def on_clock(clock: np.ndarray, place: str, *, ambiguous: object) -> Any:
    """What a clock shows, as times of a place; NaT where it leaves a time out.

    Raises:
        SettingsError: there is no such place.
    """
    import pandas

    try:
        return pandas.DatetimeIndex(clock).tz_localize(place, ambiguous=ambiguous, nonexistent="NaT")
    except (KeyError, ValueError, OSError, TypeError) as fault:
        raise _no_place(place) from fault


def from_utc(utc: np.ndarray, place: str) -> Any:
    """UTC as times of a place.

    Raises:
        SettingsError: there is no such place.
    """
    import pandas

    try:
        return pandas.DatetimeIndex(utc).tz_localize("UTC").tz_convert(place)
    except (KeyError, ValueError, OSError, TypeError) as fault:
        raise _no_place(place) from fault


def _no_place(place: str) -> SettingsError:
    return SettingsError(f"zone={place!r}: there is no zone of that name; expected such as Europe/Berlin or UTC")


def second_ones(clock: np.ndarray, ambiguous: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the times that a clock shows twice are the second ones: in each series, those that stand again."""
    second = np.zeros(len(clock), dtype=bool)
    for rows in groups:
        seen: set[int] = set()
        for i in rows[ambiguous[rows]]:
            stamp = int(clock[i].astype(np.int64))
            second[i] = stamp in seen
            seen.add(stamp)
    return second


def of_calendar(values: np.ndarray) -> tuple[str, ...]:
    """A note where years may be of another calendar."""
    known = values[~np.isnat(values)].astype("datetime64[Y]").astype(int) + 1970
    if not len(known) or 1600 <= known.min() <= known.max() < _BUDDHIST:
        return ()
    low, high = known.min(), known.max()
    years = f"the years {low} to {high} are" if low != high else f"the year {low} is"
    if low >= _BUDDHIST:
        return (f"{years} taken as of the Gregorian calendar; of the Thai one, subtract 543 first",)
    return (f"{years} taken as of the Gregorian calendar; convert those of another one first",)
