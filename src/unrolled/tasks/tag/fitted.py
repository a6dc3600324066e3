"""The fitted parts of a tagger, and how a model file holds them."""

from dataclasses import dataclass
from typing import Self

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.data import schemes
from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import are_texts
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.tag.net import TagNet
from unrolled.tasks.tag.settings import TagSettings


@dataclass(frozen=True, kw_only=True)
class TagFitted(Fitted):
    """A fitted tagger.

    Attributes:
        vocabulary: of tokens.
        tags: in BIOES, by number; or plain ones.
        scheme: of the tags in the training files.
        baseline: the trivial method.
        reads_texts: whether every character is a token, as in the training files.
    """

    net: TagNet
    vocabulary: TokenVocabulary
    tags: list[str]
    scheme: str
    baseline: FrequentTag
    reads_texts: bool

    def to_parts(self) -> Parts:
        vocabulary = self.vocabulary.to_data() | {
            "tags": self.tags, "scheme": self.scheme, "reads_texts": self.reads_texts
        }  # fmt: skip
        return vocabulary, {"method": self.baseline.name, **self.baseline.to_data()}, {}

    @classmethod
    def from_parts(cls, file: ModelFile, settings: TagSettings) -> Self:
        vocabulary = TokenVocabulary.from_data(file.vocabulary)
        tags, scheme = file.vocabulary["tags"], file.vocabulary["scheme"]
        reads_texts = bool(file.vocabulary["reads_texts"])
        if scheme not in schemes.SCHEMES or not are_texts(tags):
            raise ModelFileError("its tags are damaged")
        baseline = FrequentTag.from_data(file.baseline)
        with without_numbers():
            has_prior = "model.prior.scale" in file.tensors  # a model of 0.1.0 has none
            net = TagNet(vocabulary, tags, settings, has_scheme=scheme != "plain", has_prior=has_prior)
        return cls(net=net, vocabulary=vocabulary, tags=tags, scheme=scheme, baseline=baseline, reads_texts=reads_texts)
