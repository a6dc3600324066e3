"""Where series are cut into training, validation and test part.

Inputs: settings and series. Outputs: ends of parts, origins of forecasts within a part, folds. Reading, training, and
measuring all cut by these, and nothing else of a model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from unrolled.data.series import Series
from unrolled.data.windows import Origins
from unrolled.errors import SettingsError
from unrolled.tasks.forecast.fitted import long_enough
from unrolled.tasks.forecast.settings import ForecastSettings

_MOST_ORIGINS = 3000  # more would tell no better


@dataclass(frozen=True)
class Parts:
    """The parts that settings ask for."""

    settings: ForecastSettings

    @property
    def last(self) -> str:
        """The part that a model is measured on, if none is named."""
        return "test" if self.settings.test else "validation"

    def ends(self, length: int) -> tuple[int, int, int]:
        """Where the training part, the validation part and a series of that length end."""
        settings, horizon = self.settings, self.settings.horizon
        n_test = max(horizon, round(settings.test * length)) if settings.test else 0
        n_valid = max(horizon, round(settings.validation * length))
        return length - n_test - n_valid, length - n_test, length

    def training_ends(self, data: Series) -> list[int]:
        """Where the training part of each series ends."""
        return [self.ends(len(values))[0] for values in data.values]

    def long_enough(self, data: Series) -> Series:
        """The series with a training part that is long enough, with a note on the others.

        Raises:
            DataError: none has.
        """
        return long_enough(data, self.training_ends(data), self.settings.horizon)

    def folds(self, data: Series, n: int) -> Iterator[Series]:
        """Rolling origins with a training each: the series as they were known n - 1, ..., 1, 0 last parts ago.

        Raises:
            SettingsError: a series is too short for so many.
        """
        data = self.long_enough(data)
        lengths = [len(values) for values in data.values]
        for back in reversed(range(n)):
            ends = list(lengths)
            for _ in range(back):
                ends = [self.ends(end)[1 if self.settings.test else 0] for end in ends]
            if min(ends) < 3 * self.settings.horizon:
                raise SettingsError(f"folds: a series of {min(lengths)} values is too short for {n}; take fewer")
            yield data.until(ends)

    def origins(self, data: Series, part: str, *, stride: int | None = None) -> Origins:
        """Where forecasts of a part begin: every `stride` steps, so that all they tell lies within it."""
        horizon = self.settings.horizon
        stride = stride or self.settings.stride or horizon
        found = []
        for i, values in enumerate(data.values):
            first, second, end = self.ends(len(values))
            start, stop = {"training": (horizon, first), "validation": (first, second), "test": (second, end)}[part]
            known = data.known[i]
            found += [(i, t) for t in range(max(1, start), stop - horizon + 1, stride) if known[t : t + horizon].any()]
        return found

    def every_origin(self, data: Series, part: str) -> Origins:
        """The same step by step, thinned out to some thousands."""
        found = self.origins(data, part, stride=1)
        return found[:: max(1, math.ceil(len(found) / _MOST_ORIGINS))]

    def all_along(self, data: Series, context: int) -> Origins:
        """Where forecasts begin all along the series, behind a window where they are long enough for one."""
        horizon = self.settings.horizon
        stride = self.settings.stride or horizon
        return [
            (i, t)
            for i, values in enumerate(data.values)
            for t in range(max(1, min(context, len(values) - horizon)), len(values) - horizon + 1, stride)
        ]
