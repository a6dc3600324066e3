"""The model of the task: it reads files, trains its network, and answers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from unrolled.baselines import series as baselines
from unrolled.data.counted import counted
from unrolled.data.series import Series
from unrolled.errors import DataError, SettingsError
from unrolled.report import pictures
from unrolled.report.metrics import forecast_figures, mase_scale
from unrolled.tasks.estimator import Estimator, Files
from unrolled.tasks.forecast.compared import blocks_of, clock_of, compared, times_of
from unrolled.tasks.forecast.fitted import ForecastFitted, check_frequency, fitted_on, long_enough
from unrolled.tasks.forecast.forecast import Forecast, Forecasts
from unrolled.tasks.forecast.job import ForecastJob
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.forecast.reading import Reader
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.starting import Beginning
from unrolled.training.display import Display
from unrolled.training.settings import TrainSettings
from unrolled.training.trackers import Callback, Log

MIN_ORIGINS = 10  # of the validation part, for the quantiles of its errors


class ForecastModel(Estimator[ForecastSettings, Series, ForecastFitted]):
    """Forecasts with the task's verbs.

    Example:
        >>> import numpy as np, unrolled
        >>> wave = np.sin(np.arange(400) / 3) + 5
        >>> model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=4, context=30, season=19, hidden=8))
        >>> model = model.fit(wave, train=unrolled.TrainSettings(steps=20))
        >>> model.predict(wave)[0].values.round(1)
        array([6. , 6. , 5.9, 5.7])
    """

    task = "forecast"
    who = "a forecast"
    kind = ForecastSettings
    fits = ForecastFitted
    needs_table = "a forecast goes on from a table"
    validates_on_files = False  # the end of each series is kept
    takes = "TABLE"
    default_training = TrainSettings(minutes=3, lr=1e-3, average=0.99, precision="float32")

    def read(self, files: Files) -> Series:
        return Reader(self.settings, self._fitted).files(files)

    def as_data(self, data: Any) -> Series:
        """From files, a data frame, an array [time], or a list of those."""
        return Reader(self.settings, self._fitted).series(data)

    def _data(self, data: Any, valid: Any, begun: Beginning | None) -> tuple[Series, None, str]:
        """Data of a training: read anew, whatever the model learnt before, or as for the one that it starts from;
        without series that are too short.
        """
        like = None if begun is None else begun.model.fitted
        try:
            whole = self._long_enough(Reader(self.settings, like).series(data))
        except DataError:
            if like is not None:  # the reason may be that they have another frequency
                check_frequency(Reader(self.settings).series(data), like)
            raise
        return whole, None, whole.sha256

    def _long_enough(self, data: Series) -> Series:
        ends = [self._parts(len(values))[0] for values in data.values]
        return long_enough(data, ends, self.settings.horizon)

    def fit(
        self,
        data: Any,
        answers: Any = None,
        *,
        valid: Any = None,
        train: TrainSettings | None = None,
        start: Any = None,
        run: Path | str | None = None,
        display: Display | None = None,
        log: Log = (),
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """See `Estimator.fit`; the validation part is the end of each series, before the test part."""
        if valid is not None or answers is not None:
            raise SettingsError(
                "fit: a forecast learns from the past of series, which has its answers, and validates on their ends; "
                "leave answers and valid out, and set `validation`"
            )
        return super().fit(data, train=train, start=start, run=run, display=display, log=log, callbacks=callbacks)

    def split(self, data: Series, seed: int) -> tuple[Series, Series]:
        return data, data

    def folds(self, data: Series, n: int, seed: int) -> Iterator[tuple[Series, Series | None]]:
        """Rolling origins with a training each: the series as they were known n - 1, ..., 1, 0 last parts ago."""
        data = self._long_enough(data)
        lengths = [len(values) for values in data.values]
        for back in reversed(range(n)):
            ends = list(lengths)
            for _ in range(back):
                ends = [self._parts(end)[1 if self.settings.test else 0] for end in ends]
            if min(ends) < 3 * self.settings.horizon:
                raise SettingsError(f"folds: a series of {min(lengths)} values is too short for {n}; take fewer")
            yield data.until(ends), None

    def amounts(self, part: Series, held: Series) -> dict[str, Any]:
        return {"n_series": len(part), "n_values": sum(map(len, part.values))}

    def prepare(
        self,
        data: Series,
        valid: Series,
        training: TrainSettings,
        device: torch.device,
        start: ForecastFitted | None = None,
    ) -> tuple[ForecastFitted, ForecastJob]:
        ends = [self._parts(len(values))[0] for values in data.values]
        fitted, origins = fitted_on(data, ends, self.settings, start)
        fitted.net.to(device)
        held = self.every_origin(data, "validation")
        if not held:
            raise DataError("the validation part holds no value that is known; take a larger --validation")
        if len(held) < MIN_ORIGINS:
            self.notes.append(
                counted(
                    len(held), "forecast[|s] fit[s|] into the validation part, too few for intervals: errors on the "
                )
                + "training part count too, so intervals may be too narrow"
            )
        return fitted, ForecastJob(self, data, origins, held, training, device)

    def _parts(self, length: int) -> tuple[int, int, int]:
        """Where the training part, the validation part and the series end."""
        settings, horizon = self.settings, self.settings.horizon
        n_test = max(horizon, round(settings.test * length)) if settings.test else 0
        n_valid = max(horizon, round(settings.validation * length))
        return length - n_test - n_valid, length - n_test, length

    @torch.inference_mode()
    def levels(self, data: Series, origins: Sequence[tuple[int, int]]) -> np.ndarray:
        """The network's quantiles [origins, horizon, levels] at LEVELS; for a point forecast intervals are those that
        held on the validation part.

        Raises:
            DataError: they have another calendar.
        """
        fitted = self.ready()
        fitted.check_calendar(data)
        net, device = fitted.net, next(fitted.net.parameters()).device
        parts = (fitted.cut.windows(data, origins[i : i + 512]).to(device) for i in range(0, len(origins), 512))
        whole = np.concatenate([net.levels(part).double().cpu().numpy() for part in parts])
        if whole.shape[2] == 1:
            windows, _ = fitted.cut.values(data, origins)
            whole = self._around("model", whole[..., 0], fitted.cut.scale(data, origins, windows))
        return self._bounded(data, origins, whole)

    def _around(self, name: str, points: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Quantiles around point forecasts: what their errors over the scale were on the validation part."""
        if name not in self.fitted.residuals:
            return np.repeat(points[..., None], len(LEVELS), 2)
        middle = len(LEVELS) // 2
        around = points[..., None] + self.fitted.residuals[name] * scale[..., None]
        around[..., middle] = points
        return around

    def _bounded(self, data: Series, origins: Sequence[tuple[int, int]], levels: np.ndarray) -> np.ndarray:
        """Levels, at least zero where the series was before their origins, unless they may be below."""
        choice = self.settings.below_zero
        least = [choice == "no" or (choice == "guess" and data.least(i, t) >= 0) for i, t in origins]
        return np.where(np.array(least)[:, None, None], np.maximum(levels, 0.0), levels)

    def _baseline_levels(
        self, name: str, data: Series, origins: Sequence[tuple[int, int]], windows: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """A baseline's quantiles [origins, horizon, levels]."""
        around = self._around(name, self._baseline(name, windows, scale), scale)
        return self._bounded(data, origins, around)

    def _baseline(self, name: str, windows: np.ndarray, scale: np.ndarray) -> np.ndarray:
        if name == "last value":
            return baselines.last_value(windows, self.settings.horizon)
        if name == "seasonal naive":
            return baselines.seasonal_naive(windows, self.settings.horizon, self.fitted.season)
        return baselines.autoregression(windows, scale, self.fitted.weights)

    def finish(self, valid: Series) -> ForecastFitted:
        """Intervals of point forecasts, and who answers: the smallest absolute error on the validation part."""
        fitted, origins = self.fitted, self.every_origin(valid, "validation")
        scaled = self._scaled_errors(valid, origins)
        errors = {
            name: float(np.nanmean(np.square(error) if self.settings.output == "mean" else np.abs(error)))
            for name, error in scaled.items()
        }
        if len(origins) < MIN_ORIGINS:  # too few for quantiles: those of the training part beside them
            earlier = self.every_origin(valid, "training")
            more = self._scaled_errors(valid, earlier)
            scaled = {name: np.concatenate((error, more[name])) for name, error in scaled.items()}
        residuals = {name: _quantiles(error) for name, error in scaled.items()}  # [horizon, levels]
        best = min(errors, key=lambda name: errors[name])
        return replace(fitted, residuals=residuals, best=best, errors=errors)

    def _scaled_errors(self, data: Series, origins: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
        """Errors [origins, horizon] over the scale by who answers, clipped as in training; NaN where none is known."""
        cut = self.fitted.cut
        windows, targets = cut.values(data, origins)
        scale = cut.scale(data, origins, windows)
        points = {name: self._baseline(name, windows, scale) for name in self.baseline_names}
        points["model"] = self.levels(data, origins)[..., len(LEVELS) // 2]
        return {name: np.clip((targets - point) / scale, -cut.limit, cut.limit) for name, point in points.items()}

    @property
    def baseline_names(self) -> list[str]:
        """The baselines that there are: without a season, the seasonal one is the last value."""
        return [name for name in baselines.NAMES if name != "seasonal naive" or self.fitted.season > 1]

    @property
    def answers(self) -> str:
        """Who answers: "model", or the name of a baseline."""
        return self._answers(self.settings)

    def _answers(self, settings: ForecastSettings) -> str:
        fitted = self.fitted
        return fitted.best if settings.answer == "best" else settings.answer

    def origins(self, data: Series, part: str, *, stride: int | None = None) -> list[tuple[int, int]]:
        """Where forecasts of a part begin: every `stride` steps, so that all they tell lies within it."""
        horizon = self.settings.horizon
        stride = stride or self.settings.stride or horizon
        found = []
        for i, values in enumerate(data.values):
            first, second, end = self._parts(len(values))
            start, stop = {"training": (horizon, first), "validation": (first, second), "test": (second, end)}[part]
            known = data.known[i]
            found += [(i, t) for t in range(max(1, start), stop - horizon + 1, stride) if known[t : t + horizon].any()]
        return found

    def every_origin(self, data: Series, part: str) -> list[tuple[int, int]]:
        """The same step by step, thinned out to some thousands: more would tell no better."""
        found = self.origins(data, part, stride=1)
        return found[:: max(1, math.ceil(len(found) / 3000))]

    def evaluate(self, data: Any, *, part: str | None = None) -> dict[str, Any]:
        """A backtest: figures of the forecasts from rolling origins, of the model and of each baseline.

        Args:
            data: as in `fit`; the parts are cut as there.
            part: "test" or "validation"; the test part where there is one.

        Returns:
            For "model" and each baseline: mae, rmse, smape (per cent), mase, wql (weighted quantile loss), coverage (of
            the interval from 10 to 90 %), and mae by step of the horizon.
        """
        fitted, data = self.fitted, self.as_data(data)
        part = part or ("test" if self.settings.test else "validation")
        origins = self.origins(data, part)
        if not origins:
            raise DataError(f"no forecast of {self.settings.horizon} steps fits into the {part} part")
        windows, targets = fitted.cut.values(data, origins)
        scale = fitted.cut.scale(data, origins, windows)
        truth = [np.where(known, values, np.nan) for values, known in zip(data.values, data.known, strict=True)]
        scales = [mase_scale(values[: max(1, self._parts(len(values))[0])], fitted.season) for values in truth]
        of_origins = np.array([scales[i] for i, _ in origins])[:, None]
        levels = {"model": self.levels(data, origins)}
        for name in self.baseline_names:
            levels[name] = self._baseline_levels(name, data, origins, windows, scale)
        figures = {name: forecast_figures(each, LEVELS, targets, of_origins) for name, each in levels.items()}
        against = self.baseline_names if self.answers == "model" else [self.answers]
        blocks, is_squared = blocks_of(data, origins, self.settings.horizon), self.settings.output == "mean"
        beside = compared(levels, targets, against, blocks, is_squared=is_squared).to_dict()
        return {**figures, "part": part, "n_forecasts": len(origins), "answers": self.answers, "comparison": beside}

    def score(self, data: Any, answers: Any = None) -> float:
        """The negative mean absolute error of forecasts all along some series, also of such as `fit` did not see: of a
        part that comes later, as scikit-learn's `TimeSeriesSplit` cuts it. The larger the better.

        Raises:
            DataError: no series is longer than the horizon.
        """
        fitted, data = self.fitted, self.as_data(data)
        horizon, context = self.settings.horizon, fitted.cut.context
        stride = self.settings.stride or horizon
        origins = [
            (i, t)
            for i, values in enumerate(data.values)
            for t in range(max(1, min(context, len(values) - horizon)), len(values) - horizon + 1, stride)
        ]
        if not origins:
            raise DataError(f"score: no series is longer than the horizon of {horizon}")
        windows, targets = fitted.cut.values(data, origins)
        if self.answers == "model":
            points = self.levels(data, origins)[..., len(LEVELS) // 2]
        else:
            points = self._baseline(self.answers, windows, fitted.cut.scale(data, origins, windows))
        return -float(np.abs(targets - points).mean())

    def predict(self, data: Any, *, answer: str | None = None) -> Forecasts:
        """The steps after the end of each series; see `fit` for `data`. `answer` overrules the settings'."""
        fitted, series = self.fitted, self.as_data(data)
        by = self.answers if answer is None else self._answers(replace(self.settings, answer=answer))
        if series.covariate_names != fitted.covariate_names:
            raise DataError(
                f"the covariates are {', '.join(series.covariate_names) or 'none'}; "
                f"the model learnt with {', '.join(fitted.covariate_names) or 'none'}"
            )
        ends = [(i, len(values)) for i, values in enumerate(series.values)]
        if by == "model":
            self._check_future(series)
            levels = self.levels(series, ends)
        else:
            windows, _ = fitted.cut.values(series, ends)
            scale = fitted.cut.scale(series, ends, windows)
            levels = self._baseline_levels(by, series, ends, windows, scale)
        self.notes = [*series.notes, *fitted.short_notes(series)]
        return Forecasts(self._forecast(series, i, levels[i], by) for i in range(len(series)))

    def predict_table(self, files: Sequence[Path | str], *, answer: str | None = None) -> list[Forecast]:
        """The same for tables."""
        return self.predict(files, answer=answer)

    def _check_future(self, series: Series) -> None:
        """Holds covariates that are known in advance to be there for the whole horizon."""
        horizon, n_future = self.settings.horizon, self.fitted.cut.n_future
        faults = []
        for name, values, covariates in zip(series.names, series.values, series.covariates, strict=True):
            after = covariates[len(values) : len(values) + horizon, :n_future]
            n_known = int((~np.isnan(after)).all(1).sum())
            if n_future and n_known < horizon:
                faults.append(f"{name or series.target!r} has {n_known} of {horizon}")
        if faults:
            shown = "; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else "")
            known = ", ".join(self.fitted.covariate_names[:n_future])
            raise DataError(
                f"a forecast needs {known} for the steps to forecast: {shown}. Add rows with them and an empty target"
            )

    def _forecast(self, series: Series, i: int, levels: np.ndarray, by: str) -> Forecast:
        end, horizon = len(series.values[i]), self.settings.horizon
        stamps = series.stamps(i, end, end + horizon)
        quantiles = {level: levels[:, k] for k, level in enumerate(LEVELS)}
        start = max(0, end - max(self.fitted.cut.context, 3 * horizon))
        past = np.where(series.known[i][start:], series.values[i][start:], np.nan)
        return Forecast(
            series.names[i], stamps, levels[:, len(LEVELS) // 2], quantiles, by,
            past, clock_of(series, i, start, end + horizon), *series.stamps(i, start, start + 1),
        )  # fmt: skip

    def draw(self, data: Any, path: Path, *, most: int = 4) -> Path:
        """Draws the last forecasts of the backtest, of up to `most` series, beside what came and the best baseline."""
        fitted, data = self.fitted, self.as_data(data)
        latest: dict[int, int] = {}
        for i, t in self.origins(data, "test" if self.settings.test else "validation"):
            latest[i] = max(t, latest.get(i, 0))
        origins = sorted(latest.items())[:most]
        levels = self.levels(data, origins)
        windows, targets = fitted.cut.values(data, origins)
        baseline = min(self.baseline_names, key=lambda name: fitted.errors.get(name, math.inf))
        beside = self._baseline(baseline, windows, fitted.cut.scale(data, origins, windows))
        panels = [
            {
                "name": data.names[i] or data.target, "past": windows[row], "actual": targets[row],
                "point": levels[row, :, len(LEVELS) // 2], "low": levels[row, :, 0], "high": levels[row, :, -1],
                "baseline": beside[row], "baseline_name": baseline,
                "times": times_of(data, i, t - windows.shape[1], t + targets.shape[1]),
            }
            for row, (i, t) in enumerate(origins)
        ]  # fmt: skip
        return pictures.forecasts(panels, path)


def _quantiles(errors: np.ndarray) -> np.ndarray:
    """Quantiles of errors [origins, horizon] → [horizon, levels]; of all steps where one has none."""
    columns = [each[~np.isnan(each)] for each in errors.T]
    whole = errors[~np.isnan(errors)]
    return np.stack([np.quantile(each if len(each) else whole, LEVELS) for each in columns])


HELP = TaskHelp(
    usual="sales.csv --horizon 12",
    purpose="what comes next, and how sure",
    train="""
unrolled train forecast weather.csv --target temp_max --horizon 7
unrolled train forecast stocks.csv --target price --series symbol --horizon 6
unrolled train forecast load.csv --target OT --past HUFL,MUFL --horizon 24 --minutes 2
""",
    predict="unrolled predict runs/forecast/model.safetensors sales.csv",
)
Model = ForecastModel
