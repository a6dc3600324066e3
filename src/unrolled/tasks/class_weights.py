"""How much each class counts in training, as scikit-learn's `class_weight` means it.

Inputs: what the user asks for, and the classes of the training part. Outputs: a weight for each class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unrolled.errors import ModelFileError, SettingsError

NONE, BALANCED = "none", "balanced"
_LEAST, _MOST = 1e-6, 1e6  # what float32 can train with
MOST_DECIDING = 200  # classes up to which macro F1 decides


def parsed(asked: str | Mapping[Any, float]) -> dict[str, float] | str:
    """The weights by label; or "none" or "balanced".

    Raises:
        SettingsError: it is none of these, or a weight is too small or too large.
    """
    if asked in (NONE, BALANCED):
        return str(asked)
    try:
        pairs = (
            [(name, weight) for name, _, weight in (each.rpartition("=") for each in asked.split(","))]
            if isinstance(asked, str)
            else list(asked.items())
        )
        found = {str(name).strip(): float(weight) for name, weight in pairs}
    except (TypeError, ValueError):
        found = {}
    if not found or not all(name and _LEAST <= weight <= _MOST for name, weight in found.items()):
        raise SettingsError(
            f"class_weights={asked!r}: expected none, balanced, or weights from 1e-6 to 1e6 by label, such as "
            "rare=5,other=1"
        )
    return found


def weights_of(
    asked: str | Mapping[Any, float],
    counts: Mapping[str, int],
    classes: Sequence[str],
    *,
    n_of_several: int | None = None,
) -> np.ndarray:
    """A weight for each class, float32 [classes]: "balanced" is n / (number of classes · count), so that each class
    counts as much as any other; a class that is not named, or does not occur, counts 1.

    Where each of `n_of_several` items may have several classes, a weight is of the items with a class against those
    without it, and "balanced" is how many times as many the latter are.

    Raises:
        SettingsError: a weight is for what is no class.
    """
    named = parsed(asked)
    if isinstance(named, dict):
        if unknown := sorted(named.keys() - set(classes)):
            shown = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
            raise SettingsError(f"class_weights: {unknown[0]!r} is no class; the classes are {shown}")
        return np.array([named.get(name, 1.0) for name in classes], dtype=np.float32)
    if named == NONE:
        return np.ones(len(classes), dtype=np.float32)
    if n_of_several is not None:
        found = [(n_of_several - counts[name]) / counts[name] if counts.get(name) else 1.0 for name in classes]
        return np.clip(np.array(found, dtype=np.float32), _LEAST, _MOST)
    n, n_classes = sum(counts.values()), sum(count > 0 for count in counts.values())
    return np.array([n / (n_classes * counts[name]) if counts.get(name) else 1.0 for name in classes], dtype=np.float32)


def in_words(weights: np.ndarray, classes: Sequence[str], decides: str = "macro F1") -> str:
    """The weights, for the user, and the metric that decides."""
    shown = ", ".join(f"{name} {weight:.3g}" for name, weight in list(zip(classes, weights, strict=True))[:10])
    return f"class weights: {shown}{', ...' if len(classes) > 10 else ''}; {decides} decides"


def from_data(weights: object, n_classes: int) -> np.ndarray | None:
    """Weights out of a model file.

    Raises:
        ModelFileError: they are damaged.
    """
    if weights is None:
        return None
    found = np.array(weights, dtype=np.float32)
    if found.shape != (n_classes,) or not (found > 0).all():
        raise ModelFileError("its class weights are damaged")
    return found
