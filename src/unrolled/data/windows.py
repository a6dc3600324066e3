"""Windows of series before their origins.

Inputs: series and origins. Outputs: windows, scaled for a network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.series import scale_of
from unrolled.data.series import Series

Origins = Sequence[tuple[int, int]]  # a series' place, and the time of the first value after the window


@dataclass
class Windows:
    """Windows side by side.

    Attributes:
        window: [batch, context], less its last value and over its spread.
        last, spread: float64 [batch, 1].
        inputs: [context, batch, n_inputs]; the scaled value first, then past covariates, then what is known of the
            next time: future covariates, calendar, and what is static.
        later: [horizon, batch, n_inputs], the same of the horizon, its values for training.
        future: [horizon, batch, n_future], what is known of each later time.
        targets: [batch, horizon], scaled and clipped; zeros where they are not known.
        is_known: bool [batch, horizon]: whether there is a value, and not one drawn between its neighbors.
    """

    window: Tensor
    last: Tensor
    spread: Tensor
    inputs: Tensor
    later: Tensor
    future: Tensor
    targets: Tensor
    is_known: Tensor

    def to(self, device: torch.device) -> "Windows":
        return Windows(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass
class Cutting:
    """How windows are cut and measured; what it holds is fitted on the training part.

    Attributes:
        context, horizon: lengths of the windows, and of what follows them.
        n_future: how many of the covariates are known in advance.
        means, spreads: of the covariates [features].
        scales: what each series' values are measured in, by its name; None where each window has its own spread.
    """

    context: int
    horizon: int
    n_future: int
    means: np.ndarray
    spreads: np.ndarray
    scales: dict[str, float] | None

    @property
    def limit(self) -> float:
        """Scaled targets are clipped there: beyond what a straight line through the window reaches."""
        return max(20.0, 8 * self.horizon / self.context)

    def values(self, data: Series, origins: Origins) -> tuple[np.ndarray, np.ndarray]:
        """Windows [n, context] before the origins and what follows them [n, horizon].

        What follows is NaN after the end of a series, and where a value is drawn between its neighbors.
        """
        windows, targets, is_known = self._cut(data, origins)
        return windows, np.where(is_known, targets, np.nan)

    def _cut(self, data: Series, origins: Origins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        context, horizon = self.context, self.horizon
        windows, targets = np.empty((len(origins), context)), np.zeros((len(origins), horizon))
        is_known = np.zeros((len(origins), horizon), dtype=bool)
        for row, (i, t) in enumerate(origins):
            values = data.values[i]
            before = values[max(0, t - context) : t]
            windows[row, context - len(before) :] = before
            windows[row, : context - len(before)] = before[0]  # a series that is shorter begins with its first value
            after = values[t : t + horizon]
            targets[row, : len(after)] = after
            is_known[row, : len(after)] = data.known[i][t : t + horizon]
        return windows, targets, is_known

    def scale(self, data: Series, origins: Origins, windows: np.ndarray) -> np.ndarray:
        """What windows' values are measured in, [n, 1]; for a series that training never saw, its windows' spread."""
        scale = scale_of(windows, np.array([[data.change(i, t)] for i, t in origins]))
        if self.scales is not None:
            known = [self.scales.get(data.names[i], math.nan) for i, _ in origins]
            scale = np.where(np.isnan(known), scale[:, 0], known)[:, None]
        return scale

    def windows(self, data: Series, origins: Origins) -> Windows:
        """The network's windows that end before the origins (series, time)."""
        context, horizon = self.context, self.horizon
        values, targets, is_known = self._cut(data, origins)
        last, spread = values[:, -1:], self.scale(data, origins, values)
        scaled = (np.concatenate((values, targets), 1) - last) / spread
        scaled = np.clip(scaled, -self.limit, self.limit)
        beside = [self._beside(data, i, t - context, t + horizon + 1) for i, t in origins]
        past = np.stack([each[0] for each in beside])  # [batch, context + horizon + 1, n_past]
        known = np.stack([each[1] for each in beside])
        whole = np.concatenate((scaled[..., None], past[:, :-1], known[:, 1:]), 2).astype(np.float32)
        tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        return Windows(
            window=tensor(scaled[:, :context]),
            last=torch.from_numpy(np.ascontiguousarray(last)),
            spread=torch.from_numpy(np.ascontiguousarray(spread)),
            inputs=tensor(whole[:, :context].transpose(1, 0, 2)),
            later=tensor(whole[:, context:].transpose(1, 0, 2)),
            future=tensor(known[:, context:-1].transpose(1, 0, 2)),
            targets=tensor(scaled[:, context:]),
            is_known=torch.from_numpy(is_known),
        )

    def _beside(self, data: Series, place: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Past covariates and what is known of the future, [stop - start, n] each; scaled, 0 where not known."""
        covariates = data.covariates[place]
        rows = np.zeros((stop - start, covariates.shape[1]))
        first, end = max(0, start), min(len(covariates), stop)
        if end > first and rows.size:
            scaled = (covariates[first:end] - self.means) / self.spreads
            rows[first - start : end - start] = np.nan_to_num(scaled, nan=0.0)
        static = np.repeat(data.static[place : place + 1], stop - start, 0) if data.static is not None else rows[:, :0]
        known = (rows[:, : self.n_future], data.calendar(place, start, stop), static)
        return rows[:, self.n_future :], np.concatenate(known, 1)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads of columns, of what is known."""
    if not rows.shape[1]:
        return np.zeros(0), np.ones(0)
    known = ~np.isnan(rows)
    counts = np.maximum(known.sum(0), 1)
    means = np.where(known, rows, 0).sum(0) / counts
    spreads = np.sqrt(np.where(known, np.square(rows - means), 0).sum(0) / counts)
    return means, np.where(spreads > 0, spreads, 1.0)
