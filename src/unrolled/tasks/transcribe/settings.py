"""What a user chooses for a transcriber."""

from dataclasses import dataclass
from typing import ClassVar

from unrolled.errors import SettingsError
from unrolled.search.ngram_fusion import KINDS
from unrolled.settings import option
from unrolled.tasks.fallback import answer_option
from unrolled.tasks.transcribe.net import SpeechNetSettings


@dataclass(frozen=True)
class TranscribeSettings(SpeechNetSettings):
    """What the model is, how it trains and searches, and how the files are read."""

    speed: float = option(0.1, "sounds are played faster or slower in training, by up to this share", least=0, most=0.5)
    noise: float = option(0.5, "share of the sounds that noise is added to in training", least=0, most=1)
    masks: float = option(0.1, "share of time, and twice of the bands, hidden at most by a mask", least=0, most=0.5)
    beam: int = option(1, "candidates of the search; 1: greedy", least=1, most=1000)
    language: str = option("", "file with lines of text, for a language model that guides the search", with_start="new")
    language_kind: str = option("char", "n-grams of characters or words", choices=KINDS, with_start="new")
    language_weight: float = option(0.5, "of the language model", least=0, most=10)
    path: str | None = option(None, "column with the paths  [guessed from its name]", reads="inputs")
    text: str | None = option(None, "column with the transcripts  [guessed from its name]", reads="answers")
    longest: float = option(30.0, "seconds of a sound at most; longer ones are left out of training", above=0, most=600)
    answer: str = answer_option()
    most_batch: ClassVar[int] = 16
    batch: int | None = option(
        None, "sounds of an update  [an eighth of the training part, 4 to 16]", least=1, most=10**6
    )
    validation: float = option(0.1, "share of the sounds kept for validation, where no file is", above=0, most=0.5)
    encoding: str = option("utf-8", "of manifests and texts", with_start="new", reads="inputs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.language and self.beam == 1:
            raise SettingsError("language: a language model guides a search among candidates; take beam=10, say")
