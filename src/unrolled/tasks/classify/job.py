"""The training of a classifier, as the loop takes it: loss, metrics and learning curve."""

from collections.abc import Sequence, Sized

import torch
from torch import Tensor

from unrolled.data.labeled import Labeled
from unrolled.report.metrics import rights_of
from unrolled.tasks.blend import blended
from unrolled.tasks.classify.fitted import ClassifyFitted
from unrolled.tasks.classify.judged import macro_f1_of
from unrolled.tasks.classify.net import loss_of
from unrolled.tasks.classify.sequences import SequenceJob
from unrolled.tasks.classify.start import chosen, targets_of, weighted
from unrolled.training.job import Curve
from unrolled.training.loop import TrainSettings


class ClassifyJob(SequenceJob):
    """A classifier's training, as a `Job`."""

    def __init__(
        self,
        model: object,
        fitted: ClassifyFitted,
        sequences: Sequence[Sized],
        labels: Sequence[Sequence[str]],
        valid: Labeled,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, fitted, sequences, valid.items, training, device)
        self.targets = targets_of(labels, fitted.classes, fitted.class_weights)[self.kept]
        self.valid_labels = valid.labels
        self.valid_targets = targets_of(valid.labels, fitted.classes, fitted.class_weights)
        self.valid_baseline: Tensor | None = None

    def evaluate(self) -> dict[str, float]:
        model, is_multiple = self.model, self.model.fitted.is_multiple
        if self.valid_baseline is None:
            self.valid_baseline = model._by_baseline(self.valid)
        network = model._network(self.valid)
        model._fitted = weighted(model.fitted, network, self.valid_baseline, self.valid_targets)
        logits = blended(network, self.valid_baseline, model.fitted.weights)
        if is_multiple:
            right = ((logits > 0) == (self.valid_targets > 0)).all(1)
        else:
            right = self.valid_targets[torch.arange(len(logits)), logits.argmax(1)] > 0
        accuracy = float(right.float().mean())
        log_loss = float(loss_of(logits, self.valid_targets, is_multiple=is_multiple))
        # the network learns long before it changes an answer of the baseline
        of_network = float(loss_of(network, self.valid_targets, is_multiple=is_multiple))
        metrics = {"accuracy": accuracy, "log_loss": log_loss}
        if (fitted := model.fitted).decides == "accuracy":
            return {"loss": 1 - accuracy + 1e-3 * of_network, **metrics}
        macro_f1 = macro_f1_of(self.valid_labels, chosen(logits.numpy(), fitted, above=0.0), fitted.classes)
        return {"loss": 1 - macro_f1 + 1e-3 * of_network, **metrics, "macro_f1": macro_f1}

    @property
    def curve(self) -> Curve:
        """Accuracy or macro F1, whichever decides, beside the baseline's."""
        fitted, baseline = self.model.fitted, self.model.fitted.baseline
        found = chosen(baseline.scores(self.valid), fitted, above=0.0)
        if fitted.decides != "accuracy":
            macro_f1 = macro_f1_of(self.valid_labels, found, fitted.classes)
            return Curve("macro_f1", "macro F1", macro_f1, baseline.in_words)
        rights = rights_of(self.valid_labels, found)
        return Curve("accuracy", "accuracy", sum(rights) / len(rights), baseline.in_words)

    def describe(self, metrics: dict[str, float]) -> str:
        macro = f", macro F1 {100 * metrics['macro_f1']:.2f} %" if "macro_f1" in metrics else ""
        return f"accuracy {100 * metrics['accuracy']:.2f} %{macro}"
