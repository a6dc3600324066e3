"""The fitted parts of a transcriber, and how a model file holds them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from unrolled.baselines.template import Templates
from unrolled.data.files import read_texts
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import JsonObject, texts, whole
from unrolled.search.ngram_fusion import LanguageModel
from unrolled.tasks.fallback import NEVER, Fallback
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.transcribe.net import SpeechNet
from unrolled.tasks.transcribe.settings import TranscribeSettings

MOST_HZ = 16_000
FREQUENT = "most frequent transcript"


@dataclass(frozen=True, kw_only=True)
class TranscribeFitted(Fitted):
    """A fitted transcriber.

    Attributes:
        net: the network; it also has mean and spread of the features.
        characters: by number, which begins at 1.
        rate: samples a second that the network hears.
        frequent: the most frequent transcript, a baseline.
        templates: known sounds, a baseline.
        language: a language model for the search; None without.
        fallback: when a baseline answers.
    """

    net: SpeechNet
    characters: list[str]
    rate: int
    frequent: str
    templates: Templates
    language: LanguageModel | None = None
    fallback: Fallback = NEVER

    @property
    def baseline_names(self) -> list[str]:
        """The baselines that there are."""
        return [FREQUENT, Templates.name] if self.templates.frames else [FREQUENT]

    def by_baseline(self, name: str, frames: np.ndarray) -> str:
        """What a baseline says of a sound's features [time, mels]."""
        return self.frequent if name == FREQUENT else self.templates.nearest(frames)

    def to_parts(self) -> Parts:
        vocabulary: JsonObject = {"characters": "".join(self.characters), "rate": self.rate}
        tensors = {f"baseline.template.{i}": torch.from_numpy(each) for i, each in enumerate(self.templates.frames)}
        if self.language is not None:
            vocabulary["language"], more = self.language.to_parts()
            tensors |= more
        baseline = {"frequent": self.frequent, "templates": self.templates.transcripts}
        return vocabulary, baseline | {"answers": self.fallback.to_data()}, tensors

    @classmethod
    def from_parts(cls, file: ModelFile, settings: TranscribeSettings) -> Self:
        held = file.vocabulary
        characters, rate = list(str(held["characters"])), whole(held["rate"])
        frequent, transcripts = str(file.baseline["frequent"]), texts(file.baseline["templates"])
        frames = [file.tensors.get(f"baseline.template.{i}") for i in range(len(transcripts))]
        if not characters or not 1000 <= rate <= MOST_HZ:
            raise ModelFileError("its characters or its rate are damaged")
        if any(each is None or each.dim() != 2 or each.shape[1] != settings.mels or not len(each) for each in frames):
            raise ModelFileError("its templates are damaged")
        templates = Templates([each.float().numpy() for each in frames if each is not None], transcripts)
        language = LanguageModel.from_parts(held["language"], file.tensors) if "language" in held else None
        names = [FREQUENT, *[Templates.name] * bool(transcripts)]
        fallback = Fallback.from_data(file.baseline.get("answers"), names)
        with without_numbers():
            net = SpeechNet(len(characters) + 1, settings)
        return cls(
            net=net,
            characters=characters,
            rate=rate,
            frequent=frequent,
            templates=templates,
            language=language,
            fallback=fallback,
        )


def language_of(settings: TranscribeSettings) -> LanguageModel:
    """The language model of the lines of a file.

    Raises:
        DataError: the file cannot be used.
    """
    texts, _ = read_texts([settings.language], encoding=settings.encoding)
    lines = [" ".join(line.split()) for line in next(iter(texts.values())).split("\n")]
    return LanguageModel.fit([line for line in lines if line], settings.language_kind)
