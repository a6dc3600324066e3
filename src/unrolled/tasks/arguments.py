"""Checks of the verbs' arguments in Python: one line says what does not fit, before anything is computed.

Inputs: what a user gave. Outputs: the same, or an ArgumentError. A file of its own, as the models of all tasks ask it.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from unrolled.data.files import shortened
from unrolled.errors import ArgumentError, UnrolledError
from unrolled.training.settings import TrainSettings

M = TypeVar("M")  # a model
R = TypeVar("R")  # its data


def accepts(wanted: str) -> Callable[[Callable[[M, Any], R]], Callable[[M, Any], R]]:
    """Makes errors of Python, where a model's `as_data` cannot take what it was given, an ArgumentError.

    Args:
        wanted: what it takes, in words, such as "pairs of a text and its label".
    """

    def decorate(as_data: Callable[[M, Any], R]) -> Callable[[M, Any], R]:
        @functools.wraps(as_data)
        def told(model: M, data: object) -> R:
            try:
                return as_data(model, data)
            except UnrolledError:
                raise
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
                if isinstance(data, str | Path):
                    raise  # a fault of the reader, not of who called it
                raise ArgumentError(f"expected files, or {wanted}; got {named(data)}") from fault

        return told

    return decorate


def check_no_texts(data: object, advice: str) -> None:
    """Refuses texts in place of the names of files.

    Args:
        data: what `fit` was given; in a script names are texts, on the command line paths.
        advice: how texts are passed.

    Raises:
        ArgumentError: it is a list of texts, of which none is a file.
    """
    if not isinstance(data, list | tuple) or not all(isinstance(each, str) for each in data):
        return
    text = next((each for each in data if len(each.split()) > 1 or "\n" in each), None)
    if text is not None and not any(is_file(each) for each in data):
        raise ArgumentError(f"fit: expected names of files; got {shortened(text)}, which is none. {advice}")


def is_file(name: str) -> bool:
    """Whether there is a file or a folder of a name."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a zero in it
        return False


def checked_items(items: Any, fits: Callable[[Any], bool], wanted: str) -> list[Any]:
    """Items to predict, each of them held to be one.

    Raises:
        ArgumentError: they are no list, or one of them is no item.
    """
    if isinstance(items, str | bytes | dict | Path | type) or not _has_items(items):
        raise ArgumentError(f"predict: expected {wanted}, or a list of those; got {named(items)}")
    found = list(items)
    for i, item in enumerate(found):
        if not fits(item):
            raise ArgumentError(f"predict: item {i}: expected {wanted}; got {named(item)}")
    return found


def is_text(item: object) -> bool:
    """Whether an item is a text."""
    return isinstance(item, str)


def is_text_or_tokens(item: object) -> bool:
    """Whether an item is a text or a sentence of tokens."""
    return is_text(item) or (isinstance(item, list | tuple) and all(map(is_text, item)))


def window(item: object) -> np.ndarray:
    """A window of numbers, float64 [time, features].

    Raises:
        ArgumentError: it is none, is empty, or holds what is not finite.
    """
    try:
        values = np.asarray(item, dtype=np.float64)
    except (ArithmeticError, TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ArgumentError(f"expected a window of finite numbers [time, features]; got {named(item)}")
    return values


def checked_training(train: object, usual: TrainSettings) -> TrainSettings:
    """How to train; `usual` where nothing was given.

    Raises:
        ArgumentError: `train` is no TrainSettings.
    """
    if train is None:
        return usual
    if not isinstance(train, TrainSettings):
        raise ArgumentError(
            f"fit: train must be unrolled.TrainSettings, such as unrolled.TrainSettings(steps=100); got {named(train)}"
        )
    return train


def named(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}"
    kind = type(value).__name__
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"a {kind} that begins with {type(value[0]).__name__}" if len(value) else f"an empty {kind}"
    return f"a value of type {kind}"


def _has_items(value: object) -> bool:
    return hasattr(value, "__iter__") and not (isinstance(value, np.ndarray) and value.ndim == 0)
