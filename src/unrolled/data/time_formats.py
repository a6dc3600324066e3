"""The format of stamps that a user gives, as strftime has it.

Inputs: a format such as "%d.%m.%Y". Outputs: the form in which stamps are written. Fields that cannot be read and
written are refused by name.
"""

import re

from unrolled.data.stamp_forms import Part, StampForm
from unrolled.errors import SettingsError

#: fields, and their digits; 0 for names
_FIELDS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "b": 0, "B": 0, "a": 0, "A": 0, "G": 4, "V": 2, "u": 1, "w": 1,
           "H": 2, "I": 2, "M": 2, "S": 2, "f": 6, "p": 0, "z": 0}  # fmt: skip
_SHORT = {"F": "%Y-%m-%d", "D": "%m/%d/%y", "T": "%H:%M:%S", "R": "%H:%M", "h": "%b", "e": "%d"}
FIELDS = ", ".join(f"%{field}" for field in (*_FIELDS, *_SHORT))


def expanded(pattern: str) -> str:
    """A format with its shorthands written in full: %F as %Y-%m-%d."""
    return re.sub("%(.)", lambda found: _SHORT.get(found[1], found[0]), pattern, flags=re.S)


def form_of_pattern(pattern: str, example: str = "") -> StampForm:
    """The form of stamps of a format; names are written in capitals or small letters as in the example.

    Raises:
        SettingsError: a field is not known or stands twice, or the format has no year.
    """
    parts: list[Part] = []
    fields: list[str] = []
    for piece in re.findall(r"%.|[^%]+|%", expanded(pattern), flags=re.S):
        field = piece[1:] if piece[0] == "%" else ""
        if piece == "%%" or (not field and piece != "%"):
            parts.append(Part("", piece.replace("%%", "%")))
        elif field not in _FIELDS:
            raise SettingsError(f"time_format={pattern!r}: has the field {piece!r}; expected some of {FIELDS}")
        elif field in fields:
            raise SettingsError(f"time_format={pattern!r}: has the field {piece!r} twice")
        else:
            fields.append(field)
            if field != "z":
                parts.append(Part(field, _case(field, example), _FIELDS[field]))
    if not {"Y", "y", "G"} & set(fields):
        raise SettingsError(
            f"time_format={pattern!r}: has no year; expected one of %Y, %y, %G. --time row takes the rows in their "
            "order"
        )
    if "z" in fields[:-1] or ("z" in fields and not pattern.endswith("%z")):
        raise SettingsError(f"time_format={pattern!r}: expected '%z' at the end")
    return StampForm(tuple(parts), "+00:00" if "z" in fields else "")


def _case(field: str, example: str) -> str:
    """A text in the case that a name has."""
    if example and example == example.lower():
        return "aa"
    return "AA" if field == "p" or (example and example == example.upper()) else "Aa"
