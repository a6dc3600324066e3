"""The model of the task: it reads files, trains its network, and answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.data import schemes
from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged, read_tagged
from unrolled.data.tagging import complete, in_parts, located, padded, refined, rewritten, scores, short_enough
from unrolled.data.tokens import Token, words_of
from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import DataError, ModelFileError
from unrolled.files.model_file import ModelFile
from unrolled.report import pictures
from unrolled.tasks.estimator import Estimator, ExampleJob, Files, split_in_two
from unrolled.tasks.tag.net import TagNet
from unrolled.tasks.tag.settings import TagSettings
from unrolled.training.batches import by_length
from unrolled.training.loop import TrainSettings


@dataclass(frozen=True)
class TaggedText:
    """A text with what was found in it.

    Attributes:
        text: as given; tokens joined by spaces where tokens were given.
        tokens, tags: its tokens and the tag of each, in the scheme of the training files.
        spans: start and end in `text`, in characters, label, and the piece itself; empty for plain tags.
    """

    text: str
    tokens: list[str]
    tags: list[str]
    spans: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "tokens": self.tokens, "tags": self.tags, "spans": self.spans}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each token."""
        return [{"token": token, "tag": tag} for token, tag in zip(self.tokens, self.tags, strict=True)]

    def __str__(self) -> str:
        if any(tag != "O" for tag in self.tags) and not self.spans:
            return " ".join(f"{token}/{tag}" for token, tag in zip(self.tokens, self.tags, strict=True))
        return "; ".join(f"{span['label']}: {span['text']}" for span in self.spans) or "(nothing found)"


class TagModel(Estimator):
    """A tagger with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [(["Ada", "met", "Bob"], ["B-PER", "O", "B-PER"]), (["Go", "to", "Rome"], ["O", "O", "B-LOC"])] * 20
        >>> model = unrolled.TagModel(unrolled.TagSettings(hidden=8, layers=1))
        >>> result = model.fit(data, train=unrolled.TrainSettings(steps=60, lr=0.02))
        >>> str(model.predict(["Bob", "met", "Ada"]))
        'PER: Bob; PER: Ada'
    """

    task = "tag"
    kind = TagSettings
    default_training = TrainSettings(minutes=5, lr=2e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Tagged:
        paths = [files] if isinstance(files, str | Path) else list(files)
        return read_tagged(paths, scheme=self.settings.scheme, encoding=self.settings.encoding)

    def split(self, data: Tagged, seed: int) -> tuple[Tagged, Tagged]:
        return split_in_two(data, self.settings.validation, seed)

    def prepare(self, data: Tagged, valid: Tagged, training: TrainSettings, device: torch.device) -> "_TagJob":
        settings = self.settings
        self.scheme = data.scheme
        data = data.part(short_enough(data.sentences, self.notes))
        within = [schemes.to_bioes(tags, data.scheme) for tags in data.tags]
        self.tags = complete(sorted({tag for tags in within for tag in tags}), data.scheme)
        if len(self.tags) < 2:
            raise DataError("there is one tag only; a tagger needs two to tell apart")
        self.vocabulary = TokenVocabulary.fit(
            data.sentences, least=settings.least, most_pairs=settings.most_pairs if settings.pairs else 0
        )
        self.floor = FrequentTag.fit(data.sentences, data.tags)
        self.reads_texts = all(len(token) == 1 for tokens in data.sentences[:200] for token in tokens)
        self.net = self.make_net().to(device)
        return _TagJob(self, data.sentences, within, valid, training, device)

    def make_net(self) -> TagNet:
        return TagNet(self.vocabulary, self.tags, self.settings, self.scheme != "plain")

    @torch.inference_mode()
    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tags of sentences of tokens, in the scheme of the training files; none for an empty sentence. Of a very long
        one each part is read by itself.
        """
        net = self.ready()
        device = next(net.parameters()).device
        parts = in_parts(sentences)
        numbers: dict[int, list[int]] = {}
        for group in by_length([len(part) for _, part in parts], 4096):
            batch = self.vocabulary.batch([self.vocabulary.encode(parts[i][1]) for i in group]).to(device)
            numbers |= dict(zip(group.tolist(), net.best(batch), strict=True))
        within: list[list[str]] = [[] for _ in sentences]
        for i, (place, _) in enumerate(parts):
            within[place] += [self.tags[number] for number in numbers[i]]
        return [self._outside(tags) for tags in within]

    def _outside(self, tags: list[str]) -> list[str]:
        if self.scheme in ("plain", "BIOES"):
            return tags
        return tags_of(spans_of(tags, "BIOES"), len(tags), self.scheme)

    def predict(self, items: Any) -> Any:
        """What is found in a text, or in a sentence of tokens; in many of them, if given a list of those.

        Args:
            items: a text; a list of tokens; or a list of texts or of lists of tokens. A list of texts is taken as one
                sentence's tokens unless one of them has a space within.
        """
        if isinstance(items, str):
            return self.predict_all([items])[0]
        items = list(items)
        if items and all(isinstance(item, str) and not any(map(str.isspace, item)) for item in items):
            return self.predict_all([items])[0]
        return self.predict_all(items)

    def predict_all(self, items: Iterable[Any]) -> list[TaggedText]:
        """What is found in each of some texts or sentences of tokens."""
        texts, tokens = [], []
        for item in items:
            text = item if isinstance(item, str) else " ".join(item)
            texts.append(text)
            tokens.append(self._tokens(text) if isinstance(item, str) else words_of(text))
        tagged = self.tag([[token.text for token in each] for each in tokens])
        return [
            TaggedText(text, [token.text for token in each], tags, located(text, each, spans_of(tags, self.scheme)))
            for text, each, tags in zip(texts, tokens, tagged, strict=True)
        ]

    def _tokens(self, text: str) -> list[Token]:
        """As the training files cut their texts: single characters, or known words between spaces, else finer."""
        if self.reads_texts:
            return [Token(char, i, i + 1) for i, char in enumerate(text) if not char.isspace()]
        return refined(text, self.vocabulary)

    def evaluate(self, data: Any) -> dict[str, Any]:
        """Figures on tagged files or sentences: precision, recall and F1 of spans by kind, or the accuracy of plain
        tags; the model's and the floor's.
        """
        data = self.as_data(data)
        found = self.tag(data.sentences)
        floor = [self.floor.predict(tokens) for tokens in data.sentences]
        gold = rewritten(data.tags, data.scheme, self.scheme)
        figures = {"model": scores(gold, found, self.scheme), "floor": scores(gold, floor, self.scheme)}
        return figures | {"n_sentences": len(data)}

    def as_data(self, data: Any) -> Tagged:
        """From files, or pairs of a sentence's tokens and their tags."""
        if isinstance(data, Tagged):
            return data
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            sentences, tags = [list(tokens) for tokens, _ in data], [list(of_tokens) for _, of_tokens in data]
            wrong = [i for i, (a, b) in enumerate(zip(sentences, tags, strict=True)) if len(a) != len(b) or not a]
            if wrong:
                raise DataError(f"sentences {wrong[:10]}: expected as many tags as tokens, and at least one")
            chosen = self.settings.scheme
            return Tagged(sentences, tags, schemes.recognize(tags) if chosen == "auto" else chosen, [])
        return self.read(data)

    def table(self, figures: dict[str, Any]) -> list[str]:
        model, floor = figures["model"], figures["floor"]
        if "f1" not in model:
            return [
                f"model  accuracy {_percent(model['accuracy'])}",
                f"floor  accuracy {_percent(floor['accuracy'])}, {self.floor.name}",
            ]
        lines = [f"{'':<16}{'precision':>10}{'recall':>10}{'F1':>10}{'floor F1':>10}{'spans':>8}"]
        none = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        for name in ["", *model["labels"]]:
            row, below = (each if not name else each["labels"].get(name, none) for each in (model, floor))
            numbers = "".join(f"{_percent(row[key]):>10}" for key in ("precision", "recall", "f1"))
            lines.append(f"{name or 'all':<16}{numbers}{_percent(below['f1']):>10}{row['n']:>8,}")
        return [*lines, f"floor: {self.floor.name}"]

    def verdict(self, figures: dict[str, Any]) -> tuple[str, float, float]:
        name = "f1" if "f1" in figures["model"] else "accuracy"
        return {"f1": "F1"}.get(name, name), figures["model"][name], figures["floor"][name]

    def picture(self, figures: dict[str, Any], folder: Path) -> Path | None:
        model, floor = (
            {name: each["f1"] for name, each in figures[key].get("labels", {}).items()} for key in ("model", "floor")
        )
        return pictures.bars(model, floor, "span F1", folder / "labels.png") if model else None

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
        vocabulary = self.vocabulary.to_data() | {
            "tags": self.tags, "scheme": self.scheme, "reads_texts": self.reads_texts
        }  # fmt: skip
        return vocabulary, {"method": self.floor.name, **self.floor.to_data()}, {}

    def from_parts(self, file: ModelFile) -> None:
        self.vocabulary = TokenVocabulary.from_data(file.vocabulary)
        self.tags, self.scheme = file.vocabulary["tags"], file.vocabulary["scheme"]
        self.reads_texts = bool(file.vocabulary["reads_texts"])
        if self.scheme not in schemes.SCHEMES or not all(isinstance(tag, str) for tag in self.tags):
            raise ModelFileError("its tags are damaged")
        self.floor = FrequentTag.from_data(file.floor)


class _TagJob(ExampleJob):
    """The tagging task as the training loop sees it."""

    def __init__(
        self,
        model: TagModel,
        sentences: list[list[str]],
        tags: list[list[str]],
        valid: Tagged,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, [len(each) for each in sentences], training, device)
        self.valid, self.gold = valid, rewritten(valid.tags, valid.scheme, model.scheme)
        self.encoded = [model.vocabulary.encode(sentence) for sentence in sentences]
        numbers = {tag: i for i, tag in enumerate(model.tags)}
        self.tags = [np.array([numbers[tag] for tag in each]) for each in tags]

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        places = self.batches.at(step)
        batch = self.model.vocabulary.batch([self.encoded[i] for i in places])
        return module(batch.to(self.device), padded([self.tags[i] for i in places]).to(self.device)), None

    def evaluate(self) -> dict[str, float]:
        figures = scores(self.gold, self.model.tag(self.valid.sentences), self.model.scheme)
        name = "f1" if "f1" in figures else "accuracy"
        return {"loss": 1 - figures[name], name: figures[name]}

    def describe(self, figures: dict[str, float]) -> str:
        return f"F1 {100 * figures['f1']:.2f} %" if "f1" in figures else f"accuracy {100 * figures['accuracy']:.2f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


EXAMPLES = """
unrolled train tag corpus.conll
unrolled train tag train.conll --valid dev.conll --test-file test.conll --minutes 10
unrolled train tag notes.jsonl --folds 5 --steps 2000
"""
Model = TagModel
