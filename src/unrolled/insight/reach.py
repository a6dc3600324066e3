"""How far back the gradient reaches.

Inputs: the norms of ∂loss/∂state of a chain. Outputs: half-life and horizon in steps, and the curve they come from.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NEGLIGIBLE = 0.01  # a gradient below this share of its norm at the end does not count
LEAST_STEPS = 5  # of sequences whose gradient is judged
FAR = 0.4  # of the sequence: a gradient that reaches less far has vanished
DECADES = 2.0  # by which a gradient grows that has exploded
_MOST_POINTS = 256
_ROUNDED = -20  # log10 of norms whose squares float32 rounds to zero soon, below 4e-23


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the gradient of a loss at the end of a sequence goes.

    Attributes:
        curve: [distance], log10 of the norm, the mean over rows; the distance from the end of the loop in steps.
        half_life: steps in which it halves; infinite where it does not fall.
        horizon: the largest distance up to which it is still a hundredth of what it is near the end.
        decades: by how many powers of ten it grows from the end to the begin, by the slope; negative where it falls.
        cut: the distance beyond which there is none at all, where it is cut off and not faded; else None.
    """

    curve: Tensor
    half_life: float
    horizon: int
    decades: float
    cut: int | None


def reach_of(norms: Tensor, running: Tensor | None = None) -> Reach | None:
    """The reach of a gradient whose norms are given, [time, batch] in the order of the loop.

    The slope is Theil and Sen's: the median over all pairs of steps, so a few odd steps do not move it. A gradient that
    falls below a hundredth and comes back farther off has not gone through the steps between: it entered there, as
    where a layer above runs backward and the loss reads both of its ends. Then the part up to the lowest step counts.

    Args:
        norms: float64 [time, batch].
        running: bool [time, batch] in the order of the loop, or None for all.

    Returns:
        None where no gradient came at all, or so little that it is what rounding leaves.
    """
    curve = _by_distance(norms, running)
    there = curve.isfinite().nonzero()[:, 0]
    if not len(there) or curve[there].max().item() < _ROUNDED:
        return None
    first, last = int(there[0]), int(there[-1])
    near = curve[first : first + 1 + (len(curve) - first) // 10]
    level = near[near.isfinite()].max().item()
    end = _end_of_way(curve, first, level)
    felt = (curve[:end] >= level + math.log10(NEGLIGIBLE)).nonzero()[:, 0]
    own = there[there < end]
    slope = _slope(own.double(), curve[own])
    faded = curve[last].item() < max(level - 20, _ROUNDED)  # so small that the rest is rounded to zero
    cut = last + 1 if last + 1 < len(curve) and not faded else None
    half_life = math.log10(2) / -slope if slope < -1e-9 else math.inf
    return Reach(curve, half_life, int(felt[-1]), slope * (len(curve) - 1), cut)


def _end_of_way(curve: Tensor, first: int, level: float) -> int:
    """The distance up to which the gradient came through the loop: beyond its lowest step where it comes back, but
    not where it then grows past all that is near the end, as a gradient that explodes may fall before.
    """
    faint = (curve[first:] < level + math.log10(NEGLIGIBLE)).nonzero()[:, 0] + first
    if not len(faint):
        return len(curve)
    beyond = curve[int(faint[0]) :].nan_to_num(nan=-math.inf)
    most = int(beyond.argmax())
    if not level + math.log10(NEGLIGIBLE) <= beyond[most] < level + DECADES:
        return len(curve)
    return int(faint[0]) + int(beyond[: most + 1].argmin()) + 1


def _by_distance(norms: Tensor, running: Tensor | None) -> Tensor:
    """[distance], log10 of the mean over the rows that were running then; -inf for zero, NaN where no row ran."""
    norms = norms.flip(0)
    if running is None:
        return norms.mean(1).log10()
    running = running.flip(0)
    begins = running.int().argmax(0)  # the steps after a row's end are no distance
    at = torch.arange(len(norms)).unsqueeze(1) + begins
    inside = at < len(norms)
    at = at.clamp(max=len(norms) - 1)
    is_there = inside & running.gather(0, at)
    return torch.where(is_there, norms.gather(0, at), torch.nan).nanmean(1).log10()


def _slope(at: Tensor, values: Tensor) -> float:
    if len(at) < 2:
        return 0.0
    if len(at) > _MOST_POINTS:
        chosen = torch.linspace(0, len(at) - 1, _MOST_POINTS).long()
        at, values = at[chosen], values[chosen]
    i, j = torch.triu_indices(len(at), len(at), 1)
    return ((values[j] - values[i]) / (at[j] - at[i])).median().item()
