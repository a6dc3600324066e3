"""Rows of a training, to trackers of experiments and to callbacks.

Inputs: what a display is told. Outputs: calls of TensorBoard, MLflow, W&B, trackio or one's own tracker, each imported
only if it is named. A file of its own, as the loop knows displays alone.
"""

import contextlib
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

from unrolled.errors import MissingExtraError, SettingsError
from unrolled.files.model_file import EvaluationRow
from unrolled.json_values import Json, JsonObject
from unrolled.training import processes
from unrolled.training.display import Display
from unrolled.training.job import Curve, TrainResult
from unrolled.training.run_folder import free_folder

#: takes a step and its metrics; True stops the training
Callback = Callable[[int, dict[str, float]], bool | None]
_EVERY = 10  # steps between rows of the training loss; evaluations have rows of their own


@runtime_checkable
class Tracker(Protocol):
    """What keeps the rows of a training."""

    def start(self, config: JsonObject) -> None:
        """A training begins, with these settings by name."""

    def row(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics at a step: the training loss, or those of an evaluation."""

    def end(self, summary: JsonObject) -> None:
        """The training is over: how it ended, and the metrics of the model; `reason` alone if it was cut off."""


class TensorBoard:
    """Event files in a folder, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, name: str) -> None:
        _library("tensorboard", "tensorboard")
        self.folder = folder / "tensorboard"

    def start(self, config: JsonObject) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder))
        lines = "\n".join(f"    {name}: {value}" for name, value in config.items())
        self.writer.add_text("settings", lines)

    def row(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def end(self, summary: JsonObject) -> None:
        self.writer.add_text("result", "\n".join(f"    {name}: {value}" for name, value in summary.items()))
        self.writer.close()


class MLflow:
    """A run of MLflow's, or the one that is active."""

    def __init__(self, folder: Path, name: str) -> None:
        self.library = _library("mlflow", "mlflow")
        self.name, self.is_ours = name, False

    def start(self, config: JsonObject) -> None:
        self.is_ours = self.library.active_run() is None
        if self.is_ours:
            self.library.start_run(run_name=self.name)
        self.library.log_params(config)

    def row(self, step: int, metrics: dict[str, float]) -> None:
        self.library.log_metrics(metrics, step=step)

    def end(self, summary: JsonObject) -> None:
        self.library.log_metrics(_numbers(summary))
        if self.is_ours:
            self.library.end_run("FINISHED" if "steps" in summary else "KILLED")


class WandB:
    """A run of Weights & Biases."""

    def __init__(self, folder: Path, name: str) -> None:
        self.library = _library("wandb", "wandb")
        self.name = name

    def start(self, config: JsonObject) -> None:
        self.run = self.library.init(project="unrolled", name=self.name, config=config)

    def row(self, step: int, metrics: dict[str, float]) -> None:
        self.run.log(metrics, step=step)

    def end(self, summary: JsonObject) -> None:
        self.run.summary.update(summary)
        self.run.finish(exit_code=0 if "steps" in summary else 1)


class Trackio:
    """A run of trackio's, on this machine."""

    def __init__(self, folder: Path, name: str) -> None:
        self.library = _library("trackio", "trackio")
        self.name = name

    def start(self, config: JsonObject) -> None:
        self.library.init(project="unrolled", name=self.name, config=config)

    def row(self, step: int, metrics: dict[str, float]) -> None:
        self.library.log(metrics, step=step)

    def end(self, summary: JsonObject) -> None:
        self.library.log(_numbers(summary))
        self.library.finish()


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB, "trackio": Trackio,
}  # fmt: skip


def _library(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"--log {name} needs the {package} library. Install it: pip install {package}"
        ) from None


def _numbers(summary: Mapping[str, Json]) -> dict[str, float]:
    return {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}


Log = Sequence[str | Tracker] | str | Tracker


def listed(log: Log) -> list[str | Tracker]:
    """One or several, as a list."""
    return [log] if isinstance(log, str) or not isinstance(log, Sequence) else list(log)


def trackers_of(log: Log, folder: Path, name: str) -> list[Tracker]:
    """Trackers by name, or as they are.

    Args:
        log: names out of `TRACKERS`, or trackers; one or several.
        folder: where files go.
        name: of the run.

    Raises:
        SettingsError: there is no tracker of a name.
        MissingExtraError: its library is not installed.
    """
    found: list[Tracker] = []
    for each in listed(log):
        if isinstance(each, str) and each in TRACKERS:
            found.append(TRACKERS[each](folder, name))
        elif isinstance(each, Tracker):
            found.append(each)
        else:
            raise SettingsError(
                f"log: got {each!r:.60}; expected one of {', '.join(TRACKERS)}, "
                "or an object with start(config), row(step, metrics) and end(summary)"
            )
    return found


class Rows(Display):
    """A display that also hands rows to trackers and callbacks; a callback may stop the training."""

    def __init__(self, shown: Display, trackers: Sequence[Tracker], callbacks: Sequence[Callback]) -> None:
        self.shown, self.trackers, self.callbacks = shown, trackers, callbacks
        self.is_open = False

    def open(self, config: JsonObject) -> None:
        """A training begins."""
        for tracker in self.trackers:
            tracker.start(config)
        self.is_open = True

    def close(self, summary: JsonObject) -> None:
        """It is over; a second call does nothing."""
        if self.is_open:
            self.is_open = False
            for tracker in self.trackers:
                tracker.end(summary)

    def note(self, text: str) -> None:
        self.shown.note(text)

    def start(self, *, items_per_step: int, item: str, curve: Curve | None = None) -> None:
        self.shown.start(items_per_step=items_per_step, item=item, curve=curve)

    def step(self, step: int, progress: float, seconds: float, loss: float, gradient_norm: float) -> None:
        self.shown.step(step, progress, seconds, loss, gradient_norm)
        if step % _EVERY == 0:
            self._row(step, {"train_loss": loss, "gradient_norm": gradient_norm})

    def evaluated(self, row: EvaluationRow, metric: str, *, is_best: bool) -> None:
        self.shown.evaluated(row, metric, is_best=is_best)
        self._row(int(row["step"]), {name: value for name, value in _numbers(row).items() if name != "step"})

    def stop(self) -> None:
        self.shown.stop()

    def judged(self, result: TrainResult, verdict: str) -> None:
        self.shown.judged(result, verdict)

    def _row(self, step: int, metrics: dict[str, float]) -> None:
        for tracker in self.trackers:
            tracker.row(step, {name: value for name, value in metrics.items() if math.isfinite(value)})
        wanting = [callback for callback in self.callbacks if callback(step, dict(metrics))]
        if self.callbacks and processes.agreed(float(bool(wanting))):
            name = getattr(wanting[0], "__name__", type(wanting[0]).__name__) if wanting else "process 0"
            self.stop_reason = f"stopped by the callback {name}"


@contextlib.contextmanager
def tracked(display: Display, config: JsonObject) -> Iterator[JsonObject]:
    """Trackers start before and end after what is done within; it fills the summary."""
    summary: JsonObject = {"reason": "cut off"}
    if not isinstance(display, Rows):
        yield summary
        return
    display.open(config)
    try:
        yield summary
    finally:
        display.close(summary)


def flat(metrics: Mapping[str, Json], before: str = "") -> dict[str, float]:
    """Numbers of nested metrics by a name such as "model/accuracy", two levels deep."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, bool | int | float):
            found[f"{before}{name}"] = float(value)
        elif isinstance(value, Mapping) and not before:
            found |= flat(value, f"{name}/")
    return found


def with_rows(display: Display, log: Log, callbacks: Sequence[Callback], run: Path | str | None, task: str) -> Display:
    """A display that also feeds trackers, of process 0 alone, and callbacks; files go to the run's folder."""
    if not log and not callbacks:
        return display
    folder = Path(run) if run is not None else free_folder(task)
    trackers = trackers_of(log, folder, folder.name) if processes.rank() == 0 else []
    return Rows(display, trackers, callbacks)
