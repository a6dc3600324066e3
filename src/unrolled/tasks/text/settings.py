"""What a user chooses for a language model and its training."""

from dataclasses import dataclass
from typing import Self

from unrolled.data.units import KINDS
from unrolled.nn.bptt import check_k
from unrolled.nn.named_layers import LAYER_NAMES
from unrolled.settings import Settings, option
from unrolled.training.settings import TrainSettings


@dataclass(frozen=True)
class TextSettings(Settings):
    """What the model is, and how text is cut for it."""

    units: str = option("char", "what the model reads and writes", choices=KINDS, with_start="fixed")
    subwords: int = option(
        2000, "size of the subword vocabulary, learnt from the training part", least=300, most=10**6, with_start="fixed"
    )
    cell: str = option("lstm", "recurrent layer", choices=LAYER_NAMES, with_start="fixed")
    size: str = option(
        "auto",
        "auto: where minutes bound the run and layers, hidden, batch and dropout are the defaults, they are chosen by "
        "the measured speed of this machine",
        choices=("auto", "given"),
        with_start="fixed",
    )
    layers: int = option(2, "recurrent layers", least=1, most=100, with_start="fixed")
    hidden: int = option(512, "features of a layer's hidden state", least=1, most=65536, with_start="fixed")
    dropout: float = option(0.3, "share of features dropped between layers in training", least=0, most=0.95)
    batch: int = option(32, "streams of text trained side by side", least=1, most=10**6)
    k1: int = option(100, "time steps between updates", least=1, most=10**6)
    k2: int | None = option(None, "time steps that a gradient reaches back [k1]", least=1, most=10**6)
    validation: float = option(
        0.1, "share of the text, its end, kept for validation; at most 120,000 characters", above=0, most=0.5
    )
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k1, self.k2)

    @property
    def is_of_default_size(self) -> bool:
        """Whether layers, hidden, batch and dropout are those of the default settings."""
        given, default = (
            (each.layers, each.hidden, each.batch, each.dropout) for each in (self, TextSettings(size="given"))
        )
        return given == default

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """As for all settings; those that were written before there was `size` have the size that they name."""
        return super().from_dict({"size": "given"} | values if isinstance(values, dict) else values)


DEFAULT_TRAINING = TrainSettings(minutes=15)
