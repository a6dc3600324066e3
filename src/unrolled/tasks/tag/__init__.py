"""The tagging task: named entities, or any label for each token.

Comes in: files of tagged sentences. Goes out: a model that marks spans in sentences and texts, beside the most frequent
tag of each word on the same split.
"""

from unrolled.tasks.tag.model import HELP as HELP
from unrolled.tasks.tag.model import Model as Model
from unrolled.tasks.tag.model import TagModel as TagModel
from unrolled.tasks.tag.report import Report as Report
from unrolled.tasks.tag.settings import TagSettings as TagSettings
