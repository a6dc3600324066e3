"""A line of a user's step, in the words that reasons end with, and the line of theirs that a warning is about.

Input: a stack, a node of a graph or a guard of torch's. Output: file, line and source. Capture, trace and lowering
say lines, so this lies below them.
"""

import functools
import linecache
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import fx

_NOT_OF_A_STEP = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<eval_with_key>", "<frozen")
_PYTHON = str(Path(linecache.__file__).parent)


def is_of_torch(name: str) -> bool:
    """Whether a file is torch's."""
    return name.startswith(_NOT_OF_A_STEP[0])


@functools.cache
def is_of_a_step(name: str) -> bool:
    """Whether a file is neither torch's, nor the engine's, nor Python's own."""
    is_pythons = name.startswith(_PYTHON) and "site-packages" not in name
    return not (is_pythons or name.startswith(_NOT_OF_A_STEP))


def line_of_stack(stack: Any) -> str:
    """Where in the user's step, from a `traceback.StackSummary`: the innermost line that is not torch's or ours."""
    for frame in reversed(stack or []):
        if is_of_a_step(frame.filename):
            return shown_line(frame.filename, frame.lineno or 0, frame.line or "")
    return ""


def line_of_node(node: fx.Node) -> str:
    """Where in the user's step an operation came from; nothing where that is not known."""
    return line_of_trace(node.meta.get("stack_trace"))


def line_of_trace(trace: str | None) -> str:
    """The same, of a traceback as text."""
    lines = [line.strip() for line in (trace or "").splitlines()]
    for at in reversed(range(len(lines))):
        if lines[at].startswith("File "):
            name, number = lines[at].removeprefix('File "').split('", line ')
            if is_of_a_step(name):
                source = lines[at + 1] if at + 1 < len(lines) else ""
                return shown_line(name, int(number.split(",")[0]), source)
    return ""


def line_of_guard(guard: str) -> str:
    """Where in the user's step a guard of torch's comes from, which its words end with; empty where they do not."""
    found = re.search(r"  # (?P<source>\S.*?)  # (?P<file>\S+):(?P<number>\d+) in ", guard)
    # torch cuts long names of files off at their start
    return shown_line(Path(found["file"]).name, int(found["number"]), found["source"]) if found else ""


def shown_line(name: str, number: int, source: str = "") -> str:
    """A line of a file, as reasons end with it."""
    source = (source or linecache.getline(name, number)).strip()
    return f' ("{name}", line {number}{f": {source}" if source else ""})'


def level_of_caller() -> int:
    """How many calls above the one that warns the user's own line is: above this library, and torch's calls of its
    layers.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in ("unrolled", "torch"):
        level, frame = level + 1, frame.f_back
    return level
