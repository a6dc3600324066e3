"""The text task: a language model of characters, bytes or subwords.

Comes in: text files; without any, the source code of Python's standard library. Goes out: a model that says how likely
a text is and writes more of it, beside an n-gram model on the same split: the last tenth of the text.
"""

from unrolled.tasks.text.model import HELP as HELP
from unrolled.tasks.text.model import Model as Model
from unrolled.tasks.text.model import TextModel as TextModel
from unrolled.tasks.text.report import Report as Report
from unrolled.tasks.text.settings import TextSettings as TextSettings
