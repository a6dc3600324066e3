"""The measurements of one layer and direction in a check-up.

Inputs: measurements, as `checkup.py` puts them in. Outputs: a text, plain data.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.data.counted import counted
from unrolled.insight.fixed_points import FixedPoint
from unrolled.insight.reach import Reach
from unrolled.json_values import JsonObject


@dataclass(frozen=True, eq=False)
class LayerCheckup:
    """The measurements of one layer and direction.

    Attributes:
        name: the layer in words; `module` is its module, empty for the model itself.
        n_steps, n_units: time steps, numbers of a row's state.
        reach: how far back the gradient of the last step reaches; None where none came.
        lyapunov: the leading exponents along the data, in 1/step, the largest first; empty where there are none.
        dead: share of dead units by leaf of the state.
        effective_rank: directions that the first leaf of the state fills.
        forgetting: for each leaf of the state the steps until a change of a unit has halved, [units].
        saturated: for each gate the share of its values that are saturated.
        gate_means: for each gate its mean.
        stuck: for each gate the share of its units that are saturated in all rows at all steps.
        fixed_points: where the layer's input rests most of the time, else None.
        growth: by how much the state's norm grows where the data go on three times as long.
    """

    name: str
    module: str
    n_steps: int
    n_units: int
    reach: Reach | None
    lyapunov: list[float]
    dead: dict[str, float]
    effective_rank: float
    forgetting: dict[str, Tensor]
    saturated: dict[str, float]
    gate_means: dict[str, float]
    stuck: dict[str, float]
    fixed_points: list[FixedPoint] | None
    growth: float

    def to_dict(self) -> JsonObject:
        """The measurements as plain data."""
        reach = self.reach
        return {
            "name": self.name,
            "module": self.module,
            "steps": self.n_steps,
            "units": self.n_units,
            "half_life": None if reach is None else plain(reach.half_life),
            "gradient_horizon": None if reach is None else reach.horizon,
            "gradient_curve": [] if reach is None else [plain(each) for each in reach.curve.tolist()],
            "lyapunov": list(map(plain, self.lyapunov)),
            "dead": self.dead,
            "effective_rank": self.effective_rank,
            "forgetting": {name: times.tolist() for name, times in self.forgetting.items()},
            "saturated": self.saturated,
            "gate_means": self.gate_means,
            "stuck": self.stuck,
            "fixed_points": None if self.fixed_points is None else [_point(each) for each in self.fixed_points],
            "growth": plain(self.growth),
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {counted(self.n_steps, 'step')}, {self.n_units} numbers of state"]
        if self.reach is not None:
            lines.append(f"  gradient: {in_words(self.reach.half_life)}, felt {self.reach.horizon} steps back")
        if self.lyapunov:
            shown = ", ".join(f"{each:.3f}" for each in self.lyapunov[:4])
            lines.append(f"  Lyapunov exponents: {shown}{' …' if len(self.lyapunov) > 4 else ''} per step")
        for leaf, times in self.forgetting.items():
            if len(times):
                spread = f"median {times.median():.1f} steps, longest {times.max():.1f}"
                lines.append(f"  forgetting of {leaf}: {spread}; {self.dead.get(leaf, 0):.0%} dead units")
        lines.append(f"  effective rank: {self.effective_rank:.1f}")
        gates = [f"{name} {share:.0%}" for name, share in self.saturated.items()]
        lines += [f"  saturated: {', '.join(gates)}"] if gates else []
        if self.fixed_points is not None:
            stable = sum(point.is_stable for point in self.fixed_points)
            lines.append(f"  fixed points at rest: {len(self.fixed_points)}, {stable} of them stable")
        return "\n".join(lines)


def in_words(half_life: float) -> str:
    """A half-life in words."""
    if math.isinf(half_life):
        return "does not fall"
    return f"half-life {half_life:.{0 if half_life >= 10 else 1}f} step{'' if f'{half_life:.1f}' == '1.0' else 's'}"


def plain(value: float) -> float | None:
    """A number for JSON, which has no word for what is not finite."""
    return value if math.isfinite(value) else None


def _point(point: FixedPoint) -> JsonObject:
    largest = point.eigenvalues[:8]
    return {
        "is_stable": point.is_stable,
        "unstable_directions": point.n_unstable,
        "eigenvalues": torch.view_as_real(largest).tolist(),
        "state": point.state.tolist(),
    }
