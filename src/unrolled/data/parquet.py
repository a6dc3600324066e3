"""Parquet files, held to bounds before their values take memory (extra: tables).

Inputs: the bytes of a file. Outputs: a frame of polars. A file of its own, as a file of a kilobyte may ask for any
amount of memory, and as polars ends in a panic of its own on some damaged files.
"""

import io
from typing import Any

from unrolled import optional_libraries
from unrolled.errors import DataError
from unrolled.files.bounds import lacks_memory

MOST_CELLS = 50_000_000  # values, one of which takes some 60 bytes as text
MOST_TEXT = 2**30  # bytes of all texts: one that is kept once in the file may stand in each row


def read_parquet(name: str, content: bytes) -> Any:
    """A frame of polars.

    Raises:
        DataError: the file is damaged, or holds more than `MOST_CELLS` values or `MOST_TEXT` bytes of text.
    """
    polars = optional_libraries.library("polars", "Parquet files need", "tables")
    try:
        with optional_libraries.panics_as_errors():
            lazy = polars.scan_parquet(io.BytesIO(content))
            n_cells = lazy.select(polars.len()).collect().item() * len(lazy.collect_schema())
            if n_cells > MOST_CELLS:  # known from the file's end
                raise DataError(f"{name}: holds {n_cells:,} values; at most {MOST_CELLS:,} are read. Cut it into parts")
            frame = polars.read_parquet(io.BytesIO(content))
            _check_values(name, frame, polars)
            return frame
    except DataError:
        raise
    except (polars.exceptions.PolarsError, OSError, ValueError) as fault:
        if lacks_memory(fault):
            raise MemoryError from fault
        raise DataError(
            f"{name}: cannot be read as Parquet: {(str(fault) or type(fault).__name__).splitlines()[0]}"
        ) from fault


def _check_values(name: str, frame: Any, polars: Any) -> None:
    """Raises DataError where texts or lists become too large as Python's own; in polars equal ones share memory."""
    n_bytes = sum(int(frame[each].str.len_bytes().cast(polars.UInt64).sum() or 0) for each in _of(frame, polars.String))
    if n_bytes > MOST_TEXT:
        raise DataError(f"{name}: holds {n_bytes:,} bytes of text; at most {MOST_TEXT:,} are read. Cut it into parts")
    n_values = sum(int(frame[each].list.len().cast(polars.UInt64).sum() or 0) for each in _of(frame, polars.List))
    if n_values > MOST_CELLS:
        raise DataError(f"{name}: holds {n_values:,} values; at most {MOST_CELLS:,} are read. Cut it into parts")


def _of(frame: Any, kind: object) -> list[str]:
    return [name for name, each in frame.schema.items() if each == kind]
