"""A classifier: reads files, trains its network, predicts and evaluates."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.data.in_memory import LABEL_KINDS
from unrolled.data.labeled import Labeled, check_count
from unrolled.errors import DataError, SettingsError
from unrolled.report.metrics import Metrics, calibration_metrics
from unrolled.tasks.answers import Answers
from unrolled.tasks.arguments import accepts, checked_items, is_text, window
from unrolled.tasks.blend import blended, calibrated, calibration
from unrolled.tasks.class_weights import NONE, in_words, weights_of
from unrolled.tasks.classify.answer import Classified
from unrolled.tasks.classify.fine_tuning import check_fits, common_kind, input_layer_with_new, take_classes
from unrolled.tasks.classify.fitted import ClassifyFitted
from unrolled.tasks.classify.inputs import InputLayer, NumberInput, TextInput
from unrolled.tasks.classify.job import ClassifyJob
from unrolled.tasks.classify.judged import judged
from unrolled.tasks.classify.net import ClassifyNet
from unrolled.tasks.classify.reader import LabeledReader
from unrolled.tasks.classify.sequences import SequenceModel
from unrolled.tasks.classify.settings import ClassifySettings
from unrolled.tasks.classify.start import BaselineOfExamples, chosen, cross_weighted, targets_of, weighted
from unrolled.tasks.estimator import Files
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.highlights import Highlight, effects
from unrolled.tasks.known_answers import check_known
from unrolled.training.settings import TrainSettings


class ClassifyModel(SequenceModel[ClassifySettings, Labeled, ClassifyFitted]):
    """A classifier of texts with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [("good food, fast", "up"), ("cold and late", "down"), ("so good", "up"), ("late again", "down")]
        >>> model = unrolled.ClassifyModel(unrolled.ClassifySettings(hidden=8))
        >>> model = model.fit(data * 10, train=unrolled.TrainSettings(steps=40, lr=0.02))
        >>> model.predict("fast and good").labels
        ['up']
    """

    task = "classify"
    who = "a classifier"
    estimator_type = "classifier"
    kind = ClassifySettings
    fits = ClassifyFitted
    default_training = TrainSettings(minutes=5, lr=1e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Labeled:
        return LabeledReader(self.settings, self.read_as).files(files)

    def paired(self, data: object, answers: object) -> Labeled:
        return LabeledReader(self.settings, self.read_as).paired(data, answers)

    def reads_by(self, *, of_answers: bool) -> set[str]:
        return super().reads_by(of_answers=of_answers) - (set() if self.fitted.is_multiple else {"separator"})

    def split(self, data: Labeled, seed: int) -> tuple[Labeled, Labeled]:
        if len(data) < 2:
            raise DataError("there is one sample only; expected at least 2 of each class, better hundreds")
        return data.stratified(self.settings.validation, seed)

    def prepare(
        self,
        data: Labeled,
        valid: Labeled,
        training: TrainSettings,
        device: torch.device,
        start: ClassifyFitted | None = None,
    ) -> tuple[ClassifyFitted, "ClassifyJob"]:
        counts = Counter(name for names in data.labels for name in names)
        kind, known = (data.kind, []) if start is None else (common_kind(data.kind, start, counts), start.classes)
        classes = sorted({*counts, *known}, key=LABEL_KINDS[kind])
        check_count(len(classes), "classes")
        if len(classes) < (1 if data.is_multiple else 2):
            there = f"is one class only, {classes[0]!r}" if classes else "are no labels at all"
            raise DataError(f"there {there}; a classifier needs at least two to tell apart")
        is_text = isinstance(data.items[0], str)
        if start is not None:
            check_fits(data, start)
            input_layer = input_layer_with_new(start.input_layer, data.items, self.settings)
        else:
            most = self.settings.most_tokens
            input_layer = TextInput.fit(data.items, self.settings, most) if is_text else NumberInput.fit(data.items)
        sequences: list[Any] = [input_layer.sequence(item) for item in data.items]
        if data.is_multiple and not is_text:
            raise SettingsError("windows of numbers have one label each; leave --separator out")
        net = ClassifyNet(input_layer, len(classes), self.settings, is_multiple=data.is_multiple).to(device)
        if start is not None:
            self.notes += take_classes(net, start, input_layer, classes)
        class_weights = self._class_weights(counts, classes, len(data) if data.is_multiple else None)
        learnt = BaselineOfExamples(
            sequences, data.labels, classes, is_multiple=data.is_multiple, class_weights=class_weights
        )
        targets = targets_of(data.labels, classes, class_weights)
        fitted = ClassifyFitted(
            net=net,
            input_layer=input_layer,
            classes=classes,
            is_multiple=data.is_multiple,
            label_kind=kind,
            class_weights=class_weights,
            most_frequent=max(classes, key=lambda name: counts[name]),
            baseline=learnt.baseline(np.arange(len(sequences))),
            scale=calibration(len(sequences), training.seed, learnt.scores, targets, is_multiple=data.is_multiple),
        )
        return fitted, ClassifyJob(self, fitted, sequences, data.labels, valid, training, device)

    def _class_weights(
        self, counts: Mapping[str, int], classes: Sequence[str], n_of_several: int | None
    ) -> np.ndarray | None:
        """How much each class counts; None where all count the same. `n_of_several` items may have several classes."""
        asked = self.settings.class_weights
        if asked == NONE:
            return None
        found = weights_of(asked, counts, classes, n_of_several=n_of_several)
        self.notes.append(in_words(found, classes))
        return found

    @torch.inference_mode()
    def logits(self, items: Sequence[Sized]) -> Tensor:
        """[items, classes], of items in the input layer's sequences, before the temperature."""
        return blended(self._network(items), self._by_baseline(items), self.fitted.weights)

    def _by_baseline(self, items: Sequence[Any]) -> Tensor:
        """The baseline's scores, calibrated, [items, classes]."""
        fitted = self.fitted
        if not items:
            return torch.zeros(0, len(fitted.classes))
        return calibrated(fitted.baseline.scores(items), fitted.scale, is_multiple=fitted.is_multiple)

    @torch.inference_mode()
    def _network(self, items: Sequence[Sized]) -> Tensor:
        """The network's logits, [items, classes]; zeros for an empty item."""
        fitted = self.ready()
        result = torch.zeros(len(items), len(fitted.classes))
        for places, batch in self._batches(items):
            result[places] = fitted.net.logits(batch).float().cpu()
        return result

    def _probabilities(self, logits: Tensor) -> Tensor:
        scaled = logits / self.fitted.temperature
        return scaled.sigmoid() if self.fitted.is_multiple else scaled.softmax(1)

    def finish(self, valid: Labeled) -> ClassifyFitted:
        """Fits what the network and the baseline count on the validation part. Its metrics there are by
        weights that were fitted on the rest of it.
        """
        fitted = self.ready()
        sequences = [fitted.input_layer.sequence(item) for item in valid.items]
        targets = targets_of(valid.labels, fitted.classes, fitted.class_weights)
        scores = self._network(sequences), self._by_baseline(sequences), targets
        metrics = self._judged(valid.labels, sequences, cross_weighted(fitted, *scores))
        return replace(weighted(fitted, *scores), metrics=metrics)

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of `predict_proba`."""
        fitted = self.fitted
        return np.array([LABEL_KINDS[fitted.label_kind](name) for name in fitted.classes])

    def predict_proba(self, items: object) -> np.ndarray:
        """Probabilities float64 [items, classes], in the order of `classes_`; for `items` see `predict`."""
        found = self.predict(items)
        rows = found if isinstance(found, Answers) else [found]
        return np.array([[row.probabilities[name] for name in self.classes_.tolist()] for row in rows])

    def predict_all(
        self, items: Iterable[object], *, highlights: bool = False, names: Sequence[str] = ()
    ) -> list[Classified]:
        """The class of each of some texts or windows; `names` of windows, numbers if not given."""
        fitted, items = self.fitted, _items(items, self.fitted.input_layer)
        if highlights and not isinstance(fitted.input_layer, TextInput):
            raise SettingsError("--highlights goes with texts")
        sequences = [fitted.input_layer.sequence(item) for item in items]
        probabilities = self._probabilities(self.logits(sequences)).numpy()
        results, classes = [], self.classes_.tolist()
        for i, (item, row) in enumerate(zip(items, probabilities, strict=True)):
            likely = [name for name, p in zip(classes, row, strict=True) if p > 0.5]
            found = likely if fitted.is_multiple else [classes[int(row.argmax())]]
            by_class = {classes[j]: float(row[j]) for j in np.argsort(-row, kind="stable")}
            moved = self._highlights(item, int(row.argmax())) if highlights else None
            shown = item if isinstance(item, str) else names[i] if names else str(i)
            results.append(Classified(shown, found, by_class, moved, fitted.is_multiple))
        return results

    def predict_table(self, files: Sequence[Path | str], *, highlights: bool = False) -> list[Classified]:
        """The class of each window in a table; it needs no column of labels."""
        self.ready()
        data = LabeledReader(self.settings, self.read_as).windows(files, None)
        self.notes, self.beside = list(data.notes), data.beside
        return self.predict_all(data.items, highlights=highlights, names=data.names)

    @torch.inference_mode()
    def _highlights(self, text: str, of_class: int) -> list[Highlight]:
        """By how much the log-probability of a class falls when each token is hidden."""
        fitted = self.ready()
        tokens, versions, rows = self._hidden(text, lambda batch: fitted.net.logits(batch).float().cpu().numpy())
        if not tokens:
            return []
        by_baseline = self._by_baseline(versions)
        logits = blended(torch.from_numpy(rows), by_baseline, fitted.weights)
        log = self._probabilities(logits)[:, of_class].clamp_min(1e-12).log()
        return effects(tokens, log.numpy(), "nats")

    def evaluate(self, data: object) -> Metrics:
        """Metrics on labeled items: accuracy (of all labels of a text together), macro F1, log-loss and calibration
        error, precision, recall and F1 by class, confusion matrix; the model's, the baseline's and the majority's.
        """
        fitted, data = self.fitted, self.as_data(data)
        self.check_answers(data)
        sequences = [fitted.input_layer.sequence(item) for item in data.items]
        return self._judged(data.labels, sequences, self.logits(sequences))

    def _judged(self, labels: Sequence[Sequence[str]], sequences: Sequence[Any], logits: Tensor) -> Metrics:
        fitted, probabilities = self.fitted, self._probabilities(logits).numpy()
        baseline = fitted.baseline.scores(sequences)
        found: dict[str, Sequence[Sequence[str]]] = {
            "model": chosen(probabilities, fitted, above=0.5),
            "baseline": chosen(baseline, fitted, above=0.0),
        }
        found["majority"] = [[] if fitted.is_multiple else [fitted.most_frequent]] * len(labels)
        of = "texts" if isinstance(fitted.input_layer, TextInput) else "windows"
        metrics = judged(labels, found, fitted.classes, baseline=fitted.baseline.in_words, of=of, by=fitted.decides)
        targets = targets_of(labels, fitted.classes).numpy()
        metrics["model"] |= calibration_metrics(targets, probabilities, is_multiple=fitted.is_multiple)
        return metrics

    @accepts("pairs of a text or a window [time, features] and its label")
    def as_data(self, data: object) -> Labeled:
        """From files; a frame; or pairs of a text or window [time, features] and its label, or a list of labels where
        there may be several.
        """
        return LabeledReader(self.settings, self.read_as).data(data)

    def check_answers(self, data: Labeled) -> None:
        if not self.fitted.is_multiple and any(len(each) > 1 for each in data.labels):
            raise DataError("some items have several labels; the model learnt one label for each")
        check_known(self.fitted.classes, (label for each in data.labels for label in each), "labels")


def _items(items: object, input_layer: InputLayer) -> list[Any]:
    """Texts, or windows for a model that reads those."""
    if isinstance(input_layer, TextInput):
        return checked_items(items, is_text, "a text")
    found = checked_items(items, lambda item: not is_text(item), "a window [time, features]")
    return [window(item) for item in found]


HELP = TaskHelp(
    usual="reviews.csv",
    purpose="sentiment, or any classes",
    train="""
unrolled train classify reviews.csv
unrolled train classify reviews.csv --text review --label stars --minutes 3
unrolled train classify posts.jsonl --text body --label topics --separator ";"
unrolled train classify sensors.csv --values x,y,z --series recording --label activity
""",
    predict="unrolled predict runs/classify/model.safetensors --file reviews.txt --format csv --out classes.csv",
)
Model = ClassifyModel
