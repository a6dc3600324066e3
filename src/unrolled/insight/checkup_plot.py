"""Pictures of a check-up, by matplotlib (extra: pictures).

Inputs: measurements of layers, the record of a probe. Outputs: a figure with the gradient-flow map,
forgetting times, Lyapunov exponents and gates over time.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from unrolled.insight.layer_checkup import LayerCheckup
from unrolled.insight.record import Record, ScanRecord
from unrolled.optional_libraries import library

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SCANS = 12  # that a picture holds
_MOST_CURVES = 10  # as many as there are colors
_DECADES = 12.0  # of the map's colors below the largest


def drawn(layers: Sequence[LayerCheckup], record: Record, title: str) -> "Figure":
    """The pictures of a check-up; `record` has the gradients of the last step's output."""
    matplotlib = library("matplotlib.figure", "pictures need", "pictures")
    n_rows = sum(max(1, len(scan.states)) for scan in _scans(record))
    figure = matplotlib.Figure(figsize=(11, 8 + 0.2 * n_rows), layout="constrained")
    axes = figure.subplots(2, 2)
    _flow(figure, axes[0, 0], record)
    _forgetting(axes[0, 1], layers)
    _exponents(axes[1, 0], layers)
    _gates(axes[1, 1], record)
    figure.suptitle(title)
    return figure


def _flow(figure: "Figure", axes: "Axes", record: Record) -> None:
    """Time by layer, the norm of ∂loss/∂state on a log scale."""
    names, rows = [], []
    for scan in reversed(_scans(record)):
        for leaf, norms in (scan.gradients or scan.states).items():
            names.append(f"{_short(scan)}: {leaf}")
            rows.append(scan.mean(norms).double())
    axes.set_title("Where the gradient goes")
    if not rows:
        return _empty(axes, "no gradient")
    table = torch.full((len(rows), max(map(len, rows))), torch.nan, dtype=torch.float64)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values.clamp(min=1e-30).log10()
    there = table[table.isfinite()]
    high = there.max().item() if len(there) else 0.0
    low = max(there.min().item() if len(there) else -1.0, high - _DECADES)
    image = axes.imshow(
        table.numpy(), aspect="auto", interpolation="nearest", cmap="viridis", vmin=low, vmax=max(high, low + 1)
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("time step")
    figure.colorbar(image, ax=axes, label="log10 of |∂loss/∂state|")
    return None


def _forgetting(axes: "Axes", layers: Sequence[LayerCheckup]) -> None:
    """Each unit's forgetting time, the longest first."""
    axes.set_title("How long each unit remembers")
    curves = {f"{layer.name}: {leaf}": times for layer in layers for leaf, times in layer.forgetting.items()}
    if not any(len(times) for times in curves.values()):
        return _empty(axes, "not measured")
    for name, times in list(curves.items())[:_MOST_CURVES]:
        axes.plot(times.sort(descending=True).values.numpy(), marker=".", label=name)
    axes.set_yscale("log")
    axes.set_xlabel("units, the longest first")
    axes.set_ylabel("steps until a change has halved")
    _legend(axes)
    return None


def _exponents(axes: "Axes", layers: Sequence[LayerCheckup]) -> None:
    """The leading exponents of each layer."""
    axes.set_title("Lyapunov exponents")
    spectra = [layer for layer in layers if layer.lyapunov]
    if not spectra:
        return _empty(axes, "not measured")
    for layer in spectra[:_MOST_CURVES]:
        axes.plot(range(1, len(layer.lyapunov) + 1), layer.lyapunov, marker=".", label=layer.name)
    axes.axhline(0, color="gray", linestyle="--", linewidth=1)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("number")
    axes.set_ylabel("per step; above 0: small differences grow")
    _legend(axes)
    return None


def _gates(axes: "Axes", record: Record) -> None:
    """The mean of each gate over the sequence."""
    axes.set_title("Gates over the sequence")
    scans = _scans(record)
    curves = [(f"{_short(scan)}: {name}", gate.mean) for scan in scans for name, gate in scan.gates.items()]
    if not curves:
        return _empty(axes, "the step has no gates")
    for name, means in curves[:_MOST_CURVES]:
        axes.plot(means.cpu().numpy(), label=name)
    axes.set_xlabel("time step")
    axes.set_ylabel("mean over units and rows")
    _legend(axes)
    return None


def _scans(record: Record) -> list[ScanRecord]:
    """The scans of a record; of many calls, as of a sequence in segments, no more than a picture holds."""
    return record.scans[:_MOST_SCANS]


def _short(scan: ScanRecord) -> str:
    return scan.name.replace(", forward", "")


def _legend(axes: "Axes") -> None:
    """Below the curves, which it would hide."""
    axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)


def _empty(axes: "Axes", words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
