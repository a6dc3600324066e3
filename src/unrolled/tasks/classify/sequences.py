"""What tasks with one answer for a whole text or window share: classification and regression.

Inputs: items, an input layer. Outputs: predictions, the network's batches, and a training on encoded items.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.in_memory import index_of, is_frame, items_of
from unrolled.data.labeled import items_of_frame
from unrolled.data.tokens import Token
from unrolled.engine.trees import Tree
from unrolled.errors import DataError
from unrolled.tasks.answers import Answers
from unrolled.tasks.classify.inputs import Batch, InputLayer, NumberInput, TextInput
from unrolled.tasks.estimator import D, Estimator, ExampleJob
from unrolled.tasks.fitted import Fitted
from unrolled.tasks.highlights import hidden_versions, in_batches
from unrolled.tasks.item_settings import ItemSettings
from unrolled.training.batches import by_length
from unrolled.training.settings import TrainSettings

_BATCH = 8192  # tokens or rows, padding included


@dataclass(frozen=True, kw_only=True)
class SequenceFitted(Fitted):
    """What is fitted of a model that reads whole texts or windows; a task adds its baseline.

    Attributes:
        input_layer: what turns items into the network's batches.
    """

    input_layer: InputLayer


S = TypeVar("S", bound=ItemSettings)
F = TypeVar("F", bound=SequenceFitted)


class SequenceModel(Estimator[S, D, F]):
    """A model that reads whole texts or windows, with the verbs of prediction.

    Attributes:
        beside: what stood beside the windows of the last table that was predicted.
    """

    beside: Sequence[dict[str, str]] = ()

    def predict(self, items: object, *, highlights: bool = False) -> Any:
        """The answer for a text or for a window [time, features]; or for each of several: a list, an array, a series,
        or the column of a frame. `highlights` tells what each token of a text did for it.
        """
        if isinstance(items, str) or self._is_window(items):
            return self.predict_all([items], highlights=highlights)[0]
        found = items_of_frame(items, self.settings.text, self.read_as) if is_frame(items) else items_of(items)
        return Answers(self.predict_all(found, highlights=highlights), index=index_of(items))

    @abstractmethod
    def predict_all(self, items: Iterable[object], *, highlights: bool = False, names: Sequence[str] = ()) -> list:
        """The answers for texts or windows; `names` of windows, numbers if not given."""

    def _is_window(self, items: object) -> bool:
        """Whether an array is one window; else its rows are windows of one feature."""
        input_layer, shape = self.fitted.input_layer, np.shape(items) if isinstance(items, np.ndarray) else ()
        return (
            isinstance(input_layer, NumberInput) and len(shape) == 2 and (input_layer.n_features > 1 or shape[1] == 1)
        )

    def reads_by(self, *, of_answers: bool) -> set[str]:
        found = super().reads_by(of_answers=of_answers)
        if self.needs_table:
            return found - {"text", "separator"}
        are_numbers = of_answers and self.estimator_type == "regressor"
        return found - {"values", "series"} - (set() if are_numbers else {"decimal"})

    @property
    def needs_table(self) -> str:
        """Why predictions are made for tables, of windows; empty where they are made for texts."""
        return "" if isinstance(self.fitted.input_layer, TextInput) else "this model reads windows of numbers"

    def _batches(self, sequences: Sequence[Sized]) -> Iterator[tuple[list[int], Batch]]:
        """Batches of sequences of like lengths, each with the places of its sequences; empty ones are left out."""
        fitted = self.ready()
        device = next(fitted.net.parameters()).device
        places = [i for i, sequence in enumerate(sequences) if len(sequence)]
        for group in by_length([len(sequences[i]) for i in places], _BATCH):
            chosen = [places[i] for i in group]
            encoded = [fitted.input_layer.encode(sequences[i]) for i in chosen]
            yield chosen, fitted.input_layer.batch(encoded).to(device)

    @torch.inference_mode()
    def _hidden(
        self, text: str, run: Callable[[Batch], np.ndarray]
    ) -> tuple[Sequence[Token], list[list[str]], np.ndarray]:
        """The tokens of a text; the words of the text and of the same with each token hidden; and what `run` returns
        for batches of these, one below the other.
        """
        fitted = self.ready()
        input_layer, device = fitted.input_layer, next(fitted.net.parameters()).device
        assert isinstance(input_layer, TextInput)
        tokens = input_layer.tokens(text)
        if not tokens:
            return [], [], np.zeros(0)
        versions = hidden_versions(input_layer.vocabulary, [token.text for token in tokens])
        found = in_batches(versions, lambda some: run(input_layer.batch(some).to(device)))
        return tokens, [words for _, _, words in versions], found


class SequenceJob(ExampleJob):
    """A training on encoded texts or windows; a task adds targets, by the kept items, and metrics."""

    targets: Tensor

    def __init__(
        self,
        model: object,
        fitted: SequenceFitted,
        sequences: Sequence[Sized],
        valid_items: Sequence[object],
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        self.kept = [i for i, each in enumerate(sequences) if len(each)]
        if not self.kept:
            raise DataError("none of the texts has a token in it")
        super().__init__(model, [len(sequences[i]) for i in self.kept], training, device)
        self.encoded = [fitted.input_layer.encode(sequences[i]) for i in self.kept]
        self.valid = [fitted.input_layer.sequence(item) for item in valid_items]
        self.item = "token" if isinstance(fitted.input_layer, TextInput) else "row"

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        places = self.batches.at(step)
        batch = self.model.fitted.input_layer.batch([self.encoded[i] for i in places])
        return module(batch.to(self.device), self.targets[places].to(self.device)), None
