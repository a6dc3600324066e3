"""What a training leaves: a frozen value, which is also what a model file holds.

Inputs: a network, and all that a task learned from the training data. Outputs: the parts of a model file, and back.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor, nn

from unrolled.files.model_file import ModelFile

Parts = tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Fitted(ABC):
    """What is fitted; a task adds its vocabulary, its scalers and its baseline.

    Attributes:
        net: the network. Its weights change while it trains; nothing else here does.
        figures: metrics on the validation part, the model's and the baseline's.
        record: the evaluations of the training, oldest first.
        training: the training's settings, and how much data it had.
    """

    net: nn.Module
    figures: dict[str, Any] = field(default_factory=dict)
    record: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)

    @abstractmethod
    def to_parts(self) -> Parts:
        """Vocabulary and baseline as plain data, and tensors beside the network's."""

    @classmethod
    @abstractmethod
    def from_parts(cls, file: ModelFile, settings: Any) -> Self:
        """The same from a file, with a network that has no weights yet, for settings of the task's kind.

        Raises:
            ModelFileError: a part is damaged. KeyError, TypeError and ValueError mean the same.
        """

    def figures_part(self) -> dict[str, Any]:
        """The metrics, as they stand beside the baseline in the file."""
        return {"figures": self.figures}

    @classmethod
    def figures_of(cls, baseline: dict[str, Any]) -> dict[str, Any]:
        """The metrics, from there."""
        return baseline.get("figures", {})
