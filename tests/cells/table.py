"""The table of cells in docs/cells.md, made from the folder: python -m tests.cells.table writes it."""

import inspect
import sys
from pathlib import Path

import torch

from unrolled import cells
from unrolled.nn.named_layers import LAYER_NAMES

PAGE = Path(__file__).parents[2] / "docs/cells.md"
BEGIN, END = "| cell | what it is |", "\n\n"


def _value(value: object) -> str:
    name = getattr(value, "__name__", "")
    return f"torch.{name}" if name and getattr(torch, name, None) is value else repr(value)


def table() -> str:
    lines = [f"{BEGIN} options | `--cell` |", "|---|---|---|---|"]
    for name, cell in sorted(cells.BY_NAME.items()):
        parameters = inspect.signature(cell).parameters.values()
        options = [
            each for each in parameters if each.default is not each.empty and each.name not in ("device", "dtype")
        ]
        shown = ", ".join(f"`{each.name}={_value(each.default)}`" for each in options)
        what = (inspect.getdoc(sys.modules[cell.__module__]) or "").splitlines()[0]
        lines.append(f"| `{cell.__name__}` | {what} | {shown} | {f'`{name}`' if name in LAYER_NAMES else '–'} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table of today."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
    return before + table() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
