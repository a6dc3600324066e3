"""What a user chooses for a model of single items: how texts or windows of numbers are read.

Classification and regression add their answers to it.
"""

from dataclasses import dataclass
from typing import ClassVar

from unrolled.errors import SettingsError
from unrolled.nn.token_encoder import EncoderSettings
from unrolled.settings import option


@dataclass(frozen=True)
class ItemSettings(EncoderSettings):
    """How items are read, and the network that reads them."""

    text: str | None = option(
        None, "column with the texts  [guessed from its name, or from the cells of two columns]", reads="inputs"
    )
    values: str = option(
        "", "columns of numbers, with commas between: windows of them are read, not texts", reads="inputs"
    )
    series: str | None = option(
        None, "with --values: the column that tells windows apart; row: each row is one", reads="inputs"
    )
    decimal: str | None = option(
        None,
        "decimal mark of numbers  [told from the column]",
        choices=(",", "."),
        with_start="new",
        reads="inputs",
    )
    header: bool | None = option(
        None,
        "whether a table's first line names the columns  [yes; refused if it looks like data]",
        with_start="new",
        reads="inputs",
    )
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")
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
    most_batch: ClassVar[int] = 32
    batch: int | None = option(
        None, "items of an update  [an eighth of the training part, 4 to 32]", least=1, most=10**6
    )
    validation: float = option(0.1, "share of the items kept for validation, where no file is", above=0, most=0.5)

    def window_columns(self) -> tuple[list[str], str]:
        """The columns of numbers, and the one that tells windows apart.

        Raises:
            SettingsError: there is none such.
        """
        if self.series is None:
            raise SettingsError(
                "--values needs --series, the column that tells windows apart; --series row: each row is one"
            )
        return [name.strip() for name in self.values.split(",") if name.strip()], self.series
