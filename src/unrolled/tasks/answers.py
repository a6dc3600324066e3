"""The answers of models, as values, as tables and in a notebook.

Inputs: answers with `rows` and `value`. Outputs: arrays, data frames, HTML. A file of its own, as all tasks share it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from unrolled import markup, optional_libraries

_MOST_ROWS, _MOST_COLUMNS = 20, 12  # that a notebook shows
_MOST_SHORT = 5  # answers in the text of several


class Shown:
    """Base of all answers: a short text, a table in a notebook, a data frame."""

    @property
    def value(self) -> object:
        """What was asked for, by itself: a label, tags, numbers, a text."""
        raise NotImplementedError

    def rows(self) -> list[dict[str, object]]:
        """As rows of a table."""
        raise NotImplementedError

    def to_frame(self, library: str = "pandas") -> Any:
        """The rows as a data frame; see `Answers.to_frame`."""
        return _frame(self.rows(), None, library)

    def __repr__(self) -> str:
        """The answer in one line."""
        line = " ".join(str(self).split())
        return f"<{type(self).__name__}: {line if len(line) <= 80 else line[:77] + '...'}>"

    def _repr_html_(self) -> str:
        return _html(self.rows())


A = TypeVar("A", bound=Shown)


class Answers(list[A]):
    """The answers for several items: a list, which is also an array of their values and a table."""

    def __init__(self, answers: Iterable[A] = (), *, index: Any = None) -> None:
        super().__init__(answers)
        self.frame_index = index

    def __getitem__(self, key: Any) -> Any:
        """An answer; answers, of a slice; else what the array of values has there."""
        if isinstance(key, slice):
            index = None if self.frame_index is None else self.frame_index[key]
            return type(self)(super().__getitem__(key), index=index)
        return super().__getitem__(key) if isinstance(key, int | np.integer) else np.asarray(self)[key]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array of values."""
        return np.asarray(self).shape

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> np.ndarray:
        """The values [n], or [n, horizon] of forecasts; of those that are lists an array of objects."""
        values = [each.value for each in self]
        if values and isinstance(values[0], list):
            result = np.empty(len(values), dtype=object)
            result[:] = values
            return result
        return np.array(values, dtype=dtype)

    def to_frame(self, library: str = "pandas") -> Any:
        """All rows as a data frame.

        Args:
            library: "pandas" or "polars". A frame of pandas has the index of the series that was predicted, where there
                is a row for each of its items.

        Raises:
            MissingExtraError: the library is not installed.
        """
        return _frame([row for each in self for row in each.rows()], self.frame_index, library)

    def __repr__(self) -> str:
        """The first answers, and how many there are."""
        shown = ", ".join(map(repr, self[:_MOST_SHORT]))
        return f"[{shown}]" if len(self) <= _MOST_SHORT else f"[{shown}, ... {len(self):,} in all]"

    def _repr_html_(self) -> str:
        return _html([row for each in self[:_MOST_ROWS] for row in each.rows()], len(self))


def _frame(rows: list[dict[str, object]], index: Any, library: str) -> Any:
    module = optional_libraries.library(library, "data frames need", "tables")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    if module.__name__ != "pandas":
        return module.DataFrame(columns, strict=False)
    return module.DataFrame(columns, index=index if index is not None and len(index) == len(rows) else None)


def _html(rows: Sequence[Mapping[str, object]], n_answers: int = 1) -> str:
    """Rows as a table of HTML, the first of them."""
    whole = list(dict.fromkeys(name for row in rows for name in row))
    names = whole[:_MOST_COLUMNS]
    shown = markup.table(names, ([row.get(name) for name in names] for row in rows[:_MOST_ROWS]))
    more = max(len(rows), n_answers) > _MOST_ROWS or len(whole) > _MOST_COLUMNS
    return markup.block(shown, markup.sentence("… to_frame() has them all" if more else ""))
