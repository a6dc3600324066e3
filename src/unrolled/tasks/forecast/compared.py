"""The model beside the baselines, forecast by forecast.

Inputs: forecasts from rolling origins, and what came. Outputs: a comparison in which forecasts that depend on each
other, because they tell of the same time, count as one.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from unrolled.data.series import Series
from unrolled.report.comparison import Comparison, compare, root_ratio

_MOST_BLOCKS = 64


def compared(
    levels: Mapping[str, np.ndarray],
    targets: np.ndarray,
    against: Sequence[str],
    blocks: np.ndarray,
    *,
    is_squared: bool,
) -> Comparison:
    """The model and the best of some baselines.

    Args:
        levels: quantiles [origins, horizon, levels] of "model" and of baselines by name; the middle one is compared.
        targets: what came [origins, horizon]; NaN where nobody knows.
        against: names of baselines.
        blocks: of the origins, as `blocks_of` returns them.
        is_squared: whether the root of the mean squared error decides; else the mean absolute error.
    """
    counts = {}
    for name in ("model", *against):
        error = np.abs(targets - levels[name][..., levels[name].shape[-1] // 2])
        sums = np.nansum(np.square(error) if is_squared else error, axis=1)
        counts[name] = np.stack([sums, (~np.isnan(targets)).sum(1).astype(float)], 1)
    return compare(
        counts["model"],
        {f"the {name}": counts[name] for name in against},
        metric="RMSE" if is_squared else "MAE",
        of="forecasts",
        score=root_ratio if is_squared else None,
        is_error=True,
        blocks=blocks,
    )


def blocks_of(data: Series, origins: Sequence[tuple[int, int]], horizon: int) -> np.ndarray:
    """Numbers of the blocks [origins] within which forecasts depend on each other.

    Forecasts from origins that lie less than a horizon apart tell of the same time; blocks of them are four horizons
    long, so that few reach from one block into the next (at two, noise was taken for a difference in 7.8 % of 600
    trials, at four in 5.1 % of 1,500; the level is 5 %). Series with dates share what happens at a time, so a block
    holds all of them; without dates each series is by itself.
    """
    series, steps = (np.array(column) for column in zip(*origins, strict=True))
    has_dates = data.frequency.unit != "row"
    at = steps + _late(data)[series] if has_dates else steps
    gaps = [np.diff(np.unique(at[series == i])) for i in np.unique(series)]
    overlaps = any((gap < horizon).any() for gap in gaps)
    at = at - at.min()
    width = max(4 * horizon if overlaps else horizon, int(at.max()) // _MOST_BLOCKS + 1)
    blocks: np.ndarray = at // width
    return blocks if has_dates else series * (int(blocks.max()) + 1) + blocks


def times_of(data: Series, place: int, start: int, stop: int) -> np.ndarray | None:
    """Stamps [stop - start] of steps of a series as datetime64; None where it has no dates, or they have an end."""
    stamps = data.frequency.stamps(data.first[place], start, stop)
    return stamps if np.issubdtype(stamps.dtype, np.datetime64) else None


def clock_of(data: Series, place: int, start: int, stop: int) -> np.ndarray | None:
    """The same as the clock of the file's zone shows them."""
    times = times_of(data, place, start, stop)
    return times if times is None or data.form is None else data.form.clock(times)


def _late(data: Series) -> np.ndarray:
    """By how many steps each series begins later than the first of them, int64 [series]."""
    stamps = np.array([data.frequency.stamps(first, 0, 1)[0] for first in data.first])
    some = data.frequency.stamps(data.first[0], 0, 101)
    step = (some[-1] - some[0]) / 100
    late: np.ndarray = np.rint((stamps - stamps.min()) / step).astype(np.int64)
    return late
