"""The fitted parts of a model of intents and slots, and how a model file holds them."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.data import schemes
from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import are_texts
from unrolled.tasks.blend import NETWORK_ALONE, Weights, blend_from_data
from unrolled.tasks.class_weights import from_data
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.understand.net import UnderstandNet
from unrolled.tasks.understand.settings import UnderstandSettings


@dataclass(frozen=True, kw_only=True)
class UnderstandFitted(Fitted):
    """What is fitted for intents and slots.

    Attributes:
        vocabulary: of tokens.
        tags: of the slots, in BIOES, by number.
        scheme: of the tags in the training files.
        intents: by number.
        slot_baseline, intent_baseline: the trivial methods.
        scale: makes log-probabilities of the scores of intents by their baseline.
        weights: of the network and of the baseline in the logits of intents.
        class_weights: float32 [intents], how much each counted in training; None where all counted the same.
    """

    net: UnderstandNet
    vocabulary: TokenVocabulary
    tags: list[str]
    scheme: str
    intents: list[str]
    slot_baseline: FrequentTag
    intent_baseline: NaiveBayes
    scale: float = 1.0
    weights: Weights = NETWORK_ALONE
    class_weights: np.ndarray | None = None

    def to_parts(self) -> Parts:
        vocabulary = self.vocabulary.to_data() | {
            "tags": self.tags, "scheme": self.scheme, "intents": self.intents,
            "scale": self.scale, "weights": list(self.weights),
            "class_weights": None if self.class_weights is None else self.class_weights.tolist(),
        }  # fmt: skip
        baseline, tensors = self.intent_baseline.to_parts()
        method = f"{self.slot_baseline.name}; {self.intent_baseline.name}"
        return vocabulary, {"method": method, "slots": self.slot_baseline.to_data(), "intents": baseline}, tensors

    @classmethod
    def from_parts(cls, file: ModelFile, settings: UnderstandSettings) -> Self:
        vocabulary = TokenVocabulary.from_data(file.vocabulary)
        tags, scheme, intents = (file.vocabulary[name] for name in ("tags", "scheme", "intents"))
        if scheme not in schemes.SCHEMES or not are_texts(tags) or not are_texts(intents):
            raise ModelFileError("its tags or intents are damaged")
        slot_baseline = FrequentTag.from_data(file.baseline["slots"])
        intent_baseline = NaiveBayes.from_parts(file.baseline["intents"], file.tensors, len(intents))
        scale, weights = blend_from_data(file.vocabulary)
        with without_numbers():
            has_prior = "model.prior.scale" in file.tensors  # a model of 0.1.0 has none
            net = UnderstandNet(vocabulary, tags, len(intents), settings, has_prior=has_prior)
        return cls(
            net=net,
            vocabulary=vocabulary,
            tags=tags,
            scheme=scheme,
            intents=intents,
            slot_baseline=slot_baseline,
            intent_baseline=intent_baseline,
            scale=scale,
            weights=weights,
            class_weights=from_data(file.vocabulary.get("class_weights"), len(intents)),
        )
