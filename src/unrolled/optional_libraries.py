"""Libraries that only some tasks need: loaded where they are used, or named with the extra that brings them."""

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import IO

from unrolled.errors import MissingExtraError

_STANDARD_ERROR = 2


def library(name: str, who_needs: str, extra: str) -> ModuleType:
    """A module of a library.

    Args:
        name: of the module.
        who_needs: the words that an error begins with, such as "pictures need".
        extra: of Unrolled, which brings it.

    Raises:
        MissingExtraError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        shown = name.split(".")[0].replace("_", "-")
        raise MissingExtraError(
            f"{who_needs} the {shown} library. Install it: pip install 'unrolled[{extra}]'"
        ) from None


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Around what reads foreign data with a library written in Rust: its panic is a ValueError.

    A panic is no `Exception` in Python, and its class cannot be imported from each library, so it is known by its name.
    Before it raises, the library's runtime prints a trace on standard error, which is kept from there; all else that is
    written meanwhile goes there.

    Raises:
        ValueError: the library has panicked, in its words.
    """
    with tempfile.TemporaryFile() as aside, _standard_error_through(aside):
        try:
            yield
        except BaseException as fault:
            if type(fault).__name__ != "PanicException":
                raise
            aside.truncate(0)
            raise ValueError(str(fault) or "the library has panicked") from fault


@contextlib.contextmanager
def _standard_error_through(aside: IO[bytes]) -> Iterator[None]:
    """What is written to standard error, by libraries too, comes there at the end, if it is still in `aside`."""
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:  # it is closed
        yield
        return
    os.dup2(aside.fileno(), _STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
        aside.seek(0)
        if written := aside.read():
            with contextlib.suppress(OSError):
                os.write(_STANDARD_ERROR, written)
