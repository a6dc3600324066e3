"""The forecast of a series: dates, values and quantiles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.tasks.answers import Shown
from unrolled.tasks.forecast.net import LEVELS


@dataclass(frozen=True, repr=False)
class Forecast(Shown):
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

    @property
    def value(self) -> np.ndarray:
        """The point forecast."""
        return self.values

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
