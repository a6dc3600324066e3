"""What a user chooses for a classifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from unrolled.errors import SettingsError
from unrolled.nn.token_encoder import EncoderSettings
from unrolled.settings import option
from unrolled.tasks.class_weights import NONE, parsed


@dataclass(frozen=True)
class ClassifySettings(EncoderSettings):
    """What the model is, and how the files are read."""

    text: str | None = option(None, "column with the texts  [guessed from its name, or from the cells of two columns]")
    values: str = option("", "columns of numbers, with commas between: windows of them are classified, not texts")
    series: str | None = option(None, "with --values: the column that tells windows apart; row: each row is one")
    label: str | None = option(None, "column with the classes  [guessed from its name]")
    separator: str | None = option(None, "what stands between the labels of a text that may have several")
    decimal: str | None = option(
        None,
        "with --values: decimal mark of numbers  [told from the column]",
        choices=(",", "."),
        with_start="new",
    )
    header: bool | None = option(
        None,
        "whether a table's first line names the columns  [yes; refused if it looks like data]",
        with_start="new",
    )
    most_tokens: int = option(
        400,
        "tokens of a text that are read: half from its begin, half from its end",
        least=2,
        most=10**6,
        with_start="fixed",
    )
    pairs: int = option(
        50, "features of a pair of neighbors; 0: do not look at pairs", least=0, most=4096, with_start="fixed"
    )
    layers: int = option(1, "recurrent layers, each in both directions", least=1, most=20, with_start="fixed")
    word_dropout: float = option(0.1, "share of words shown as unknown in training", least=0, most=0.95)
    class_weights: str | Mapping = option(
        "none",
        "how much each class counts in training: none, balanced (a rare class more, n / (classes · count)), or weights "
        "such as rare=5,other=1; then macro F1 decides",
    )
    most_batch: ClassVar[int] = 32
    batch: int | None = option(
        None, "texts of an update  [an eighth of the training part, 4 to 32]", least=1, most=10**6
    )
    validation: float = option(0.1, "share of each class kept for validation, where no file is", above=0, most=0.5)
    encoding: str = option("utf-8", "of the files", with_start="new")

    def __post_init__(self) -> None:
        super().__post_init__()
        if parsed(self.class_weights) != NONE and self.separator is not None:
            raise SettingsError("class_weights: go with one class for each item; leave separator out")
