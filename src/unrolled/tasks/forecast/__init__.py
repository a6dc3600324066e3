"""The forecasting task: prices, weather, load, or any series, with intervals.

Comes in: a table of one or many series. Goes out: a model that tells the next values and how sure it is, beside the
last value, the last season and a linear autoregression on the same windows; where one of them is better, it answers.
"""

from unrolled.tasks.forecast.model import HELP as HELP
from unrolled.tasks.forecast.model import ForecastModel as ForecastModel
from unrolled.tasks.forecast.model import Model as Model
from unrolled.tasks.forecast.report import Report as Report
from unrolled.tasks.forecast.settings import ForecastSettings as ForecastSettings
