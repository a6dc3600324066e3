"""What a unit of a network that reads text may follow, character by character.

Input: a text. Outputs: features, each a number for every character, known once it has been read. Those of A. Karpathy,
J. Johnson and L. Fei-Fei (arXiv:1506.02078), who found units for them by hand.
"""

from collections.abc import Callable

import numpy as np

_OPENING, _CLOSING = "([{", ")]}"


def _quotes(text: str) -> list[float]:
    """Within double quotes, which an empty line ends."""
    found, is_inside, before = [], False, ""
    for char in text:
        if char == '"':
            is_inside = not is_inside
        elif char == "\n" and before == "\n":
            is_inside = False
        found.append(float(is_inside))
        before = char
    return found


def _position(text: str) -> list[float]:
    """Characters since the line began."""
    found, at = [], 0
    for char in text:
        at = 0 if char == "\n" else at + 1
        found.append(float(at))
    return found


def _depth(text: str) -> list[float]:
    """Open brackets."""
    found, depth = [], 0
    for char in text:
        depth = max(0, depth + (char in _OPENING) - (char in _CLOSING))
        found.append(float(depth))
    return found


def _indentation(text: str) -> list[float]:
    """Spaces at the line's begin, a tab as four."""
    found, spaces, is_begin = [], 0, True
    for char in text:
        if char == "\n":
            spaces, is_begin = 0, True
        elif is_begin and char in " \t":
            spaces += 4 if char == "\t" else 1
        else:
            is_begin = False
        found.append(float(spaces))
    return found


def _digits(text: str) -> list[float]:
    """Within a number."""
    return [float(char.isdigit()) for char in text]


def _upper(text: str) -> list[float]:
    """A capital letter."""
    return [float(char.isupper()) for char in text]


FEATURES: dict[str, Callable[[str], list[float]]] = {
    "inside quotes": _quotes,
    "position in the line": _position,
    "depth of brackets": _depth,
    "indentation": _indentation,
    "digits": _digits,
    "capitals": _upper,
}


def features_of(text: str) -> dict[str, np.ndarray]:
    """Each feature of a text, float64 [chars], by its name."""
    return {name: np.array(make(text)) for name, make in FEATURES.items()}
