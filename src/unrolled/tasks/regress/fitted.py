"""The fitted parts of a regression, and how a model file holds them."""

import math
from dataclasses import dataclass
from typing import Self

from unrolled.baselines.ridge import Ridge
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import number
from unrolled.tasks.classify.inputs import TextInput, input_layer_from_data
from unrolled.tasks.classify.sequences import SequenceFitted
from unrolled.tasks.fitted import Parts
from unrolled.tasks.regress.net import RegressNet
from unrolled.tasks.regress.settings import RegressSettings


@dataclass(frozen=True, kw_only=True)
class RegressFitted(SequenceFitted):
    """A fitted regression: number = baseline + share · spread · network.

    Attributes:
        spread: of what the baseline leaves of the training part, by examples that it did not learn from.
        share: of the network, 0 to 1, fitted on the validation part.
        low, high: of the errors there, the quantiles at 10 and 90 %; None where there are too few.
        baseline: the trivial method.
    """

    net: RegressNet
    spread: float
    share: float = 1.0
    low: float | None = None
    high: float | None = None
    baseline: Ridge

    def to_parts(self) -> Parts:
        numbers = {"spread": self.spread, "share": self.share, "low": self.low, "high": self.high}
        baseline, tensors = self.baseline.to_parts()
        return self.input_layer.to_data() | numbers, {"method": self.baseline.name, "fitted": baseline}, tensors

    @classmethod
    def from_parts(cls, file: ModelFile, settings: RegressSettings) -> Self:
        input_layer, held = input_layer_from_data(file.vocabulary), file.vocabulary
        baseline = Ridge.from_parts(file.baseline["fitted"], file.tensors)
        spread, share = number(held["spread"]), number(held["share"])
        low, high = (None if held[name] is None else number(held[name]) for name in ("low", "high"))
        numbers = (spread, share, low or 0.0, high or 0.0)
        if (
            not all(map(math.isfinite, numbers))
            or not spread > 0
            or not 0 <= share <= 1
            or (low is None) != (high is None)
        ):
            raise ModelFileError("its numbers are damaged")
        if isinstance(input_layer, TextInput) != bool(baseline.names):
            raise ModelFileError("its baseline is of another kind than its input")
        with without_numbers():
            net = RegressNet(input_layer, settings)
        return cls(net=net, input_layer=input_layer, spread=spread, share=share, low=low, high=high, baseline=baseline)
