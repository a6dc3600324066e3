"""What a probe has found: of every scan its norms, gates and gradients by time step.

Inputs: numbers, as `probe.py` puts them in. Outputs: a table of pandas, a picture of matplotlib, a text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unrolled.data.counted import counted
from unrolled.errors import ProbeError
from unrolled.optional_libraries import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class Gate:
    """A sigmoid, tanh or relu of a step.

    Attributes:
        function: "sigmoid", "tanh" or "relu".
        mean: [time], over units and running rows.
        saturated: [time], the share of units and running rows below 0.05 or above 0.95 (tanh: beyond ±0.95; relu: 0).
        dead: share of the units that are saturated in all running rows of all steps.
    """

    function: str
    mean: Tensor
    saturated: Tensor
    dead: float


@dataclass(frozen=True)
class Trouble:
    """The first number that is not finite.

    Attributes:
        scan: the words that name the scan.
        step, row: where, counted from 0.
        quantity: what: "input", a gate, a state, "output", or the gradient of a state.
        line: of the step, where it is known.
    """

    scan: str
    step: int
    row: int
    quantity: str
    line: str = ""

    @property
    def is_of_gradient(self) -> bool:
        """Whether the forward was finite."""
        return self.quantity.startswith("gradient")

    def __str__(self) -> str:
        return f"first NaN or infinity: {self.scan}, step {self.step}, row {self.row}: {self.quantity}{self.line}"


@dataclass(eq=False)
class ScanRecord:
    """One scan. Where the batch has `lengths`, rows count up to their own.

    Attributes:
        module: name of the module in the model that runs it; empty for the model itself.
        layer: in that module, from 1.
        direction: "forward" or "backward" in time.
        call: how often the same module, layer and direction have run before, from 0.
        path: "fused" or "eager".
        running: bool [time, batch], the rows that run; None where all do.
        states: for each leaf of the state the norm after each step, [time, batch].
        gradients: the norm of the total ∂loss/∂state, [time, batch]; empty before a backward.
        terms: for each weight the norm of each step's term of ∂loss/∂weight, [time]; empty before a backward.
        gates: the step's sigmoids, tanhs and relus.
    """

    module: str
    layer: int
    direction: str
    call: int
    path: str
    running: Tensor | None
    states: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """Time steps."""
        return next(iter(self.states.values())).shape[0]

    @property
    def name(self) -> str:
        """The scan in words."""
        parts = [self.module or "model", f"layer {self.layer}", self.direction]
        return ", ".join(parts) + (f", call {self.call + 1}" if self.call else "")

    def mean(self, norms: Tensor) -> Tensor:
        """Norms [time, batch] → their mean over the running rows, [time]."""
        if self.running is None:
            return norms.mean(1)
        n_rows = self.running.sum(1).clamp(min=1)
        return torch.where(self.running, norms, 0).sum(1) / n_rows

    def curves(self) -> Iterator[tuple[str, str, Tensor]]:
        """Quantity, name and values [time] of all that has one for each step."""
        for name, norms in self.states.items():
            yield "state", name, self.mean(norms)
        for name, norms in self.gradients.items():
            yield "gradient", name, self.mean(norms)
        for name, norms in self.terms.items():
            yield "term", name, norms
        for name, gate in self.gates.items():
            yield "gate", name, gate.mean
            yield "saturated", name, gate.saturated


@dataclass(eq=False)
class Record:
    """What `unrolled.probe` has found.

    Attributes:
        scans: in the order in which they ran.
        trouble: the first number that is not finite; None where all are.
        unseen: names of torch's own recurrent layers in the model, which no probe can look into.
    """

    scans: list[ScanRecord] = field(default_factory=list)
    trouble: Trouble | None = None
    unseen: list[str] = field(default_factory=list)

    def to_frame(self) -> "DataFrame":
        """A table of pandas, a row for each number: module, layer, direction, call, step, quantity, name, value.

        `quantity` is "state" or "gradient" (the mean norm over the running rows), "term" (of a weight's gradient),
        "gate" (its mean), "saturated", or "dead", which has no step.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = library("pandas", "a record's to_frame needs", "pandas")
        rows: list[tuple[object, ...]] = []
        for scan in self.scans:
            place = (scan.module, scan.layer, scan.direction, scan.call)
            for quantity, name, values in scan.curves():
                rows += [(*place, step, quantity, name, value) for step, value in enumerate(values.tolist())]
            rows += [(*place, None, "dead", name, gate.dead) for name, gate in scan.gates.items()]
        columns = ["module", "layer", "direction", "call", "step", "quantity", "name", "value"]
        return pandas.DataFrame(rows, columns=columns).astype({"step": "Int64"})

    def plot(self) -> "Figure":
        """The gradient-flow map, a figure of matplotlib's: time by layer, the norm of ∂loss/∂state on a log scale; of
        a record without a backward the norms of the states.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ProbeError: no scan ran within the probe.
        """
        if not self.scans:
            reason = f"Not seen: {self._not_seen()}" if self.unseen else "Call the model inside the `with`."
            raise ProbeError(f"record.plot: no scan ran within the probe. {reason}")
        matplotlib = library("matplotlib.figure", "pictures need", "pictures")
        has_gradient = any(scan.gradients for scan in self.scans)
        names, rows = [], []
        for scan in reversed(self.scans):
            for leaf, norms in (scan.gradients if has_gradient else scan.states).items():
                names.append(f"{scan.name}: {leaf}")
                rows.append(scan.mean(norms).double())
        width = max(map(len, rows))
        table = torch.full((len(rows), width), torch.nan, dtype=torch.float64)
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values.clamp(min=1e-30).log10()
        figure = matplotlib.Figure(figsize=(9, 1.2 + 0.4 * len(rows)), layout="constrained")
        axes = figure.subplots()
        low = max(table[table.isfinite()].min().item(), table[table.isfinite()].max().item() - 12)
        image = axes.imshow(table.numpy(), aspect="auto", interpolation="nearest", cmap="viridis", vmin=low)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("time step")
        words = "|∂loss/∂state|" if has_gradient else "|state|"
        figure.colorbar(image, ax=axes, label=f"log10 of {words},\nmean over rows")
        return figure

    def __repr__(self) -> str:
        lines = [
            f"record of {counted(len(self.scans), 'scan')}" + ("" if self.scans else ": no scan ran within the probe")
        ]
        for scan in self.scans:
            lines.append(f"  {scan.name} ({scan.path}, {scan.n_steps} steps)")
            for leaf, norms in scan.states.items():
                text = f"    {leaf}: norm {_range(scan.mean(norms))}"
                if leaf in scan.gradients:
                    text += f"; gradient {_range(scan.mean(scan.gradients[leaf]))}"
                lines.append(text)
            for name, gate in scan.gates.items():
                saturated = gate.saturated.mean().item()
                lines.append(
                    f"    {name}: mean {gate.mean.mean():.2f}, {saturated:.0%} saturated, {gate.dead:.0%} dead"
                )
        lines += [str(self.trouble)] if self.trouble else []
        lines += [f"not seen: {self._not_seen()}"] if self.unseen else []
        return "\n".join(lines)

    def _not_seen(self) -> str:
        return f"{', '.join(self.unseen)}, torch's own layers. unrolled.swap(model) exchanges them."


def _range(values: Tensor) -> str:
    return f"{values[0]:.3g} at step 0, {values[-1]:.3g} at step {len(values) - 1}"
