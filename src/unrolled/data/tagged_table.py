"""Tables with a token or a sentence a row.

Inputs: a file's name. Outputs: sentences with their tags. A file of its own, as lines are read otherwise.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unrolled.data.counted import counted
from unrolled.data.files import Faults, decode, read_bytes
from unrolled.data.packed import unpacked
from unrolled.data.table import Table, is_table, read_table
from unrolled.data.tag_columns import (
    OUTSIDE,
    Sentence,
    TagColumns,
    TagRoles,
    are_wholes,
    cells,
    no_sentences,
    tag_roles,
)
from unrolled.data.tagged_lines import are_conll
from unrolled.errors import DataError

_FEW = 10  # rows that may all be sentences of one token
Apart = Callable[[str, Sequence[str]], str]
_Row = tuple[str, str, int]  # token, tag, line


def is_sheet(path: Path, encoding: str, asked: TagColumns) -> bool:
    """Whether a file is a table, and not JSON, which has a form of its own here, nor lines without names of columns.

    Args:
        path: of the file.
        encoding: of the file.
        asked: the columns that a user named.
    """
    suffixes = {each.lower() for each in path.suffixes}
    if not is_table(path) or suffixes & {".jsonl", ".ndjson", ".json"}:
        return False
    if not suffixes & {".tsv", ".tab"}:
        return True
    try:
        text = decode(unpacked(read_bytes(path), str(path)), str(path), encoding)
    except DataError:
        return True  # which is told on reading it
    return not are_conll(text, asked)


def read_tagged_table(
    name: str,
    encoding: str,
    asked: TagColumns,
    read_as: dict[str, Any],
    faults: Faults,
    notes: list[str],
    *,
    apart: Apart | None = None,
    needs_tags: bool = True,
) -> tuple[list[Sentence], Table, TagRoles]:
    """Sentences out of a table with a token a row, which a column or empty rows tell apart, or with a sentence a row.

    Args:
        name: of the file.
        encoding: of the file.
        asked: the columns that a user named.
        read_as: names the columns, or gets their names.
        faults: gets what is wrong with rows.
        notes: get how the table is read, and what is left out.
        apart: takes a table's name and columns, returns the one that has something else.
        needs_tags: whether there must be tags; where there are none, all are `OUTSIDE`.

    Raises:
        DataError: the columns are not known, or do not tell sentences apart.
    """
    found: list[TagRoles] = []

    def choose(name: str, head: list[str], rows: list[list[str]]) -> list[str]:
        taken = apart(name, head) if apart else None
        found[:] = [tag_roles(name, head, rows, asked, read_as, taken=taken, needs_tags=needs_tags)]
        return head  # also the others, which stand beside the predictions

    table = read_table([name], encoding=encoding, has_option=False, choose=choose)
    [roles] = found
    notes += [*table.notes, *roles.notes]
    read_as |= roles.names
    sentences = _wholes(table, roles, faults) if roles.is_whole else _of_tokens(name, table, roles, notes)
    return sentences, table, roles


def has_words(name: str, encoding: str, column: str) -> bool:
    """Whether a table that can be read has a column of single words."""
    try:
        table = read_table([name], encoding=encoding, has_option=False)
    except DataError:
        return False
    return column in table.columns and not are_wholes(table.columns[column])


def _wholes(table: Table, roles: TagRoles, faults: Faults) -> list[Sentence]:
    """A sentence for each row."""
    found: list[Sentence] = []
    rows = zip(table.columns[roles.token], _tags(table, roles), table.places, table.lines, strict=True)
    for text, marks, place, line in rows:
        tokens, tags = cells(text), cells(marks)
        if len(tokens) != len(tags):
            faults.add(f"{place}: {counted(len(tokens), 'token')} and {counted(len(tags), 'tag')}; expected as many")
        else:
            found.append((tokens, tags, [line] * len(tokens)))
    return [each for each in found if each[0]]


def _of_tokens(name: str, table: Table, roles: TagRoles, notes: list[str]) -> list[Sentence]:
    """Sentences of rows with a token each; rows without a token or a tag are left out, and told."""
    rows = list(zip(table.columns[roles.token], _tags(table, roles), table.lines, strict=True))
    groups = _by_column(name, table, roles, rows, notes) if roles.sentence else _by_empty_rows(name, table, rows)
    found: list[Sentence] = []
    lost: list[int] = []
    for group in groups:
        filled = [(token.strip(), tag.strip(), line) for token, tag, line in group if token.strip() and tag.strip()]
        lost += [line for token, tag, line in group if bool(token.strip()) != bool(tag.strip())]
        if filled:
            tokens, tags, lines = map(list, zip(*filled, strict=True))
            found.append((tokens, tags, lines))
    if lost and roles.tag is not None:
        shown = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        notes.append(
            f"{name}: " + counted(len(lost), f"row[|s] without a token or a tag [is|are] left out (line[|s] {shown})")
        )
    return found


def _by_column(
    name: str, table: Table, roles: TagRoles, rows: Sequence[_Row], notes: list[str]
) -> Iterator[list[_Row]]:
    """Rows of a sentence have one value, or it stands in the first alone; or they are numbered from the first on.

    Raises:
        DataError: each row has another value.
    """
    assert roles.sentence is not None
    values = [each.strip() for each in table.columns[roles.sentence]]
    if starts := _restarts(values):
        notes.append(f"{name}: column {roles.sentence!r} numbers the tokens; a sentence begins where it starts anew")
    else:
        last = None
        for i, value in enumerate(values):
            if last is None or (value and value != last):
                starts.append(i)
                last = value
    if len(starts) == len(values) > _FEW:
        raise DataError(
            f"{name}: column {roles.sentence!r} has another value in each row, so each token would be a sentence. Pass "
            "--sentence with the column that the tokens of a sentence have alike"
        )
    ends = [*starts[1:], len(rows)]
    return (list(rows[start:end]) for start, end in zip(starts, ends, strict=True))


def _restarts(values: Sequence[str]) -> list[int]:
    """Where numbers of tokens begin anew, if values are such: each the one before plus one, or the first again."""
    if not all(each.isdecimal() for each in values):
        return []
    numbers = [int(each) for each in values]
    starts = [i for i, each in enumerate(numbers) if not i or each != numbers[i - 1] + 1]
    is_counted = numbers[0] in (0, 1) and all(numbers[i] == numbers[0] for i in starts)
    falls = any(a > b for a, b in itertools.pairwise(numbers))  # numbers of sentences do not
    return starts if is_counted and falls else []


def _by_empty_rows(name: str, table: Table, rows: Sequence[_Row]) -> list[list[_Row]]:
    """Sentences that end at empty rows, or at lines without anything.

    Raises:
        DataError: there are none.
    """
    height = [1 + sum(each.count("\n") for each in row) for row in zip(*table.columns.values(), strict=True)]
    found: list[list[_Row]] = [[]]
    last = None
    for row, size in zip(rows, height, strict=True):
        token, tag, line = row
        if (last is not None and line > last) or not (token.strip() or tag.strip()):
            found.append([])
        found[-1].append(row)
        last = line + size
    found = [each for each in found if any(token.strip() for token, _, _ in each)]
    if len(found) < 2:
        raise DataError(no_sentences(name, list(table.columns)))
    return found


def _tags(table: Table, roles: TagRoles) -> list[str]:
    """The column of tags; without one all tokens are outside of what tags mark."""
    if roles.tag is not None:
        return table.columns[roles.tag]
    return [
        " ".join([OUTSIDE] * len(cells(each))) if roles.is_whole else OUTSIDE for each in table.columns[roles.token]
    ]
