"""What a person sees of a training: a live display on a terminal, plain lines elsewhere, nothing in a library call.

Inputs: steps and evaluations. Outputs: text on standard error. What a notebook shows: notebook.py.
"""

import sys
import time
from typing import TextIO

from unrolled.files.model_file import EvaluationRow
from unrolled.training.job import Curve, TrainResult, clock

_EVERY_S = 15.0


class Display:
    """A silent display, and the interface of the others: a subclass shows the progress of `fit` in its own way.

    Attributes:
        stop_reason: why the training shall stop now, in words; empty while it may go on.
    """

    stop_reason = ""

    def note(self, text: str) -> None:
        """Something that the user should know before the training."""

    def start(self, *, items_per_step: int, item: str, curve: Curve | None = None) -> None:
        """A training begins; a step takes so many items, of that name; `curve` says what shows how it learns."""

    def step(self, step: int, progress: float, seconds: float, loss: float, gradient_norm: float) -> None:
        """A step is done; `progress` runs from 0 to 1, `seconds` since the run's first start."""

    def evaluated(self, row: EvaluationRow, metric: str, *, is_best: bool) -> None:
        """An evaluation is done; `metric` is the one that the user knows, with its unit."""

    def stop(self) -> None:
        """The training is over, or cut off."""

    def judged(self, result: TrainResult, verdict: str) -> None:
        """The trained model was compared with its baseline."""


def display_for(stream: TextIO = sys.stderr) -> Display:
    """The display that suits a stream: live on a terminal, else plain lines."""
    return LiveDisplay(stream) if stream.isatty() else PlainDisplay(stream)


class PlainDisplay(Display):
    """A line now and then, and one an evaluation; for logs and pipes."""

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.speed = Speed()
        self.last = time.monotonic()

    def start(self, *, items_per_step: int, item: str, curve: Curve | None = None) -> None:
        self.items_per_step, self.item = items_per_step, item

    def step(self, step: int, progress: float, seconds: float, loss: float, gradient_norm: float) -> None:
        self.speed.step(step, progress)
        if time.monotonic() - self.last >= _EVERY_S:
            self.last = time.monotonic()
            self._print(f"step {step}: {self._line(loss, gradient_norm)}")

    def evaluated(self, row: EvaluationRow, metric: str, *, is_best: bool) -> None:
        self.last = time.monotonic()
        self._print(_evaluation(row, metric, is_best=is_best))

    def _line(self, loss: float, gradient_norm: float) -> str:
        return "  ".join(self.speed.parts(loss, gradient_norm, self.items_per_step, self.item))

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class LiveDisplay(PlainDisplay):
    """A bar that moves, above it a line an evaluation."""

    def note(self, text: str) -> None:
        if hasattr(self, "bar"):
            self._print(text)
        else:
            super().note(text)

    def start(self, *, items_per_step: int, item: str, curve: Curve | None = None) -> None:
        # imported here so that `import unrolled` needs torch alone
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().start(items_per_step=items_per_step, item=item)
        columns = (TextColumn("step {task.fields[step]}"), BarColumn(bar_width=12), TextColumn("{task.fields[line]}"))
        self.bar = Progress(*columns, console=Console(file=self.stream), transient=True, refresh_per_second=4)
        self.task = self.bar.add_task("", total=1.0, step=0, line="")
        self.bar.start()

    def step(self, step: int, progress: float, seconds: float, loss: float, gradient_norm: float) -> None:
        self.speed.step(step, progress)
        self.bar.update(self.task, completed=progress, step=step, line=self._line(loss, gradient_norm))

    def stop(self) -> None:
        self.bar.stop()

    def _print(self, line: str) -> None:
        self.bar.console.print(line, highlight=False, markup=False)


class Speed:
    """Steps and progress a second, over the last half minute."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int, float]] = []

    def step(self, step: int, progress: float) -> None:
        now = time.monotonic()
        self.points.append((now, step, progress))
        while len(self.points) > 2 and self.points[0][0] < now - 30:
            self.points.pop(0)

    def rate(self) -> float | None:
        """Steps a second, or None where there is no telling, as at the first step."""
        (start, first, _), (end, last, _) = self.points[0], self.points[-1]
        return (last - first) / (end - start) if end > start and last > first else None

    def left(self) -> float | None:
        """Seconds left, or None where there is no telling."""
        (start, _, first), (end, _, last) = self.points[0], self.points[-1]
        return (1 - last) * (end - start) / (last - first) if last > first else None

    def parts(self, loss: float, gradient_norm: float, items_per_step: int, item: str) -> list[str]:
        """What a person is told of a step."""
        rate, left = self.rate(), self.left()
        told = [f"loss {loss:.3f}", f"gradient {gradient_norm:.2f}"]
        told += [f"{rate * items_per_step:,.0f} {item}s/s"] if rate is not None else []
        return told + ([f"{clock(left)} left"] if left is not None else [])


def _evaluation(row: EvaluationRow, metric: str, *, is_best: bool) -> str:
    best = "  best" if is_best else ""
    at = f"{clock(row['seconds'])}  step {row['step']}"
    return f"{at}: validation {metric}{best}  (training loss {row['train_loss']:.3f})"
