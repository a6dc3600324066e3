"""Names that differ so little that they may be meant as one.

Inputs: names of labels, tags or intents. Outputs: what is told of them. A file of its own, as several tasks have names.
"""

import re
import unicodedata
from collections.abc import Iterable

from unrolled.data.counted import counted
from unrolled.data.files import shortened


def told_alike(names: Iterable[str], where: str, what: str = "classes") -> list[str]:
    """A note on names that are one but for case, full-width forms, blanks, characters without a width, or the way a
    number is written.

    Args:
        names: each taken as one of its own.
        where: they stand.
        what: they are.
    """
    groups: dict[str | float, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_plain(name), []).append(name)
    alike = [each for each in groups.values() if len(each) > 1]
    if not alike:
        return []
    shown = " and ".join(map(shortened, alike[0][:2]))
    more = f" (and {counted(len(alike) - 1, 'such pair')} more)" if len(alike) > 1 else ""
    return [f"{where}: {shown} are taken as two {what}{more}; write them alike if they are one"]


def _plain(name: str) -> str | float:
    """A number, or a name in small letters of the usual forms, with single blanks and nothing that cannot be seen."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", name, re.ASCII):
        return float(name)
    seen = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    return " ".join(seen.casefold().split())
