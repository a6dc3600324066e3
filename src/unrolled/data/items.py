"""Items to predict, out of a user's files.

Inputs: a table with a column of texts, a folder with a text a file, or lines. Outputs: items, each with what stands
beside it. A file of its own, as the models of several tasks take texts.
"""

import codecs
import contextlib
import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.data import fasttext
from unrolled.data.counted import counted
from unrolled.data.files import decode, encoding_marked, is_binary, is_no_text, read_bytes, shortened
from unrolled.data.packed import kind_of, opened, unpacked
from unrolled.data.roles import TEXT_NAMES
from unrolled.data.table import is_table, names_shown, no_column, of_usual_name, read_table
from unrolled.errors import DataError
from unrolled.files.bounds import MOST_LINE, bounded_lines, open_no_device, read_whole, reading

Beside = dict[str, str]  # the other columns of an item's row
_LONGEST_NAME = 40  # characters of a column's name
_LOOKED_AT = 4096  # bytes of a file that tell what it is
_CHUNK = 2**20  # bytes that are read at once
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True)
class ItemForm:
    """How files of items are written.

    Attributes:
        text: the column with the texts; None to guess it from usual names.
        header: whether a table's first line names the columns; see `read_table`.
        encoding: of texts.
        learnt: the column with the texts of the training, taken where there is one of that name.
    """

    text: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    learnt: str | None = None


@dataclass(frozen=True)
class Items:
    """Items out of a file.

    Attributes:
        pairs: each item with the other columns of its row, as they come.
        note: how the file was read, for the user.
    """

    pairs: Iterable[tuple[Any, Beside]]
    note: str


def read_items(path: Path, form: ItemForm) -> Items:
    """The texts of a table, of a folder, or of lines.

    Raises:
        DataError: the file cannot be used, or a table has no column that is known to hold texts.
    """
    if path.is_dir():
        return _of_folder(path, form)
    if path.exists() and not path.is_file():  # a pipe, which can be read once
        lines = lines_without_names(opened_file(path), str(path), form)
        return Items(((line, {}) for line in lines), f"{path}: a text a line")
    if form.header is None and is_fasttext(path, form.encoding):
        return _of_fasttext(path, form.encoding)
    with opened_file(path) as file:
        is_binary = kind_of(file.peek(_LOOKED_AT)) is not None  # a workbook under another name, or told what it is
    if is_table(path) or is_binary:
        return of_table(path, form)
    first = next(lines_of(opened_file(path), str(path), form.encoding), "")
    if column := column_in(first[:_LOOKED_AT], form.text or form.learnt) or column_in(first[:_LOOKED_AT], form.text):
        return of_table(path, ItemForm(column, form.header, form.encoding))
    lines = lines_of(opened_file(path), str(path), form.encoding)
    return Items(((line, {}) for line in lines), f"{path}: a text a line")


def is_fasttext(path: Path, encoding: str) -> bool:
    """Whether a file has lines with labels, as fastText writes them; what cannot be read has none."""
    if not path.is_file():
        return False
    with contextlib.suppress(DataError), opened_file(path) as stream, reading(str(path)):
        begin = opened(stream).peek(_LOOKED_AT)
        if fasttext.PREFIX.encode() in begin.replace(b"\0", b"") or begin.startswith(b"PK\x03\x04"):
            return fasttext.are_labeled(lines_of(opened_file(path), str(path), encoding))
    return False


def _of_fasttext(path: Path, encoding: str) -> Items:
    """The texts of lines with labels, as they come."""
    lines = (fasttext.parted(line) for line in lines_of(opened_file(path), str(path), encoding))
    pairs = ((text, {"label": " ".join(labels), "text": text}) for labels, text in lines)
    return Items(pairs, f"{path}: lines as fastText has them, {fasttext.PREFIX}NAME and a text; the texts are read")


def of_table(path: Path, form: ItemForm) -> Items:
    """The texts of a table, with its other columns."""
    text = ""

    def choose(name: str, head: list[str], _: list[list[str]]) -> list[str]:
        nonlocal text
        text = _text_column(name, head, form)
        return head

    table = read_table([path], encoding=form.encoding, header=form.header, choose=choose)
    names = list(table.columns)
    rows = (dict(zip(names, row, strict=True)) for row in zip(*table.columns.values(), strict=True))
    return Items(
        ((row[text], row) for row in rows), f"{path}: a table of {counted(len(table), 'row')}, texts in column {text!r}"
    )


def _text_column(name: str, head: Sequence[str], form: ItemForm) -> str:
    if form.text is not None:
        if form.text in head:
            return form.text
        told = no_column(name, head, form.text)
        stop = "" if told.endswith("?") else "."
        raise DataError(f"{told}{stop} Pass --text with the column that has the texts")
    if form.learnt is not None and form.learnt in head:
        return form.learnt
    found = of_usual_name(head, TEXT_NAMES)
    if found is None and len(head) == 1 and form.header is not None:
        return head[0]
    if found is None:
        advice = " If the first line is a text and no name, pass --no-header" if len(head) == 1 else ""
        raise DataError(
            f"{name}: which column has the texts? Pass --text with one of {names_shown(head)}.{advice}".rstrip(".")
        )
    return found


def column_in(line: str, text: str | None) -> str | None:
    """The column of texts that a line names, if it names columns: `text`, or one of the usual names beside others."""
    for mark in "\t;,|":
        names = [each.strip() for each in next(csv.reader([line], delimiter=mark), [])]
        if len(names) < 2 or max(map(len, names)) > _LONGEST_NAME or len(set(names)) < len(names):
            continue
        found = next((name for name in names if (name == text if text else name.lower() in TEXT_NAMES)), None)
        if found is not None:
            return found
    return None


def _of_folder(folder: Path, form: ItemForm) -> Items:
    files = sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith("."))
    if not files or any(map(is_table, files)):
        holds = "holds tables" if files else "holds no files"
        raise DataError(f"{folder}: is a folder that {holds}; expected one with a text a file, or name the files")

    def pairs() -> Iterator[tuple[str, Beside]]:
        for file in files:
            text = decode(unpacked(read_bytes(file), str(file)), str(file), form.encoding)
            yield text.strip(), {"file": str(file.relative_to(folder))}

    return Items(pairs(), f"{folder}: {counted(len(files), 'file')}, a text each")


def opened_file(path: Path) -> io.BufferedReader:
    """A file or a pipe, to be read.

    Raises:
        DataError: it is a device, or cannot be opened.
    """
    try:
        return open(path, "rb", opener=open_no_device)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def lines_without_names(stream: io.BufferedReader, name: str, form: ItemForm) -> Iterator[str]:
    """Lines of what can be read once.

    Raises:
        DataError: as `lines_of`; or the first line names columns, as of a table.
    """
    lines = lines_of(stream, name, form.encoding)
    first = next(lines)
    if column := column_in(first[:10_000], form.text):
        raise DataError(
            f"{name}: looks like a table, whose first line names the column {column!r}; expected a text a "
            "line. Name the file instead: unrolled predict MODEL table.csv"
        )
    if form.header is None and fasttext.are_labeled([first]):
        raise DataError(
            f"{name}: begins with a label, {shortened(first.split()[0])}, as fastText has it; expected a text a line. "
            "Name the file instead: unrolled predict MODEL FILE"
        )
    return itertools.chain([first], lines)


def lines_of(stream: io.BufferedReader, name: str, encoding: str = "utf-8") -> Iterator[str]:
    """Lines of a stream, packed or not, as they come; the stream is closed at the end.

    Raises:
        DataError: it is empty, or a line is not in that encoding.
    """
    with stream:
        with reading(name):
            source = opened(stream)
            begin = source.peek(_LOOKED_AT)
        if not begin:
            raise DataError(f"{name}: is empty; expected a text a line")
        is_wide = begin.startswith(_WIDE_MARKS) or encoding.lower().startswith(("utf-16", "utf-32", "utf16", "utf32"))
        if is_wide and (wide := _wide_encoding(begin, encoding)):
            yield from _wide_lines(source, name, wide)
            return
        if is_wide or begin.startswith(b"PK\x03\x04") or kind_of(begin) or is_binary(begin):
            with reading(name):
                content = read_whole(source, name)
            yield from decode(unpacked(content, name), name, encoding).removesuffix("\n").split("\n")
            return
        for number, line in enumerate(bounded_lines(source, name), 1):
            yield _decoded(line, number, name, encoding)


def is_utf8(path: Path) -> bool:
    """Whether a file, packed or not, is utf-8 to its end; it is read a part at a time.

    Raises:
        DataError: it cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened_file(path) as stream, reading(str(path)):
        source: io.BufferedIOBase = opened(stream)
        if stream.peek(_LOOKED_AT).startswith(b"PK\x03\x04"):  # whose end tells what is in it
            source = io.BytesIO(unpacked(read_bytes(path), str(path)))
        try:
            while chunk := source.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True


def _wide_encoding(begin: bytes, encoding: str) -> str | None:
    """The encoding of two or four bytes a character of a file that begins so; None where it is no text in it."""
    name = encoding_marked(begin) if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        text = begin[: len(begin) // 4 * 4].decode(name, "ignore")
    except LookupError:
        return None
    return None if is_no_text(text) or not text else name


def _wide_lines(source: io.BufferedReader, name: str, encoding: str) -> Iterator[str]:
    """Lines of a stream with two or four bytes a character, as they come."""
    with reading(name), io.TextIOWrapper(source, encoding=encoding) as text:
        for number in itertools.count(1):
            try:
                line = text.readline(MOST_LINE)
            except UnicodeError:
                told = f"{name}, line {number}: is not {encoding}. Pass --encoding with the right one"
                raise DataError(told) from None
            if not line:
                return
            if len(line) == MOST_LINE and not line.endswith("\n"):
                raise DataError(f"{name}, line {number}: has {MOST_LINE:,} characters or more; expected a text a line")
            yield line.removesuffix("\n")


def _decoded(line: bytes, number: int, name: str, encoding: str) -> str:
    try:
        is_first_of_utf8 = number == 1 and encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return line.decode("utf-8-sig" if is_first_of_utf8 else encoding).rstrip("\r\n")
    except LookupError:
        raise DataError(
            f"{name}: encoding {encoding!r} is not known; expected one of Python's, such as utf-8"
        ) from None
    except UnicodeError:
        raise DataError(f"{name}, line {number}: is not {encoding}. Pass --encoding with the right one") from None
