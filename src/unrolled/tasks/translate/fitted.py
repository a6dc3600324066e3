"""The fitted parts of a translator, and how a model file holds them."""

from dataclasses import dataclass
from typing import Self

from unrolled.baselines.dictionary import Dictionary
from unrolled.data.subwords import Subwords
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import JsonObject
from unrolled.tasks.fallback import NEVER, Fallback
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.translate.net import TranslateNet
from unrolled.tasks.translate.settings import TranslateSettings

COPY = "copy of the source"
IN_WORDS = {Dictionary.name: "translation word by word", COPY: "a copy of the source"}


@dataclass(frozen=True, kw_only=True)
class TranslateFitted(Fitted):
    """A fitted translator.

    Attributes:
        source, target: subwords of both languages; the same object where the vocabulary is joint.
        is_spaced: whether the target language puts spaces between words.
        baseline: the trivial method.
        fallback: when it answers, or a copy of the source.
    """

    net: TranslateNet
    source: Subwords
    target: Subwords
    is_spaced: bool
    baseline: Dictionary
    fallback: Fallback = NEVER

    def to_parts(self) -> Parts:
        vocabulary: JsonObject = {"target": self.target.to_data(), "is_spaced": self.is_spaced}
        if self.source is not self.target:
            vocabulary["source"] = self.source.to_data()
        baseline = {"method": self.baseline.name, **self.baseline.to_data(), "answers": self.fallback.to_data()}
        return vocabulary, baseline, {}

    @classmethod
    def from_parts(cls, file: ModelFile, settings: TranslateSettings) -> Self:
        target, is_joint = Subwords.from_data(file.vocabulary["target"]), settings.vocabulary == "joint"
        source = target if is_joint else Subwords.from_data(file.vocabulary.get("source"))
        is_spaced, baseline = bool(file.vocabulary["is_spaced"]), Dictionary.from_data(file.baseline)
        fallback = Fallback.from_data(file.baseline.get("answers"), (baseline.name, COPY))
        with without_numbers():
            net = TranslateNet(len(source), len(target), settings, is_joint=is_joint)
        return cls(net=net, source=source, target=target, is_spaced=is_spaced, baseline=baseline, fallback=fallback)
