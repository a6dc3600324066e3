"""What is fitted in the task, and its parts in a model file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from unrolled.baselines import series as baselines
from unrolled.data.series import Frequency, Series, calendar_of
from unrolled.data.windows import Cutting, moments
from unrolled.errors import DataError, ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.forecast.net import LEVELS, ForecastNet
from unrolled.tasks.forecast.settings import ANSWERS, ForecastSettings


@dataclass(frozen=True, kw_only=True)
class ForecastFitted(Fitted):
    """What is fitted for forecasts.

    Attributes:
        frequency, season: of the series; the season in steps.
        target: name of the column.
        covariate_names: those known in advance first.
        n_static: how many numbers describe a series as a whole.
        cut: how windows are cut and scaled.
        weights: float64 [context + 1, horizon], the linear autoregression, a baseline.
        residuals: by who answers, float64 [horizon, levels]: quantiles of the errors on the validation part.
        errors: by who answers, on the validation part.
        best: who has the smallest of them, "model" or a baseline.
    """

    net: ForecastNet
    frequency: Frequency
    season: int
    target: str
    covariate_names: tuple[str, ...]
    n_static: int
    cut: Cutting
    weights: np.ndarray
    residuals: dict[str, np.ndarray] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    best: str = "model"

    def to_parts(self) -> Parts:
        vocabulary = {
            "season": self.season, "context": self.cut.context,
            "unit": self.frequency.unit, "count": self.frequency.count,
            "covariates": list(self.covariate_names), "n_future": self.cut.n_future, "n_static": self.n_static,
            "target": self.target, "scales": self.cut.scales,
        }  # fmt: skip
        tensors = {f"baseline.residuals.{name}": torch.from_numpy(each) for name, each in self.residuals.items()}
        tensors["baseline.weights"] = torch.from_numpy(self.weights)
        tensors |= {
            "scaler.means": torch.from_numpy(self.cut.means),
            "scaler.spreads": torch.from_numpy(self.cut.spreads),
        }
        return vocabulary, {"best": self.best, "errors": self.errors}, tensors

    @classmethod
    def from_parts(cls, file: ModelFile, settings: ForecastSettings) -> Self:
        held, horizon = file.vocabulary, settings.horizon
        season, context = int(held["season"]), int(held["context"])
        frequency = Frequency(str(held["unit"]), int(held["count"]))
        names, n_future, n_static = tuple(map(str, held["covariates"])), int(held["n_future"]), int(held["n_static"])
        best = str(file.baseline["best"])
        errors = {str(name): float(value) for name, value in file.baseline["errors"].items()}
        known = None if held["scales"] is None else {str(name): float(value) for name, value in held["scales"].items()}
        sizes, units = (season, context, frequency.count), ("row", "month", "second")
        if min(sizes) < 1 or max(sizes) > 10**9 or best not in ANSWERS[1:] or frequency.unit not in units:
            raise ModelFileError("its description of the series is damaged")
        wanted = {"baseline.weights": (context + 1, horizon), "scaler.means": (len(names),)}
        wanted["scaler.spreads"] = wanted["scaler.means"]
        wanted |= {name: (horizon, len(LEVELS)) for name in file.tensors if name.startswith("baseline.residuals.")}
        for name, shape in wanted.items():
            if name not in file.tensors or tuple(file.tensors[name].shape) != shape:
                raise ModelFileError(f"its {name} is missing or damaged")
        numbers = {name: file.tensors[name].double().numpy() for name in wanted}
        prefix = "baseline.residuals."
        cut = Cutting(context, horizon, n_future, numbers["scaler.means"], numbers["scaler.spreads"], known)
        with without_numbers():
            net = _make_net(settings, frequency, cut, names, n_static)
        return cls(
            net=net,
            frequency=frequency,
            season=season,
            target=str(held["target"]),
            covariate_names=names,
            n_static=n_static,
            cut=cut,
            weights=numbers["baseline.weights"],
            residuals={name.removeprefix(prefix): each for name, each in numbers.items() if name.startswith(prefix)},
            errors=errors,
            best=best,
        )


def fitted_on(
    data: Series, ends: Sequence[int], settings: ForecastSettings
) -> tuple[ForecastFitted, list[tuple[int, int]]]:
    """What is fitted on the training part of each series, and where its windows' forecasts begin.

    Args:
        data: the series.
        ends: where the training part of each ends.
        settings: as given.

    Raises:
        DataError: series are too short.
    """
    horizon = settings.horizon
    season = settings.season or data.frequency.season
    week = 7 * season if data.frequency.unit == "second" and data.frequency.count < 86400 else 0
    context = settings.context or max(2, min(max(week, 2 * season, 2 * horizon, 16), min(ends) // 2))
    _check_length(data, ends, horizon)
    # fitted on the training part alone
    means, spreads = moments(np.concatenate([each[:end] for each, end in zip(data.covariates, ends, strict=True)]))
    n_static = data.static.shape[1] if data.static is not None else 0
    origins = [(i, t) for i, end in enumerate(ends) for t in range(min(context, end - horizon), end - horizon + 1)]
    scales = None
    if settings.scaling == "series":
        scales = {
            name: float(baselines.scale_of(values[None, :end])[0, 0])
            for name, values, end in zip(data.names, data.values, ends, strict=True)
        }
    cut = Cutting(context, horizon, data.n_future, means, spreads, scales)
    some = origins[:: max(1, len(origins) // 20_000)]
    windows, targets = cut.values(data, some)
    weights = baselines.fit_autoregression(windows, targets, cut.scale(data, some, windows))
    net = _make_net(settings, data.frequency, cut, data.covariate_names, n_static)
    net.start_as(weights)
    fitted = ForecastFitted(
        net=net,
        frequency=data.frequency,
        season=season,
        target=data.target,
        covariate_names=data.covariate_names,
        n_static=n_static,
        cut=cut,
        weights=weights,
    )
    return fitted, origins


def _check_length(data: Series, ends: Sequence[int], horizon: int) -> None:
    """Holds every training part, which ends there, to be long enough for one window."""
    short = [
        f"{name or data.target!r} has {len(values):,}"
        for name, values, end in zip(data.names, data.values, ends, strict=True)
        if end < horizon + 2
    ]
    if short:
        shown = "; ".join(short[:10]) + ("; ..." if len(short) > 10 else "")
        raise DataError(
            f"series are too short for a horizon of {horizon}: {shown} values. Expected at least "
            f"{3 * horizon + 2}, for training, validation and test; take a smaller --horizon, or --test 0"
        )


def _make_net(
    settings: ForecastSettings, frequency: Frequency, cut: Cutting, covariate_names: Sequence[str], n_static: int
) -> ForecastNet:
    """The network for series of a frequency, with these covariates."""
    n_calendar = calendar_of(frequency, frequency.stamps(0, 0, 1)).shape[1]
    n_known = cut.n_future + n_calendar + n_static
    n_past = len(covariate_names) - cut.n_future
    return ForecastNet(settings, 1 + n_past + n_known, n_known, cut.context, settings.horizon)
