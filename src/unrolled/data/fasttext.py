"""Lines as fastText has them: `__label__NAME`, once or several times, and a text.

Inputs: lines. Outputs: texts with their labels, and what is told of them. A file of its own, as texts to learn from and
texts to predict may be written so.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from unrolled.data.counted import counted
from unrolled.data.files import Faults, shortened

PREFIX = "__label__"
ONE, SEVERAL = "one", "several"  # labels of a text
_LOOKED_AT = 100  # lines
_LABEL = re.compile(rf"(?<!\S){PREFIX}(\S*)\s*")
_LABELS_FIRST = re.compile(rf"^\s*((?:{PREFIX}\S+(?:\s+|$))+)")
_MARK = re.compile(r"[,;|]\S")  # between the columns of a table; fastText has blanks after a label


@dataclass
class Lines:
    """Texts with their labels.

    Attributes:
        texts: none of them empty.
        labels: of each text, sorted.
        notes: how the lines were read, for the user.
        is_multiple: whether a text may have several labels.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_multiple: bool = False


def are_labeled(lines: Iterable[str]) -> bool:
    """Whether lines are of fastText's form: most of the first begin with labels, and no line above names columns."""
    some = list(itertools.islice((line for line in lines if line.strip()), _LOOKED_AT))
    begins = [match[1] for line in some if (match := _LABELS_FIRST.match(line))]
    if not some or 2 * len(begins) <= len(some):
        return False
    is_headed = not _LABELS_FIRST.match(some[0]) and re.search(r"[\t,;|]", some[0])
    return not is_headed and 2 * sum(bool(_MARK.search(begin)) for begin in begins) < len(begins)


def parted(line: str) -> tuple[list[str], str]:
    """The labels of a line, without their prefix, and its text. A label may stand anywhere, as fastText reads it."""
    return _LABEL.findall(line), _LABEL.sub("", line).strip()


def read_lines(texts: Mapping[str, str], faults: Faults, *, amount: str | None) -> Lines:
    """Texts and labels of files.

    Args:
        texts: the files' contents, by name.
        faults: gets lines that cannot be used.
        amount: labels that a text of the training may have, `ONE` or `SEVERAL`; None in a training.
    """
    found, n_empty, within = Lines(), 0, list[str]()
    for name, content in texts.items():
        for number, line in enumerate(content.split("\n"), 1):
            if not line.strip():
                continue
            place = f"{name}, line {number}"
            labels, text = parted(line)
            if not labels or not all(labels):
                what = "a label has no name" if labels else "has no label"
                faults.add(f"{place}: {what}; expected {PREFIX}NAME and a text, as in the other lines")
            elif not text:
                n_empty += 1
            else:
                if amount == ONE and len(set(labels)) > 1:
                    faults.add(f"{place}: has the labels {_shown(labels)}; the model learnt one label for each text")
                if PREFIX in _LABELS_FIRST.sub("", line, count=1):
                    within.append(place)
                found.texts.append(text)
                found.labels.append(sorted(set(labels)))
    most = max(map(len, found.labels), default=1)
    found.is_multiple = amount == SEVERAL or most > 1
    found.notes = _told(found, most, n_empty, within)
    return found


def _told(found: Lines, most: int, n_empty: int, within: list[str]) -> list[str]:
    how = f"1 to {most} labels each" if most > 1 else "one label each"
    if most > 1 and not any(len(each) == 1 for each in found.labels):
        how = "several labels each"
    kinds = {each for row in found.labels for each in row}
    lines = counted(len(found.texts), "text")
    notes = [f"{lines} in lines as fastText has them, {how}, {counted(len(kinds), 'class')}"]
    if n_empty:
        notes.append(counted(n_empty, "line[|s] without a text [is|are] left out"))
    if within:
        shown = ", ".join(within[:3]) + (" ..." if len(within) > 3 else "")
        notes.append(f"labels stand behind words too, and are taken as labels, as fastText does: {shown}")
    return notes


def _shown(labels: list[str]) -> str:
    return ", ".join(map(shortened, labels[:3])) + (", ..." if len(labels) > 3 else "")
