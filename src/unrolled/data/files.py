"""A user's files, and a report of all their errors at once.

Inputs: paths. Outputs: bytes and texts.
"""

import codecs
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unrolled.data.packed import is_workbook, kind_of, unpacked
from unrolled.errors import DataError
from unrolled.files.bounds import read_bounded

_MOST_SHOWN = 20
#: what stands for a missing value in a table, in small letters
MISSING = {"", "na", "nan", "-nan", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "?", "."}


class Faults:
    """What is wrong with a file, collected so that the user sees all of it at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []  # the first ones: each line of a large file may be one
        self.n_faults = 0

    def add(self, text: str) -> None:
        """Takes a fault; the same is taken once."""
        if text in self.texts:
            return
        self.n_faults += 1
        if len(self.texts) < _MOST_SHOWN:
            self.texts.append(text)

    def stop(self) -> None:
        """Raises DataError if there are any."""
        if not self.texts:
            return
        more = self.n_faults - len(self.texts)
        raise DataError("\n  ".join([*self.texts, *([f"and {more:,} faults more"] if more else [])]))


def json_lines(name: str, text: str, faults: Faults) -> Iterator[tuple[int, str, Any]]:
    """The number, the place for a message, and the value of each line of JSON Lines that is not empty."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as fault:
            faults.add(f"{place}: is no JSON: {fault}")
            continue
        yield number, place, value


def refuse_array(name: str, text: str) -> None:
    """Raises DataError if a text is one JSON array, which is no lines: columns of CoNLL may begin with a bracket."""
    if text.lstrip()[:1] != "[":
        return
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return
    raise DataError(f"{name}: is one JSON array; expected JSON lines, an object a line without commas between")


def in_place(item: object) -> str:
    """What a line's value has in place of what is expected, for a message."""
    if not isinstance(item, dict):
        return "it is no object"
    return f"it has {', '.join(map(shortened, item))}" if item else "it is empty"


def shortened(text: str) -> str:
    """A text for a message, in quotes."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        DataError: it is missing, unreadable, empty, too large, a folder or a device.
    """
    try:
        content = read_bounded(path)
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name the files in it, such as {path}/*.txt") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror or fault}") from fault
    if not content:
        raise DataError(f"{path}: is empty; expected a text or a table")
    return content


def decode(content: bytes, name: str, encoding: str, otherwise: str = "") -> str:
    """The text of a file's bytes, with line ends as Python's text files have them; `otherwise` ends the advice.

    A byte-order mark overrules utf-8, the default.

    Raises:
        DataError: they are not in that encoding, or no text at all.
    """
    if kind := kind_of(content):
        advice = ": expected text. " + ("Save the sheet as CSV" if is_workbook(content) else "Save it as plain text")
        raise DataError(f"{name}: is {kind}{advice}{otherwise}")
    is_default = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    try:
        text = content.decode(encoding_marked(content) if is_default else encoding)
    except LookupError:
        raise DataError(
            f"{name}: encoding {encoding!r} is not known; expected one of Python's, such as utf-8"
        ) from None
    except UnicodeError as fault:
        at = getattr(fault, "start", 0)
        if is_binary(content) or _wide(content[:_LOOKED_AT]):
            raise DataError(_binary(content, name, otherwise)) from None
        rest = bytes(getattr(fault, "object", content))  # `at` counts from behind a byte-order mark
        line = rest.count(b"\n", 0, at) + 1
        found = f"byte 0x{rest[at]:02x}" if at < len(rest) else "its end"
        raise DataError(
            f"{name}, line {line}: {found} is not {encoding}. "
            f"Pass --encoding with the right one (such as {_guessed(rest, at)}){otherwise}"
        ) from None
    if is_no_text(text[:_LOOKED_AT]):
        raise DataError(_binary(content, name, otherwise))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _binary(content: bytes, name: str, otherwise: str) -> str:
    """What is said of bytes that are no text, or one of two bytes a character."""
    if wide := _wide(content[:_LOOKED_AT]):
        return f"{name}: has two bytes for each character, as in {wide}. Pass --encoding {wide}{otherwise}"
    return f"{name}: is no text, but binary data; expected text{otherwise}"


_LOOKED_AT = 4096  # bytes, or characters, that tell what a file is
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_EAST_ASIAN = re.compile(r"[\n\r\t -~\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")
_CHINESE = re.compile(rb"(?<![A-Za-z\x80-\xff])[\x80-\xff]{2,}(?![A-Za-z\x80-\xff])|[\x80-\xff]{4,}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def encoding_marked(content: bytes) -> str:
    """The encoding that a byte-order mark tells; utf-8 without."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")


def is_binary(content: bytes) -> bool:
    """Whether the begin of a file is no text in any encoding of single bytes."""
    return is_no_text(content[:_LOOKED_AT].decode("latin-1"))


def is_no_text(text: str) -> bool:
    """Whether more than a twentieth of the characters are control characters: of random bytes a tenth are."""
    return 20 * len(_CONTROL.findall(text)) > len(text)


def _wide(content: bytes) -> str | None:
    """The encoding of text of two bytes a character: nearly each has a zero in it, or is Chinese or Japanese."""
    if 0 not in content:  # as in no text of single bytes
        return None
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = content[start::2]
        has_zeros = 10 * half.count(0) > 9 * len(half) and not content[1 - start :: 2].count(0)
        text = content[: len(content) // 2 * 2].decode(name, "replace")
        if has_zeros or 10 * len(_EAST_ASIAN.findall(text)) > 9 * len(text) > 0:
            return name
    return None


def _guessed(content: bytes, at: int) -> str:
    """The likeliest encoding of bytes that are not what was asked for at a place: Chinese stands in pairs of high
    bytes, accents alone or, as in Größe, a pair within a word.
    """
    with contextlib.suppress(UnicodeDecodeError):
        content.decode()
        return "utf-8"
    looked_at = at + _LOOKED_AT
    runs = re.findall(rb"[\x80-\xff]+", content[at:looked_at])
    is_chinese = _CHINESE.search(content, at, looked_at) and all(len(run) % 2 == 0 for run in runs[:-1])
    if is_chinese:
        return "gb18030"
    return "cp1252" if re.search(rb"[\x80-\x9f]", content[at:looked_at]) else "latin-1"


def read_texts(files: Sequence[Path | str], *, encoding: str = "utf-8") -> tuple[dict[str, str], str]:
    """Texts by the names of their files, and the checksums of these in their order, in one text.

    Raises:
        DataError: files cannot be read, or are not in that encoding; all of them are told at once.
    """
    faults, texts, sha256 = Faults(), {}, ""
    for file in files:
        try:
            content = read_bytes(Path(file))
            sha256 += hashlib.sha256(content).hexdigest()
            texts[str(file)] = decode(unpacked(content, str(file)), str(file), encoding)
        except DataError as fault:
            faults.add(str(fault))
    faults.stop()
    return texts, sha256
