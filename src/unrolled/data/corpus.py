"""Text files, read as one text.

Inputs: paths of text files. Outputs: one text with its origin.
"""

import hashlib
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unrolled.data.files import decode, read_bytes
from unrolled.data.packed import unpacked
from unrolled.errors import DataError

_OTHERWISE = ", or --units byte to learn from raw bytes"
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
        sha256: of each file, to tell whether they have changed since.
        notes: what was noticed on reading, for the user.
    """

    text: str
    data: bytes
    files: tuple[str, ...]
    encoding: str
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call it."""
        return ", ".join(self.files) if self.files else STANDARD_LIBRARY

    def parts(self, at: int, *, of_bytes: bool) -> tuple["Corpus", "Corpus"]:
        """What stands before a place in the text, or in the bytes, and the rest."""
        if of_bytes:
            return replace(self, data=self.data[:at]), replace(self, data=self.data[at:])
        return replace(self, text=self.text[:at]), replace(self, text=self.text[at:])


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
            _check_name(str(file))
            content = read_bytes(Path(file))
            texts.append("" if as_bytes else _text(content, str(file), encoding))
            raw.append(content)
        except DataError as fault:
            faults.append(str(fault))
    if faults:
        raise DataError("; ".join(faults))
    data = b"".join(raw)
    paths = tuple(str(Path(file).absolute()) for file in files)
    sha256 = "".join(hashlib.sha256(content).hexdigest() for content in raw)
    return Corpus("".join(texts), data, paths, encoding, sha256)


def _check_name(file: str) -> None:
    """No file's name has lines or more than 255 characters: that is a text."""
    if "\n" in file or max(map(len, file.split("/"))) > 255:
        raise DataError(
            f"got a text of {len(file):,} characters where a file is expected; in Python pass fit(text=...)"
        )


def _text(content: bytes, name: str, encoding: str) -> str:
    return decode(unpacked(content, name), name, encoding, _OTHERWISE)


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
