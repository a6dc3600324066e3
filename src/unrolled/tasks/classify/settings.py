"""What a user chooses for a classifier."""

from collections.abc import Mapping
from dataclasses import dataclass

from unrolled.settings import option
from unrolled.tasks.class_weights import parsed
from unrolled.tasks.item_settings import ItemSettings


@dataclass(frozen=True)
class ClassifySettings(ItemSettings):
    """What the model is, and how the files are read."""

    label: str | None = option(
        None,
        "column with the classes, or several of 0 and 1 with commas between  [guessed from its name]",
        reads="answers",
    )
    separator: str | None = option(
        None, "what stands between the labels of a text that may have several", reads="answers"
    )
    class_weights: str | Mapping = option(
        "none",
        "how much each class counts in training: none, balanced (a rare class more, n / (classes · count)), or weights "
        "such as rare=5,other=1; then macro F1 decides",
    )
    validation: float = option(0.1, "share of each class kept for validation, where no file is", above=0, most=0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        parsed(self.class_weights)  # raises
