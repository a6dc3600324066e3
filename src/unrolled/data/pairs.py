"""Pairs of sentences in two languages.

Inputs: one file with a tab in each line, or two files with the same number of lines. Outputs: sources and targets. The
user is told of each rule that was applied: a pair with an empty side is skipped, and a first line that names the
columns; of more than two columns the first two count, without those that number the lines or name their languages.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.data.counted import counted
from unrolled.data.files import Faults, read_texts, shortened
from unrolled.data.items import ItemForm, Items, column_in, lines_of, opened_file
from unrolled.data.table import is_table
from unrolled.errors import DataError

_WORDS = (
    "source target src tgt trg original translation sentence text input output "
    "ar cs da de el en es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv th tr uk vi zh "
    "arabic chinese czech danish dutch english finnish french german greek hebrew hindi hungarian indonesian italian "
    "japanese korean norwegian persian polish portuguese romanian russian spanish swedish thai turkish ukrainian "
    "vietnamese"
)
_LOOKED_AT = 1000  # lines that tell which columns hold sentences
_LEAST = 20  # of them
_LONGEST_MARK = 12  # characters
_NO_SENTENCE = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?%?|https?://\S+")
_NAMES = frozenset(_WORDS.split())  # of columns, where both sides of a first line are among them


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations.

    Attributes:
        sources, targets: none of them empty.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
    """

    sources: list[str]
    targets: list[str]
    notes: tuple[str, ...] = ()
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, places: Sequence[int]) -> "Pairs":
        """The pairs at some places."""
        return Pairs([self.sources[i] for i in places], [self.targets[i] for i in places])


def read_pairs(files: Sequence[Path | str], *, encoding: str = "utf-8") -> Pairs:
    """Reads one file with a source, a tab and its translation in each line; or two files, line by line.

    Raises:
        DataError: the files cannot be read, have not as many lines, or a line has no tab; all faults are told at once.
    """
    if len(files) > 2:
        raise DataError(f"{len(files)} files: expected one with a tab in each line, or two whose lines belong together")
    texts, sha256 = read_texts(files, encoding=encoding)
    # at line feeds only: a sentence may hold any other character that Python takes for the end of a line
    lines = {name: text.removesuffix("\n").split("\n") for name, text in texts.items()}
    faults = Faults()
    notes: list[str] = []
    if len(files) == 2 and len(lines) == 1:
        raise DataError(f"{files[0]}: is given twice; expected a file with sources and one with translations")
    rows = _of_two(lines, faults) if len(lines) == 2 else _of_one(*next(iter(lines.items())), faults, notes)
    faults.stop()
    kept = [(number, a.strip(), b.strip()) for number, (a, b) in enumerate(rows, 1)]
    empty = [number for number, a, b in kept if bool(a) != bool(b)]
    pairs = [(a, b) for _, a, b in kept if a and b]
    if not pairs:
        raise DataError(f"{', '.join(texts)}: holds no pairs")
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        notes.append(counted(len(empty), f"pair[|s] with an empty side [is|are] left out (line[|s] {shown})"))
    sources, targets = map(list, zip(*pairs, strict=True))
    return Pairs(sources, targets, (f"{counted(len(pairs), 'pair')} of sentences", *notes), sha256)


def sources_in(path: Path, form: ItemForm, *, is_backward: bool) -> Items | None:
    """The sources in a file with a tab in each line, whose columns have no names or those of pairs; None of another, as
    of a table by its name with more than two columns.

    Args:
        path: of the file.
        form: how it is written.
        is_backward: whether the second column has them.

    Raises:
        DataError: the file cannot be read.
    """
    if form.text is not None or form.header is not None or not path.is_file():
        return None
    first = next(lines_of(opened_file(path), str(path), form.encoding), "")
    columns = first.split("\t")
    if len(columns) < 2 or (len(columns) > 2 and is_table(path)):
        return None
    if column_in(first, None) and not _are_names(columns):
        return None
    pairs = read_pairs([path], encoding=form.encoding)
    rows = (
        zip(pairs.targets, pairs.sources, strict=True)
        if is_backward
        else zip(pairs.sources, pairs.targets, strict=True)
    )
    column = "second" if is_backward else "first"
    note = f"{path}: {counted(len(pairs), 'pair')} of sentences, the {column} column is translated"
    return Items(((source, {"reference": reference}) for source, reference in rows), note)


def _of_two(lines: dict[str, list[str]], faults: Faults) -> list[tuple[str, str]]:
    (first, sources), (second, targets) = lines.items()
    if len(sources) != len(targets):
        faults.add(
            f"{first} has {len(sources):,} lines, {second} has {len(targets):,}; expected as many, line by line the "
            "same sentences"
        )
        return []
    return list(zip(sources, targets, strict=True))


def _of_one(name: str, lines: list[str], faults: Faults, notes: list[str]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    is_wider, has_tab = False, any("\t" in line for line in lines)
    source, target = _sides(name, lines, faults, notes)
    for number, line in enumerate(lines, 1):
        columns = line.split("\t")
        if len(columns) > target:
            pair = columns[source], columns[target]
            if number == 1 and _are_names(pair):
                notes.append(f"{name}, line 1: {pair[0].strip()!r} and {pair[1].strip()!r} name the columns; left out")
                pair = "", ""
            rows.append(pair)
            is_wider = is_wider or len(columns) > 2
        elif line.strip():
            if len(columns) > 1:
                faults.add(
                    f"{name}, line {number}: {shortened(line)} has {len(columns)} columns; the translations are in "
                    f"column {target + 1}"
                )
                continue
            found = f"{name}, line {number}: {shortened(line)} has no tab; expected a source, a tab, its translation"
            if not has_tab:
                faults.add(f"{found}. No line has one: put tabs in, or name the file of the translations too")
                break
            faults.add(found)
        else:
            rows.append(("", ""))
    if is_wider and (source, target) == (0, 1):
        notes.append("columns after the second are left out")
    return rows


def _sides(name: str, lines: list[str], faults: Faults, notes: list[str]) -> tuple[int, int]:
    """The columns of sources and translations: the first two, or of more than two the first that hold sentences."""
    rows = [line.split("\t") for line in lines[1:_LOOKED_AT] if line.strip()]
    [(width, _)] = Counter(map(len, rows)).most_common(1) or [(0, 0)]
    rows = [row for row in rows if len(row) == width]
    if width < 3 or len(rows) < _LEAST:
        return 0, 1
    are_marks = [_are_marks([row[i].strip() for row in rows]) for i in range(width)]
    first, *more = [i for i, are in enumerate(are_marks) if not are] or [0]
    if (not are_marks[0] and not are_marks[1]) or (are_marks[0] and first == 1 and not more):
        return 0, 1
    if more:
        notes.append(f"{name}: sentences from columns {first + 1} and {more[0] + 1}; others hold numbers or names")
        return first, more[0]
    shown = " and ".join(shortened(rows[0][i].strip()) for i in (0, 1))
    faults.add(
        f"{name}: the first two columns, such as {shown}, hold numbers or names and no sentences; expected a source, a "
        "tab, its translation"
    )
    return 0, 1


def _are_marks(cells: Sequence[str]) -> bool:
    """Whether a column has numbers or addresses, or names a few kinds of lines, such as languages; no sentences do."""
    kinds = {each for each in cells if each}
    return all(map(_NO_SENTENCE.fullmatch, kinds)) or (
        10 * len(kinds) <= len(cells) and all(len(each) <= _LONGEST_MARK and " " not in each for each in kinds)
    )


def _are_names(columns: Sequence[str]) -> bool:
    """Whether the first two cells of a line are names of columns, as predict takes them, and no sentences."""
    first, second = ([each.strip().lower() for each in columns] + ["", ""])[:2]
    return first != second and first in _NAMES and second in _NAMES
