"""The fitted parts of a language model, and how a model file holds them."""

from dataclasses import dataclass
from typing import Self

from unrolled.baselines.ngram import NGram
from unrolled.data.units import Units, units_from_data
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import JsonObject, number, table
from unrolled.report.metrics import Metrics
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.text.net import TextNet
from unrolled.tasks.text.settings import TextSettings


@dataclass(frozen=True, kw_only=True)
class TextFitted(Fitted):
    """A fitted language model.

    Attributes:
        metrics: "nats" and "baseline_nats" per character (per byte with units="byte").
        units: the vocabulary.
        baseline: an n-gram model.
        share: of the n-gram model in what the model says, 0 to below 1; the network has the rest.
    """

    net: TextNet
    units: Units
    baseline: NGram
    share: float = 0.0

    def to_parts(self) -> Parts:
        baseline: JsonObject = {"method": f"{self.baseline.order}-gram", "mixture": {"share": self.share}}
        return self.units.to_data(), baseline, self.baseline.to_tensors()

    @classmethod
    def from_parts(cls, file: ModelFile, settings: TextSettings) -> Self:
        units = units_from_data(file.vocabulary)
        if file.vocabulary["kind"] != settings.units:
            raise ModelFileError("its vocabulary is not of the kind that its settings say")
        share = number(table(file.baseline.get("mixture", {"share": 0.0}))["share"])  # none in a file of 0.1.0
        if not 0 <= share < 1:
            raise ModelFileError("the share of its n-gram model is damaged")
        with without_numbers():
            net = TextNet(units.size, settings)
        return cls(net=net, units=units, baseline=NGram.from_tensors(units.size, file.tensors), share=share)

    def metrics_part(self) -> Metrics:
        return self.metrics

    @classmethod
    def metrics_of(cls, baseline: JsonObject) -> Metrics:
        return {
            name: value for name, value in baseline.items() if name == "comparison" or isinstance(value, int | float)
        }
