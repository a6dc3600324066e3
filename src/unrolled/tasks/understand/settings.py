"""What a user chooses for intents and slots."""

from dataclasses import dataclass
from typing import ClassVar

from unrolled.nn.token_encoder import EncoderSettings
from unrolled.settings import option


@dataclass(frozen=True)
class UnderstandSettings(EncoderSettings):
    """What the model is, and how the files are read."""

    smoothing: float = option(
        0.1, "share of an intent's certainty spread over the others in training", least=0, most=0.5
    )
    most_batch: ClassVar[int] = 16
    batch: int | None = option(
        None, "sentences of an update  [an eighth of the training part, 4 to 16]", least=1, most=10**6
    )
    validation: float = option(
        0.1, "share of the sentences kept for validation, where none are given", above=0, most=0.5
    )
    encoding: str = option("utf-8", "of the files", with_start="new")
