"""The transcription task: speech into text.

Comes in: sounds with their transcripts, named by a manifest or lying in a folder. Goes out: a model that writes what it
hears, with times and how sure it is, at once or as sound comes in; beside the most frequent transcript and the nearest
known sound on the same split.
"""

from unrolled.tasks.transcribe.model import HELP as HELP
from unrolled.tasks.transcribe.model import Model as Model
from unrolled.tasks.transcribe.model import TranscribeModel as TranscribeModel
from unrolled.tasks.transcribe.report import Report as Report
from unrolled.tasks.transcribe.settings import TranscribeSettings as TranscribeSettings
