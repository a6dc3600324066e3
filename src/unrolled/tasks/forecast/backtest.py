"""Metrics of forecasts from rolling origins, of the model and of each baseline.

Inputs: forecasts from the origins of a part. Outputs: metrics, and the comparison with a baseline.
"""

import numpy as np

from unrolled.report.comparison import Comparison
from unrolled.report.metrics import Metrics, forecast_metrics, mase_scale
from unrolled.tasks.forecast.compared import blocks_of, compared
from unrolled.tasks.forecast.from_origins import FromOrigins
from unrolled.tasks.forecast.net import LEVELS
from unrolled.tasks.forecast.parts import Parts


def backtest(at: FromOrigins, answers: str) -> tuple[dict[str, Metrics], Comparison]:
    """Metrics of "model" and of each baseline by name, and the comparison: with all baselines where the model answers,
    else with the baseline that does.
    """
    data, settings = at.data, at.settings
    truth = [np.where(known, values, np.nan) for values, known in zip(data.values, data.known, strict=True)]
    ends = Parts(settings).training_ends(data)
    scales = [mase_scale(values[: max(1, end)], at.fitted.season) for values, end in zip(truth, ends, strict=True)]
    of_origins = np.array([scales[i] for i, _ in at.origins])[:, None]
    levels = {name: at.levels(name) for name in at.names}
    metrics = {name: forecast_metrics(each, LEVELS, at.targets, of_origins) for name, each in levels.items()}
    against = at.fitted.baseline_names if answers == "model" else [answers]
    blocks, is_squared = blocks_of(data, at.origins, settings.horizon), settings.output == "mean"
    return metrics, compared(levels, at.targets, against, blocks, is_squared=is_squared)
