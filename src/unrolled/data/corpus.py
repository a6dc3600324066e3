"""Text files as they lie come in, one text with its origin goes out."""

import codecs
import hashlib
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.errors import DataError

STANDARD_LIBRARY = "the Python standard library's source"
_SKIPPED_FOLDERS = {"test", "tests", "site-packages", "__pycache__", "idlelib", "lib2to3", "pydoc_data", "encodings"}


@dataclass(frozen=True)
class Corpus:
    """A text to learn from.

    Attributes:
        text: all of it.
        data: the same, as the bytes of the files.
        files: where it comes from, absolute paths; empty for the standard library.
        encoding: that the files were read in.
        sha256: of the bytes, to tell whether the files have changed since.
    """

    text: str
    data: bytes
    files: tuple[str, ...]
    encoding: str
    sha256: str

    @property
    def name(self) -> str:
        """What to call it."""
        return ", ".join(self.files) if self.files else STANDARD_LIBRARY


def read_corpus(files: Sequence[Path | str], *, encoding: str = "utf-8", as_bytes: bool = False) -> Corpus:
    """Reads text files and joins them in the order given; none: the standard library of the running Python.

    Args:
        files: paths.
        encoding: of the files, a codec of Python's; "utf-8" also takes a byte-order mark.
        as_bytes: take any bytes whatever, and do not decode them; `text` is then empty.

    Raises:
        DataError: files are missing, unreadable, empty or not in that encoding; all such files are told at once.
    """
    if not files:
        data = _standard_library()
        text = "" if as_bytes else data.decode("utf-8")
        return Corpus(text, data, (), "utf-8", hashlib.sha256(data).hexdigest())
    faults: list[str] = []
    raw: list[bytes] = []
    texts: list[str] = []
    for file in files:
        try:
            content = _read(Path(file))
            texts.append("" if as_bytes else _decode(content, str(file), encoding))
            raw.append(content)
        except DataError as fault:
            faults.append(str(fault))
    if faults:
        raise DataError("; ".join(faults))
    data = b"".join(raw)
    paths = tuple(str(Path(file).absolute()) for file in files)
    return Corpus("".join(texts), data, paths, encoding, hashlib.sha256(data).hexdigest())


def _read(path: Path) -> bytes:
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


def _decode(content: bytes, name: str, encoding: str) -> str:
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
            f"{name}, line {line}: {found} is not {encoding}. Pass --encoding with the right one (such as {guess}), "
            "or --units byte to learn from raw bytes"
        ) from None
    # line ends as Python's text files have them
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _standard_library() -> bytes:
    """The source files of the standard library, without tests and tables, in the order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(
        path
        for path in root.rglob("*.py")
        if not _SKIPPED_FOLDERS & set(path.relative_to(root).parts[:-1]) and not path.name.startswith("_sysconfigdata")
    )
    if not paths:
        raise DataError(f"{root}: holds no source of the standard library on this machine; name a file to learn from")
    parts = []
    for path in paths:
        content = path.read_bytes()
        try:
            content.decode("utf-8")
        except UnicodeError:
            continue  # a few files declare another encoding
        parts.append(content.replace(b"\r\n", b"\n"))
    return b"".join(parts)
