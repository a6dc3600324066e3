"""What a file is by its first bytes, and what a packed one holds.

Inputs: the bytes of a file. Outputs: its kind in words; the bytes of a file in gzip, bzip2, xz or zip. A file of its
own, as texts, tables and corpora all begin here.
"""

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from unrolled.data.counted import counted
from unrolled.errors import DataError

WORKBOOK = "an Excel workbook"
_MOST_UNPACKED = 4 * 2**30  # bytes
_MOST_TIMES, _FREE = 200, 64 * 2**20  # text becomes so many times as large at most; below so many bytes anything may
_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
_PACKED = ((re.compile(re.escape(_GZIP)), "gzip"), (re.compile(rb"BZh[1-9]1AY&SY"), "bzip2"), (re.compile(_XZ), "xz"))
_KINDS = (
    (rb"%PDF-", "a PDF document"),
    (rb"\x89PNG\r\n", "a PNG picture"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"GIF8[79]a", "a GIF picture"),
    (rb"(?:II\*\x00|MM\x00\*)", "a TIFF picture"),
    (rb"RIFF....WAVE", "a WAV sound"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"RIFF....AVI ", "an AVI film"),
    (rb"fLaC\x00", "a FLAC sound"),
    (rb"OggS\x00", "an Ogg sound"),
    (rb"ID3[\x02-\x04]", "an MP3 sound"),
    (rb"....ftyp", "an MP4 film or sound"),
    (rb"PAR1", "a Parquet file"),
    (rb"ARROW1\x00", "an Arrow file"),
    (rb"SQLite format 3\x00", "an SQLite database"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"\x80[\x02-\x05][\x8a\x95c}\]]", "a Python pickle, which may run code and is never opened"),
    (rb"\x7fELF", "a program"),
    (rb"MZ.{58,62}\x00\x00", "a program"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd"),
    (rb".{257}ustar", "a tar archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file"),
)
_COMPILED = [(re.compile(pattern, re.DOTALL), words) for pattern, words in _KINDS]
_OFFICE = {"xl/": WORKBOOK, "word/": "a Word document", "ppt/": "a PowerPoint presentation"}
_OPEN_DOCUMENTS = {
    b"application/vnd.oasis.opendocument.spreadsheet": "an OpenDocument spreadsheet",
    b"application/vnd.oasis.opendocument.text": "an OpenDocument text",
}


def kind_of(content: bytes) -> str | None:
    """What a file is, in words such as "a PNG picture"; None if it may be text, or text that is packed."""
    if content.startswith(_ZIP):
        return _office(content)
    return next((words for pattern, words in _COMPILED if pattern.match(content)), None)


def is_workbook(content: bytes) -> bool:
    """Whether a file is a workbook of Excel or OpenDocument, new or old."""
    return kind_of(content) in (WORKBOOK, "an OpenDocument spreadsheet", "an old Excel or Word file")


def unpacked(content: bytes, name: str) -> bytes:
    """The bytes of a file, taken out of gzip, bzip2, xz or zip if it is packed.

    Raises:
        DataError: it is damaged, holds several files, or becomes too large.
    """
    if content.startswith(_ZIP):
        return content if _office(content) else _of_zip(content, name)
    packing = next((words for pattern, words in _PACKED if pattern.match(content)), None)
    if packing is None:
        return content
    try:
        return _whole(_opened(io.BytesIO(content), packing), name, len(content), packing)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as fault:
        raise DataError(f"{name}: is packed with {packing}, and damaged: {fault}") from fault


def opened(stream: io.BufferedReader) -> io.BufferedReader:
    """A stream of what a stream holds packed with gzip, bzip2 or xz; else the same."""
    begin = stream.peek(16)
    packing = next((words for pattern, words in _PACKED if pattern.match(begin)), None)
    return stream if packing is None else io.BufferedReader(_opened(stream, packing))


def _opened(stream: IO[bytes], packing: str) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    kinds: dict[str, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File]] = {
        "gzip": lambda file: gzip.GzipFile(fileobj=file),
        "bzip2": bz2.BZ2File,
    }
    return kinds.get(packing, lzma.LZMAFile)(stream)


def _whole(stream: Any, name: str, size: int, packing: str) -> bytes:
    parts, total = [], 0
    while part := stream.read(2**20):
        total += len(part)
        check_size(name, size, total, packing)
        parts.append(part)
    return b"".join(parts)


def check_size(name: str, size: int, unpacked: int, packing: str) -> None:
    """Refuses what grows beyond all text.

    Raises:
        DataError: it does.
    """
    if unpacked > _MOST_UNPACKED or (unpacked > _FREE and unpacked > _MOST_TIMES * size):
        raise DataError(
            f"{name}: is packed with {packing} in {size:,} bytes and holds more than {unpacked:,}; text becomes "
            f"{_MOST_TIMES} times as large at most, and {_MOST_UNPACKED:,} bytes. Unpack it, and name what it holds"
        )


def _of_zip(content: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = list(_files(archive))
            if len(files) != 1:
                shown = ", ".join(each.filename for each in files[:5]) + (", ..." if len(files) > 5 else "")
                raise DataError(
                    f"{name}: is a zip archive of {counted(len(files), 'file')}{f' ({shown})' if files else ''}; "
                    "expected one. Unpack it, and name the files to read"
                )
            check_size(name, len(content), files[0].file_size, "zip")
            with archive.open(files[0]) as stream:
                return unpacked(_whole(stream, name, len(content), "zip"), f"{name}/{files[0].filename}")
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError) as fault:
        raise DataError(f"{name}: is a zip archive that cannot be read: {fault}") from fault


def _files(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The files of an archive, without what macOS adds."""
    for each in archive.infolist():
        if not each.is_dir() and not each.filename.startswith("__MACOSX/") and "/." not in f"/{each.filename}":
            yield each


def _office(content: bytes) -> str | None:
    """What an archive is that a program of an office wrote; None if it is a plain one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if "mimetype" in names and (words := _OPEN_DOCUMENTS.get(archive.read("mimetype").strip())):
                return words
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError):
        return None  # told where it is unpacked
    if "[Content_Types].xml" in names:
        return next((words for part, words in _OFFICE.items() if any(name.startswith(part) for name in names)), None)
    if any(name.endswith(".npy") for name in names):
        return "NumPy arrays"
    return None
