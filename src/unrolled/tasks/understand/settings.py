"""What a user chooses for intents and slots."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from unrolled.data.tag_columns import TagColumns
from unrolled.nn.token_encoder import EncoderSettings
from unrolled.settings import option
from unrolled.tasks.class_weights import parsed


@dataclass(frozen=True)
class UnderstandSettings(EncoderSettings):
    """What the model is, and how the files are read."""

    sentence: str | None = option(
        None, "column that tells the sentences of a table apart  [guessed from its name]", reads="inputs"
    )
    token: str | None = option(None, "column with the tokens  [guessed from its name]", reads="inputs")
    tag: str | None = option(None, "column with the tags  [guessed from its name]", reads="answers")
    intent: str | None = option(None, "column with the intents  [guessed from its name]", reads="answers")
    smoothing: float = option(
        0.1, "share of an intent's certainty spread over the others in training", least=0, most=0.5
    )
    class_weights: str | Mapping = option(
        "none",
        "how much each intent counts in training: none, balanced (a rare one more, n / (intents · count)), or weights "
        "such as rare=5,other=1; then macro F1 of intents decides",
    )
    most_batch: ClassVar[int] = 16
    batch: int | None = option(
        None, "sentences of an update  [an eighth of the training part, 4 to 16]", least=1, most=10**6
    )
    validation: float = option(
        0.1, "share of the sentences kept for validation, where none are given", above=0, most=0.5
    )
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")

    def __post_init__(self) -> None:
        super().__post_init__()
        parsed(self.class_weights)

    @property
    def columns(self) -> TagColumns:
        """The columns of sentences, tokens and tags that are named."""
        return TagColumns(self.sentence, self.token, self.tag)
