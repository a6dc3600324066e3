"""What a notebook shows of a training: one output that is updated, and stays readable in the saved notebook.

Inputs: steps and evaluations. Outputs: HTML with the learning curve, and plain text beside it. A file of its own, as it
speaks to IPython, which is not imported: where a notebook runs, it is loaded already. Not rich's display, which needs
ipywidgets there and leaves nothing in the saved file.
"""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from unrolled import markup
from unrolled.data.counted import counted
from unrolled.files.model_file import EvaluationRow
from unrolled.training import processes
from unrolled.training.display import Display, Speed
from unrolled.training.job import Curve, TrainResult, clock

_EVERY_S = 0.5  # between two updates while nothing is evaluated
_SHELL = "ZMQInteractiveShell"  # of Jupyter and those that build on it; a terminal's has another name

Update = Callable[[dict[str, str]], None]  # takes what is to be seen by its MIME type


def display_of_call() -> Display:
    """What `fit` shows where it is given no display: its progress in a notebook, nothing elsewhere."""
    if processes.rank() == 0 and in_notebook():
        return NotebookDisplay(_output())
    return Display()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(kind.__name__ == _SHELL for kind in type(shell).__mro__)


class _Handle(Protocol):
    """An output of IPython's that can be exchanged."""

    def update(self, seen: dict[str, str], *, raw: bool) -> None: ...


def _output() -> Update:
    """A new output of the cell that runs, made at the first update."""
    show = sys.modules["IPython"].display.display
    made: list[_Handle] = []

    def update(seen: dict[str, str]) -> None:
        if made:
            made[0].update(seen, raw=True)
        else:
            made.append(show(seen, raw=True, display_id=True))

    return update


class NotebookDisplay(Display):
    """A bar, the learning curve beside the baseline, and the evaluations; at the end the verdict.

    Args:
        update: shows HTML and plain text in place of what it showed before.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.notes: list[str] = []
        self.record: list[EvaluationRow] = []
        self.evaluations: list[tuple[str, ...]] = []
        self.curve = Curve()
        self.speed = Speed()
        self.line, self.reached, self.verdict = "begins", "the first step", ""
        self.progress: float | None = 0.0  # None once the training is over
        self.last = -_EVERY_S

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._show()

    def start(self, *, items_per_step: int, item: str, curve: Curve | None = None) -> None:
        self.items_per_step, self.item, self.curve = items_per_step, item, curve or self.curve
        self._show()

    def step(self, step: int, progress: float, seconds: float, loss: float, gradient_norm: float) -> None:
        self.speed.step(step, progress)
        self.progress = progress
        told = self.speed.parts(loss, gradient_norm, self.items_per_step, self.item)
        self.reached = f"step {step:,}, {clock(seconds)}"
        self.line = " · ".join([self.reached, *told])
        if time.monotonic() - self.last >= _EVERY_S:
            self._show()

    def evaluated(self, row: EvaluationRow, metric: str, *, is_best: bool) -> None:
        self.record.append(row)
        best = "best so far" if is_best else ""
        told = (clock(row["seconds"]), f"{row['step']:,}", metric, f"{row['train_loss']:.3f}", best)
        self.evaluations.append(told)
        self._show()

    def stop(self) -> None:
        self.progress = None
        self.line = f"ended at {self.reached}"
        self._show()

    def judged(self, result: TrainResult, verdict: str) -> None:
        self.line, self.verdict = str(result), verdict
        self.curve, self.record = result.curve, result.record
        self._show()

    def _show(self) -> None:
        self.last = time.monotonic()
        self.update({"text/html": self._html(), "text/plain": "\n".join(filter(None, (self.line, self.verdict)))})

    def _html(self) -> str:
        head = ("time", "step", "validation part", "training loss", "")
        rows = markup.table(head, self.evaluations) if self.evaluations else ""
        notes = "".join(map(markup.sentence, self.notes))
        return markup.block(
            markup.heading("Training", self.line),
            "" if self.progress is None else markup.bar(self.progress),
            self.curve.chart(self.record),
            markup.sentence(self.verdict, is_bold=True),
            markup.details(counted(len(self.evaluations), "evaluation"), rows) if rows else "",
            markup.details(counted(len(self.notes), "note"), notes) if len(self.notes) > 3 else notes,
        )
