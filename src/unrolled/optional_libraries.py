"""Libraries that only some tasks need: loaded where they are used, or named with the extra that brings them."""

import importlib
from types import ModuleType

from unrolled.errors import MissingExtraError


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
