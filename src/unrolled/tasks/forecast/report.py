"""The report of a forecaster: table, verdict and picture."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.series import Series
from unrolled.markup import Band, Line
from unrolled.report import pictures
from unrolled.report.html import charts
from unrolled.report.html.charts import Axis
from unrolled.report.html.elements import GRAY, TONES
from unrolled.report.html.page import Section
from unrolled.tasks.forecast.compared import times_of
from unrolled.tasks.forecast.from_origins import MIDDLE
from unrolled.tasks.forecast.model import ForecastModel
from unrolled.tasks.report import TaskReport


class ForecastReport(TaskReport[ForecastModel, Series]):
    """The metrics of a forecaster in words."""

    for_more = " A smaller --horizon or a larger --test gives more."

    def table(self) -> list[str]:
        names, horizon = ["model", *self.model.fitted.baseline_names], self.model.settings.horizon
        kinds = (("MAE", "mae"), ("RMSE", "rmse"), ("sMAPE %", "smape"), ("MASE", "mase"), ("wQL", "wql"))
        lines = [
            f"{counted(self.metrics['n_forecasts'], 'forecast')} of {counted(horizon, 'step')} from rolling origins"
        ]
        lines.append(f"{'':<24}" + "".join(f"{head:>11}" for head, _ in kinds) + f"{'in 10-90 %':>12}")
        for name in names:
            row = self.metrics[name]
            lines.append(
                f"{name:<24}" + "".join(_cell(row[key]) for _, key in kinds) + f"{100 * row['coverage']:>10.1f} %"
            )
        steps = sorted({1, *(max(1, round(horizon * share)) for share in (0.25, 0.5, 0.75, 1))})
        lines.append(f"{'MAE at step':<24}" + "".join(f"{step:>11}" for step in steps))
        by_step = {name: self.metrics[name]["mae_by_step"] for name in names}
        lines += [
            f"{name:<24}" + "".join(_cell(errors[step - 1]) for step in steps) for name, errors in by_step.items()
        ]
        model, none = self.metrics["model"], f"{_cell(math.nan).strip()} "
        reasons = {
            "MASE: the training part does not change from one season to the next": model["mase"],
            "wQL: all values to forecast are zero": model["wql"],
            "at a step: none of its values is known": sum(by_step["model"][step - 1] for step in steps),
        }
        return lines + [none + reason for reason, value in reasons.items() if math.isnan(value)]

    def in_words(self, value: float) -> str:
        return f"{value:.4g}"

    def last_line(self) -> str:
        settings, answers = self.model.settings, self.model.answers
        who = f"`unrolled predict` answers with the {answers}"
        who += ", the best on the validation part" if settings.answer == "best" else ""
        keep = "" if answers == "model" else "; --answer model takes the model all the same"
        return f"{self.claim(self.comparison())} {who}{keep}."

    def facts(self) -> dict[str, str]:
        best = ", the best on the validation part" if self.model.settings.answer == "best" else ""
        fitted = self.model.fitted
        return {
            "forecasts": f"{self.model.settings.horizon} steps of {fitted.target}, from the last {fitted.cut.context}",
            "answers": f"the {self.model.answers}{best}",
        }

    def picture(self, folder: Path) -> Path | None:
        held = self.model.held
        return None if held is None else self.draw(held, folder / "forecasts.png")

    def draw(self, data: Series, path: Path | str, *, most: int = 4) -> Path:
        """Draws the last forecasts of the backtest, of up to `most` series, beside what came and the best baseline.

        Raises:
            DataError: the name of the picture does not tell a form that can be drawn.
        """
        pictures.check_name(path := Path(path))
        return pictures.forecasts(self.panels(data, most=most), path)

    def panels(self, data: Series, *, most: int = 4) -> list[pictures.BacktestPanel]:
        """The same, as `pictures.forecasts` takes it."""
        parts, fitted = self.model.parts, self.model.fitted
        latest: dict[int, int] = {}
        for i, t in parts.origins(data, parts.last):
            latest[i] = max(t, latest.get(i, 0))
        at = self.model.forecasts_from(data, sorted(latest.items())[:most])
        levels, windows, targets = at.levels("model"), at.windows, at.targets
        baseline = min(fitted.baseline_names, key=lambda name: fitted.errors.get(name, math.inf))
        beside = at.points(baseline)
        return [
            {
                "name": data.names[i] or data.target, "past": windows[row], "actual": targets[row],
                "point": levels[row, :, MIDDLE], "low": levels[row, :, 0], "high": levels[row, :, -1],
                "baseline": beside[row], "baseline_name": baseline,
                "times": times_of(data, i, t - windows.shape[1], t + targets.shape[1]),
            }
            for row, (i, t) in enumerate(at.origins)
        ]  # fmt: skip

    def exhibits(self, held: Series | None) -> Iterator[Section]:
        if held is not None:
            shown = "".join(_panel(each) for each in self.panels(held))
            yield Section("Forecasts beside what came", f'<div class="grid">{shown}</div>')
        names, steps = ["model", *self.model.fitted.baseline_names], range(1, self.model.settings.horizon + 1)
        lines = [
            Line(name, list(steps), self.metrics[name]["mae_by_step"], (TONES[0], GRAY, *TONES[1:])[i])
            for i, name in enumerate(names)
        ]
        if len(steps) > 1:
            shown = charts.curves(
                lines, Axis("step of the forecast"), Axis("MAE"), caption="mean absolute error by step"
            )
            yield Section("How far ahead it sees", shown)


def _cell(value: float) -> str:
    """A metric in a column; a dash where there is none."""
    return f"{'-':>11}" if math.isnan(value) else f"{value:>11.4g}"


def _panel(panel: pictures.BacktestPanel) -> str:
    """A forecast with its interval, after the past that it was made from."""
    n, horizon, times = len(panel["past"]), len(panel["point"]), panel["times"]
    at, after = np.arange(-n, horizon), np.arange(horizon)
    actual = np.concatenate((panel["past"], panel["actual"]))
    lines = [
        Line("actual", at, actual, "var(--text)"),
        Line("model", after, panel["point"], TONES[0]),
        Line(panel["baseline_name"], after, panel["baseline"], GRAY, is_dashed=True),
    ]
    band = Band("10 to 90 %", after, panel["low"], panel["high"])
    places = None if times is None else [(int(at[i]), _stamp(times[i])) for i in (0, len(at) - 1, n)]
    x = Axis("steps from the forecast's first" if times is None else "", places)
    return charts.curves(lines, x, Axis("value"), caption=str(panel["name"]), band=band)


def _stamp(time: np.datetime64) -> str:
    """A time without the parts that are zero."""
    return str(time.astype("datetime64[m]")).replace("T", " ").removesuffix(" 00:00")


Report = ForecastReport
