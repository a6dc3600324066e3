"""A classifier's training that starts from another classifier: what must fit, what is kept, what is new.

Inputs: labeled items, what the model has fitted. Outputs: input layer, kind of the labels, and a network with the
model's weights.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from unrolled.data.in_memory import LABEL_KINDS
from unrolled.data.labeled import Labeled
from unrolled.errors import DataError
from unrolled.tasks.classify.fitted import ClassifyFitted
from unrolled.tasks.classify.inputs import InputLayer, NumberInput, TextInput
from unrolled.tasks.classify.net import ClassifyNet
from unrolled.tasks.classify.settings import ClassifySettings
from unrolled.tasks.starting import labels_note, rows_of_tokens, take_weights


def check_fits(data: Labeled, start: ClassifyFitted) -> None:
    """Holds items to be such as the model reads that the training starts from.

    Raises:
        DataError: they are not.
    """
    first, input_layer = data.items[0], start.input_layer
    words = {True: "texts", False: "windows of numbers"}
    is_text, reads_texts = isinstance(first, str), isinstance(input_layer, TextInput)
    if is_text != reads_texts:
        raise DataError(f"these are {words[is_text]}; the model that training starts from reads {words[reads_texts]}")
    if isinstance(input_layer, NumberInput) and first.shape[1] != input_layer.n_features:
        raise DataError(
            f"windows have {first.shape[1]} numbers at each time; the model that training starts from reads "
            f"{input_layer.n_features}"
        )
    if data.is_multiple != start.is_multiple:
        several = "may have several labels; pass --separator" if start.is_multiple else "has one; leave --separator out"
        raise DataError(f"an item of the model that training starts from {several}")


def common_kind(kind: str, start: ClassifyFitted, names: Iterable[str]) -> str:
    """The kind of labels that can name those of the model and the new ones."""
    whole = {*start.classes, *names}
    for each in (start.label_kind, kind):
        with contextlib.suppress(ValueError):
            if all(str(LABEL_KINDS[each](name)) == name for name in whole):
                return each
    return "str"


def input_layer_with_new(input_layer: InputLayer, items: Sequence[Any], settings: ClassifySettings) -> InputLayer:
    """The model's input layer, with the words of new texts behind those that it knows."""
    if not isinstance(input_layer, TextInput):
        return input_layer
    found = TextInput.fit(items, settings, input_layer.most_tokens)
    return TextInput(input_layer.vocabulary.with_new(found.vocabulary), input_layer.most_tokens)


def take_classes(net: ClassifyNet, start: ClassifyFitted, input_layer: InputLayer, classes: Sequence[str]) -> list[str]:
    """Gives a network the model's weights; returns what is kept and what is new, for the user."""
    rows: dict[str, tuple[Sequence[str], Sequence[str]]] = {"classes": (start.classes, classes)}
    notes = [labels_note("classes", *rows["classes"])]
    if isinstance(input_layer, TextInput) and isinstance(start.input_layer, TextInput):
        old, new = start.input_layer.vocabulary, input_layer.vocabulary
        rows |= rows_of_tokens(old, new)
        notes.append(labels_note("words", old.words.names, new.words.names))
    take_weights(net, start.net, rows)
    return notes
