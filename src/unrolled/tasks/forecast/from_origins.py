"""What the network and each baseline forecast from some origins, as points and as quantiles.

Inputs: what is fitted, settings, series and origins. Outputs: arrays. All verbs that answer or measure ask here; none
asks for reading or training.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from unrolled.baselines import series as baselines
from unrolled.data.series import Series
from unrolled.data.windows import Origins
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.forecast.settings import ForecastSettings

MIDDLE = len(LEVELS) // 2  # the point forecast among the quantiles
_WINDOWS_AT_ONCE = 512


@dataclass(frozen=True)
class FromOrigins:
    """Forecasts of series from origins. Who forecasts is "model" or the name of a baseline.

    Attributes:
        fitted: network, baseline and scalers.
        settings: of the model.
        data: the series.
        origins: a series' place, and the time of the first value to forecast.
    """

    fitted: ForecastFitted
    settings: ForecastSettings
    data: Series
    origins: Origins

    @property
    def names(self) -> list[str]:
        """Who forecasts: the model first, then its baselines."""
        return ["model", *self.fitted.baseline_names]

    @cached_property
    def _cut(self) -> tuple[np.ndarray, np.ndarray]:
        return self.fitted.cut.values(self.data, self.origins)

    @property
    def windows(self) -> np.ndarray:
        """The values before [origins, context]."""
        return self._cut[0]

    @property
    def targets(self) -> np.ndarray:
        """What came [origins, horizon]; NaN where nobody knows."""
        return self._cut[1]

    @cached_property
    def scale(self) -> np.ndarray:
        """What errors are measured in [origins, 1]."""
        return self.fitted.cut.scale(self.data, self.origins, self.windows)

    def levels(self, name: str) -> np.ndarray:
        """Quantiles [origins, horizon, levels] at LEVELS; for a point forecast intervals are those that held on the
        validation part.

        Raises:
            DataError: the series have another calendar than the network reads.
        """
        levels = self._of_net() if name == "model" else self._around(name, self._of_baseline(name))
        return self._bounded(levels)

    def points(self, name: str) -> np.ndarray:
        """The point forecast [origins, horizon]; a baseline's may be below zero."""
        return self.levels(name)[..., MIDDLE] if name == "model" else self._of_baseline(name)

    def scaled_errors(self) -> dict[str, np.ndarray]:
        """Errors [origins, horizon] over the scale by who forecasts, clipped as in training; NaN where unknown."""
        limit = self.fitted.cut.limit
        return {
            name: np.clip((self.targets - self.points(name)) / self.scale, -limit, limit)
            for name in (*self.fitted.baseline_names, "model")
        }

    @torch.inference_mode()
    def _of_net(self) -> np.ndarray:
        fitted, data, origins, n = self.fitted, self.data, self.origins, _WINDOWS_AT_ONCE
        fitted.check_calendar(data)
        net, device = fitted.net, next(fitted.net.parameters()).device
        parts = (fitted.cut.windows(data, origins[i : i + n]).to(device) for i in range(0, len(origins), n))
        whole = np.concatenate([net.levels(part).double().cpu().numpy() for part in parts])
        if whole.shape[2] == 1:
            return self._around("model", whole[..., 0])
        return widened(whole, self.fitted.wider)

    def _of_baseline(self, name: str) -> np.ndarray:
        if name == "last value":
            return baselines.last_value(self.windows, self.settings.horizon)
        if name == "seasonal naive":
            return baselines.seasonal_naive(self.windows, self.settings.horizon, self.fitted.season)
        return baselines.autoregression(self.windows, self.scale, self.fitted.weights)

    def _around(self, name: str, points: np.ndarray) -> np.ndarray:
        """Quantiles around point forecasts: what their errors over the scale were on the validation part. Where these
        were all of one sign an interval begins or ends at the point.
        """
        if name not in self.fitted.residuals:
            return np.repeat(points[..., None], len(LEVELS), 2)
        around = points[..., None] + self.fitted.residuals[name] * self.scale[..., None]
        middle = points[..., None]
        low, high = np.minimum(around[..., :MIDDLE], middle), np.maximum(around[..., MIDDLE + 1 :], middle)
        return np.concatenate((low, middle, high), axis=-1)

    def _bounded(self, levels: np.ndarray) -> np.ndarray:
        """Levels, at least zero where the series was before their origins, unless they may be below."""
        choice = self.settings.below_zero
        least = [choice == "no" or (choice == "guess" and self.data.least(i, t) >= 0) for i, t in self.origins]
        return np.where(np.array(least)[:, None, None], np.maximum(levels, 0.0), levels)


def quantiles_of(errors: np.ndarray) -> np.ndarray:
    """Quantiles of errors [origins, horizon] → [horizon, levels]; of all steps where one has none."""
    columns = [each[~np.isnan(each)] for each in errors.T]
    whole = errors[~np.isnan(errors)]
    return np.stack([np.quantile(each if len(each) else whole, LEVELS) for each in columns])


def widened(levels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Quantiles [..., levels] that many times as far from their middle."""
    middle = levels[..., MIDDLE, None]
    return middle + factors * (levels - middle)
