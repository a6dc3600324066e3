"""The classification task: sentiment, or any classes, one or several for a text; also of windows of numbers.

Comes in: a table with texts, or with columns of numbers, and labels. Goes out: a model that gives calibrated
probabilities and shows which words moved the decision, beside the most frequent class and naive Bayes (of numbers the
nearest class mean) on the same split.
"""

from unrolled.tasks.classify.model import HELP as HELP
from unrolled.tasks.classify.model import ClassifyModel as ClassifyModel
from unrolled.tasks.classify.model import Model as Model
from unrolled.tasks.classify.report import Report as Report
from unrolled.tasks.classify.settings import ClassifySettings as ClassifySettings
