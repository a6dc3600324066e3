"""Data in memory as lists: texts, windows and labels.

Inputs: lists, arrays, and the series and frames of pandas, polars and others. Outputs: plain lists. A file of its own,
as no library is imported for it: a series is what has `to_list`, a frame what has `columns`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.table import choose_column
from unrolled.errors import DataError

MOST_SIZE = 1e100  # of numbers: their squares, and sums of them, must be finite

#: kinds of labels that are named by texts in a model file, and how they come back
LABEL_KINDS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda name: name == "True",
}


def is_frame(data: object) -> bool:
    """Whether data is a data frame."""
    return hasattr(data, "columns") and not isinstance(data, np.ndarray)


def as_list(data: object) -> list[Any]:
    """The items of a list, an array or a series; numbers of numpy become Python's.

    Raises:
        DataError: it holds no items.
    """
    if hasattr(data, "to_list"):
        return list(data.to_list())
    if hasattr(data, "__array__") and not isinstance(data, list | tuple):
        data = np.asarray(data)
        if data.ndim:
            return list(data.tolist() if data.ndim == 1 else data)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | dict) or getattr(data, "ndim", 1) == 0:
        raise DataError(f"expected a list, an array or a series of items; got {data!r:.60}")
    return list(data)


def index_of(data: Any) -> Any:
    """The index of a series or frame of pandas, which results keep; None of other data."""
    return data.index if hasattr(data, "iloc") else None


def column_of(frame: Any, asked: str | None, usual: Sequence[str], option: str) -> Any:
    """A frame's column, as a series: the one asked for, the only one, or the first with one of the usual names.

    Raises:
        DataError: there is none of these.
    """
    head = [str(name) for name in frame.columns]
    name = choose_column("the frame", head, asked or (head[0] if len(head) == 1 else None), usual, option)
    return frame[list(frame.columns)[head.index(name)]]


def items_of(data: Any) -> list[Any]:
    """Texts, or windows [time, features] as float64.

    Args:
        data: texts; windows of one size [n, time, features] or of several; or series of one feature [n, time], in an
            array, a list of lists or a frame of numbers.

    Raises:
        DataError: an item is neither; its place is told.
    """
    if hasattr(data, "toarray"):
        raise DataError("got a sparse matrix; expected texts, or windows as a dense array: call toarray()")
    if is_frame(data):
        data = data.to_numpy()
    if hasattr(data, "__array__") and not isinstance(data, list | tuple) and not hasattr(data, "to_list"):
        data = _windows(np.asarray(data))
    return [_item(i, item) for i, item in enumerate(as_list(data))]


def _windows(array: np.ndarray) -> np.ndarray:
    """An array with a window, or a text, for each of its first dimension."""
    shown = f"an array (shape={array.shape})"
    if array.dtype.kind == "c":
        raise DataError(f"Complex data not supported: got {shown}")
    if array.ndim > 1 and array.shape[1] == 0:
        raise DataError(f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if array.ndim == 2:
        return _numbers(array, "the array")[:, :, None]
    if array.dtype.kind in "fiub" and array.ndim != 3:
        raise DataError(f"got {shown} of numbers. Reshape your data: windows are [n, time, features] or [n, time]")
    return array


def _item(place: int, item: Any) -> Any:
    if isinstance(item, str):
        return str(item)
    if item is None or np.ndim(item) == 0:
        raise DataError(
            f"item {place} is {item!r:.40}; expected a text or a window [time, features]. Leave such items out"
        )
    window = _numbers(item, f"item {place}")
    if window.ndim > 2:
        raise DataError(f"item {place} is an array {list(window.shape)}; expected a text or a window [time, features]")
    return window if window.ndim == 2 else window[:, None]


def _numbers(values: object, where: str) -> np.ndarray:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise DataError(f"{where}: holds what is no number: {fault}") from fault
    if not np.isfinite(found).all():
        raise DataError(f"{where}: holds NaN or infinity; expected finite numbers")
    if found.size and np.abs(found).max() > MOST_SIZE:
        raise DataError(f"{where}: holds a number beyond {MOST_SIZE:g} in size")
    return found


def labels_of(answers: Any) -> tuple[list[list[str]], bool, str]:
    """The names of items' labels, whether an item may have several, and the kind that the labels are of.

    Args:
        answers: a label for each item, or a list of labels; texts, whole numbers or booleans.

    Raises:
        DataError: a label is missing, is a fraction, or labels are of several kinds.
    """
    if is_frame(answers):
        answers = answers.to_numpy()
    if isinstance(answers, np.ndarray) and answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    each = [_plain(label) for label in as_list(answers)]
    is_multiple = any(isinstance(label, list | tuple | set | np.ndarray) for label in each)
    rows = [[_plain(one) for one in label] if is_multiple else [label] for label in each]
    kinds = set()
    for place, row in enumerate(rows):
        for label in row:
            if label is None or (isinstance(label, float) and math.isnan(label)):
                raise DataError(f"item {place} has no label; got {label}. Leave such items out")
            if isinstance(label, float) and not label.is_integer():
                raise DataError(f"the label of item {place} is {label}. Unknown label type: a classifier takes classes")
            kinds.add(type(label).__name__)
    if len(kinds) > 1 or not kinds <= LABEL_KINDS.keys():
        raise DataError(f"labels are of the kinds {', '.join(sorted(kinds))}; expected one of {', '.join(LABEL_KINDS)}")
    return [sorted({str(label) for label in row}) for row in rows], is_multiple, min(kinds, default="str")


def _plain(label: object) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def same_number(items: Sequence[object], answers: Sequence[object]) -> None:
    """Holds items and answers to be as many.

    Raises:
        DataError: they are not.
    """
    if len(items) != len(answers):
        raise DataError(
            f"got {counted(len(items), 'item')} and {counted(len(answers), 'answer')}; expected one for each"
        )
