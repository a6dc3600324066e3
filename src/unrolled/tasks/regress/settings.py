"""What a user chooses for a regression."""

from dataclasses import dataclass

from unrolled.settings import option
from unrolled.tasks.item_settings import ItemSettings

LOSSES = ("squared", "huber")


@dataclass(frozen=True)
class RegressSettings(ItemSettings):
    """What the model is, and how the files are read."""

    target: str | None = option(None, "column with the numbers to predict  [guessed from its name]", reads="answers")
    loss: str = option("squared", "squared, or huber: far errors count less", choices=LOSSES)
