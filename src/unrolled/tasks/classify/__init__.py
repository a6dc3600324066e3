"""The classification task: sentiment or other classes, one or several for a text; also of windows of numbers.

Inputs: a table with texts, or with columns of numbers, and labels. Outputs: a model with calibrated probabilities that
shows which words decided. Baselines on the same split: the most frequent class and naive Bayes (for numbers the nearest
class mean).
"""

from unrolled.tasks.classify.model import HELP as HELP
from unrolled.tasks.classify.model import ClassifyModel as ClassifyModel
from unrolled.tasks.classify.model import Model as Model
from unrolled.tasks.classify.report import Report as Report
from unrolled.tasks.classify.settings import ClassifySettings as ClassifySettings
from unrolled.tasks.classify.synthetic import synthetic as synthetic
