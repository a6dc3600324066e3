"""Pictures of metrics, drawn by matplotlib (extra: pictures).

Inputs: metrics. Outputs: pictures in files; or figures, which a notebook shows.
"""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from unrolled import optional_libraries
from unrolled.errors import DataError
from unrolled.files.model_file import EvaluationRow
from unrolled.files.whole import write_aside
from unrolled.report import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = (".png", ".svg", ".pdf", ".jpg")  # of pictures, by the ends of their names


class ForecastPanel(TypedDict):
    """The past of a series and what is forecast.

    Attributes:
        name: of the series.
        past: [n].
        point: [h].
        bands: (low [h], high [h]) by label, widest first.
        times: datetime64 [n + h], if known.
    """

    name: str
    past: np.ndarray
    point: np.ndarray
    bands: dict[str, tuple[np.ndarray, np.ndarray]]
    times: np.ndarray | None


class BacktestPanel(TypedDict):
    """A forecast beside the values that came.

    Attributes:
        name: of the series.
        past: [n].
        actual, point, low, high, baseline: [h].
        baseline_name: the baseline's.
        times: datetime64 [n + h], if known.
    """

    name: str
    past: np.ndarray
    actual: np.ndarray
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    baseline: np.ndarray
    baseline_name: str
    times: np.ndarray | None


class TimedWord(TypedDict):
    """A word of a sound: when it begins and ends, in seconds, and how sure the model is of it."""

    word: str
    start: float
    end: float
    confidence: float


def _short(text: str, most: int) -> str:
    """A text that leaves room for the picture."""
    return text if len(text) <= most else text[: most - 1] + "…"


def check_name(path: Path) -> None:
    """Holds the name of a picture to tell a form that can be drawn.

    Raises:
        DataError: it does not.
    """
    if path.suffix.lower() not in FORMS:
        raise DataError(f"{path}: expected a name of a picture, that ends in {', '.join(FORMS[:-1])} or {FORMS[-1]}")


def _canvas(width: float, height: float, n_rows: int = 1) -> "tuple[Figure, np.ndarray]":
    """A figure and its axes [n_rows]."""
    library = optional_libraries.library("matplotlib.figure", "pictures need", "pictures")
    figure = library.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(n_rows, 1, squeeze=False)[:, 0]


def _save(figure: "Figure", path: Path) -> Path:
    check_name(path)
    with fonts.readable(figure):
        write_aside(path, lambda aside: figure.savefig(aside, format=path.suffix[1:], dpi=120))
    return path


def _shown(figure: "Figure") -> "Figure":
    """A figure that a notebook shows as a picture, also where pyplot is not loaded, which would see to that."""
    with fonts.readable(figure):
        # IPython's name, which matplotlib does not declare
        figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    with fonts.readable(figure):
        figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def learning(
    record: Sequence[EvaluationRow], of: str, label: str, *, baseline: float | None = None, name: str = ""
) -> "Figure":
    """A figure of matplotlib's: the metric `of` in the rows of a training by step, and the training loss below it.

    Args:
        record: rows with step, train_loss and the metric.
        of: name of the metric in the rows.
        label: its name in words.
        baseline: the metric of the baseline, if known.
        name: of the baseline.
    """
    rows = [row for row in record if of in row]
    figure, (above, below) = _canvas(7, 5, 2)
    steps = [row["step"] for row in rows]
    style = {"marker": "o", "markersize": 3}
    above.plot(steps, [row[of] for row in rows], label=f"{label}, validation part", **style)
    if baseline is not None:
        above.axhline(baseline, color="gray", linestyle="--", label=name)
    below.plot(steps, [row["train_loss"] for row in rows], color="black", linewidth=0.8, label="training loss", **style)
    for axes in (above, below):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)
    below.set_xlabel("step")
    return _shown(figure)


def futures(panels: Sequence[ForecastPanel], remark: str = "") -> "Figure":
    """A figure of matplotlib's: the past of series and what is forecast.

    Args:
        panels: one below the other; without times an axis counts the steps from the forecast's first.
        remark: below all.
    """
    figure, rows = _canvas(9, 0.6 + 2.4 * len(panels), len(panels))
    for axes, panel in zip(rows, panels, strict=True):
        past, point = panel["past"], panel["point"]
        times = panel["times"]
        at = np.arange(-len(past), len(point)) if times is None else times
        after = at[len(past) :]
        axes.plot(at[: len(past)], past, color="black", linewidth=0.8, label="known")
        style = {"marker": "o", "markersize": 4} if len(point) == 1 else {}
        for i, (label, (low, high)) in enumerate(panel["bands"].items()):
            if len(point) == 1:
                axes.vlines(after, low, high, color="C0", alpha=0.25 + 0.25 * i, linewidth=3 + 3 * i, label=label)
            else:
                axes.fill_between(after, low, high, color="C0", alpha=0.2 + 0.1 * i, linewidth=0, label=label)
        axes.plot(after, point, color="C0", label="forecast", **style)
        axes.set_title(panel["name"], fontsize=9, loc="left")
        _dated(axes, times)
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    counted = "steps from the forecast's first" if all(panel["times"] is None for panel in panels) else ""
    if counted or remark:
        rows[-1].set_xlabel(". ".join(filter(None, (counted, remark))))
    return _shown(figure)


def _dated(axes: "Axes", times: np.ndarray | None) -> None:
    """Dates on an axis of times."""
    if times is not None:
        dates = optional_libraries.library("matplotlib.dates", "pictures need", "pictures")
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))


def confusion(counts: dict[str, dict[str, int]], path: Path) -> Path:
    """The confusion matrix: rows are labels, columns what was found, both in the order of the rows."""
    names = columns = list(counts)
    shares = np.array([[row[name] / max(1, sum(row.values())) for name in columns] for row in counts.values()])
    size = 2.5 + 0.5 * len(columns)
    figure, (axes,) = _canvas(size + 1, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("found")
    axes.set_ylabel("label")
    for i, name in enumerate(names):
        for j, column in enumerate(columns):
            shade = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{counts[name][column]:,}", ha="center", va="center", color=shade, fontsize=8)
    return _save(figure, path)


def bars(model: dict[str, float], baseline: dict[str, float], title: str, path: Path) -> Path:
    """A metric by label, the model's beside the baseline's."""
    names = list(model)
    figure, (axes,) = _canvas(7, 1.2 + 0.32 * len(names))
    places = np.arange(len(names))
    axes.barh(places - 0.2, [model[name] for name in names], 0.4, label="model")
    axes.barh(places + 0.2, [baseline.get(name, 0.0) for name in names], 0.4, label="baseline", color="silver")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(title)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return _save(figure, path)


def forecasts(panels: Sequence[BacktestPanel], path: Path) -> Path:
    """Series with forecasts, one below the other; without times an axis counts the steps from the forecast's first."""
    figure, rows = _canvas(9, 2.4 * len(panels), len(panels))
    for axes, panel in zip(rows, panels, strict=True):
        past, horizon = len(panel["past"]), len(panel["point"])
        times = panel["times"]
        at = np.arange(-past, horizon) if times is None else times
        after = at[past:]
        actual = np.concatenate((panel["past"], panel["actual"]))
        axes.plot(at, actual, color="black", linewidth=0.8, label="actual")
        axes.fill_between(after, panel["low"], panel["high"], alpha=0.25, label="10 to 90 %")
        style = {"marker": "o", "markersize": 3} if horizon == 1 else {}
        axes.plot(after, panel["point"], label="model", **style)
        axes.plot(after, panel["baseline"], color="gray", linestyle=":", label=panel["baseline_name"], **style)
        axes.set_title(panel["name"], fontsize=9, loc="left")
        _dated(axes, times)
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    if all(panel["times"] is None for panel in panels):
        rows[-1].set_xlabel("steps from the forecast's first")
    return _save(figure, path)


def attention(source: Sequence[str], target: Sequence[str], weights: np.ndarray, path: Path) -> Path:
    """What was read in the source, a column each, for what was written, a row each; weights [target, source]."""
    figure, (axes,) = _canvas(2 + 0.42 * len(source), 1.5 + 0.32 * len(target))
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=60, ha="right")
    axes.set_yticks(range(len(target)), target)
    return _save(figure, path)


def heard(frames: np.ndarray, step_s: float, words: Sequence[TimedWord], said: str, path: Path) -> Path:
    """A sound's features [frames, mels] with the words that were heard in it, where they were heard."""
    seconds = len(frames) * step_s
    figure, (axes,) = _canvas(max(5.0, min(14.0, 3 * seconds)), 3)
    axes.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, frames.shape[1]))
    for word in words:
        axes.axvspan(word["start"], word["end"], color="white", alpha=0.15)
        axes.text(
            (word["start"] + word["end"]) / 2,
            frames.shape[1] * 1.01,
            _short(word["word"], 20),
            ha="center",
            va="bottom",
            fontsize=9,
        )
    axes.set_title(f"said: {_short(said, 80)}", fontsize=9, loc="left", pad=18)
    axes.set_xlabel("seconds")
    axes.set_ylabel("mel band")
    return _save(figure, path)
