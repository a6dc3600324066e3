"""The translation task: sentences of one language into another.

Inputs: pairs of sentences, in one file with a tab in each line or in two files. Outputs: a model that translates.
Baselines on the same split: a dictionary that translates word by word, and the source itself.
"""

from unrolled.tasks.translate.model import HELP as HELP
from unrolled.tasks.translate.model import Model as Model
from unrolled.tasks.translate.model import TranslateModel as TranslateModel
from unrolled.tasks.translate.report import Report as Report
from unrolled.tasks.translate.settings import TranslateSettings as TranslateSettings
from unrolled.tasks.translate.synthetic import synthetic as synthetic
