"""The task of understanding commands: an intent for the sentence and slots within it, together.

Comes in: a folder of seq.in, seq.out and label, or JSON lines. Goes out: a model that says what a sentence wants and
which parts of it matter, beside naive Bayes and the most frequent tag of each word on the same split.
"""

from unrolled.tasks.understand.model import HELP as HELP
from unrolled.tasks.understand.model import Model as Model
from unrolled.tasks.understand.model import UnderstandModel as UnderstandModel
from unrolled.tasks.understand.report import Report as Report
from unrolled.tasks.understand.settings import UnderstandSettings as UnderstandSettings
