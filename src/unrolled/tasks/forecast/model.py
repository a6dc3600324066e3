"""A forecaster: reads files, trains its network, predicts and evaluates."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unrolled.data.counted import counted
from unrolled.data.series import Series
from unrolled.data.windows import Origins
from unrolled.errors import DataError, SettingsError
from unrolled.json_values import JsonObject
from unrolled.report.metrics import Metrics
from unrolled.tasks.estimator import Estimator, Files
from unrolled.tasks.forecast.backtest import backtest
from unrolled.tasks.forecast.compared import clock_of
from unrolled.tasks.forecast.fitted import ForecastFitted, check_frequency, fitted_on
from unrolled.tasks.forecast.forecast import Forecast, Forecasts
from unrolled.tasks.forecast.from_origins import MIDDLE, FromOrigins, quantiles_of, widened
from unrolled.tasks.forecast.highlights import lag_effects
from unrolled.tasks.forecast.job import ForecastJob
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.forecast.parts import Parts
from unrolled.tasks.forecast.reading import Reader
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.tasks.forecast.widening import widening
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.highlights import Highlight
from unrolled.tasks.starting import StartModel
from unrolled.training.settings import TrainSettings

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
        return self._reader().files(files)

    def as_data(self, data: object) -> Series:
        """From files, a data frame, an array [time], or a list of those."""
        return self._reader().series(data)

    def _reader(self) -> Reader:
        """Reads series as the model learnt to, of which `read_as` may have been changed since."""
        fitted = self._fitted
        return Reader(self.settings, None if fitted is None else fitted.noting({"read_as": self.read_as}))

    def _data(self, data: object, valid: object, base: StartModel | None) -> tuple[Series, None]:
        """Data of a training: read anew, whatever the model learnt before, or as for the one that it starts from;
        without series that are too short.
        """
        like = None if base is None else base.model.fitted.without("read_as")
        try:
            whole = self.parts.long_enough(Reader(self.settings, like).series(data))
        except DataError:
            if like is not None:  # the reason may be that they have another frequency
                check_frequency(Reader(self.settings).series(data), like)
            raise
        return whole, None

    @property
    def parts(self) -> Parts:
        """How series are cut."""
        return Parts(self.settings)

    def _check_given(self, answers: object, valid: object) -> None:
        """The validation part is the end of each series, before the test part."""
        if valid is not None or answers is not None:
            raise SettingsError(
                "fit: a forecast learns from the past of series, which has its answers, and validates on their ends; "
                "leave answers and valid out, and set `validation`"
            )

    def split(self, data: Series, seed: int) -> tuple[Series, Series]:
        return data, data

    def folds(self, data: Series, n: int, seed: int) -> Iterator[tuple[Series, Series | None]]:
        """Rolling origins with a training each: the series as they were known n - 1, ..., 1, 0 last parts ago."""
        yield from ((part, None) for part in self.parts.folds(data, n))

    def amounts(self, part: Series, held: Series) -> JsonObject:
        return {"n_series": len(part), "n_values": sum(map(len, part.values))}

    def prepare(
        self,
        data: Series,
        valid: Series,
        training: TrainSettings,
        device: torch.device,
        start: ForecastFitted | None = None,
    ) -> tuple[ForecastFitted, ForecastJob]:
        fitted, origins = fitted_on(data, self.parts.training_ends(data), self.settings, start)
        fitted.net.to(device)
        held = self.parts.every_origin(data, "validation")
        if not held:
            raise DataError("the validation part holds no value that is known; take a larger --validation")
        if len(held) < MIN_ORIGINS:
            self.notes.append(
                counted(
                    len(held), "forecast[|s] fit[s|] into the validation part, too few for intervals: errors on the "
                )
                + "training part count too, and few errors make intervals wider"
            )
        return fitted, ForecastJob(self, data, origins, held, training, device)

    def forecasts_from(self, data: Series, origins: Origins) -> FromOrigins:
        """What the network and the baselines forecast from there."""
        return FromOrigins(self.ready(), self.settings, data, origins)

    def finish(self, valid: Series) -> ForecastFitted:
        """Intervals of point forecasts, and who answers: the smallest absolute error on the validation part."""
        fitted, origins = self.fitted, self.parts.every_origin(valid, "validation")
        scaled = self.forecasts_from(valid, origins).scaled_errors()
        errors = {
            name: float(np.nanmean(np.square(error) if self.settings.output == "mean" else np.abs(error)))
            for name, error in scaled.items()
        }
        learnt = self.parts.every_origin(valid, "training")
        if len(origins) < MIN_ORIGINS:  # too few for quantiles: those of the training part beside them
            more = self.forecasts_from(valid, learnt).scaled_errors()
            scaled = {name: np.concatenate((error, more[name])) for name, error in scaled.items()}
            origins = [*origins, *learnt]
        wider, horizon = widening(origins, self.settings.horizon), self.settings.horizon
        residuals = {name: widened(quantiles_of(error), wider) for name, error in scaled.items()}  # [horizon, levels]
        best = min(errors, key=lambda name: errors[name])
        return replace(fitted, residuals=residuals, wider=widening(learnt, horizon), best=best, errors=errors)

    @property
    def answers(self) -> str:
        """Who answers: "model", or the name of a baseline."""
        return self._answers(self.settings)

    def _answers(self, settings: ForecastSettings) -> str:
        fitted = self.fitted
        return fitted.best if settings.answer == "best" else settings.answer

    def evaluate(self, data: object, *, part: str | None = None) -> Metrics:
        """A backtest: metrics of the forecasts from rolling origins, of the model and of each baseline.

        Args:
            data: as in `fit`; the parts are cut as there.
            part: "test" or "validation"; the test part where there is one.

        Returns:
            For "model" and each baseline: mae, rmse, smape (per cent), mase, wql (weighted quantile loss), coverage (of
            the interval from 10 to 90 %), and mae by step of the horizon.
        """
        self.fitted  # noqa: B018 - raises before data are read, if there is none
        series = self.as_data(data)
        part = part or self.parts.last
        origins = self.parts.origins(series, part)
        if not origins:
            raise DataError(f"no forecast of {self.settings.horizon} steps fits into the {part} part")
        metrics, comparison = backtest(self.forecasts_from(series, origins), self.answers)
        about = {"part": part, "n_forecasts": len(origins), "answers": self.answers}
        return {**metrics, **about, "comparison": comparison.to_dict()}

    def is_flattered_by(self, data: object, learnt: str = "") -> bool:
        """No: `evaluate` judges the ends of series, which training leaves out."""
        self.fitted  # noqa: B018 - raises if there is none
        return False

    def score(self, data: object, answers: object = None) -> float:
        """The negative mean absolute error of forecasts all along some series, also of such as `fit` did not see: of a
        part that comes later, as scikit-learn's `TimeSeriesSplit` cuts it. The larger the better.

        Raises:
            DataError: no series is longer than the horizon.
        """
        fitted, series = self.fitted, self.as_data(data)
        origins = self.parts.all_along(series, fitted.cut.context)
        if not origins:
            raise DataError(f"score: no series is longer than the horizon of {self.settings.horizon}")
        at = self.forecasts_from(series, origins)
        return -float(np.abs(at.targets - at.points(self.answers)).mean())

    def predict(self, data: object, *, answer: str | None = None, highlights: bool = False) -> Forecasts:
        """The steps after the end of each series; see `fit` for `data`. `answer` overrules the settings', `highlights`
        tells which values before moved the network's forecast.
        """
        fitted, series = self.fitted, self.as_data(data)
        by = self.answers if answer is None else self._answers(replace(self.settings, answer=answer))
        if series.covariate_names != fitted.covariate_names:
            raise DataError(
                f"the covariates are {', '.join(series.covariate_names) or 'none'}; "
                f"the model learnt with {', '.join(fitted.covariate_names) or 'none'}"
            )
        ends = [(i, len(values)) for i, values in enumerate(series.values)]
        if by == "model":
            fitted.check_future(series)
        elif highlights:
            raise SettingsError(f"--highlights goes with --answer model; the {by} answers here")
        levels = self.forecasts_from(series, ends).levels(by)
        self.notes = [*series.notes, *fitted.short_notes(series)]
        found = (self._forecast(series, i, levels[i], by) for i in range(len(series)))
        if not highlights:
            return Forecasts(found)
        return Forecasts(replace(each, highlights=self._highlights(series, i)) for i, each in enumerate(found))

    def _highlights(self, series: Series, i: int) -> list[Highlight]:
        fitted, end = self.fitted, len(series.values[i])
        device = next(fitted.net.parameters()).device
        values = lag_effects(fitted, fitted.cut.windows(series, [(i, end)]).to(device))
        start = max(0, end - len(values))
        stamps = series.stamps(i, start, end)
        return [
            {"stamp": stamp, "effect": effect}
            for stamp, effect in zip(stamps, values[len(values) - len(stamps) :].tolist(), strict=True)
        ]

    def predict_table(
        self, files: Sequence[Path | str], *, answer: str | None = None, highlights: bool = False
    ) -> list[Forecast]:
        """The same for tables."""
        return self.predict(files, answer=answer, highlights=highlights)

    def _forecast(self, series: Series, i: int, levels: np.ndarray, by: str) -> Forecast:
        end, horizon = len(series.values[i]), self.settings.horizon
        stamps = series.stamps(i, end, end + horizon)
        quantiles = {level: levels[:, k] for k, level in enumerate(LEVELS)}
        start = max(0, end - max(self.fitted.cut.context, 3 * horizon))
        past = np.where(series.known[i][start:], series.values[i][start:], np.nan)
        return Forecast(
            series.names[i], stamps, levels[:, MIDDLE], quantiles, by,
            past, clock_of(series, i, start, end + horizon), series.stamps(i, start, start + 1)[0],
        )  # fmt: skip


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
