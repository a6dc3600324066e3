"""Lines of tagged sentences: CoNLL columns, and JSON lines.

Inputs: the text of a file. Outputs: sentences with their tags. A file of its own, as tables are read otherwise, and
models of intents read JSON too.
"""

import re
from collections import Counter
from typing import Any

from unrolled.data import schemes
from unrolled.data.counted import counted
from unrolled.data.files import Faults, in_place, json_lines, shortened
from unrolled.data.schemes import Span
from unrolled.data.table import names_shown
from unrolled.data.tag_columns import OUTSIDE, TAG_NAMES, TOKEN_NAMES, Sentence, TagColumns, TagsOfSpans
from unrolled.data.tokens import tokens_of
from unrolled.errors import DataError
from unrolled.json_values import JsonObject, are_texts

NO_COLUMNS = TagColumns()
_WIDTH_OF_CONLLU = 10
_Block = tuple[list[list[str]], list[int]]  # rows of columns of a sentence, and their lines


def conll_sentences(
    name: str, text: str, faults: Faults, notes: list[str], read_as: dict[str, Any], asked: TagColumns = NO_COLUMNS
) -> list[Sentence]:
    """Sentences of lines with a token and its tag, an empty line after each.

    Args:
        name: of the file.
        text: of the file.
        faults: gets what is wrong with lines.
        notes: get how lines are read.
        read_as: has the "layout" of columns as a model learnt it, or gets it.
        asked: the columns that a user named, by their numbers.

    Raises:
        DataError: a column that the user named has no number.
    """
    blocks, head = _blocks(name, text, faults, notes)
    [(width, _)] = Counter(len(rows[0]) for rows, _ in blocks).most_common(1) or [(0, 0)]
    token, tag = _layout(name, [rows for rows, _ in blocks if len(rows[0]) == width], head, notes, read_as, asked)
    found: list[Sentence] = []
    which = "the first sentence has" if blocks and len(blocks[0][0][0]) == width else "most sentences have"
    for rows, lines in blocks:
        n = len(rows[0])
        if n <= max(token, tag):
            faults.add(f"{name}, line {lines[0]}: has no column {max(token, tag) + 1}, but {n}")
        elif n != width and asked.tag is None:  # its last column is another one
            faults.add(
                f"{name}, line {lines[0]}: has {counted(n, 'column')}, {which} {width}; expected as "
                "many, or --tag with the number of the column with the tags"
            )
        else:
            found.append(([row[token].strip() for row in rows], [row[tag].strip() for row in rows], lines))
    return found


def are_conll(text: str, asked: TagColumns) -> bool:
    """Whether columns between tabs have no names: there are empty lines, and the first line has a tag as others have.

    Args:
        text: of a file whose name is one of a table.
        asked: the columns that a user named; numbers, where they have no names.
    """
    lines = text.strip().split("\n")
    rows = [line.split("\t") for line in lines if line.strip()] or [[]]
    if any(name in rows[0] for name in (asked.sentence, asked.token, asked.tag) if name and not name.isdecimal()):
        return False
    is_in_blocks = len(rows) < len(lines) and len(rows[0]) > 1 and not _are_names(rows[0])
    return is_in_blocks and any(row[-1] == rows[0][-1] for row in rows[1:])


def _blocks(name: str, text: str, faults: Faults, notes: list[str]) -> tuple[list[_Block], list[str]]:
    """Rows of columns, and their lines, of each sentence; and the names of the columns, if the first line has them."""
    head: list[str] = []
    blocks: list[_Block] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    told: list[tuple[int, str]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if not line.strip():
            if rows:
                blocks.append((rows, lines))
            rows, lines = [], []
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        if _is_no_token(line, columns, is_first=not rows):
            continue
        if not blocks and not rows and _are_names(columns):
            head = [each.strip() for each in columns]
            notes.append(f"{name}, line {number}: {shortened(line)} names the columns; left out")
        elif len(columns) < 2 or not columns[0].strip() or not columns[-1].strip():
            told.append((number, f"{shortened(line)} has no tag; expected a token, a space or tab, and its tag"))
        else:
            rows.append(columns)
            lines.append(number)
    kept, odd = _of_one_width(blocks)
    for number, text in sorted([*told, *odd]):
        faults.add(f"{name}, line {number}: {text}")
    return kept, head


def _of_one_width(blocks: list[_Block]) -> tuple[list[_Block], list[tuple[int, str]]]:
    """Sentences without their lines of another width than the others; and these, with what is told of them. A line that
    begins a sentence may be the odd one: the width that most lines have tells it.
    """
    widths = Counter(len(row) for rows, _ in blocks for row in rows)
    kept: list[_Block] = []
    told: list[tuple[int, str]] = []
    for rows, lines in blocks:
        own = Counter(map(len, rows))
        width = max(own, key=lambda each: (own[each], widths[each]))
        for row, line in zip(rows, lines, strict=True):
            if len(row) != width:
                where = "after it" if line == lines[0] else "before"
                told.append((line, f"has {counted(len(row), 'column')}, the sentence's lines {where} {width}"))
        fitting = [i for i, row in enumerate(rows) if len(row) == width]
        kept.append(([rows[i] for i in fitting], [lines[i] for i in fitting]))
    return kept, told


def _is_no_token(line: str, columns: list[str], *, is_first: bool) -> bool:
    """Whether a line begins a document, or is, in CoNLL-U, a comment, a word of several tokens, or an empty one."""
    is_comment = line.startswith("# ") and "\t" not in line and is_first
    if columns[0] == "-DOCSTART-" or (is_comment and (len(columns) > 2 or columns[-1] in ("newdoc", "newpar"))):
        return True
    return len(columns) == _WIDTH_OF_CONLLU and bool(re.fullmatch(r"\d+[-.]\d+", columns[0]))


def _are_names(columns: list[str]) -> bool:
    """Whether a first line names columns, and is no token with its tag."""
    names = [each.strip().lower() for each in columns]
    return len(names) > 1 and bool({*TOKEN_NAMES} & {*names}) and bool({*TAG_NAMES} & {*names})


def _layout(
    name: str,
    sentences: list[list[list[str]]],
    head: list[str],
    notes: list[str],
    read_as: dict[str, Any],
    asked: TagColumns,
) -> tuple[int, int]:
    """The columns of tokens and of tags, from 0: as asked; as a model learnt them from lines with as many columns; or
    the first and the last, if the first does not count the tokens.
    """
    some = sentences[:200]
    n_columns = len(some[0][0]) if some else 2
    named = {role: column for role in ("token", "tag") if (column := asked.of(role)) is not None}
    if not head:  # names that a model learnt from a table say nothing of lines without any
        named = {role: column for role, column in named.items() if column != read_as.get(role)}
    numbers = {role: _number(name, role, column, head) for role, column in named.items()}
    width, *learnt = read_as.get("layout", ("0",))
    if numbers.keys() == {"token", "tag"}:
        token, tag = numbers["token"], numbers["tag"]
    elif width == str(n_columns) and not numbers:
        token, tag = (int(each) % n_columns for each in learnt)
    else:
        guess = _guessed_layout(name, some, [] if numbers else notes)
        token, tag = numbers.get("token", guess[0]), numbers.get("tag", guess[1] % n_columns)
    if some:
        read_as["layout"] = [str(n_columns), str(token), str(tag)]
    return token, tag


def _number(name: str, role: str, column: str, head: list[str]) -> int:
    """The number of a column, from 0, by its name, if columns have names, or by its number from 1."""
    if column in head:
        return head.index(column)
    if not re.fullmatch(r"0*[1-9]\d{0,8}", column, re.ASCII):
        raise DataError(
            f"{name}: no column is named {shortened(column)}; pass --{role} with "
            + (f"one of {names_shown(head)}, or with its number, from 1" if head else "its number, from 1")
        )
    return int(column) - 1


def _guessed_layout(name: str, some: list[list[list[str]]], notes: list[str]) -> tuple[int, int]:
    are_counted = bool(some) and all(
        len(rows[0]) > 2 and [row[0] for row in rows] == [str(i + 1) for i in range(len(rows))] for rows in some
    )
    if not are_counted or max(map(len, some)) < 2:
        if some and (width := len(some[0][0])) > 2:
            notes.append(f"{name}: tokens from column 1, tags from column {width}; else pass --token and --tag")
        return 0, -1
    if all(len(row) == _WIDTH_OF_CONLLU for rows in some for row in rows):
        notes.append(f"{name}: CoNLL-U; tokens from column 2, tags from column 4, the universal part of speech")
        return 1, 3
    notes.append(f"{name}: the first column counts the tokens, which are in the second")
    return 1, -1


def json_sentences(
    name: str, text: str, faults: Faults, asked: TagColumns = NO_COLUMNS, *, needs_tags: bool = True
) -> list[Sentence]:
    """Sentences of JSON lines; see `json_sentence`."""
    found: list[Sentence] = []
    for number, where, item in json_lines(name, text, faults):
        pair = json_sentence(item, where, faults, asked, needs_tags=needs_tags)
        if pair is not None and pair[0]:
            found.append((*pair, [number] * len(pair[0])))
    return found


def json_sentence(
    item: Any, where: str, faults: Faults, asked: TagColumns = NO_COLUMNS, *, needs_tags: bool = True
) -> tuple[list[str], list[str]] | None:
    """Tokens and tags of a line's object; None where it has faults.

    Args:
        item: {"tokens": [...], "tags": [...]}, or {"text": ..., "spans": [...]}.
        where: its place, for faults.
        faults: gets what is wrong with it.
        asked: the names of tokens and tags, if they have others.
        needs_tags: whether there must be tags; where there are none, all are `OUTSIDE`.
    """
    names = asked.token or "tokens", asked.tag or "tags"
    is_cut = isinstance(item, dict) and (names[0] in item or asked.token is not None or asked.tag is not None)
    return _of_tokens(item, names, where, faults, needs_tags=needs_tags) if is_cut else _of_text(item, where, faults)


def _of_tokens(
    item: JsonObject, names: tuple[str, str], where: str, faults: Faults, *, needs_tags: bool
) -> tuple[list[str], list[str]] | None:
    tokens = _words(item, names[0], where, faults)
    if tokens is not None and not needs_tags and names[1] not in item:
        return tokens, [OUTSIDE] * len(tokens)
    tags = None if tokens is None else _words(item, names[1], where, faults)
    if tokens is None or tags is None:
        return None
    if len(tokens) != len(tags):
        faults.add(
            f"{where}: {counted(len(tokens), 'token')} and {counted(len(tags), 'tag')}; expected as many tags as tokens"
        )
        return None
    return tokens, tags


def _words(item: JsonObject, part: str, where: str, faults: Faults) -> list[str] | None:
    value = item.get(part)
    if are_texts(value) and all(map(str.strip, value)):
        return value
    found = "" if part in item else f"; {in_place(item)}"
    faults.add(f"{where}: {part!r} must be a list of texts, none of them empty{found}")
    return None


def _of_text(item: object, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not isinstance(item.get("spans"), list):
        expected = '{"tokens": [...], "tags": [...]} or {"text": ..., "spans": [...]}'
        otherwise = " (--token and --tag name other keys)" if isinstance(item, dict) else ""
        faults.add(f"{where}: expected {expected}{otherwise}; {in_place(item)}")
        return None
    tokens = tokens_of(item["text"])
    begins = {token.start: i for i, token in enumerate(tokens)}
    ends = {token.end: i + 1 for i, token in enumerate(tokens)}
    spans: list[Span] = []
    n_before = faults.n_faults
    for span in item["spans"]:
        match span:
            case {"start": int(start), "end": int(end), "label": str(label)} if label and bool not in (
                type(start),
                type(end),
            ):
                if start not in begins or end not in ends or begins[start] >= ends[end]:
                    piece = item["text"][start:end]
                    faults.add(
                        f"{where}: the span {start} to {end}, {shortened(piece)}, does not begin and end with tokens"
                    )
                else:
                    spans.append(Span(begins[start], ends[end], label))
            case _:
                faults.add(
                    f'{where}: a span must be {{"start": ..., "end": ..., "label": ...}}; got {shortened(str(span))}'
                )
    spans.sort(key=lambda span: span.start)
    if any(a.end > b.start for a, b in zip(spans, spans[1:], strict=False)):
        faults.add(f"{where}: spans overlap, which tags cannot mark")
    if faults.n_faults > n_before:
        return None
    return [token.text for token in tokens], TagsOfSpans(schemes.tags_of(spans, len(tokens), "BIOES"))
