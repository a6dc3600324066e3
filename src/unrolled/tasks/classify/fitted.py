"""The fitted parts of a classifier, and how a model file holds them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.baselines.nearest_mean import NearestMean
from unrolled.data.in_memory import LABEL_KINDS
from unrolled.errors import ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import are_texts, number
from unrolled.tasks.blend import NETWORK_ALONE, Weights, blend_from_data
from unrolled.tasks.class_weights import MOST_DECIDING, from_data
from unrolled.tasks.classify.inputs import TextInput, input_layer_from_data
from unrolled.tasks.classify.net import ClassifyNet
from unrolled.tasks.classify.sequences import SequenceFitted
from unrolled.tasks.classify.settings import ClassifySettings
from unrolled.tasks.fitted import Parts


@dataclass(frozen=True, kw_only=True)
class ClassifyFitted(SequenceFitted):
    """A fitted classifier.

    Attributes:
        classes: names, by number.
        is_multiple: whether an item may have several classes.
        scale: makes log-probabilities of the baseline's scores.
        weights: of the network and of the baseline in the logits.
        class_weights: float32 [classes], how much each class counted in training; None where all counted the same.
        label_kind: what the labels were before they became texts.
        temperature: divides the logits, so that probabilities are calibrated.
        most_frequent: class.
        baseline: the trivial method.
    """

    net: ClassifyNet
    classes: list[str]
    is_multiple: bool
    scale: float = 1.0
    weights: Weights = NETWORK_ALONE
    class_weights: np.ndarray | None = None
    label_kind: str = "str"
    temperature: float = 1.0
    most_frequent: str
    baseline: NaiveBayes | NearestMean

    @property
    def decides(self) -> str:
        """The metric that decides: with class weights macro F1, as accuracy hardly sees a rare class."""
        return "macro F1" if self.class_weights is not None and len(self.classes) <= MOST_DECIDING else "accuracy"

    def to_parts(self) -> Parts:
        vocabulary = self.input_layer.to_data() | {
            "classes": self.classes, "is_multiple": self.is_multiple,
            "temperature": self.temperature, "scale": self.scale, "weights": list(self.weights),
            "label_kind": self.label_kind,
            "class_weights": None if self.class_weights is None else self.class_weights.tolist(),
        }  # fmt: skip
        baseline, tensors = self.baseline.to_parts()
        return (
            vocabulary,
            {"method": self.baseline.name, "fitted": baseline, "most_frequent": self.most_frequent},
            tensors,
        )

    @classmethod
    def from_parts(cls, file: ModelFile, settings: ClassifySettings) -> Self:
        input_layer = input_layer_from_data(file.vocabulary)
        held = file.vocabulary
        classes, is_multiple = held["classes"], bool(held["is_multiple"])
        temperature, most_frequent = number(held["temperature"]), str(file.baseline["most_frequent"])
        scale, weights = blend_from_data(held)
        label_kind = held.get("label_kind", "str")
        if label_kind not in LABEL_KINDS or not are_texts(classes) or not temperature > 0:
            raise ModelFileError("its classes are damaged")
        class_weights = from_data(held.get("class_weights"), len(classes))
        kind: Any = NaiveBayes if isinstance(input_layer, TextInput) else NearestMean
        baseline = kind.from_parts(file.baseline["fitted"], file.tensors, len(classes))
        with without_numbers():
            net = ClassifyNet(input_layer, len(classes), settings, is_multiple=is_multiple)
        return cls(
            net=net,
            input_layer=input_layer,
            classes=classes,
            is_multiple=is_multiple,
            scale=scale,
            weights=weights,
            class_weights=class_weights,
            label_kind=label_kind,
            temperature=temperature,
            most_frequent=most_frequent,
            baseline=baseline,
        )
