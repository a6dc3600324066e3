"""Rows of a table in a text: CSV with any usual delimiter, or JSON lines.

Inputs: the text of a file. Outputs: the names of its columns, and its rows with their lines. A file of its own, as
tables and manifests read rows. The first line names the columns. Where it looks like data, that is told.
"""

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from unrolled.data.counted import counted
from unrolled.data.files import MISSING, Faults, shortened
from unrolled.errors import DataError

Row = tuple[int, list[str]]  # the line that a row begins on, and its values
_DELIMITERS = "\t;,|"  # of two that fit as well, the first
_MOST_CHARACTERS = 50_000_000  # of a field: its reader takes eight bytes for each
_CELLS_LOOKED_AT = 200_000
_MOST_TITLES = 20
_LONGEST_LINE = 20_000  # among which titles are looked for: a quotation mark left open makes longer ones slow
_MOST_WIDTHS = 5  # lines of another width than the header that are told one by one
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_IN_QUOTES = re.compile(r"""(?<!\S)(?:"[^"]*"|'[^']*')(?!\S)""")
_SINGLE = re.compile(r"\s*'[^']+'(?:[\t;,| ]+'[^']+')+\s*")  # names of columns as SAS and Matlab write them
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_POWER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)[eE][+-]?\d+\s*")  # numbers such as 1.51e+02
_STAMP = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b")


def rows_of(
    name: str, content: str, faults: Faults, notes: list[str], *, header: bool | None = None, has_option: bool = True
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with the line that each begins on; faults are told as rows are taken.
    Titles above the names are left out and told.

    Args:
        name: of the file, for faults.
        content: of the file.
        faults: gets what is wrong with rows.
        notes: get what is left out.
        header: whether the first line names the columns; None if it should, and is to be refused if it looks like data.
        has_option: whether a user can tell it.

    Raises:
        DataError: the first line looks like data, or names two columns alike; a JSON object holds all rows.
    """
    if (begin := content.lstrip()[:1]) in ("{", "["):
        if begin == "{" and _holds_all_rows(content):
            raise DataError(
                f"{name}: is one JSON object with all rows in it, as DataFrame.to_json(path) writes them; expected an "
                "object for each row, as DataFrame.to_json(path, orient='records', lines=True) writes them"
            )
        read = _json_lines if begin == "{" or _are_arrays(content) else _json_array
        objects = (item for _, item in read(name, content, Faults()) if isinstance(item, _Object))
        head = list(dict.fromkeys(key for item in objects for key, _ in item))
        rows = _of_objects(name, head, read(name, content, faults), faults)
        return head, rows if head else iter(list(rows))  # without names no row is taken: its fault is told here
    return headed(name, _csv_rows(name, content, faults, notes), faults, notes, header=header, has_option=has_option)


def headed(
    name: str,
    rows: Iterator[Row],
    faults: Faults,
    notes: list[str],
    *,
    header: bool | None,
    has_option: bool = True,
    place: str = "line",
) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns out of the first row, and the rows after it; without a header, numbers as names. No
    names where no row below them could be read: what is wrong is told, and what they would be is not known.

    Raises:
        DataError: as `rows_of`.
    """
    n_faults = faults.n_faults
    line, first = next(rows, (0, []))
    some = list(itertools.islice(rows, max(2, min(1000, _CELLS_LOOKED_AT // max(1, len(first))))))
    if not some and faults.n_faults > n_faults:
        return [], iter(())
    if n_above := _n_titles([first, *(row for _, row in some)]):
        notes.append(_left_out(name, place, [(line, first), *some][:n_above]))
        (line, first), some = some[n_above - 1], some[n_above:]
    if header is False:
        if word := _word_above_numbers(first, [row for _, row in some]):
            faults.add(f"{name}, {place} {line}: {word!r} stands above numbers, as names of columns do; pass --header")
        return [str(i + 1) for i in range(len(first))], itertools.chain([(line, first)], some, rows)
    head = [each.strip() or str(i + 1) for i, each in enumerate(first)]
    others = [row for _, row in some if row != first] or [row for _, row in some]
    if header is None and (reason := _looks_like_data([each.strip() for each in first], others)):
        way = "Pass --no-header if it is data, --header if these are the names"
        raise DataError(
            f"{name}, {place} {line}: {reason}, so it looks like data and not like the names of the columns. "
            f"{way if has_option else 'Begin the file with a line of their names'}"
        )
    _check_names(f"{name}, {place} {line}", head, ", or pass --no-header to number them" if has_option else "")
    return head, _without(name, place, first, itertools.chain(some, rows), faults)


def _n_titles(rows: Sequence[Sequence[str]]) -> int:
    """How many rows at the begin are titles: they have a first cell at most, and stand above names of columns."""
    n = next((i for i, row in enumerate(rows[:_MOST_TITLES]) if any(map(str.strip, row[1:]))), 0)
    below = rows[n + 1 :]
    if not any(len(row[0].split()) > 1 for row in rows[:n]):
        return 0  # one word may name a column
    return n if len(below) > 1 and _looks_like_data([each.strip() for each in rows[n]], below) is None else 0


def _left_out(name: str, place: str, titles: Sequence[Row]) -> str:
    """What is told of titles."""
    shown = ", ".join(shortened(text) for _, row in titles if (text := " ".join(filter(None, row)).strip()))
    first, last = titles[0][0], titles[-1][0]
    where = f"{place} {first} is" if first == last else f"{place}s {first} to {last} are"
    return f"{name}: {where} left out, above the names of the columns: {shown}"


def _title_lines(content: str) -> list[str]:
    """Lines at the begin that are titles: they have few of the marks that stand in each line below as often."""
    lines = list(itertools.islice(_lines(content), _MOST_TITLES + 20))
    if max(map(len, lines), default=0) > _LONGEST_LINE:
        return []
    for mark in _DELIMITERS:
        counts = [_QUOTED.sub("", line).count(mark) if line.strip() else 0 for line in lines]
        block = max(range(len(lines)), key=lambda i: (counts[i], -i), default=0)
        above = [line for line in lines[:block] if line.strip()]
        is_table = len(counts) > block + 2 and len(set(counts[block:])) == 1
        if not above or not is_table or block > _MOST_TITLES or 2 * max(counts[:block]) > counts[block]:
            continue
        if len(above) == 1 == block and len(above[0].split()) == 1:
            continue  # one word may name a column
        head, *below = csv.reader(lines[block:], delimiter=mark)
        if _looks_like_data([each.strip() for each in head], [row for row in below if len(row) == len(head)]) is None:
            return lines[:block]
    return []


def _without(name: str, place: str, head: list[str], rows: Iterator[Row], faults: Faults) -> Iterator[Row]:
    """Rows, of which none is the header once more: tables were written one after the other."""
    for line, row in rows:
        if row == head and len(row) > 1:
            faults.add(f"{name}, {place} {line}: is the header again; leave it out")
        else:
            yield line, row


def _check_names(where: str, head: Sequence[str], otherwise: str) -> None:
    twice = [name for name, count in Counter(head).items() if count > 1][:5]
    faults = []
    for name in twice:
        at = [i + 1 for i, each in enumerate(head) if each == name]
        shown = ", ".join(map(str, at[:-1][:10])) + f" and {at[-1]}"
        faults.append(f"the columns {shown} are all named {name!r}".replace("all", "both" if len(at) == 2 else "all"))
    if faults:
        raise DataError(f"{where}: {'; '.join(faults)}. Give each a name of its own{otherwise}")


def _looks_like_data(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Why a first row is no header, in words; None if it may be one."""
    if _word_above_numbers(head, rows):
        return None
    numbers: list[int] = []
    reason = None
    for i, name in enumerate(head):
        values = [value for row in rows if (value := row[i].strip())]
        if not values or not name:
            continue
        kind = _kind(name)
        kinds = Counter(map(_kind, values))
        is_even = kinds.most_common(1)[0][1] >= 0.9 * len(values)
        if kind == "text":
            if reason is None and name in values:
                reason = f"{shortened(name)} stands below it too, in column {i + 1}"
        elif is_even and kinds[kind]:
            numbers.append(i)
    if numbers and not _are_counted([head[i] for i in numbers]):
        i = numbers[0]
        reason = f"{shortened(head[i])} stands above {_kind(head[i])}s, in column {i + 1}"
    return reason


def _word_above_numbers(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """The first name that is a word above numbers or dates alone."""
    for i, name in enumerate(head):
        if _kind(name) == "text" and name.strip().lower() not in MISSING:
            kinds = Counter(_kind(value) for row in rows if (value := row[i].strip()).lower() not in MISSING)
            if kinds and not kinds["text"] and max(kinds.values()) >= 0.9 * kinds.total():
                return name
    return None


def _kind(text: str) -> str:
    if _STAMP.match(text):
        return "date"
    is_number = text.replace(",", "").replace(".", "").lstrip("+-").strip().isdecimal() or _POWER.fullmatch(text)
    return "number" if is_number else "text"


def _are_counted(names: Sequence[str]) -> bool:
    """Whether names are whole numbers that follow each other, as pandas names columns, and years are."""
    if len(names) < 3 or not all(name.isdecimal() for name in names):
        return False
    return all(int(b) - int(a) == 1 for a, b in itertools.pairwise(names))


def _csv_rows(name: str, content: str, faults: Faults, notes: list[str]) -> Iterator[Row]:
    skipped, delimiter, content = 0, None, content.lstrip("\ufeff")
    if titles := _title_lines(content):
        notes.append(_left_out(name, "line", [(i, [line.strip().strip('"')]) for i, line in enumerate(titles, 1)]))
        skipped, content = len(titles), content[sum(map(len, titles)) :]
    elif found := re.match(r"sep=(.)\n", content):  # Excel's own first line
        skipped, delimiter, content = 1, found[1], content[found.end() :]
    delimiter = delimiter or _delimiter(content)
    quote = "'" if _SINGLE.fullmatch(content, 0, content.find("\n") if "\n" in content else len(content)) else '"'
    is_quoted = delimiter != "\t" or quote == "'" or _is_quoted(content)
    quoting: Any = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    csv.field_size_limit(_MOST_CHARACTERS)
    lines = (line.strip() for line in _lines(content)) if delimiter == " " else _lines(content)
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=quoting, quotechar=quote, skipinitialspace=delimiter == " ", strict=True
    )
    wrong: dict[int, list[int]] = {}  # lines by their number of columns
    n_columns, n_right, line = 0, 0, 1 + skipped
    try:
        for row in reader:
            n_columns = n_columns or len(row)
            if row and len(row) != n_columns:
                wrong.setdefault(len(row), []).append(line)
            elif row:
                n_right += 1
                yield line, row
            line = reader.line_num + 1 + skipped
    except csv.Error as fault:
        if "field limit" in str(fault):
            fault = csv.Error(f"a field has more than {_MOST_CHARACTERS:,} characters")
        faults.add(f"{name}, line {line}: {fault}; is a quotation mark left open?")
    _tell_widths(name, wrong, n_columns, faults, is_none_right=n_right < 2)


def _tell_widths(
    name: str, wrong: dict[int, list[int]], n_columns: int, faults: Faults, *, is_none_right: bool
) -> None:
    """Lines that have another number of columns than the header; where all have the same, it is the header's fault."""
    if is_none_right and len(wrong) == 1 and len(lines := next(iter(wrong.values()))) > 2:
        width = next(iter(wrong))
        why = (
            "If the first column numbers or names the rows, begin the header with a name for it"
            if width == n_columns + 1
            else "If the header does not name the columns, delete it"
        )
        faults.add(
            f"{name}: the header has {counted(n_columns, 'column')}, each of the {len(lines):,} lines below it "
            f"{width:,}. {why}"
        )
        return
    told = sorted((line, width) for width, lines in wrong.items() for line in lines)
    for line, width in told[:_MOST_WIDTHS]:
        faults.add(f"{name}, line {line}: has {counted(width, 'column')}, the header {n_columns:,}")
    if (more := len(told) - _MOST_WIDTHS) > 0:
        faults.add(f"{name}: " + counted(more, "line[|s] more [has|have] another number of columns than the header"))


def _lines(content: str) -> Iterator[str]:
    """Lines with their ends; `io.StringIO` would take four bytes for each character."""
    start = 0
    while start < len(content):
        end = content.find("\n", start) + 1 or len(content)
        yield content[start:end]
        start = end


def _delimiter(content: str) -> str:
    """What stands between the columns: of the marks in the first line those that stand in each line as often."""
    whole = [line[:1_000_000] for line in itertools.islice(_lines(content), 20) if line.strip()]
    lines = [_QUOTED.sub("", line) for line in whole]
    counts = {mark: [line.count(mark) for line in lines] for mark in _DELIMITERS}
    fitting = [mark for mark, each in counts.items() if each and each[0]]
    even = [mark for mark in fitting if len(set(counts[mark])) == 1]
    if not even and _are_apart_by_spaces(whole):
        return " "
    if "\t" in even:
        return "\t"  # which hardly a text has, while a field may have as many commas in each line: [1, 2, 3]
    if ";" in even and all(len(_DECIMAL_COMMA.findall(line)) == line.count(",") for line in lines):
        return ";"
    return max(even or fitting, key=lambda mark: counts[mark][0], default=",")


def _are_apart_by_spaces(lines: Sequence[str]) -> bool:
    """Whether lines are columns between spaces: as many in each line, most of them numbers below the first."""
    head, *rows = [_IN_QUOTES.sub("x", line).split() for line in lines] or [[]]
    if len(head) < 2 or not rows or any(len(row) != len(head) for row in rows):
        return False
    return sum(all(_kind(row[i]) != "text" for row in rows) for i in range(len(head))) > len(head) / 2


def _is_quoted(content: str) -> bool:
    """Whether a table between tabs has quoted fields, as Excel writes them; other programs leave marks as they are."""
    fields = (field for line in _lines(content[:1_000_000]) for field in line.rstrip("\n").split("\t"))
    quoted = [bool(_QUOTED.fullmatch(field)) for field in fields if field.startswith('"')]
    return bool(quoted) and all(quoted)


def _json_lines(name: str, content: str, faults: Faults) -> Iterator[tuple[int, Any]]:
    for line, row in enumerate(_lines(content), 1):
        if row.strip():
            try:
                yield line, json.loads(row, object_pairs_hook=_Object)
            except (ValueError, RecursionError) as fault:
                faults.add(f"{name}, line {line}: is no JSON: {fault}")


def _holds_all_rows(content: str) -> bool:
    """Whether one JSON object holds columns of cells, {"a": {"0": 1, "1": 2}, ...}, or rows, {"0": {"a": 1}, ...}."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False  # such as a line for each row
    inner = list(found.values()) if isinstance(found, dict) else []
    if not inner or not all(isinstance(each, dict) and each.keys() == inner[0].keys() for each in inner):
        return False
    are_numbered = all(map(str.isdecimal, found)) or all(map(str.isdecimal, inner[0]))
    return bool(inner[0]) and (are_numbered or (len(inner) > 1 and len(inner[0]) > 1))


def _are_arrays(content: str) -> bool:
    """Whether lines hold a JSON array each, and not one array all of them."""
    lines = list(itertools.islice((each for each in _lines(content) if each.strip()), 2))
    try:
        return len(lines) == 2 and all(isinstance(json.loads(each), list) for each in lines)
    except (ValueError, RecursionError):
        return False


def _json_array(name: str, content: str, faults: Faults) -> Iterator[tuple[int, Any]]:
    decoder, at, line = json.JSONDecoder(object_pairs_hook=_Object), content.index("[") + 1, 1
    between = re.compile(r"[\s,]*")
    while True:
        begin = at
        at = between.match(content, at).end()  # type: ignore[union-attr]
        line += content.count("\n", begin, at)
        if at >= len(content):
            faults.add(f"{name}, line {line}: the array has no end; is the file cut off?")
            return
        if content[at] == "]":
            if content[at + 1 :].strip():
                faults.add(f"{name}, line {line}: more stands after the end of the array")
            return
        try:
            item, end = decoder.raw_decode(content, at)
        except (ValueError, RecursionError) as fault:
            faults.add(f"{name}, line {line}: is no JSON: {fault}")
            return
        yield line, item
        line, at = line + content.count("\n", at, end), end


def _of_objects(name: str, head: Sequence[str], items: Iterator[tuple[int, Any]], faults: Faults) -> Iterator[Row]:
    """The rows; what an object lacks is an empty cell, as null is."""
    for line, pairs in items:
        if not isinstance(pairs, _Object):
            faults.add(f'{name}, line {line}: expected an object such as {{"text": ..., "label": ...}}')
            continue
        item = dict(pairs)
        if len(item) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            faults.add(f"{name}, line {line}: has {twice!r} twice")
            continue
        yield line, [_text(item.get(each)) for each in head]


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, where a name may stand twice."""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, _Object):
        return json.dumps(_plain(value), ensure_ascii=False)
    return str(_plain(value)) if isinstance(value, list) else str(value)


def _plain(value: object) -> Any:
    if isinstance(value, _Object):
        return {key: _plain(each) for key, each in value}
    return [_plain(each) for each in value] if isinstance(value, list) else value
