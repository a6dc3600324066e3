"""A user's table or JSON lines with texts and labels come in, texts with their classes go out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled.data.files import Faults, read_texts
from unrolled.data.table import no_column, rows_of
from unrolled.errors import DataError

_TEXT_NAMES = ("text", "review", "sentence", "content", "comment", "message", "body", "tweet", "document", "title")
_LABEL_NAMES = ("label", "class", "sentiment", "category", "target", "intent", "topic", "rating", "labels", "tags")


@dataclass(frozen=True)
class Labeled:
    """Texts with their classes.

    Attributes:
        texts: none of them empty.
        labels: the classes of each text; one, unless `is_multiple`.
        is_multiple: whether a text may have none or several.
        notes: what was noticed on reading, for the user.
        columns: the names of the text's and the label's column.
        sha256: of the files.
    """

    texts: list[str]
    labels: list[list[str]]
    is_multiple: bool = False
    notes: tuple[str, ...] = ()
    columns: tuple[str, str] = ("text", "label")
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, places: Sequence[int]) -> "Labeled":
        """The texts at some places."""
        return Labeled([self.texts[i] for i in places], [self.labels[i] for i in places], self.is_multiple)

    def stratified(self, share: float, seed: int) -> tuple["Labeled", "Labeled"]:
        """Two parts, the second with `share` of each class, drawn by the seed."""
        draw = np.random.default_rng((seed, 0x5917))
        kinds: dict[tuple[str, ...], list[int]] = {}
        for i, names in enumerate(self.labels):
            kinds.setdefault(tuple(names), []).append(i)
        second = [
            int(i) for kind in sorted(kinds) for i in draw.permutation(kinds[kind])[: round(share * len(kinds[kind]))]
        ]
        if not second:  # classes too small to be cut
            second = [int(draw.integers(len(self)))]
        held = set(second)
        return self.part([i for i in range(len(self)) if i not in held]), self.part(sorted(held))


def read_labeled(
    files: Sequence[Path | str],
    *,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Labeled:
    """Reads CSV (comma, semicolon or tab) with a header, or JSON lines.

    Args:
        files: with the same columns each.
        text: name of the column with the texts; guessed from usual names if None.
        label: name of the column with the classes, likewise.
        separator: what stands between the labels of a text that may have several; None where each has one.
        encoding: of the files.

    Raises:
        DataError: a column is missing, or rows cannot be used; all faults are told at once.
    """
    texts, sha256 = read_texts(files, encoding=encoding)
    faults = Faults()
    found: list[str] = []
    labels: list[list[str]] = []
    n_empty = 0
    names = ("", "")
    for name, content in texts.items():
        head, rows = rows_of(name, content, faults)
        try:
            of_text = _column(name, head, text, _TEXT_NAMES, "text")
            rest = [each for each in head if each != of_text]
            # of two columns the other one
            names = (
                of_text,
                _column(name, head, label or (rest[0] if len(rest) == 1 else None), _LABEL_NAMES, "label"),
            )
        except DataError as fault:
            faults.add(str(fault))
            continue
        places = [head.index(each) for each in names]
        for line, row in rows:
            value, classes = (row[place].strip() for place in places)
            if not classes and separator is None:
                faults.add(f"{name}, line {line}, column {names[1]!r}: is empty; expected a label")
            elif not value:
                n_empty += 1
            else:
                found.append(value)
                cut = [classes] if separator is None else classes.split(separator)
                labels.append(sorted({each.strip() for each in cut if each.strip()}))
    faults.stop()
    if not found:
        raise DataError(f"{', '.join(texts)}: holds no texts")
    kinds = {each for row in labels for each in row}
    notes = [f"{len(found):,} texts in column {names[0]!r}, {len(kinds):,} classes in column {names[1]!r}"]
    if n_empty:
        notes.append(f"{n_empty:,} rows without a text are left out")
    return Labeled(found, labels, separator is not None, tuple(notes), names, sha256)


def _column(name: str, head: list[str], asked: str | None, usual: tuple[str, ...], option: str) -> str:
    if asked is not None:
        if asked in head:
            return asked
        raise DataError(no_column(name, head, asked))
    lowered = {each.strip().lower(): each for each in reversed(head)}
    for each in usual:
        if each in lowered:
            return lowered[each]
    raise DataError(
        f"{name}: which column is the {option}? Pass --{option} with one of {', '.join(map(repr, head[:20]))}"
    )
