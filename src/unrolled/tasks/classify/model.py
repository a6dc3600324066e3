"""The model of the task: it reads files, trains its network, and answers."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.baselines.nearest_mean import NearestMean
from unrolled.data.labeled import Labeled, read_labeled, read_windows
from unrolled.data.table import read_table
from unrolled.data.vocabulary import UNKNOWN, TokenVocabulary
from unrolled.errors import DataError, ModelFileError, SettingsError
from unrolled.files.model_file import ModelFile
from unrolled.report import pictures
from unrolled.report.metrics import figures_of, sureness
from unrolled.tasks.classify.inputs import Front, NumberFront, TextFront, front_from_data
from unrolled.tasks.classify.net import ClassifyNet, loss_of
from unrolled.tasks.classify.settings import ClassifySettings
from unrolled.tasks.estimator import Estimator, ExampleJob, Files
from unrolled.training.batches import by_length
from unrolled.training.loop import TrainSettings


@dataclass(frozen=True)
class Classified:
    """A text with its class.

    Attributes:
        text: as given.
        labels: its class; where a text may have several, those more likely than not.
        probabilities: of all classes, the likeliest first.
        highlights: if asked for, what each token did for the likeliest class: by how much, in nats, its log-probability
            falls when the token is hidden, with the token's place in the text.
    """

    text: str
    labels: list[str]
    probabilities: dict[str, float]
    highlights: list[dict[str, Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        result = {"text": self.text, "labels": self.labels, "probabilities": self.probabilities}
        return result | ({"highlights": self.highlights} if self.highlights is not None else {})

    def rows(self) -> list[dict[str, Any]]:
        """One row: the text, its labels, and the probability of each class."""
        named = {f"p({name})": f"{self.probabilities[name]:.6f}" for name in sorted(self.probabilities)}
        return [{"text": self.text, "labels": ";".join(self.labels), **named}]

    def __str__(self) -> str:
        names = self.labels or [next(iter(self.probabilities))]
        shown = ", ".join(f"{name} ({100 * self.probabilities[name]:.0f} %)" for name in names)
        if not self.labels:
            shown = f"none; likeliest {shown}"
        if self.highlights:
            moved = sorted(self.highlights, key=lambda each: -abs(each["nats"]))[:5]
            shown += "  " + ", ".join(f"{each['token']} {each['nats']:+.2f}" for each in moved)
        return shown


class ClassifyModel(Estimator):
    """A classifier of texts with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [("good food, fast", "up"), ("cold and late", "down"), ("so good", "up"), ("late again", "down")]
        >>> model = unrolled.ClassifyModel(unrolled.ClassifySettings(hidden=8))
        >>> result = model.fit(data * 10, train=unrolled.TrainSettings(steps=40, lr=0.02))
        >>> model.predict("fast and good").labels
        ['up']
    """

    task = "classify"
    kind = ClassifySettings
    default_training = TrainSettings(minutes=5, lr=1e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Labeled:
        paths = [files] if isinstance(files, str | Path) else list(files)
        settings = self.settings
        if settings.values:
            return self._windows(paths, settings.label or "label")
        return read_labeled(
            paths, text=settings.text, label=settings.label, separator=settings.separator, encoding=settings.encoding
        )

    def _windows(self, paths: Sequence[Path | str], label: str | None) -> Labeled:
        if self.settings.series is None:
            raise SettingsError("--values needs --series, the column that tells windows apart")
        names = [name.strip() for name in self.settings.values.split(",") if name.strip()]
        table = read_table(paths, encoding=self.settings.encoding)
        return read_windows(table, values=names, series=self.settings.series, label=label)

    def split(self, data: Labeled, seed: int) -> tuple[Labeled, Labeled]:
        return data.stratified(self.settings.validation, seed)

    def prepare(self, data: Labeled, valid: Labeled, training: TrainSettings, device: torch.device) -> "_ClassifyJob":
        self.is_multiple = data.is_multiple
        counts = Counter(name for names in data.labels for name in names)
        self.classes = sorted(counts)
        if len(self.classes) < (1 if self.is_multiple else 2):
            there = f"one class only, {self.classes[0]!r}" if self.classes else "no labels at all"
            raise DataError(f"there is {there}; a classifier needs at least two to tell apart")
        self.temperature = 1.0
        is_text = isinstance(data.items[0], str)
        self.front: Front = self._text_front(data.items) if is_text else NumberFront.fit(data.items)
        pieces: list[Any] = [self.front.pieces(item) for item in data.items]
        self.most_frequent = max(self.classes, key=lambda name: counts[name])
        self.floor: Any
        if is_text:
            self.floor = NaiveBayes.fit(pieces, data.labels, self.classes, is_multiple=self.is_multiple)
        elif self.is_multiple:
            raise SettingsError("windows of numbers have one label each; leave --separator out")
        else:
            self.floor = NearestMean.fit(pieces, data.labels, self.classes)
        self.net = self.make_net().to(device)
        return _ClassifyJob(self, pieces, self._targets(data.labels), valid, training, device)

    def _text_front(self, texts: Sequence[str]) -> TextFront:
        settings = self.settings
        cut = TextFront(TokenVocabulary.fit([]), settings.most_tokens)
        vocabulary = TokenVocabulary.fit(
            [cut.pieces(text) for text in texts],
            least=settings.least,
            most_pairs=settings.most_pairs if settings.pairs else 0,
        )
        return TextFront(vocabulary, settings.most_tokens)

    def make_net(self) -> ClassifyNet:
        return ClassifyNet(self.front, len(self.classes), self.settings, self.is_multiple)

    def _targets(self, labels: Sequence[Sequence[str]]) -> Tensor:
        """[texts, classes], 0 or 1; classes that training never saw are 0 everywhere."""
        place = {name: i for i, name in enumerate(self.classes)}
        targets = torch.zeros(len(labels), len(self.classes))
        for i, names in enumerate(labels):
            for name in names:
                if name in place:
                    targets[i, place[name]] = 1
        return targets

    @torch.inference_mode()
    def logits(self, items: Sequence[Any]) -> Tensor:
        """[items, classes], of items in the front's pieces, before the temperature; zeros for an empty one."""
        net = self.ready()
        device = next(net.parameters()).device
        result = torch.zeros(len(items), len(self.classes))
        places = [i for i, pieces in enumerate(items) if len(pieces)]
        for group in by_length([len(items[i]) for i in places], 8192):
            chosen = [places[i] for i in group]
            batch = self.front.batch([self.front.encode(items[i]) for i in chosen]).to(device)
            result[chosen] = net.logits(batch).float().cpu()
        return result

    def _probabilities(self, logits: Tensor) -> Tensor:
        scaled = logits / self.temperature
        return scaled.sigmoid() if self.is_multiple else scaled.softmax(1)

    def finish(self, valid: Labeled) -> None:
        """Fits the temperature on the validation part (C. Guo et al., ICML 2017)."""
        logits, targets = self.logits([self.front.pieces(item) for item in valid.items]), self._targets(valid.labels)
        grid = np.exp(np.linspace(math.log(0.25), math.log(10), 200))
        losses = [float(loss_of(logits / t, targets, self.is_multiple)) for t in grid]
        self.temperature = float(grid[int(np.argmin(losses))])

    def predict(self, items: Any, *, highlights: bool = False) -> Any:
        """The class of a text or of a window [time, features]; or of each of a list of them. `highlights` tells what
        each token of a text did for it.
        """
        if isinstance(items, str) or (isinstance(items, np.ndarray) and items.ndim == 2):
            return self.predict_all([items], highlights)[0]
        return self.predict_all(list(items), highlights)

    def predict_all(
        self, items: Iterable[Any], highlights: bool = False, *, names: Sequence[str] = ()
    ) -> list[Classified]:
        """The class of each of some texts or windows; `names` of windows, numbers if not given."""
        items = list(items)
        if highlights and not isinstance(self.front, TextFront):
            raise SettingsError("--highlights goes with texts")
        pieces = [self.front.pieces(item) for item in items]
        probabilities = self._probabilities(self.logits(pieces)).numpy()
        results = []
        for i, (item, row) in enumerate(zip(items, probabilities, strict=True)):
            best = self.classes[int(row.argmax())]
            found = [name for name, p in zip(self.classes, row, strict=True) if p > 0.5] if self.is_multiple else [best]
            by_class = {self.classes[j]: float(row[j]) for j in np.argsort(-row, kind="stable")}
            moved = self._highlights(item, int(row.argmax())) if highlights else None
            shown = item if isinstance(item, str) else names[i] if names else str(i)
            results.append(Classified(shown, found, by_class, moved))
        return results

    @property
    def reads_tables(self) -> bool:
        """Whether predictions are made for tables, of windows, in place of texts."""
        return not isinstance(self.front, TextFront)

    def predict_table(self, files: Sequence[Path | str]) -> list[Classified]:
        """The class of each window in a table; it needs no column of labels."""
        data = self._windows(files, None)
        return self.predict_all(data.items, names=data.names)

    @torch.inference_mode()
    def _highlights(self, text: str, of_class: int) -> list[dict[str, Any]]:
        """By how much the log-probability of a class falls when each token is hidden."""
        assert isinstance(self.front, TextFront)
        tokens = self.front.tokens(text)
        if not tokens:
            return []
        net = self.ready()
        words, pairs, forms = self.front.encode([token.text for token in tokens])
        versions = [(words, pairs, forms)]
        for i in range(len(tokens)):
            hidden_words, hidden_pairs, hidden_forms = words.copy(), pairs.copy(), list(forms)
            hidden_words[i] = hidden_pairs[i] = hidden_pairs[max(0, i - 1)] = UNKNOWN
            hidden_forms[i] = "\N{REPLACEMENT CHARACTER}"
            versions.append((hidden_words, hidden_pairs, hidden_forms))
        device = next(net.parameters()).device
        rows = [
            net.logits(self.front.batch(versions[i : i + 64]).to(device)).float().cpu()
            for i in range(0, len(versions), 64)
        ]
        log = self._probabilities(torch.cat(rows))[:, of_class].clamp_min(1e-12).log()
        moved = (log[0] - log[1:]).tolist()
        return [
            {"token": token.text, "start": token.start, "end": token.end, "nats": nats}
            for token, nats in zip(tokens, moved, strict=True)
        ]

    def evaluate(self, data: Any) -> dict[str, Any]:
        """Figures on labeled items: accuracy (of all labels of a text together), macro F1, log-loss and calibration
        error, precision, recall and F1 by class, confusion matrix; the model's, the floor's and the majority's.
        """
        data = self.as_data(data)
        pieces = [self.front.pieces(item) for item in data.items]
        probabilities = self._probabilities(self.logits(pieces)).numpy()
        floor = self.floor.scores(pieces)
        majority = [[] if self.is_multiple else [self.most_frequent]] * len(data)
        return {
            "model": figures_of(data.labels, self._chosen(probabilities, 0.5), self.classes)
            | sureness(self._targets(data.labels).numpy(), probabilities, self.is_multiple),
            "floor": figures_of(data.labels, self._chosen(floor, 0.0), self.classes),
            "majority": figures_of(data.labels, majority, self.classes),
            "n_items": len(data),
        }

    def _chosen(self, scores: np.ndarray, above: float) -> list[list[str]]:
        if self.is_multiple:
            return [[self.classes[i] for i in np.flatnonzero(row > above)] for row in scores]
        return [[self.classes[int(i)]] for i in scores.argmax(1)]

    def as_data(self, data: Any) -> Labeled:
        """From files, or pairs of a text or window [time, features] and its label; lists of labels where there may be
        several.
        """
        if isinstance(data, Labeled):
            return data
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            is_multiple = any(isinstance(names, list | tuple) for _, names in data)
            labels = [sorted(set(names)) if isinstance(names, list | tuple) else [names] for _, names in data]
            items = [item if isinstance(item, str) else np.asarray(item, dtype=np.float64) for item, _ in data]
            return Labeled(items, labels, is_multiple)
        return self.read(data)

    def table(self, figures: dict[str, Any]) -> list[str]:
        model = figures["model"]
        lines = [f"{'':<16}{'accuracy':>10}{'macro F1':>10}"]
        for key, name in (("model", "model"), ("floor", self.floor.name), ("majority", "majority")):
            row = figures[key]
            lines.append(f"{name[:15]:<16}{100 * row['accuracy']:>8.2f} %{100 * row['macro_f1']:>8.2f} %")
        lines.append(
            f"log-loss {model['log_loss']:.3f} nats, calibration error {100 * model['calibration_error']:.1f} %"
        )
        lines.append(f"{'':<16}{'precision':>10}{'recall':>10}{'F1':>10}{'items':>8}")
        for name, row in model["classes"].items():
            shares = "".join(f"{100 * row[key]:>8.2f} %" for key in ("precision", "recall", "f1"))
            lines.append(f"{name[:15]:<16}{shares}{row['n']:>8,}")
        if model["confusion"] and len(model["classes"]) <= 12:
            lines.append("rows: the label, columns: what was found")
            lines.append(f"{'':<16}" + "".join(f"{name[:9]:>10}" for name in model["classes"]))
            for name, counts in model["confusion"].items():
                lines.append(f"{name[:15]:<16}" + "".join(f"{counts[each]:>10,}" for each in model["classes"]))
        return lines

    def verdict(self, figures: dict[str, Any]) -> tuple[str, float, float]:
        floor = max(figures[name]["accuracy"] for name in ("floor", "majority"))
        return "accuracy", figures["model"]["accuracy"], floor

    def picture(self, figures: dict[str, Any], folder: Path) -> Path | None:
        model, floor = figures["model"], figures["floor"]
        if model["confusion"] and len(model["classes"]) <= 30:
            return pictures.confusion(model["confusion"], folder / "confusion.png")
        f1 = [{name: each["f1"] for name, each in part["classes"].items()} for part in (model, floor)]
        return pictures.bars(f1[0], f1[1], "F1", folder / "classes.png")

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
        vocabulary = self.front.to_data() | {
            "classes": self.classes, "is_multiple": self.is_multiple, "temperature": self.temperature
        }  # fmt: skip
        floor, tensors = self.floor.to_parts()
        return vocabulary, {"method": self.floor.name, "fitted": floor, "most_frequent": self.most_frequent}, tensors

    def from_parts(self, file: ModelFile) -> None:
        self.front = front_from_data(file.vocabulary)
        self.classes, self.is_multiple = file.vocabulary["classes"], bool(file.vocabulary["is_multiple"])
        self.temperature = float(file.vocabulary["temperature"])
        self.most_frequent = file.floor["most_frequent"]
        if not all(isinstance(name, str) for name in self.classes) or not self.temperature > 0:
            raise ModelFileError("its classes are damaged")
        floor: Any = NaiveBayes if isinstance(self.front, TextFront) else NearestMean
        self.floor = floor.from_parts(file.floor["fitted"], file.tensors, len(self.classes))


class _ClassifyJob(ExampleJob):
    """The task as the training loop sees it."""

    def __init__(
        self,
        model: ClassifyModel,
        pieces: list[Any],
        targets: Tensor,
        valid: Labeled,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        kept = [i for i, each in enumerate(pieces) if len(each)]
        if not kept:
            raise DataError("none of the texts has a token in it")
        super().__init__(model, [len(pieces[i]) for i in kept], training, device)
        self.encoded = [model.front.encode(pieces[i]) for i in kept]
        self.targets = targets[kept]
        self.valid = [model.front.pieces(item) for item in valid.items]
        self.valid_targets = model._targets(valid.labels)
        self.item = "token" if isinstance(model.front, TextFront) else "row"

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        places = self.batches.at(step)
        batch = self.model.front.batch([self.encoded[i] for i in places])
        return module(batch.to(self.device), self.targets[places].to(self.device)), None

    def evaluate(self) -> dict[str, float]:
        logits, is_multiple = self.model.logits(self.valid), self.model.is_multiple
        if is_multiple:
            right = ((logits > 0) == (self.valid_targets > 0)).all(1)
        else:
            right = self.valid_targets[torch.arange(len(logits)), logits.argmax(1)] > 0
        accuracy = float(right.float().mean())
        log_loss = float(loss_of(logits, self.valid_targets, is_multiple))
        return {"loss": 1 - accuracy, "accuracy": accuracy, "log_loss": log_loss}

    def describe(self, figures: dict[str, float]) -> str:
        return f"accuracy {100 * figures['accuracy']:.2f} %"


EXAMPLES = """
unrolled train classify reviews.csv
unrolled train classify reviews.csv --text review --label stars --minutes 3
unrolled train classify posts.jsonl --text body --label topics --separator ";"
unrolled train classify sensors.csv --values x,y,z --series recording --label activity
"""
Model = ClassifyModel
