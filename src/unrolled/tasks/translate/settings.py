"""What a user chooses for a translator."""

from dataclasses import dataclass
from typing import ClassVar

from unrolled.data.pair_sides import AskedSides
from unrolled.settings import option
from unrolled.tasks.fallback import answer_option
from unrolled.tasks.translate.net import NetSettings


@dataclass(frozen=True)
class TranslateSettings(NetSettings):
    """What the model is, how it searches, and how the files are read."""

    vocabulary: str = option(
        "joint",
        "one vocabulary of subwords for both languages, or two",
        choices=("joint", "separate"),
        with_start="fixed",
    )
    subwords: int = option(
        4000, "subwords of a vocabulary at most", least=16, most=10**6, was="pieces", with_start="fixed"
    )
    longest: int = option(
        100, "subwords of a sentence at most; longer pairs are left out of training", least=2, most=5000
    )
    beam: int = option(5, "candidates of the search; 1: greedy", least=1, most=100)
    length_penalty: float = option(1.0, "0 prefers short translations", least=0, most=5)
    coverage_penalty: float = option(0.0, "above 0 minds source words that were never read", least=0, most=5)
    answer: str = answer_option()
    most_batch: ClassVar[int] = 64
    batch: int | None = option(
        None, "pairs of an update  [an eighth of the training part, 4 to 64]", least=1, most=10**6
    )
    direction: str = option(
        "forward",
        "forward: from the first column or file to the second",
        choices=("forward", "backward"),
        reads="inputs",
    )
    source: str | None = option(
        None, "column of a table with the sources  [guessed from names, or from the cells]", reads="inputs"
    )
    target: str | None = option(None, "column of a table with the translations  [likewise]", reads="inputs")
    header: bool | None = option(
        None,
        "whether a table's first line names the columns  [told from its words; else asked]",
        with_start="new",
        reads="inputs",
    )
    validation: float = option(0.05, "share of the pairs kept for validation, where no file is", above=0, most=0.5)
    encoding: str = option("utf-8", "of the files", with_start="new", reads="inputs")

    @property
    def sides(self) -> AskedSides:
        """The columns that are named."""
        return AskedSides(self.source, self.target)
