"""The transcription task: speech to text.

Inputs: sounds with their transcripts, in a manifest or a folder. Outputs: a model that transcribes, with times and
confidence, a whole sound or a stream. Baselines on the same split: the most frequent transcript, and that of the
nearest training sound.
"""

from unrolled.tasks.transcribe.model import HELP as HELP
from unrolled.tasks.transcribe.model import Model as Model
from unrolled.tasks.transcribe.model import TranscribeModel as TranscribeModel
from unrolled.tasks.transcribe.report import Report as Report
from unrolled.tasks.transcribe.settings import TranscribeSettings as TranscribeSettings
from unrolled.tasks.transcribe.synthetic import synthetic as synthetic
