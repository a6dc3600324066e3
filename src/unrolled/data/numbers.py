"""Numbers as people write them: with a decimal point or comma, thousands apart or not.

Inputs: columns of texts. Outputs: float64. How a column is written is told from the whole of it, and said; what may be
read in two ways is asked. A file of its own, as series and windows read numbers, and both say how.
"""

import functools
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from unrolled.data.files import MISSING, Faults, shortened
from unrolled.data.table import Table

_SPACES = " \u00a0\u2009\u202f'\u2019"  # between thousands, in France and Switzerland
_LOOKED_AT = 1000  # rows of the other columns
_LARGEST_EXACT = 2.0**53  # up to here float64 has all whole numbers
_LEAST_VALUES = 20  # of a column that tell whether one is far from the others
_LEAST_PLACEHOLDER = 9
_MARKS = re.compile(r"[.,]")
_MINUS = "\u2212"


def is_number(text: str, thousands: str = "", decimal: str = "") -> bool:
    """Whether a text is a number in some form, or stands for a missing one."""
    if _plain(text) is not None or text.strip().lower() in MISSING:
        return True
    marks = [decimal] if decimal else [",", "."]
    return any(_read(text, mark, thousands) is not None for mark in marks)


def numbers_of(
    table: Table,
    names: Sequence[str],
    faults: Faults,
    notes: list[str],
    *,
    thousands: str | None = None,
    decimal: str = "",
    learnt: str = "",
) -> dict[str, np.ndarray]:
    """Columns as float64, NaN where a value is missing.

    Args:
        table: as read.
        names: of the columns, all of them there.
        faults: gets what is no number, or may be two.
        notes: gets each column that is not written as in 1234.5.
        thousands: what groups thousands; "" for the usual ones, None where no option tells it.
        decimal: "," or "."; "" to tell it from the columns.
        learnt: the mark of the data that a model learnt from, taken where the table leaves it open; "" for none.
    """
    if thousands and thousands == decimal:
        faults.add(f"{decimal!r} cannot be the decimal mark and stand between thousands; leave one out")
        return {name: np.full(len(table), np.nan) for name in names}
    decimal = decimal or {",": ".", ".": ","}.get(thousands or "", "")
    found = {}
    of_table = _Shown(table, learnt)
    for name in names:
        values = table.columns[name]
        mark = decimal
        if not mark and any("," in text for text in values):
            n_before = faults.n_faults
            mark = _mark_of(table, name, of_table, faults)
            if faults.n_faults > n_before:
                found[name] = np.full(len(table), np.nan)
                continue
        elif not mark and all(_mark_in(text) is None for text in values) and any("." in text for text in values):
            n_before = faults.n_faults
            mark = _mark_of_points(table, name, of_table, faults, notes)
            if faults.n_faults > n_before:
                found[name] = np.full(len(table), np.nan)
                continue
        why = "" if decimal else "; if that is wrong, pass --decimal"
        if learnt and mark == learnt and not decimal:
            why = "; the data that the model learnt from have the same decimal mark"
        found[name] = _column(table, name, mark or ".", thousands, faults, notes, why)
        notes += _placeholders(name, found[name], has_option=thousands is not None) + _rounded(
            name, values, found[name]
        )
    return found


def _placeholders(name: str, values: np.ndarray, *, has_option: bool) -> list[str]:
    """A note on a whole number such as -200 or 9999 that stands several times, farther from all other values than those
    are from each other: in many files it means that nothing was measured.
    """
    values = values[np.isfinite(values)]
    for far in {values.min(), values.max()} if len(values) >= _LEAST_VALUES else ():
        rest = values[values != far]
        low, high = (rest.min(), rest.max()) if len(rest) >= _LEAST_VALUES // 2 else (0.0, 0.0)
        with np.errstate(over="ignore"):
            n, gap = len(values) - len(rest), max(low - far, far - high)
        way = f"pass --missing {far:g}" if has_option else "leave those cells empty"
        if low < high and n > 1 and gap > high - low and abs(far) >= _LEAST_PLACEHOLDER and far == round(far):
            return [
                f"column {name!r}: {far:g} stands {n:,} times, far from all other values ({low:g} to {high:g}); if it "
                f"means that nothing was measured, {way}"
            ]
    return []


def _rounded(name: str, texts: Sequence[str], values: np.ndarray) -> list[str]:
    """A note on a whole number with more digits than a float64 keeps, as in numbers that name something."""
    for i in np.flatnonzero(np.abs(values) > _LARGEST_EXACT).tolist():
        text = texts[i].strip().lstrip("+")
        if re.fullmatch(r"-?\d+", text, re.ASCII) and text.lstrip("-0") != f"{abs(values[i]):.0f}":
            return [f"column {name!r}: {text} has more digits than are kept, and is read as {values[i]:.0f}"]
    return []


def mark_shown(table: Table, names: Iterable[str]) -> str:
    """The decimal mark that columns of numbers show; "" where they show none, or both."""
    marks = {mark for name in names for text in table.columns[name] if is_number(text) and (mark := _mark_in(text))}
    return marks.pop() if len(marks) == 1 else ""


def mark_to_keep(table: Table, names: Iterable[str], decimal: str) -> str:
    """The decimal mark by which a model reads other files that leave it open: as asked, or as columns show it."""
    if decimal or table.is_frame:
        return decimal
    firsts = {_first_mark(table.columns[name]) for name in names} - {""}  # a column that is read shows one alone
    return firsts.pop() if len(firsts) == 1 else ""


def _first_mark(texts: Iterable[str]) -> str:
    return next((mark for text in texts if (mark := _mark_in(text)) and is_number(text)), "")


class _Shown:
    """The decimal mark of a table where a column leaves it open: as its columns show it, else as a model learnt it."""

    def __init__(self, table: Table, learnt: str) -> None:
        self.table, self.learnt = table, learnt

    @functools.cached_property
    def mark(self) -> str:
        """The mark; "" where nothing tells it."""
        names = itertools.islice(self.table.columns, _LOOKED_AT)
        some = {name: self.table.columns[name][:_LOOKED_AT] for name in names}
        numbers = [name for name, texts in some.items() if all(map(is_number, texts))]
        return mark_shown(replace(self.table, columns=some), numbers) or self.learnt


def _mark_of(table: Table, name: str, of_table: _Shown, faults: Faults) -> str:
    """The decimal mark of a column with commas."""
    firsts: dict[str, int] = {}
    for i, text in enumerate(table.columns[name]):
        if (mark := _mark_in(text)) and is_number(text):
            firsts.setdefault(mark, i)
    if len(firsts) == 2:
        (_, a), (_, b) = sorted(firsts.items(), key=lambda each: each[1])
        texts = [table.columns[name][i] for i in (a, b)]
        faults.add(
            f"{table.places[b]}, column {name!r}: {texts[1]!r} has another decimal mark than {texts[0]!r} in "
            f"{table.places[a]}. Mend the column, or pass --decimal with one of , and ."
        )
        return "."
    mark = next(iter(firsts), "") or of_table.mark
    if not mark:
        i = next(i for i, text in enumerate(table.columns[name]) if "," in text)
        text = table.columns[name][i].strip()
        if is_number(text):
            as_groups, as_point = text.replace(",", ""), text.replace(",", ".")
            faults.add(
                f"{table.places[i]}, column {name!r}: {text!r} may be {as_groups} or {as_point}. Pass --decimal . if "
                "',' groups thousands, --decimal , if it is the decimal mark"
            )
    return mark or "."


def _mark_of_points(table: Table, name: str, of_table: _Shown, faults: Faults, notes: list[str]) -> str:
    """The decimal mark of a column whose every point may stand between thousands, as in 1.234; a guess is told, and
    where numbers such as 537 without a point stand beside them, the user is asked.
    """
    mark, texts = of_table.mark, table.columns[name]
    i = next((i for i, each in enumerate(texts) if _is_open(each)), None)
    if mark or i is None:
        return mark or "."
    text = texts[i].strip()
    if _has_small_ones(texts):
        faults.add(
            f"{table.places[i]}, column {name!r}: {text!r} may be {text.replace('.', '')} or {text}. Pass --decimal , "
            "if '.' groups thousands, --decimal . if it is the decimal mark"
        )
    else:
        notes.append(f"column {name!r}: {text!r} is {_plain(text):.15g}; if '.' groups thousands, pass --decimal ,")
    return "."


def _has_small_ones(texts: Iterable[str]) -> bool:
    """Whether several different whole numbers stand without a point, all below 1000: of numbers with three decimals
    hardly one is whole.
    """
    whole = {plain for text in texts if _is_digits(plain := text.strip().lstrip(f"+-{_MINUS}"))}
    return len(whole - {"0"}) > 1 and all(len(each) <= 3 for each in whole)


def _is_open(text: str) -> bool:
    """Whether a point in a number may stand between thousands."""
    return "." in text and _plain(text) is not None and _mark_in(text) is None


def _mark_in(text: str) -> str | None:
    """The decimal mark that a number shows; None where it has none, or may be read in two ways, as 1,234."""
    marks = _MARKS.findall(text)
    if not marks:
        return None
    if len(set(marks)) == 2:
        return marks[-1]
    mark, other = marks[0], "," if marks[0] == "." else "."
    if len(marks) > 1:
        return other
    before, after = text.strip().lstrip(f"+-{_MINUS}").split(mark)
    is_open = len(after) == 3 and after.isdigit() and 1 <= len(before) <= 3 and before.isdigit() and before[0] != "0"
    return None if is_open else mark


def _column(
    table: Table, name: str, mark: str, thousands: str | None, faults: Faults, notes: list[str], why: str
) -> np.ndarray:
    values = table.columns[name]
    result = np.full(len(values), np.nan)
    shown: dict[str, str] = {}
    for i, text in enumerate(values):
        if text.strip().lower() in MISSING:
            continue
        number = _plain(text) if mark == "." else None
        if number is None:
            number = _read(text, mark, thousands or "")
            if number is not None and number != _plain(text.replace(_MINUS, "-")):
                how = "a decimal comma" if mark == "," and "," in text else "thousands apart"
                shown.setdefault(how, f"{text.strip()!r} is {number:.15g}")
        if number is None:
            hint = _hint(text, mark, thousands)
            faults.add(f"{table.places[i]}, column {name!r}: {shortened(text)} is not a number{hint}")
        elif math.isinf(number):
            faults.add(f"{table.places[i]}, column {name!r}: {shortened(text)} is not finite")
        else:
            result[i] = number
    if shown:
        notes.append(f"column {name!r}: numbers with {' and '.join(shown)} ({', '.join(shown.values())}){why}")
    return result


def _hint(text: str, mark: str, thousands: str | None) -> str:
    other = "," if mark == "." else "."
    if _read(text, other, "") is not None:
        return f" with '{mark}' as the decimal mark. If '{other}' is, pass --decimal {other}"
    groups = next((each for each in text if not each.isalnum() and each not in "+-.,"), "")
    if groups and not thousands and _read(text, mark, groups) is not None:
        way = f"pass --thousands {groups!r}" if thousands is not None else "take it out of the column"
        return f". If {groups!r} groups thousands, {way}"
    return "."


def _plain(text: str) -> float | None:
    """A number as programs write it."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _read(text: str, mark: str, thousands: str) -> float | None:
    """A number with a decimal mark, and with thousands apart by the given text or a usual one."""
    plain = text.strip().replace(_MINUS, "-")
    sign = plain[:1] if plain[:1] in ("+", "-") else ""
    body, exponent = plain[len(sign) :], ""
    if power := re.search(r"[eE][+-]?\d+$", body):
        body, exponent = body[: power.start()], power.group()
    if body.count(mark) > 1:
        return None
    whole, _, rest = body.partition(mark)
    between = [thousands] if thousands else [*_SPACES, "," if mark == "." else "."]
    digits = next((found for each in between if (found := _joined(whole.split(each))) is not None), None)
    if digits is None or not (_is_digits(rest) or not rest) or not (digits or rest):
        return None
    return float(f"{sign}{digits or '0'}.{rest or '0'}{exponent}")


def _joined(groups: Sequence[str]) -> str | None:
    """Groups of digits as one number: three in the last, two (as in India) or three in those between."""
    if len(groups) == 1:
        return groups[0] if _is_digits(groups[0]) or not groups[0] else None
    fits = _are_of(groups[:1], 1, 3) and _are_of(groups[1:-1], 2, 3) and _are_of(groups[-1:], 3, 3)
    return "".join(groups) if fits else None


def _are_of(groups: Iterable[str], least: int, most: int) -> bool:
    return all(least <= len(each) <= most and _is_digits(each) for each in groups)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
