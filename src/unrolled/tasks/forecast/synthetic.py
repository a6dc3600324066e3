"""Synthetic series, for a look at a forecaster without data.

Inputs: a fitted model. Outputs: examples, as `as_data` takes them.
"""

import numpy as np

from unrolled.data.series import Series
from unrolled.tasks.forecast.fitted import ForecastFitted

N_SERIES, LEAST = 8, 200


def synthetic(fitted: ForecastFitted, draw: np.random.Generator) -> Series:
    """Waves with the model's season in noise; covariates and what describes a series are noise."""
    n_steps = LEAST + 2 * (len(fitted.weights) - 1 + fitted.cut.horizon)
    t = np.arange(n_steps)
    waves = [np.sin(2 * np.pi * (t / max(2, fitted.season) + draw.random())) for _ in range(N_SERIES)]
    n_covariates = len(fitted.covariate_names)
    return Series(
        names=[str(i) for i in range(N_SERIES)],
        values=[10 + 3 * wave + draw.normal(size=n_steps) / 2 for wave in waves],
        frequency=fitted.frequency,
        covariates=[draw.normal(size=(n_steps, n_covariates)) for _ in waves],
        n_future=fitted.cut.n_future,
        static=draw.normal(size=(N_SERIES, fitted.n_static)),
        covariate_names=fitted.covariate_names,
        target=fitted.target,
        columns=fitted.columns,
        static_columns=fitted.static_columns,
        day_first=fitted.day_first,
    )
