"""The regression task: a number of a text, such as stars or a price, or of a window of sensor values.

Inputs: a table with texts, or with columns of numbers, and a column of numbers to predict. Outputs: a model whose
answers are numbers with intervals. Baselines on the same split: the mean, and ridge regression on words (for windows on
simple statistics).
"""

from unrolled.tasks.regress.model import HELP as HELP
from unrolled.tasks.regress.model import Model as Model
from unrolled.tasks.regress.model import RegressModel as RegressModel
from unrolled.tasks.regress.report import Report as Report
from unrolled.tasks.regress.settings import RegressSettings as RegressSettings
from unrolled.tasks.regress.synthetic import synthetic as synthetic
