"""The translation task: sentences of one language into another.

Comes in: pairs of sentences, in one table or in two files. Goes out: a model that translates, beside a dictionary that
translates word by word, and beside the source itself, on the same split.
"""

from unrolled.tasks.translate.model import HELP as HELP
from unrolled.tasks.translate.model import Model as Model
from unrolled.tasks.translate.model import TranslateModel as TranslateModel
from unrolled.tasks.translate.report import Report as Report
from unrolled.tasks.translate.settings import TranslateSettings as TranslateSettings
