"""A user's files, and a report of all their errors at once.

Inputs: paths. Outputs: bytes and texts.
"""

import codecs
import hashlib
from collections.abc import Sequence
from pathlib import Path

from unrolled.errors import DataError

_MOST_SHOWN = 20


class Faults:
    """What is wrong with a file, collected so that the user sees all of it at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        self.texts.append(text)

    def stop(self) -> None:
        """Raises DataError if there are any."""
        if not self.texts:
            return
        shown = self.texts[:_MOST_SHOWN]
        if more := len(self.texts) - len(shown):
            shown.append(f"and {more:,} faults more")
        raise DataError("\n  ".join(shown))


def shortened(text: str) -> str:
    """A text for a message, in quotes."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        DataError: it is missing, unreadable, empty or a folder.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name the files in it, such as {path}/*.txt") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror or fault}") from fault
    if not content:
        raise DataError(f"{path}: is empty; expected text to learn from")
    return content


def decode(content: bytes, name: str, encoding: str, otherwise: str = "") -> str:
    """The text of a file's bytes, with line ends as Python's text files have them; `otherwise` ends the advice.

    Raises:
        DataError: they are not in that encoding.
    """
    try:
        text = content.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise DataError(
            f"{name}: encoding {encoding!r} is not known; expected one of Python's, such as utf-8"
        ) from None
    except UnicodeError as fault:
        at = getattr(fault, "start", 0)
        line = content.count(b"\n", 0, at) + 1
        found = f"byte 0x{content[at]:02x}" if at < len(content) else "its end"
        guess = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
        raise DataError(
            f"{name}, line {line}: {found} is not {encoding}. "
            f"Pass --encoding with the right one (such as {guess}){otherwise}"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_texts(files: Sequence[Path | str], *, encoding: str = "utf-8") -> tuple[dict[str, str], str]:
    """Texts by the names of their files, and one checksum of all.

    Raises:
        DataError: files cannot be read, or are not in that encoding; all of them are told at once.
    """
    faults, texts, digest = Faults(), {}, hashlib.sha256()
    for file in files:
        try:
            content = read_bytes(Path(file))
            digest.update(content)
            texts[str(file)] = decode(content, str(file), encoding)
        except DataError as fault:
            faults.add(str(fault))
    faults.stop()
    return texts, digest.hexdigest()
