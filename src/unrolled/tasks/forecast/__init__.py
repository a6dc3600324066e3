"""The forecasting task: prices, weather, load, or any series, with intervals.

Inputs: a table of one or many series. Outputs: a model that predicts the next values with their quantiles. Baselines on
the same windows: last value, last season, linear autoregression. If one of them is better, it makes the predictions.
"""

from unrolled.tasks.forecast.model import HELP as HELP
from unrolled.tasks.forecast.model import ForecastModel as ForecastModel
from unrolled.tasks.forecast.model import Model as Model
from unrolled.tasks.forecast.report import Report as Report
from unrolled.tasks.forecast.settings import ForecastSettings as ForecastSettings
from unrolled.tasks.forecast.synthetic import synthetic as synthetic
