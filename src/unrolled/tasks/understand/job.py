"""The training of a model of intents and slots, as the loop takes it: loss, metrics and learning curve."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.intents import Intents
from unrolled.data.tagging import rewritten
from unrolled.engine.trees import Tree
from unrolled.tasks.estimator import ExampleJob
from unrolled.tasks.known_tags import TaggedSentences
from unrolled.tasks.understand.fitted import UnderstandFitted
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

BASELINE = "naive Bayes with the most frequent tags"
DECIDING = "macro F1 of intents"  # with class weights


def log_of(probabilities: np.ndarray) -> Tensor:
    """Logarithms of probabilities, float32."""
    return torch.from_numpy(np.log(np.maximum(probabilities, 1e-9))).float()


def targets_of(of_sentences: Sequence[str], intents: Sequence[str], class_weights: np.ndarray | None = None) -> Tensor:
    """[sentences, intents], 0 or 1, or the weight of the intent in place of 1; intents that training never saw are 0
    everywhere.
    """
    places = {intent: i for i, intent in enumerate(intents)}
    targets = torch.zeros(len(of_sentences), len(intents))
    for i, intent in enumerate(of_sentences):
        if intent in places:
            targets[i, places[intent]] = 1
    return targets if class_weights is None else targets * torch.from_numpy(class_weights)


class UnderstandJob(ExampleJob):
    """The training of intents and slots, as a `Job`."""

    def __init__(
        self,
        model: object,
        fitted: UnderstandFitted,
        sentences: list[list[str]],
        tags: list[list[str]],
        intents: list[str],
        valid: Intents,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, [len(each) for each in sentences], training, device)
        self.valid = valid
        self.tagged = TaggedSentences(fitted, sentences, tags, training.seed)
        places = {intent: i for i, intent in enumerate(fitted.intents)}
        self.intents = torch.tensor([places[intent] for intent in intents])
        weights = fitted.class_weights
        self.weights = torch.ones(len(places)) if weights is None else torch.from_numpy(weights)

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        places = self.batches.at(step)
        intents = self.intents[places]
        weights = self.weights[intents].to(self.device)
        return module(*self.tagged.batch(places, self.device), intents.to(self.device), weights), None

    def evaluate(self) -> dict[str, float]:
        model, sentences = self.model, self.valid.tagged.sentences
        intents, tags = model._read(sentences)
        model._fitted = model._weighted(self.valid, intents)
        metrics = model._judged(self.valid, *model._blended(sentences, intents, tags))["model"]
        of_intents = "intent" if model.fitted.class_weights is None else "macro_f1"
        shown = {name: metrics[name] for name in ("intent", "slot_f1", "sentence")}
        deciding = {of_intents: metrics[of_intents], "slot_f1": shown["slot_f1"], "sentence": shown["sentence"]}
        # the network learns long before it changes an answer of the baseline
        targets = targets_of(self.valid.intents, model.fitted.intents, model.fitted.class_weights)
        of_network = float(nn.functional.cross_entropy(log_of(intents), targets))
        return {"loss": 1 - sum(deciding.values()) / 3 + 1e-3 * of_network, **shown, **deciding}

    @property
    def curve(self) -> Curve:
        """Whole sentences, or macro F1 of the intents if that decides, beside the baseline's."""
        gold = rewritten(self.valid.tagged.tags, self.valid.tagged.scheme, self.model.fitted.scheme)
        baseline, _ = self.model._of_baseline(self.valid, gold)
        if self.model.fitted.class_weights is not None:
            return Curve("macro_f1", DECIDING, baseline["macro_f1"], BASELINE)
        return Curve("sentence", "whole sentences", baseline["sentence"], BASELINE)

    def describe(self, metrics: dict[str, float]) -> str:
        names: tuple[tuple[str, str], ...] = (("intent", "intent"), ("slot F1", "slot_f1"), ("sentence", "sentence"))
        names += (("macro F1 of intents", "macro_f1"),) if "macro_f1" in metrics else ()
        return ", ".join(f"{word} {100 * metrics[name]:.2f} %" for word, name in names)
