"""The task of understanding commands: an intent for the sentence and slots within it, together.

Inputs: a folder of seq.in, seq.out and label, or JSON lines. Outputs: a model that finds the intent of a sentence and
its slots. Baselines on the same split: naive Bayes and the most frequent tag of each word.
"""

from unrolled.tasks.understand.model import HELP as HELP
from unrolled.tasks.understand.model import Model as Model
from unrolled.tasks.understand.model import UnderstandModel as UnderstandModel
from unrolled.tasks.understand.report import Report as Report
from unrolled.tasks.understand.settings import UnderstandSettings as UnderstandSettings
from unrolled.tasks.understand.synthetic import synthetic as synthetic
