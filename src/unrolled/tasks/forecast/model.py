"""The model of the task: it reads files, trains its network, and answers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.baselines import series as baselines
from unrolled.data.series import Series, read_series
from unrolled.data.table import Table, of_frame, read_table
from unrolled.errors import DataError, SettingsError
from unrolled.report import pictures
from unrolled.report.metrics import forecast_figures, mase_scale
from unrolled.tasks.estimator import Estimator, Files, are_files
from unrolled.tasks.forecast.fitted import ForecastFitted, fitted_on
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.tasks.help import TaskHelp
from unrolled.training.display import Display
from unrolled.training.settings import TrainSettings


@dataclass(frozen=True)
class Forecast:
    """The forecast of one series.

    Attributes:
        series: its name.
        stamps: of the forecast values, as texts.
        values: [horizon], the point forecast.
        quantiles: by level [horizon].
        by: who answers: "model", or the name of a baseline.
    """

    series: str
    stamps: list[str]
    values: np.ndarray
    quantiles: dict[float, np.ndarray]
    by: str

    def to_dict(self) -> dict[str, Any]:
        quantiles = {str(level): [float(value) for value in values] for level, values in self.quantiles.items()}
        return {
            "series": self.series, "by": self.by, "stamps": self.stamps,
            "values": [float(value) for value in self.values], "quantiles": quantiles,
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """A row for each step."""
        quantiles = {f"q{level:g}": values for level, values in self.quantiles.items()}
        return [
            {"series": self.series, "stamp": stamp, "value": float(self.values[i])}
            | {name: float(values[i]) for name, values in quantiles.items()}
            for i, stamp in enumerate(self.stamps)
        ]

    def __str__(self) -> str:
        low, high = self.quantiles[LEVELS[0]], self.quantiles[LEVELS[-1]]
        rows = zip(self.stamps, self.values, low, high, strict=True)
        lines = [f"{self.series}, by {self.by}" if self.series else f"by {self.by}"]
        return "\n".join(lines + [f"  {stamp}  {value:.6g}  ({a:.6g} to {b:.6g})" for stamp, value, a, b in rows])


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
        paths = [files] if isinstance(files, str | Path) else list(files)
        return self._of_table(read_table(paths, encoding=self.settings.encoding, header=self.settings.header))

    def _of_table(self, table: Table) -> Series:
        settings = self.settings
        names = {name: _names(getattr(settings, name)) for name in ("future", "past", "static")}
        return read_series(
            table,
            target=settings.target,
            time=settings.time,
            series=settings.series,
            thousands=settings.thousands,
            decimal=settings.decimal or "",
            **names,
        )

    def as_data(self, data: Any) -> Series:
        """From files, a data frame, an array [time], or a list of those."""
        if isinstance(data, Series):
            return data
        if are_files(data):
            return self.read(data)
        if isinstance(data, np.ndarray | list | tuple):
            arrays = [data] if np.ndim(data[0]) == 0 else list(data)
            values = [np.asarray(each, dtype=np.float64) for each in arrays]
            if any(each.ndim != 1 or not np.isfinite(each).all() for each in values):
                raise DataError("an array of values must be [time], of finite numbers")
            return Series([str(i) if len(values) > 1 else "" for i in range(len(values))], values)
        return self._of_table(of_frame(data))

    def fit(
        self,
        data: Any,
        answers: Any = None,
        *,
        valid: Any = None,
        train: TrainSettings | None = None,
        run: Path | str | None = None,
        display: Display | None = None,
    ) -> Self:
        """See `Estimator.fit`; the validation part is the end of each series, before the test part."""
        if valid is not None or answers is not None:
            raise SettingsError("fit: a forecast's validation part is the end of each series; set `validation`")
        return super().fit(data, train=train, run=run, display=display)

    def split(self, data: Series, seed: int) -> tuple[Series, Series]:
        return data, data

    def folds(self, data: Series, n: int, seed: int) -> Iterator[tuple[Series, Series | None]]:
        """Rolling origins with a training each: the series as they were known n - 1, ..., 1, 0 last parts ago."""
        lengths = [len(values) for values in data.values]
        for back in reversed(range(n)):
            ends = list(lengths)
            for _ in range(back):
                ends = [self._parts(end)[1 if self.settings.test else 0] for end in ends]
            if min(ends) < 3 * self.settings.horizon:
                raise SettingsError(f"folds: a series of {min(lengths)} values is too short for {n}; take fewer")
            yield data.until(ends), None

    def prepare(
        self, data: Series, valid: Series, training: TrainSettings, device: torch.device
    ) -> tuple[ForecastFitted, "_ForecastJob"]:
        ends = [self._parts(len(values))[0] for values in data.values]
        fitted, origins = fitted_on(data, ends, self.settings)
        fitted.net.to(device)
        return fitted, _ForecastJob(self, data, origins, training, device)

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
        """
        fitted = self.ready()
        net, device = fitted.net, next(fitted.net.parameters()).device
        parts = (fitted.cut.windows(data, origins[i : i + 512]).to(device) for i in range(0, len(origins), 512))
        whole = np.concatenate([net.levels(part).float().cpu().numpy() for part in parts]).astype(np.float64)
        if whole.shape[2] == 1:
            windows, _ = fitted.cut.values(data, origins)
            return self._around("model", whole[..., 0], fitted.cut.scale(data, origins, windows))
        return whole

    def _around(self, name: str, points: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Quantiles around point forecasts: what their errors over the scale were on the validation part."""
        if name not in self.fitted.residuals:
            return np.repeat(points[..., None], len(LEVELS), 2)
        middle = len(LEVELS) // 2
        around = points[..., None] + self.fitted.residuals[name] * scale[..., None]
        around[..., middle] = points
        return around

    def _baseline(self, name: str, windows: np.ndarray, scale: np.ndarray) -> np.ndarray:
        if name == "last value":
            return baselines.last_value(windows, self.settings.horizon)
        if name == "seasonal naive":
            return baselines.seasonal_naive(windows, self.settings.horizon, self.fitted.season)
        return baselines.autoregression(windows, scale, self.fitted.weights)

    def finish(self, valid: Series) -> ForecastFitted:
        """Intervals of point forecasts, and who answers: the smallest absolute error on the validation part."""
        fitted, origins = self.fitted, self.every_origin(valid, "validation")
        windows, targets = fitted.cut.values(valid, origins)
        scale = fitted.cut.scale(valid, origins, windows)
        points = {name: self._baseline(name, windows, scale) for name in self.baseline_names}
        points["model"] = self.levels(valid, origins)[..., len(LEVELS) // 2]
        errors, residuals = {}, {}
        for name, point in points.items():
            error = (targets - point) / scale
            residuals[name] = np.quantile(error, LEVELS, axis=0).T  # [horizon, levels]
            errors[name] = float(np.square(error).mean() if self.settings.output == "mean" else np.abs(error).mean())
        best = min(errors, key=lambda name: errors[name])
        return replace(fitted, residuals=residuals, best=best, errors=errors)

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
            start, stop = (first, second) if part == "validation" else (second, end)
            found += [(i, t) for t in range(start, stop - horizon + 1, stride)]
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
        scales = [mase_scale(values[: self._parts(len(values))[0]], fitted.season) for values in data.values]
        of_origins = np.array([scales[i] for i, _ in origins])[:, None]
        figures: dict[str, Any] = {"model": forecast_figures(self.levels(data, origins), LEVELS, targets, of_origins)}
        for name in self.baseline_names:
            around = self._around(name, self._baseline(name, windows, scale), scale)
            figures[name] = forecast_figures(around, LEVELS, targets, of_origins)
        return {**figures, "part": part, "n_forecasts": len(origins), "answers": self.answers}

    def predict(self, data: Any, *, answer: str | None = None) -> list[Forecast]:
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
            levels = self._around(by, self._baseline(by, windows, scale), scale)
        return [self._forecast(series, i, levels[i], by) for i in range(len(series))]

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
        stamps = [str(each).replace("T", " ") for each in series.frequency.stamps(series.first[i], end, end + horizon)]
        quantiles = {level: levels[:, k] for k, level in enumerate(LEVELS)}
        return Forecast(series.names[i], stamps, levels[:, len(LEVELS) // 2], quantiles, by)

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
            }
            for row, (i, _) in enumerate(origins)
        ]  # fmt: skip
        return pictures.forecasts(panels, path)


class _ForecastJob:
    """The task as the training loop sees it."""

    item = "window"

    def __init__(
        self,
        model: ForecastModel,
        data: Series,
        origins: list[tuple[int, int]],
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        self.model, self.data, self.origins, self.device = model, data, np.array(origins), device
        self.seed, self.batch = training.seed, min(model.settings.batch, len(origins))
        self.items_per_step, self.steps_per_epoch = self.batch, math.ceil(len(origins) / self.batch)
        self.valid = model.every_origin(data, "validation")

    @property
    def module(self) -> nn.Module:
        return self.model.fitted.net

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        from unrolled.training import processes

        draw = np.random.default_rng((self.seed, step, processes.rank()))
        n = max(1, self.batch // processes.world_size())
        chosen = self.origins[draw.integers(len(self.origins), size=n)]
        return module(
            self.model.fitted.cut.windows(self.data, [(int(i), int(t)) for i, t in chosen]).to(self.device)
        ), None

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        self.module.eval()
        total = 0.0
        for i in range(0, len(self.valid), 512):
            part = self.valid[i : i + 512]
            total += len(part) * float(self.module(self.model.fitted.cut.windows(self.data, part).to(self.device)))
        return {"loss": total / len(self.valid)}

    def describe(self, figures: dict[str, float]) -> str:
        return f"loss {figures['loss']:.4f}"

    def save(self, path: Path, record: list[dict[str, Any]]) -> None:
        self.model.keep(path, record)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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
