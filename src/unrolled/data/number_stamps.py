"""Columns of numbers as time stamps: years, days without marks, time since 1970, days of a sheet.

Inputs: numbers, and their texts. Outputs: stamps with their form. A file of its own, as what a number means hangs
on its size and on the name of its column, not on how it is written.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unrolled.data.frequency import find_frequency
from unrolled.data.stamp_forms import SHEET_EPOCH, Part, Reading, StampForm, form_of
from unrolled.data.stamps import Reads, Stamps, parsed, read_stamps
from unrolled.data.zones import of_calendar


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
    if lengths == {7} and (months := _months(plain)) is not None:
        return months
    if is_whole and lengths == {6} and (found := _digits(plain)) is not None:
        return found
    low, high = float(numbers.min()), float(numbers.max())
    if is_dated and low >= _FIRST_OF_SHEETS and high < _END_OF_SHEETS:
        return _of_sheet(numbers, plain[0])
    is_year = low >= 1000 and high <= 2700 and len(numbers) > 1
    if is_year and (years := _years(numbers, plain, is_whole=is_whole)) is not None:
        return replace(years, notes=of_calendar(years.values))
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
    values = parsed(list(texts), reading)
    is_time = (
        not np.isnat(values).any()
        and (values >= np.datetime64("1700")).all()
        and (values < np.datetime64("2200")).all()
    )
    return Stamps(values, form_of([reading])) if is_time else None


def _months(texts: Sequence[str]) -> Stamps | None:
    """Months written as 2010.01 to 2010.12; None where they do not follow each other, as parts of years do not."""
    if not all(re.fullmatch(r"\d{4}\.(0[1-9]|1[0-2])", text) for text in texts) or len({t[5:] for t in texts}) < 2:
        return None  # 2010.08, 2011.08 may be Augusts, and Februaries as parts of years
    found = read_stamps(texts, Reads())
    return found if found is not None and find_frequency([found.values]).frequency.unit == "month" else None


def _years(numbers: np.ndarray, texts: Sequence[str], *, is_whole: bool) -> Stamps | None:
    """Years, and years with their parts as decimals, as R writes time series."""
    months = np.round(numbers * 12)
    if not is_whole and (np.abs(numbers * 12 - months) > 0.12).any():
        return None
    values = (months.astype(np.int64) - 1970 * 12).astype("datetime64[M]").astype("datetime64[us]")
    if is_whole and all(text.isdigit() for text in texts):
        return Stamps(values, form_of([Reading((Part("Y", texts[0], 4),))]))
    return Stamps(values, StampForm(number="year"))
