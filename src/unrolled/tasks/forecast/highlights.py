"""Which of the values before moved a forecast, by integrated gradients.

Inputs: a fitted network and one window. Outputs: for each value of the window what it adds to the mean of the forecast,
beside a window that was at its last value all along.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.windows import Windows
from unrolled.errors import SettingsError
from unrolled.insight.attribution import integrated
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.from_origins import MIDDLE


def lag_effects(fitted: ForecastFitted, windows: Windows) -> np.ndarray:
    """[context], in the unit of the values; of one window.

    Raises:
        SettingsError: the network forecasts step by step on its own values, which are drawn.
    """
    settings = fitted.net.settings
    if settings.decoder != "direct":
        raise SettingsError(f"--highlights goes with --decoder direct; this model has --decoder {settings.decoder}")

    def run(points: Sequence[Tensor]) -> Tensor:
        window, values = points
        inputs = torch.cat((values.unsqueeze(2), windows.inputs[..., 1:]), 2)
        now = replace(windows, window=window, inputs=inputs)
        found = [member(now.window, now.inputs, now.future) for member in fitted.net.members]
        return _center(torch.stack(found).mean(0), settings.output, windows).mean().unsqueeze(0)

    points = windows.window, windows.inputs[..., 0]
    (of_window, of_inputs), _ = integrated(run, points)
    return (of_window[0] + of_inputs[:, 0]).cpu().numpy()


def _center(params: Tensor, output: str, windows: Windows) -> Tensor:
    """The point forecast [batch, horizon] on the values' own scale; less the last value where that is only added."""
    spread, last = windows.spread.to(params.dtype), windows.last.to(params.dtype)
    if output == "negative-binomial":
        return nn.functional.softplus(params[..., 0] * spread + last)
    return params[..., MIDDLE if output == "quantiles" else 0] * spread
