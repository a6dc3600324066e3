"""The tagging task: named entities, or any label for each token.

Inputs: files of tagged sentences. Outputs: a model that marks spans in sentences and texts. Baseline on the same split:
the most frequent tag of each word.
"""

from unrolled.tasks.tag.model import HELP as HELP
from unrolled.tasks.tag.model import Model as Model
from unrolled.tasks.tag.model import TagModel as TagModel
from unrolled.tasks.tag.report import Report as Report
from unrolled.tasks.tag.settings import TagSettings as TagSettings
from unrolled.tasks.tag.synthetic import synthetic as synthetic
