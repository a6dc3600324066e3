"""What a user chooses for a tagger."""

from dataclasses import dataclass
from typing import ClassVar

from unrolled.data import schemes
from unrolled.data.tag_columns import TagColumns
from unrolled.nn.token_encoder import EncoderSettings
from unrolled.settings import option


@dataclass(frozen=True)
class TagSettings(EncoderSettings):
    """What the model is, and how the files are read."""

    sentence: str | None = option(
        None, "column that tells the sentences of a table apart  [guessed from its name]", reads="inputs"
    )
    token: str | None = option(
        None, "column with the tokens, by its name, or its number in lines  [guessed]", reads="inputs"
    )
    tag: str | None = option(
        None, "column with the tags, by its name, or its number in lines  [guessed]", reads="answers"
    )
    scheme: str = option(
        "auto",
        "of the tags; auto recognizes it",
        choices=("auto", *schemes.SCHEMES),
        with_start="new",
        reads="answers",
    )
    most_batch: ClassVar[int] = 16
    batch: int | None = option(
        None, "sentences of an update  [an eighth of the training part, 4 to 16]", least=1, most=10**6
    )
    validation: float = option(0.1, "share of the sentences kept for validation, where no file is", above=0, most=0.5)
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")

    @property
    def columns(self) -> TagColumns:
        """The columns that are named."""
        return TagColumns(self.sentence, self.token, self.tag)
