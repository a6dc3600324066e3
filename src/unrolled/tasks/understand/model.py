"""The model of the task: it reads files, trains its network, and answers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.data import schemes
from unrolled.data.intents import Intents, read_intents
from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged
from unrolled.data.tagging import complete, in_parts, located, padded, refined, rewritten, scores, short_enough
from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import DataError, ModelFileError
from unrolled.files.model_file import ModelFile
from unrolled.report import pictures
from unrolled.tasks.estimator import Estimator, ExampleJob, Files, split_in_two
from unrolled.tasks.understand.net import UnderstandNet
from unrolled.tasks.understand.settings import UnderstandSettings
from unrolled.training.batches import by_length
from unrolled.training.loop import TrainSettings


@dataclass(frozen=True)
class Understood:
    """A sentence understood.

    Attributes:
        text: as given.
        intent: what it wants.
        probability: of that intent.
        slots: start and end in `text`, in characters, label, and the piece itself.
    """

    text: str
    intent: str
    probability: float
    slots: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "intent": self.intent, "probability": self.probability, "slots": self.slots}

    def rows(self) -> list[dict[str, Any]]:
        """One row; slots as JSON."""
        return [self.to_dict() | {"slots": json.dumps(self.slots, ensure_ascii=False)}]

    def __str__(self) -> str:
        slots = "".join(f"; {slot['label']}: {slot['text']}" for slot in self.slots)
        return f"{self.intent} ({100 * self.probability:.0f} %){slots}"


class UnderstandModel(Estimator):
    """Intents and slots with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [("fly to rome", ["O", "O", "B-city"], "flight"), ("rain in oslo", ["O", "O", "B-city"], "weather")]
        >>> model = unrolled.UnderstandModel(unrolled.UnderstandSettings(hidden=8, layers=1))
        >>> result = model.fit(data * 20, train=unrolled.TrainSettings(steps=60, lr=0.02))
        >>> model.predict("fly to oslo").slots
        [{'start': 7, 'end': 11, 'label': 'city', 'text': 'oslo'}]
    """

    task = "understand"
    kind = UnderstandSettings
    default_training = TrainSettings(minutes=5, lr=2e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Intents:
        paths = [files] if isinstance(files, str | Path) else list(files)
        return read_intents(paths, encoding=self.settings.encoding)

    def split(self, data: Intents, seed: int) -> tuple[Intents, Intents]:
        return split_in_two(data, self.settings.validation, seed)

    def prepare(self, data: Intents, valid: Intents, training: TrainSettings, device: torch.device) -> "_UnderstandJob":
        settings = self.settings
        data = data.part(short_enough(data.tagged.sentences, self.notes))
        tagged = data.tagged
        self.scheme = tagged.scheme
        if self.scheme == "plain" and any(tag != "O" for tags in tagged.tags for tag in tags):
            raise DataError("the slots' tags are of no known scheme; expected such as B-city, I-city and O")
        self.scheme = "BIO" if self.scheme == "plain" else self.scheme  # no slots at all
        within = [schemes.to_bioes(tags, self.scheme) for tags in tagged.tags]
        self.tags = complete(sorted({tag for tags in within for tag in tags}), self.scheme)
        self.intents = sorted(set(data.intents))
        if len(self.intents) < 2:
            raise DataError(f"there is one intent only, {self.intents[0]!r}; expected at least two to tell apart")
        self.vocabulary = TokenVocabulary.fit(
            tagged.sentences, least=settings.least, most_pairs=settings.most_pairs if settings.pairs else 0
        )
        self.slot_floor = FrequentTag.fit(tagged.sentences, tagged.tags)
        self.intent_floor = NaiveBayes.fit(tagged.sentences, [[intent] for intent in data.intents], self.intents)
        self.net = self.make_net().to(device)
        return _UnderstandJob(self, tagged.sentences, within, data.intents, valid, training, device)

    def make_net(self) -> UnderstandNet:
        return UnderstandNet(self.vocabulary, self.tags, len(self.intents), self.settings)

    @torch.inference_mode()
    def understand(self, sentences: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[list[str]]]:
        """Probabilities of intents [sentences, intents] and tags, of sentences of tokens. In an empty sentence
        all intents are as likely. Of a very long one each part is read by itself; its intent is that of the first.
        """
        net = self.ready()
        device = next(net.parameters()).device
        intents = np.full((len(sentences), len(self.intents)), 1 / len(self.intents))
        parts = in_parts(sentences)
        numbers: dict[int, list[int]] = {}
        likely: dict[int, np.ndarray] = {}
        for group in by_length([len(part) for _, part in parts], 4096):
            batch = self.vocabulary.batch([self.vocabulary.encode(parts[i][1]) for i in group]).to(device)
            probabilities, best = net.best(batch)
            numbers |= dict(zip(group.tolist(), best, strict=True))
            likely |= dict(zip(group.tolist(), probabilities.cpu().numpy(), strict=True))
        within: list[list[str]] = [[] for _ in sentences]
        for i, (place, _) in enumerate(parts):
            if not within[place]:
                intents[place] = likely[i]
            within[place] += [self.tags[number] for number in numbers[i]]
        return intents, [tags_of(spans_of(tags, "BIOES"), len(tags), self.scheme) for tags in within]

    def predict(self, items: Any) -> Any:
        """What a text wants; or each of a list of texts. Words are cut at spaces; unknown ones at punctuation too."""
        if isinstance(items, str):
            return self.predict_all([items])[0]
        return self.predict_all(list(items))

    def predict_all(self, texts: Iterable[str]) -> list[Understood]:
        """What each of some texts wants."""
        texts = list(texts)
        tokens = [refined(text, self.vocabulary) for text in texts]
        intents, tags = self.understand([[token.text for token in each] for each in tokens])
        found = []
        for text, each, probabilities, of_tokens in zip(texts, tokens, intents, tags, strict=True):
            best = int(probabilities.argmax())
            slots = located(text, each, spans_of(of_tokens, self.scheme))
            found.append(Understood(text, self.intents[best], float(probabilities[best]), slots))
        return found

    def evaluate(self, data: Any) -> dict[str, Any]:
        """Intent accuracy, slot F1 as conlleval counts it, and the share of sentences that are right in both; the
        model's and the floors'.
        """
        data = self.as_data(data)
        intents, tags = self.understand(data.tagged.sentences)
        gold = rewritten(data.tagged.tags, data.tagged.scheme, self.scheme)
        model = _figures(gold, self.scheme, data.intents, [self.intents[i] for i in intents.argmax(1)], tags)
        by_words = [self.slot_floor.predict(tokens) for tokens in data.tagged.sentences]
        bayes = [self.intents[int(i)] for i in self.intent_floor.scores(data.tagged.sentences).argmax(1)]
        return {
            "model": model,
            "floor": _figures(gold, self.scheme, data.intents, bayes, by_words),
            "n_sentences": len(data),
        }

    def as_data(self, data: Any) -> Intents:
        """From files, or triples of a text or its tokens, their tags, and the intent."""
        if isinstance(data, Intents):
            return data
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            sentences = [words.split() if isinstance(words, str) else list(words) for words, _, _ in data]
            tags = [list(of_words) for _, of_words, _ in data]
            wrong = [i for i, (a, b) in enumerate(zip(sentences, tags, strict=True)) if len(a) != len(b) or not a]
            if wrong:
                raise DataError(f"sentences {wrong[:10]}: expected as many tags as tokens, and at least one")
            tagged = Tagged(sentences, tags, schemes.recognize(tags), [])
            return Intents(tagged, [intent for _, _, intent in data])
        return self.read(data)

    def table(self, figures: dict[str, Any]) -> list[str]:
        lines = [f"{'':<10}{'intent':>10}{'slot F1':>10}{'sentence':>10}"]
        for name in ("model", "floor"):
            row = figures[name]
            lines.append(
                f"{name:<10}" + "".join(f"{100 * row[key]:>8.2f} %" for key in ("intent", "slot_f1", "sentence"))
            )
        return [*lines, f"floor: {self.intent_floor.name} for intents, {self.slot_floor.name} for slots"]

    def verdict(self, figures: dict[str, Any]) -> tuple[str, float, float]:
        return "whole sentences", figures["model"]["sentence"], figures["floor"]["sentence"]

    def picture(self, figures: dict[str, Any], folder: Path) -> Path | None:
        labels = figures["model"]["labels"]
        most = sorted(labels, key=lambda name: -labels[name]["n"])[:25]
        model = {name: labels[name]["f1"] for name in most}
        floor = {name: each["f1"] for name, each in figures["floor"]["labels"].items()}
        return pictures.bars(model, floor, "slot F1", folder / "slots.png") if model else None

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
        vocabulary = self.vocabulary.to_data() | {"tags": self.tags, "scheme": self.scheme, "intents": self.intents}
        floor, tensors = self.intent_floor.to_parts()
        method = f"{self.slot_floor.name}; {self.intent_floor.name}"
        return vocabulary, {"method": method, "slots": self.slot_floor.to_data(), "intents": floor}, tensors

    def from_parts(self, file: ModelFile) -> None:
        self.vocabulary = TokenVocabulary.from_data(file.vocabulary)
        self.tags, self.scheme = file.vocabulary["tags"], file.vocabulary["scheme"]
        self.intents = file.vocabulary["intents"]
        names = [*self.tags, *self.intents]
        if self.scheme not in schemes.SCHEMES or not all(isinstance(name, str) for name in names):
            raise ModelFileError("its tags or intents are damaged")
        self.slot_floor = FrequentTag.from_data(file.floor["slots"])
        self.intent_floor = NaiveBayes.from_parts(file.floor["intents"], file.tensors, len(self.intents))


def _figures(
    gold: Sequence[Sequence[str]],
    scheme: str,
    intents: Sequence[str],
    found_intents: Sequence[str],
    found: Sequence[Sequence[str]],
) -> dict[str, Any]:
    of_slots = scores(gold, found, scheme)
    rights = [a == b for a, b in zip(intents, found_intents, strict=True)]
    whole = [
        right and spans_of(a, scheme) == spans_of(b, scheme) for right, a, b in zip(rights, gold, found, strict=True)
    ]
    return {
        "intent": sum(rights) / len(rights),
        "slot_f1": of_slots["f1"],
        "sentence": sum(whole) / len(whole),
        "labels": of_slots.get("labels", {}),
    }


class _UnderstandJob(ExampleJob):
    """The task as the training loop sees it."""

    def __init__(
        self,
        model: UnderstandModel,
        sentences: list[list[str]],
        tags: list[list[str]],
        intents: list[str],
        valid: Intents,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, [len(each) for each in sentences], training, device)
        self.valid = valid
        self.encoded = [model.vocabulary.encode(sentence) for sentence in sentences]
        numbers = {tag: i for i, tag in enumerate(model.tags)}
        self.tags = [np.array([numbers[tag] for tag in each]) for each in tags]
        self.intents = torch.tensor([model.intents.index(intent) for intent in intents])

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        places = self.batches.at(step)
        batch = self.model.vocabulary.batch([self.encoded[i] for i in places]).to(self.device)
        tags = padded([self.tags[i] for i in places]).to(self.device)
        return module(batch, tags, self.intents[places].to(self.device)), None

    def evaluate(self) -> dict[str, float]:
        figures = self.model.evaluate(self.valid)["model"]
        shown = {name: figures[name] for name in ("intent", "slot_f1", "sentence")}
        return {"loss": 1 - sum(shown.values()) / 3, **shown}

    def describe(self, figures: dict[str, float]) -> str:
        names = (("intent", "intent"), ("slot F1", "slot_f1"), ("sentence", "sentence"))
        return ", ".join(f"{word} {100 * figures[name]:.2f} %" for word, name in names)


EXAMPLES = """
unrolled train understand folder/
unrolled train understand commands.jsonl --valid dev.jsonl --minutes 10
"""
Model = UnderstandModel
