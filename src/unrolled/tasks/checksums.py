"""Checksums of data: those of the files that they are from, or of what they hold.

Inputs: data of a task. Outputs: texts. A file of its own, as a training notes them and each verdict asks for them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.corpus import Corpus

_LENGTH = 64  # characters of a checksum
_BESIDE = {"notes", "sha256", "read_as", "names", "kind", "scheme"}  # what data have beside examples


def checksums_of(*parts: object) -> str:
    """One checksum after the other: of the files that data are from, or that a model learnt from; of data in memory, of
    what they hold; of None, and of what is no data, none.
    """
    return "".join(map(_of_part, parts))


def apart(checksums: object) -> set[str]:
    """The single ones out of a text that has one after the other."""
    text = str(checksums)
    return {text[i : i + _LENGTH] for i in range(0, len(text), _LENGTH)}


def _of_part(part: Any) -> str:
    of_files = str(getattr(part, "sha256", ""))
    if of_files or not is_dataclass(part) or (not hasattr(part, "part") and not isinstance(part, Corpus)):
        return of_files
    digest = hashlib.sha256()
    for piece in _pieces(part.data if isinstance(part, Corpus) else part):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterable[bytes]:
    """What is in a value, each piece with its kind and length, so that no two values have the same."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield f"array {value.dtype} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            if each.name not in _BESIDE and each.compare:  # what data keep of their own work is not compared
                yield from _pieces(getattr(value, each.name))
    elif isinstance(value, list | tuple | np.ndarray):
        yield f"list {len(value)} ".encode()
        for each in value:
            yield from _pieces(each)
    else:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        kind = "path" if isinstance(value, Path) else type(value).__name__
        yield f"{kind} {len(content)} ".encode()
        yield content
