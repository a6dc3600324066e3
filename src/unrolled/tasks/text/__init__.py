"""The text task: a language model of characters, bytes or subwords.

Comes in: text files. Goes out: a model that says how likely a text is and writes more of it, beside an n-gram model on
the same split.
"""

from unrolled.tasks.text.model import Model as Model
from unrolled.tasks.text.model import TextModel as TextModel
from unrolled.tasks.text.model import describe as describe
from unrolled.tasks.text.model import evaluate_file as evaluate_file
from unrolled.tasks.text.model import floor_name as floor_name
from unrolled.tasks.text.settings import GenerateSettings as GenerateSettings
from unrolled.tasks.text.settings import TextSettings as TextSettings
