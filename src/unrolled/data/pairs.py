"""Pairs of sentences in two languages.

Inputs: files with a tab in each line, two files with the same number of lines, or tables. Outputs: sources and targets.
The user is told of each rule that was applied: a pair with an empty side is skipped, and a first line that names the
columns; of more than two columns the first two count, without those that number the lines or name their languages.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unrolled.data.counted import counted
from unrolled.data.files import Faults, read_texts, shortened
from unrolled.data.items import ItemForm, Items, column_in
from unrolled.data.pair_sides import LEAST, AskedSides, are_marks, are_names, named_sides
from unrolled.data.pair_tables import first_line, is_pair_table, read_pair_table, sources_in_table
from unrolled.data.table import NOTHING, Learnt, is_table
from unrolled.errors import DataError

NO_SIDES = AskedSides()
_LOOKED_AT = 1000  # lines that tell which columns hold sentences


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations.

    Attributes:
        sources, targets: none of them empty.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
        read_as: the columns "source" and "target" of a table.
    """

    sources: list[str]
    targets: list[str]
    notes: tuple[str, ...] = ()
    sha256: str = ""
    read_as: Learnt = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, places: Sequence[int]) -> "Pairs":
        """The pairs at some places."""
        return Pairs([self.sources[i] for i in places], [self.targets[i] for i in places])


def read_pairs(
    files: Sequence[Path | str],
    *,
    asked: AskedSides = NO_SIDES,
    header: bool | None = None,
    encoding: str = "utf-8",
    learnt: Learnt = NOTHING,
) -> Pairs:
    """Reads files with a source, a tab and its translation in each line; or two files, line by line; or tables.

    Args:
        files: of one of these forms.
        asked: the columns of tables that a user named.
        header: whether a first line names the columns; None to tell it from its words.
        encoding: of the files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: the files cannot be read, have not as many lines, or a line has no tab; all faults are told at once.
    """
    paths = list(map(Path, files))
    are_tables = [is_pair_table(path, encoding, asked, header=header) for path in paths]
    if any(are_tables):
        if not all(are_tables):
            table, other = paths[are_tables.index(True)], paths[are_tables.index(False)]
            raise DataError(f"{table} is a table, {other} is none; name files of one form")
        faults = Faults()
        found = read_pair_table(paths, asked, faults, encoding=encoding, header=header, learnt=learnt)
        faults.stop()
        read_as = {"source": found.sides.source, "target": found.sides.target}
        return _kept(found.rows, found.places, list(files), list(found.notes), found.sha256, read_as)
    return _of_lines(files, encoding, header=header, is_asked=asked != NO_SIDES)


def _of_lines(files: Sequence[Path | str], encoding: str, *, header: bool | None, is_asked: bool) -> Pairs:
    """Pairs in lines: with tabs in them, or of two files."""
    texts, sha256 = read_texts(files, encoding=encoding)
    # at line feeds only: a sentence may hold any other character that Python takes for the end of a line
    lines = {name: text.removesuffix("\n").split("\n") for name, text in texts.items()}
    faults = Faults()
    notes: list[str] = []
    if len(files) == 2 and len(lines) == 1:
        raise DataError(f"{files[0]}: is given twice; expected a file with sources and one with translations")
    have_tabs = all(2 * sum("\t" in line for line in each) > len(each) for each in lines.values())
    if len(files) > 2 and not have_tabs:
        raise DataError(f"{len(files)} files: expected one with a tab in each line, or two whose lines belong together")
    if len(lines) == 2 and not have_tabs:
        rows = _of_two(lines, faults)
        places = [f"line {i}" for i in range(1, len(rows) + 1)]
    else:
        rows, places = [], []
        for name, each in lines.items():
            some = _of_one(name, each, faults, notes, header=header)
            rows += some
            places += [f"{'' if len(lines) == 1 else f'{name}, '}line {i}" for i in range(1, len(some) + 1)]
        if len(lines) > 1:
            notes.append(f"{len(lines)} files of pairs, as most lines have a tab, are read one after the other")
    if is_asked:
        notes.append(f"{', '.join(texts)}: no columns of these names; --source and --target make no difference")
    faults.stop()
    return _kept(rows, places, list(texts), notes, sha256, {})


def _kept(
    rows: Sequence[tuple[str, str]],
    places: Sequence[str],
    files: Sequence[Path | str],
    notes: list[str],
    sha256: str,
    read_as: Learnt,
) -> Pairs:
    """Pairs with both sides."""
    stripped = [(a.strip(), b.strip()) for a, b in rows]
    pairs = [(a, b) for a, b in stripped if a and b]
    if not pairs:
        raise DataError(f"{', '.join(map(str, files))}: holds no pairs")
    if empty := [place for place, (a, b) in zip(places, stripped, strict=True) if bool(a) != bool(b)]:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        if all(re.fullmatch(r"line \d+", place) for place in empty):
            shown = f"line{'s' if len(empty) > 1 else ''} {shown.replace('line ', '')}"
        notes.append(counted(len(empty), "pair[|s] with an empty side [is|are] left out") + f" ({shown})")
    sources, targets = map(list, zip(*pairs, strict=True))
    return Pairs(sources, targets, (f"{counted(len(pairs), 'pair')} of sentences", *notes), sha256, read_as)


def sources_in(
    path: Path, form: ItemForm, *, is_backward: bool, asked: AskedSides = NO_SIDES, learnt: Learnt = NOTHING
) -> Items | None:
    """The sources in a table, or in a file with a tab in each line, whose columns have no names or those of pairs; None
    of another, as of lines with more than two columns in a file that is named as a table.

    Args:
        path: of the file.
        form: how it is written.
        is_backward: whether the second column has them.
        asked: the columns of tables that a user named.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: the file cannot be read.
    """
    if form.text is not None or not path.is_file():
        return None
    if is_pair_table(path, form.encoding, asked, header=form.header):
        return sources_in_table(path, form, asked, learnt, is_backward=is_backward)
    if form.header is not None:
        return None
    first = first_line(path, form.encoding)
    columns = first.split("\t")
    if len(columns) < 2 or (len(columns) > 2 and is_table(path) and named_sides(columns) is None):
        return None
    if column_in(first, None) and named_sides(columns) is None:
        return None
    pairs = read_pairs([path], encoding=form.encoding)
    sides = (pairs.targets, pairs.sources) if is_backward else (pairs.sources, pairs.targets)
    column = "second" if is_backward else "first"
    note = f"{path}: {counted(len(pairs), 'pair')} of sentences, the {column} column is translated"
    rows = zip(*sides, strict=True)
    return Items(((source, {"text": source, "reference": reference}) for source, reference in rows), note)


def _of_two(lines: dict[str, list[str]], faults: Faults) -> list[tuple[str, str]]:
    (first, sources), (second, targets) = lines.items()
    if len(sources) != len(targets):
        faults.add(
            f"{first} has {len(sources):,} lines, {second} has {len(targets):,}; expected as many, line by line the "
            "same sentences"
        )
        return []
    return list(zip(sources, targets, strict=True))


def _of_one(
    name: str, lines: list[str], faults: Faults, notes: list[str], *, header: bool | None
) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    is_wider, has_tab = False, any("\t" in line for line in lines)
    source, target = _sides(name, lines, faults, notes)
    for number, line in enumerate(lines, 1):
        columns = line.split("\t")
        if len(columns) > target:
            pair = columns[source], columns[target]
            if number == 1 and (are_names(pair) if header is None else header):
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
    head = lines[0].split("\t")
    named = named_sides(head)
    if named is not None and len(head) > 2 and named != (0, 1) and max(named) < width:
        notes.append(f"{name}: sentences from columns {named[0] + 1} and {named[1] + 1}, by their names")
        return named
    if width < 3 or len(rows) < LEAST:
        return 0, 1
    are_of_marks = [are_marks([row[i].strip() for row in rows]) for i in range(width)]
    first, *more = [i for i, are in enumerate(are_of_marks) if not are] or [0]
    if (not are_of_marks[0] and not are_of_marks[1]) or (are_of_marks[0] and first == 1 and not more):
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
