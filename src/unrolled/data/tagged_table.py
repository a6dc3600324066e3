"""Tables with a token or a sentence a row.

Inputs: a file's name. Outputs: sentences with their tags. A file of its own, as lines are read otherwise.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unrolled.data.atis import are_atis
from unrolled.data.counted import counted
from unrolled.data.files import Faults, decode, read_bytes, shortened
from unrolled.data.packed import unpacked
from unrolled.data.table import Learnt, Table, is_table, read_table
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

_LONGEST_NUMBER = 18  # digits
_FEW = 10  # rows that may all be sentences of one token
Apart = Callable[[str, Sequence[str]], str]
_Row = tuple[str, str, int]  # token, tag, line


def is_tagged_table(path: Path, encoding: str, asked: TagColumns) -> bool:
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
    return not are_conll(text, asked) and not are_atis(text.split("\n"))


def read_tagged_table(
    name: str,
    encoding: str,
    asked: TagColumns,
    learnt: Learnt,
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
        learnt: how the data were read that a model learnt from; "sentence", "token" and "tag" name columns.
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
        found[:] = [tag_roles(name, head, rows, asked, learnt, taken=taken, needs_tags=needs_tags)]
        return head  # also the others, which stand beside the predictions

    table = read_table([name], encoding=encoding, has_option=False, choose=choose)
    [roles] = found
    notes += [*table.notes, *roles.notes]
    sentences = _wholes(table, roles, faults) if roles.is_whole else _of_tokens(name, table, roles, faults, notes)
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
    words = _cells(table, roles.token, faults)
    of_tags = None if roles.tag is None else _cells(table, roles.tag, faults)
    found: list[Sentence] = []
    for i, line in enumerate(table.lines):
        tokens = words[i]
        tags = [OUTSIDE] * len(tokens or ()) if of_tags is None else of_tags[i]
        if tokens is None or tags is None:
            continue  # which is told
        if len(tokens) != len(tags):
            faults.add(
                f"{table.places[i]}: {counted(len(tokens), 'token')} and {counted(len(tags), 'tag')}; expected as many"
            )
        elif tokens:
            found.append((tokens, tags, [line] * len(tokens)))
    return found


def _cells(table: Table, name: str, faults: Faults) -> list[list[str] | None]:
    """The words of each cell of a column; None, which is a fault, for one that is no list where most are."""
    found = cells(table.columns[name])
    for i, each in enumerate(found):
        if each is None:
            faults.add(
                f"{table.places[i]}, column {name!r}: {shortened(table.columns[name][i])} is no list of texts, such as "
                "['a', 'b']; most cells of the column are in brackets"
            )
    return found


def _of_tokens(name: str, table: Table, roles: TagRoles, faults: Faults, notes: list[str]) -> list[Sentence]:
    """Sentences of rows with a token each; rows without a token or a tag are left out, and told."""
    tags = [OUTSIDE] * len(table) if roles.tag is None else table.columns[roles.tag]
    rows = list(zip(table.columns[roles.token], tags, table.lines, strict=True))
    groups = _by_column(name, table, roles, rows, notes) if roles.sentence else _by_empty_rows(name, table, rows)
    found: list[Sentence] = []
    lost: list[int] = []
    for group in groups:
        filled = [(token.strip(), tag.strip(), line) for token, tag, line in group if token.strip() and tag.strip()]
        lost += [line for token, tag, line in group if bool(token.strip()) != bool(tag.strip())]
        for token, tag, line in filled:
            if "\n" in token or "\n" in tag:
                faults.add(
                    f"{name}, line {line}: {shortened(token)} goes over several lines; is a quotation mark left open?"
                )
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
        notes += _again(f"{name}: column {roles.sentence!r}", [(values[i], rows[i][2]) for i in starts])
    if len(starts) == len(values) > _FEW:
        raise DataError(
            f"{name}: column {roles.sentence!r} has another value in each row, so each token would be a sentence. Pass "
            "--sentence with the column that the tokens of a sentence have alike"
        )
    ends = [*starts[1:], len(rows)]
    return (list(rows[start:end]) for start, end in zip(starts, ends, strict=True))


def _again(where: str, starts: Sequence[tuple[str, int]]) -> list[str]:
    """A note on values of sentences, with the lines on which they begin, that come again after others."""
    firsts = dict(reversed(starts))
    again = [(value, line) for value, line in starts if line != firsts[value]]
    if not again:
        return []
    value, line = again[0]
    more = f", and so do {len(again) - 1:,} more" if len(again) > 1 else ""
    return [f"{where}: {shortened(value)} in line {line} stands after other values again, and begins a sentence{more}"]


def _restarts(values: Sequence[str]) -> list[int]:
    """Where numbers of tokens begin anew, if values are such: each the one before plus one, or the first again."""
    if not all(each.isdecimal() and len(each) <= _LONGEST_NUMBER for each in values):
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
