"""Columns of 0 and 1, a label each: of a text that may have none of them, or several.

Inputs: a table, or cells. Outputs: the names of the columns that have 1. A file of its own, as readers of labels and
hints on columns both ask for it.
"""

from collections.abc import Iterable, Sequence

from unrolled.data.files import Faults, shortened
from unrolled.data.table import Table

_TRUTH = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def columns_named(head: Sequence[str], text: str) -> list[str]:
    """The columns that a text names: one, or several with commas between."""
    names = [text] if text in head else [name.strip() for name in text.split(",") if name.strip()]
    return list(dict.fromkeys(names)) or [text]


def are_flags(cells: Iterable[str]) -> bool:
    """Whether cells hold 0 and 1 and nothing else; of a rare label the first thousand may be 0."""
    kinds = {_TRUTH.get(cell.strip().lower()) for cell in cells}
    return bool(kinds) and None not in kinds


def flagged(table: Table, names: Sequence[str], faults: Faults) -> list[list[str]]:
    """Of each row the columns that have 1, sorted.

    Args:
        table: as read.
        names: of the columns.
        faults: gets each cell that is neither 0 nor 1.
    """
    found: list[list[str]] = [[] for _ in table.places]
    for name in sorted(names):
        for i, cell in enumerate(table.columns[name]):
            truth = _TRUTH.get(cell.strip().lower())
            if truth is None:
                faults.add(
                    f"{table.places[i]}, column {name!r}: {shortened(cell)} is neither 0 nor 1; of several columns of "
                    "labels each has 1 where the text has the label"
                )
            elif truth:
                found[i].append(name)
    return found
