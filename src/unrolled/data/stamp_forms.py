"""Forms of time stamps: how a stamp is written, as parts.

Inputs: one text. Outputs: the ways in which it can be read, and stamps written in the same form again. pandas parses;
this file only says in which orders year, month and day may stand.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ORDINALS, _WEEKS = ("st", "nd", "rd", "th"), ("week", "wk", "kw")
_SHORT_MONTHS, _SHORT_DAYS = (tuple(name[:3] for name in names) for names in (_MONTHS, _DAYS))
_PARTS = re.compile(
    r"(?P<date>\S.*?)"
    r"(?:(?P<gap>[Tt]|,?\s+|:|_|\s+-\s+)"
    r"(?:(?P<clock>\d{1,2}(?::\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?)(?P<half>\s*[AaPp]\.?[Mm]\.?)"
    r"|(?P<clock24>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?|(?<=[Tt ])\d{2}))"
    r"(?P<zone>\s*(?:[Zz]|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}(?::?\d{2})?|(?<=\s)(?!AM|PM)[A-Z]{2,5}))?)?"
)
_LONGEST = 200  # characters of a stamp; a cell may have millions
_CTIME = re.compile(  # the year last, as C, Unix and Twitter write it
    r"(?P<date>[^\W\d].*?\d{1,2})(?P<gap>\s+)(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)"
    r"(?P<zone>\s+(?:UTC|GMT|[+-]\d{4}))?(?P<last>\s+\d{4})"
)
_COMPACT = re.compile(
    r"(?P<date>\d{8})(?P<gap>[Tt]?)(?P<clock24>\d{6}|\d{4}|\d{2})(?P<zone>\s*(?:Z|[+-]\d{2}:?\d{2}))?"
)
_TOKEN = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?$")


SHEET_EPOCH = np.datetime64("1899-12-30", "us")  # sheets count days from here, as Lotus took 1900 for a leap year


@dataclass(frozen=True)
class Part:
    """A piece of a stamp: a field as in strftime ("q" quarter, "h" half year, "e" a day after a space in place of a
    zero, "o" the letters of an ordinal number, "" for a text as it stands).

    Attributes:
        field: its letter.
        text: as it stood.
        width: digits at least.
    """

    field: str
    text: str
    width: int = 1


@dataclass(frozen=True)
class Reading:
    """One way to read a text.

    Attributes:
        parts: of date and time of day.
        zone: how the offset from UTC is written, "" for none.
    """

    parts: tuple[Part, ...]
    zone: str = ""

    @property
    def order(self) -> str:
        """The order of year, month and day, such as "dmy"."""
        letters = {"Y": "y", "G": "y", "b": "m", "B": "m", "V": "w", "e": "d"}
        dates = [letters.get(part.field, part.field) for part in self.parts if part.field in tuple("YymdebBqhGVu")]
        return "".join(dates)

    @property
    def pattern(self) -> str:
        """The format that strptime takes, of the text without its zone and the letters of ordinal numbers; it knows no
        quarters and half years.
        """
        fields = {"e": "%d", "o": ""}
        return "".join(
            fields.get(part.field, f"%{part.field}") if part.field else part.text.replace("%", "%%")
            for part in self.parts
        )


def readings(text: str) -> list[Reading]:
    """The ways in which a text can be a stamp; the usual one first, none if it is no stamp."""
    if len(text) > _LONGEST:
        return []
    if found := _CTIME.fullmatch(text):
        between = (Part("", found["gap"]), *_clock(found["clock"], ""), Part("", found["zone"] or ""))
        dates = _dates(found["date"] + found["last"])
        return [Reading((*date[:-2], *between, *date[-2:])) for date in dates if date[-1].field == "Y"]
    for form in (_PARTS, _COMPACT):
        found = form.fullmatch(text)
        if not found:
            continue
        named = found.groupdict()
        clock = named.get("clock") or named.get("clock24") or ""
        after = _clock(clock, named.get("half") or "")
        gap = [Part("", named["gap"])] if clock and named["gap"] else []
        dates = _dates(named["date"])
        if clock:  # an hour is of a day
            dates = [date for date in dates if {"d", "e", "u"} & {part.field for part in date}]
        if dates:
            return [Reading((*date, *gap, *after), named.get("zone") or "") for date in dates]
    return [Reading(date) for date in _dates(text)]


def _clock(text: str, half: str) -> list[Part]:
    hour = "I" if half.strip() else "H"
    numbers = re.findall(r"\d+", text) if ":" in text else [text[i : i + 2] for i in range(0, len(text), 2)]
    marks = re.findall(r"\D", text) or [""] * 3
    parts: list[Part] = []
    for field, number, mark in zip((hour, "M", "S", "f"), numbers, ("", *marks), strict=False):
        parts += [Part("", mark)] if mark else []
        parts.append(Part(field, number, len(number)))
    if half.strip():
        space = half[: len(half) - len(half.lstrip())]
        parts += [Part("", space)] if space else []
        parts.append(Part("p", half.strip()))
    return parts


def _dates(text: str) -> list[tuple[Part, ...]]:
    """The ways in which a text can be a date."""
    if text.isdigit() and len(text) in (6, 8):
        return [(Part("Y", text[:4], 4), Part("m", text[4:6], 2), Part("d", text[6:], 2))[: len(text) // 2 - 1]]
    tokens: list[str] = _TOKEN.findall(text)
    numbers = [i for i, token in enumerate(tokens) if token.isdigit()]
    lengths = tuple(len(tokens[i]) for i in numbers)
    parts = [Part("", token) for token in tokens]
    marks, ordinal = "", -1
    for i, token in enumerate(tokens):
        if not token.isalpha():
            continue
        if i and tokens[i - 1].isdigit() and token.lower() in _ORDINALS:
            parts[i], ordinal = Part("o", token), i - 1
        elif (kind := _name(token)) is not None:
            parts[i] = Part(kind, token)
            marks += kind.lower()
        elif token.lower() == "q" or (token.lower() in ("w", "m", "s", "h") and i + 1 < len(tokens)):
            marks += token.lower()
        elif token.lower() in _WEEKS and i + 1 < len(tokens):
            marks += "w"
        elif token not in ("年", "月", "日", "T") and not (token == "of" and ordinal >= 0):
            return []
    between = [tokens[i + 1] for i in numbers[:-1]]
    if len(numbers) > 1 and any(token.isdigit() for token in between):
        return []
    orders = _orders(marks.replace("a", ""), lengths)
    found = []
    for fields in orders:
        made = list(parts)
        for i, field in zip(numbers, fields, strict=True):
            made[i] = Part(field, tokens[i], len(tokens[i]))
            if field == "d" and len(tokens[i]) == 1 and i and tokens[i - 1].endswith("  "):
                made[i - 1 : i + 1] = [Part("", tokens[i - 1][:-1]), Part("e", f" {tokens[i]}", 2)]
        if ordinal < 0 or made[ordinal].field in ("d", "e"):
            found.append(tuple(made))
    return found if "%" not in text else []


def _orders(marks: str, lengths: tuple[int, ...]) -> list[tuple[str, ...]]:
    """What the numbers of a date can be, by their lengths; marks are the letters that stand between them."""
    is_short = tuple(length <= 2 for length in lengths)
    year = lambda length: {4: "Y", 2: "y"}.get(length, "")
    if marks == "b":
        if len(lengths) == 1:
            return [(year(lengths[0]),)] if year(lengths[0]) else []
        both: list[tuple[str, ...]] = (
            [("d", "Y")] if lengths[-1:] == (4,) else [("Y", "d")] if lengths[:1] == (4,) else [("d", "y"), ("y", "d")]
        )
        return both if len(lengths) == 2 and sum(is_short) >= 1 and max(lengths) in (1, 2, 4) else []
    if marks in ("q", "s", "h"):
        field = "q" if marks == "q" else "h"
        if len(lengths) != 2 or 1 not in lengths or not (year(lengths[0]) or year(lengths[1])):
            return []
        return [(year(lengths[0]), field)] if lengths[1] == 1 else [(field, year(lengths[1]))]
    if marks == "w":
        if lengths in ((1, 4), (2, 4)):
            return [("V", "G")]
        return [("G", "V", "u")[: len(lengths)]] if lengths in ((4, 2), (4, 1), (4, 2, 1)) else []
    if marks == "m":
        return [("Y", "m")] if lengths in ((4, 2), (4, 1)) else []
    if marks:
        return []
    if lengths == (4,):
        return [("Y",)]
    if len(lengths) == 2 and sorted(is_short) == [False, True] and 4 in lengths:
        return [("Y", "m") if lengths[0] == 4 else ("m", "Y")]
    if len(lengths) != 3 or sum(is_short) < 2 or max(lengths) not in (2, 4):
        return []
    if lengths[0] == 4:
        return [("Y", "m", "d"), ("Y", "d", "m")]
    if lengths[2] == 4:
        return [("d", "m", "Y"), ("m", "d", "Y")]
    if not all(is_short):
        return []
    return [
        order for order in permutations(("d", "m", "y")) if order in (("d", "m", "y"), ("m", "d", "y"), ("y", "m", "d"))
    ]


def _name(word: str) -> str | None:
    """The field that a word is: the name of a month or of a day of the week."""
    lowered = word.lower()
    for field, names in (("b", _SHORT_MONTHS), ("B", _MONTHS), ("a", _SHORT_DAYS), ("A", _DAYS)):
        if lowered in names:
            return field
    return "b" if lowered == "sept" else None


def is_name(zone: str) -> bool:
    """Whether a zone is written as a name that has several meanings, such as EST."""
    return zone.strip().isalpha() and zone.strip().upper() not in ("", "Z", "UTC", "GMT")


def offset_minutes(zone: str) -> int:
    """Minutes that a zone such as "Z", "UTC" or "+02:00" is before UTC's clock; 0 for a name such as "EST"."""
    found = _OFFSET.search(zone)
    if not found:
        return 0
    minutes = 60 * int(found[2]) + int(found[3] or 0)
    return -minutes if found[1] == "-" else minutes


@dataclass(frozen=True)
class StampForm:
    """How stamps of a column are written.

    Attributes:
        parts: of date and time of day; none for numbers.
        zone: how the offset is written, "" for none.
        offset: minutes before UTC, as written.
        place: a zone by name, such as Europe/Berlin, whose offset each stamp bears; "" for none.
        is_utc: whether stamps are kept as UTC, since the clock of the place changes; else as the clock shows them.
        number: of numbers: "" for rows, "s", "ms", "us" or "ns" for time since 1970, "year" for years and their parts,
            "day" for days as sheets count them.
        has_24: whether midnight is written as 24:00 of the day before.
    """

    parts: tuple[Part, ...] = ()
    zone: str = ""
    offset: int = 0
    place: str = ""
    is_utc: bool = False
    number: str = ""
    has_24: bool = False

    def clock(self, stamps: np.ndarray) -> np.ndarray:
        """What the clock shows at stamps as they are kept, datetime64[us]."""
        if not self.is_utc:
            return stamps
        if not self.place:
            return stamps + np.timedelta64(self.offset, "m")
        return np.asarray(_local(stamps, self.place).tz_localize(None), dtype="datetime64[us]")

    def write(self, stamps: np.ndarray) -> list[str]:
        """Stamps as they are kept, datetime64[us], or numbers, as texts."""
        if stamps.dtype.kind != "M":
            return [f"{int(each)}" if float(each).is_integer() else f"{each:.10g}" for each in stamps]
        if self.number in ("s", "ms", "us", "ns"):
            micro = stamps.astype("datetime64[us]").astype(np.int64)
            size = {"s": 1e-6, "ms": 1e-3, "us": 1, "ns": 1000}[self.number]
            return [
                f"{each * size:.6f}".rstrip("0").rstrip(".") if size < 1 else str(int(each * size))
                for each in micro.tolist()
            ]
        if self.number == "day":
            days = (stamps.astype("datetime64[us]") - SHEET_EPOCH).astype(np.int64) / 86_400_000_000
            return [f"{each:.6f}".rstrip("0").rstrip(".") for each in days.tolist()]
        if self.number == "year":
            months = stamps.astype("datetime64[M]").astype(np.int64)
            return [f"{1970 + each / 12:.4f}".rstrip("0").rstrip(".") for each in months.tolist()]
        zones = self._zones(stamps)
        return [self._text(stamp) + zone for stamp, zone in zip(self.clock(stamps), zones, strict=True)]

    def _zones(self, stamps: np.ndarray) -> list[str]:
        if not self.zone:
            return [""] * len(stamps)
        if not self.place:
            return [_like(self.zone, self.offset)] * len(stamps)
        local = _local(stamps, self.place) if self.is_utc else _localized(stamps, self.place)
        if is_name(self.zone):
            space = self.zone[: -len(self.zone.strip())]
            return [f"{space}{each.tzname()}" for each in local]
        return [_like(self.zone, round(each.utcoffset().total_seconds() / 60)) for each in local]

    def _text(self, stamp: np.datetime64) -> str:
        day = stamp.astype("datetime64[D]")
        micro = int((stamp.astype("datetime64[us]") - day).astype(np.int64))
        is_24 = self.has_24 and micro == 0
        day -= np.timedelta64(int(is_24), "D")
        month = int(day.astype("datetime64[M]").astype(np.int64))
        year, of_year = 1970 + month // 12, month % 12
        thursday = day + (3 - (day.astype(np.int64) + 3) % 7)
        iso = 1970 + int(thursday.astype("datetime64[Y]").astype(np.int64))
        week = int((thursday - thursday.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)) // 7 + 1
        hour = 24 if is_24 else micro // 3_600_000_000
        numbers = {
            "Y": year, "y": year % 100, "m": of_year + 1, "q": of_year // 3 + 1, "h": of_year // 6 + 1,
            "G": iso, "V": week,
            "d": int((day - day.astype("datetime64[M]").astype("datetime64[D]")).astype(int)) + 1,
            "j": int((day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)) + 1,
            "w": int((day.astype(np.int64) + 4) % 7),
            "u": int((day.astype(np.int64) + 3) % 7) + 1, "H": hour, "I": (hour + 11) % 12 + 1,
            "M": micro // 60_000_000 % 60, "S": micro // 1_000_000 % 60,
        }  # fmt: skip
        names = {"b": _SHORT_MONTHS[of_year], "B": _MONTHS[of_year], "a": _SHORT_DAYS[numbers["u"] - 1],
                 "A": _DAYS[numbers["u"] - 1], "p": "am" if hour < 12 else "pm"}  # fmt: skip
        found = []
        for part in self.parts:
            if part.field == "e":
                found.append(f"{numbers['d']:>2}")
            elif part.field == "o":
                found.append(_cased(_ordinal(numbers["d"]), part.text))
            elif part.field == "f":
                found.append(f"{micro % 1_000_000:06}"[: part.width].ljust(part.width, "0"))
            elif part.field in names:
                found.append(_cased(names[part.field], part.text))
            else:
                found.append(f"{numbers[part.field]:0{part.width}}" if part.field else part.text)
        return "".join(found)


def form_of(found: Sequence[Reading], zone: str = "", offset: int = 0) -> StampForm:
    """The form of a column, from the readings of its texts: the fullest, its numbers as wide as the narrowest."""
    fullest = max(found, key=lambda reading: len(reading.parts))
    widths: dict[str, int] = {}
    names: dict[str, str] = {}
    for reading in found:
        for part in reading.parts:
            if part.field and part.field not in names:
                names[part.field] = part.text
            join = max if part.field == "f" else min
            widths[part.field] = join(widths.get(part.field, part.width), part.width)
    has_long = "B" in names
    fields = {"b": "B"} if has_long else {}  # May is both
    if "e" in widths:
        fields |= {"d": "e"}
    parts = tuple(
        replace(part, field=fields.get(part.field, part.field), width=widths[part.field]) for part in fullest.parts
    )
    return StampForm(parts, zone, offset)


ISO_DAY = StampForm((Part("Y", "2000", 4), Part("", "-"), Part("m", "01", 2), Part("", "-"), Part("d", "01", 2)))
ISO = replace(
    ISO_DAY,
    parts=(
        *ISO_DAY.parts, Part("", " "),
        Part("H", "00", 2), Part("", ":"), Part("M", "00", 2), Part("", ":"), Part("S", "00", 2),
    ),
)  # fmt: skip


def _ordinal(number: int) -> str:
    return "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _cased(name: str, like: str) -> str:
    dotted = f"{name[0]}.{name[1]}." if "." in like else name
    if like.isupper():
        return dotted.upper()
    return dotted if like.islower() else dotted.capitalize()


def _like(zone: str, minutes: int) -> str:
    """An offset, written as another one is."""
    found = _OFFSET.search(zone)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    if not found:
        return zone if minutes == 0 else f"{sign}{hours:02}:{rest:02}"
    colon = ":" if ":" in zone or (found[3] is None and rest) else ""
    return f"{zone[: found.start()]}{sign}{hours:02}{colon}{f'{rest:02}' if found[3] is not None or rest else ''}"


def _local(stamps: np.ndarray, place: str) -> Any:
    import pandas

    return pandas.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(place)


def _localized(stamps: np.ndarray, place: str) -> Any:
    import pandas

    first = np.ones(len(stamps), dtype=bool)  # of two times that the clock shows the same
    return pandas.DatetimeIndex(stamps).tz_localize(place, ambiguous=first, nonexistent="shift_forward")
