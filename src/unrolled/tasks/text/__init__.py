"""The text task: a language model of characters, bytes or subwords.

Inputs: text files; without any, the source code of Python's standard library. Outputs: a model that predicts how likely
a text is, and generates text. Baseline on the same split, the last tenth of the text: an n-gram model.
"""

from unrolled.tasks.text.model import HELP as HELP
from unrolled.tasks.text.model import Model as Model
from unrolled.tasks.text.model import TextModel as TextModel
from unrolled.tasks.text.report import Report as Report
from unrolled.tasks.text.settings import TextSettings as TextSettings
from unrolled.tasks.text.synthetic import synthetic as synthetic
