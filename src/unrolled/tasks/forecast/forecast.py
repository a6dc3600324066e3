"""The forecast of a series: dates, values, quantiles, and their picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unrolled import markup
from unrolled.data.counted import counted
from unrolled.errors import SettingsError
from unrolled.report import pictures
from unrolled.tasks.answers import Answers, Shown
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.highlights import Highlight, in_words, with_highlights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BANDS = ((LEVELS[0], LEVELS[-1]), (LEVELS[1], LEVELS[-2]))  # widest first
_MOST_PANELS = 4  # that a notebook shows unasked


@dataclass(frozen=True, repr=False)
class Forecast(Shown):
    """The forecast of one series.

    Attributes:
        series: its name.
        stamps: of the forecast values, as texts.
        values: [horizon], the point forecast.
        quantiles: by level [horizon].
        by: who answers: "model", or the name of a baseline.
        past: [n], the last values before, for the picture; NaN where none is known.
        times: datetime64 [n + horizon], of both; None where there are no dates.
        since: the stamp of the first of these values, as a text.
        highlights: if asked for, what each value before adds to the mean of the forecast, beside one that was the last
            value all along: its stamp, and `effect` in the unit of the values.
    """

    series: str
    stamps: list[str]
    values: np.ndarray
    quantiles: dict[float, np.ndarray]
    by: str
    past: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False)
    times: np.ndarray | None = field(default=None, compare=False)
    since: str = ""
    highlights: list[Highlight] | None = field(default=None, compare=False)

    @property
    def value(self) -> np.ndarray:
        """The point forecast."""
        return self.values

    def to_dict(self) -> dict[str, object]:
        quantiles = {str(level): [float(value) for value in values] for level, values in self.quantiles.items()}
        result: dict[str, object] = {
            "series": self.series, "by": self.by, "stamps": self.stamps,
            "values": [float(value) for value in self.values], "quantiles": quantiles,
        }  # fmt: skip
        return with_highlights(result, self.highlights)

    def rows(self) -> list[dict[str, object]]:
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
        lines += [f"  {stamp}  {value:.6g}  ({a:.6g} to {b:.6g})" for stamp, value, a, b in rows]
        if self.highlights:
            lines.append("  moved by" + in_words(self.highlights, "stamp", "effect"))
        return "\n".join(lines)

    def plot(self) -> "Figure":
        """The last values, the forecast and its intervals over their dates, as a figure of matplotlib's.

        A notebook shows it; elsewhere `figure.savefig("forecast.png")` writes it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return _drawn([self], 1)

    def chart(self) -> str:
        """The same as HTML, of which no library is needed."""
        past, horizon = len(self.past), len(self.values)
        known = markup.Line("known", np.arange(-past, 0), self.past, "currentColor")
        after = np.arange(horizon)
        told = markup.Line("forecast", after, self.values)
        low, high = _BANDS[0]
        band = markup.Band(_percents(low, high), after, self.quantiles[low], self.quantiles[high])
        return markup.chart([known, told], band=band, ends=(self.since, self.stamps[-1]), label="the forecast")

    def _repr_html_(self) -> str:
        head = markup.heading(self.series or "Forecast", f"{counted(len(self.values), 'step')}, by {self.by}")
        return markup.block(head, self.chart(), markup.details("values", super()._repr_html_()))


class Forecasts(Answers[Forecast]):
    """The forecasts of several series: a list, which is also an array, a table and a picture."""

    def plot(self, *, most: int = _MOST_PANELS) -> "Figure":
        """As `Forecast.plot`, one panel below the other for the first `most` series.

        Raises:
            MissingExtraError: matplotlib is not installed.
            SettingsError: there is no forecast, or `most` is below 1.
        """
        if not self or most < 1:
            raise SettingsError(f"plot: {counted(len(self), 'forecast')} and most={most}; expected at least 1 of each")
        return _drawn(self, most)

    def _repr_html_(self) -> str:
        shown = "".join(each._repr_html_() for each in self[:_MOST_PANELS])
        rest = f"{_MOST_PANELS} of {len(self):,} series; plot(most=...) and to_frame() have more"
        return markup.block(shown, markup.sentence(rest if len(self) > _MOST_PANELS else ""))


def _percents(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _drawn(forecasts: Sequence[Forecast], most: int) -> "Figure":
    panels: list[pictures.ForecastPanel] = [
        {
            "name": f"{each.series + ', ' if each.series else ''}by {each.by}",
            "past": each.past, "point": each.values, "times": each.times,
            "bands": {_percents(*band): (each.quantiles[band[0]], each.quantiles[band[1]]) for band in _BANDS},
        }
        for each in forecasts[:most]
    ]  # fmt: skip
    more = f"{most} of {len(forecasts):,} series; plot(most=...) draws more" if len(forecasts) > most else ""
    return pictures.futures(panels, more)
