"""A tagger: reads files, trains its network, predicts and evaluates."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.data import schemes
from unrolled.data.in_memory import as_list, index_of
from unrolled.data.items import ItemForm, Items
from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged, read_tagged, sentences_of
from unrolled.data.tagging import (
    complete,
    in_parts,
    located,
    refined,
    rewritten,
    scores,
    sentence_counts,
    short_enough,
    text_scores,
)
from unrolled.data.tokens import Token, words_of
from unrolled.engine.trees import Tree
from unrolled.errors import DataError
from unrolled.report.comparison import compare
from unrolled.report.metrics import Metrics
from unrolled.tasks.answers import Answers
from unrolled.tasks.arguments import accepts, checked_items, is_text_or_tokens
from unrolled.tasks.estimator import Estimator, ExampleJob, Files, paths_of
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.known_answers import check_known, kinds_of
from unrolled.tasks.known_tags import TaggedSentences, common_scheme, vocabulary_and_prior
from unrolled.tasks.starting import labels_note, rows_of_tokens, take_weights, with_new
from unrolled.tasks.tag.answer import TaggedText
from unrolled.tasks.tag.fitted import TagFitted
from unrolled.tasks.tag.net import TagNet
from unrolled.tasks.tag.settings import TagSettings
from unrolled.training.batches import by_length
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

_MOST_TEXTS = 2000  # sentences of the validation part that are tagged as plain text too


class TagModel(Estimator[TagSettings, Tagged, TagFitted]):
    """A tagger with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [(["Ada", "met", "Bob"], ["B-PER", "O", "B-PER"]), (["Go", "to", "Rome"], ["O", "O", "B-LOC"])] * 20
        >>> model = unrolled.TagModel(unrolled.TagSettings(hidden=8, layers=1))
        >>> model = model.fit(data, train=unrolled.TrainSettings(steps=60, lr=0.02))
        >>> str(model.predict(["Bob", "met", "Ada"]))
        'PER: Bob; PER: Ada'
    """

    task = "tag"
    who = "a tagger"
    kind = TagSettings
    fits = TagFitted
    default_training = TrainSettings(minutes=5, lr=2e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Tagged:
        paths = paths_of(files)
        settings = self.settings
        return read_tagged(
            paths, scheme=settings.scheme, columns=settings.columns, encoding=settings.encoding, learnt=self.read_as
        )

    def items_of(self, path: Path, form: ItemForm) -> Items | None:
        """The sentences of a file of tagged ones, whose tags are left out; None of another."""
        tags = self.fitted.tags
        return sentences_of(path, form, tags, self.read_as, self.settings.columns)

    def prepare(
        self,
        data: Tagged,
        valid: Tagged,
        training: TrainSettings,
        device: torch.device,
        start: TagFitted | None = None,
    ) -> tuple[TagFitted, "_TagJob"]:
        settings = self.settings
        data = data.part(short_enough(data.sentences, self.notes))
        scheme = common_scheme(data.scheme, None if start is None else start.scheme)
        within = [schemes.to_bioes(tags, data.scheme) for tags in data.tags]
        tags = complete(sorted({tag for tags in within for tag in tags}), scheme)
        if start is not None:
            tags = with_new(start.tags, tags)
        if len(tags) < 2:
            raise DataError("there is one tag only; a tagger needs two to tell apart")
        vocabulary, has_prior = vocabulary_and_prior(settings, data.sentences, tags, start)
        net = TagNet(vocabulary, tags, settings, has_scheme=scheme != "plain", has_prior=has_prior).to(device)
        reads_texts = all(len(token) == 1 for tokens in data.sentences[:200] for token in tokens)
        if start is not None:
            reads_texts = start.reads_texts
            words = rows_of_tokens(start.vocabulary, vocabulary)
            take_weights(net, start.net, {"tags": (start.tags, tags), **words})
            self.notes += [labels_note("tags", start.tags, tags), labels_note("words", *words["words"])]
        fitted = TagFitted(
            net=net,
            vocabulary=vocabulary,
            tags=tags,
            scheme=scheme,
            baseline=FrequentTag.fit(data.sentences, rewritten(data.tags, data.scheme, scheme)),
            reads_texts=reads_texts,
        )
        return fitted, _TagJob(self, fitted, data.sentences, within, valid, training, device)

    @torch.inference_mode()
    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tags of sentences of tokens, in the scheme of the training files; none for an empty sentence. Of a very long
        one each part is read by itself.
        """
        fitted = self.ready()
        device = next(fitted.net.parameters()).device
        parts = in_parts(sentences)
        numbers: dict[int, list[int]] = {}
        for group in by_length([len(part) for _, part in parts], 4096):
            batch = fitted.vocabulary.batch([fitted.vocabulary.encode(parts[i][1]) for i in group]).to(device)
            numbers |= dict(zip(group.tolist(), fitted.net.best(batch), strict=True))
        within: list[list[str]] = [[] for _ in sentences]
        for i, (place, _) in enumerate(parts):
            within[place] += [fitted.tags[number] for number in numbers[i]]
        return [self._outside(tags) for tags in within]

    def _outside(self, tags: list[str]) -> list[str]:
        if self.fitted.scheme in ("plain", "BIOES"):
            return tags
        return tags_of(spans_of(tags, "BIOES"), len(tags), self.fitted.scheme)

    def predict(self, items: object) -> Any:
        """What is found in a text, or in a sentence of tokens; in many of them, if given a list of those.

        Args:
            items: a text; a list of tokens; or a list of texts or of lists of tokens. A list of texts is taken as one
                sentence's tokens unless one of them has a space within.
        """
        if isinstance(items, str):
            return self.predict_all([items])[0]
        given, items = items, as_list(items)
        if (
            isinstance(given, list | tuple)
            and items
            and all(isinstance(item, str) and not any(map(str.isspace, item)) for item in items)
        ):
            return self.predict_all([items])[0]
        return Answers(self.predict_all(items), index=index_of(given))

    def predict_all(self, items: Iterable[object]) -> list[TaggedText]:
        """What is found in each of some texts or sentences of tokens."""
        fitted = self.fitted
        texts, tokens = [], []
        for item in checked_items(items, is_text_or_tokens, "a text or a list of tokens"):
            text = item if isinstance(item, str) else " ".join(item)
            texts.append(text)
            tokens.append(self._tokens(text) if isinstance(item, str) else words_of(text))
        tagged = self.tag([[token.text for token in each] for each in tokens])
        return [
            TaggedText(text, [token.text for token in each], tags, located(text, each, spans_of(tags, fitted.scheme)))
            for text, each, tags in zip(texts, tokens, tagged, strict=True)
        ]

    def _tokens(self, text: str) -> list[Token]:
        """As the training files cut their texts: single characters, or known words between spaces, else finer."""
        if self.fitted.reads_texts:
            return [Token(char, i, i + 1) for i, char in enumerate(text) if not char.isspace()]
        return refined(text, self.fitted.vocabulary)

    def evaluate(self, data: object) -> Metrics:
        """Metrics on tagged files or sentences: precision, recall and F1 of spans by kind, or the accuracy of plain
        tags; the model's and the baseline's.
        """
        fitted, data = self.fitted, self.as_data(data)
        self.check_answers(data)
        found = self.tag(data.sentences)
        baseline = [fitted.baseline.predict(tokens) for tokens in data.sentences]
        gold = rewritten(data.tags, data.scheme, fitted.scheme)
        metrics = {"model": scores(gold, found, fitted.scheme), "baseline": scores(gold, baseline, fitted.scheme)}
        counts = [sentence_counts(gold, tags, fitted.scheme) for tags in (found, baseline)]
        compared = compare(
            counts[0],
            {f"the {fitted.baseline.name}": counts[1]},
            metric="F1" if "f1" in metrics["model"] else "accuracy",
            of="sentences",
        )
        return metrics | {"n_sentences": len(data), "comparison": compared.to_dict()}

    def judge(self, job: object) -> Metrics:
        """Metrics on the validation part, and on its sentences as plain text, which `predict` cuts by itself."""
        fitted, metrics = self.fitted, super().judge(job)
        part = cast(Tagged, self.held).part(range(min(_MOST_TEXTS, len(cast(Tagged, self.held)))))
        gold = rewritten(part.tags, part.scheme, fitted.scheme)
        return metrics | {"as_text": text_scores(part.sentences, gold, fitted.scheme, self._marks_of)}

    def _marks_of(self, texts: Sequence[str]) -> list[set[tuple[int, int, str]]]:
        """What is found in texts: places with labels, or with plain tags."""
        if self.fitted.scheme != "plain":
            found = self.predict_all(texts)
            return [{(span["start"], span["end"], span["label"]) for span in each.spans} for each in found]
        tokens = [self._tokens(text) for text in texts]
        tags = self.tag([[token.text for token in each] for each in tokens])
        return [
            {(token.start, token.end, tag) for token, tag in zip(*pair, strict=True)}
            for pair in zip(tokens, tags, strict=True)
        ]

    @accepts("pairs of a list of tokens and a list of tags")
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
            scheme = schemes.recognize(tags, self.read_as.get("scheme", "")) if chosen == "auto" else chosen
            return Tagged(sentences, tags, scheme, [], read_as={"scheme": scheme})
        return self.read(data)

    def check_answers(self, data: Tagged) -> None:
        check_known(kinds_of(self.fitted.tags), kinds_of(tag for each in data.tags for tag in each), "tags")


class _TagJob(ExampleJob):
    """A tagger's training, as a `Job`: loss and metrics."""

    def __init__(
        self,
        model: TagModel,
        fitted: TagFitted,
        sentences: list[list[str]],
        tags: list[list[str]],
        valid: Tagged,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, [len(each) for each in sentences], training, device)
        self.valid, self.gold = valid, rewritten(valid.tags, valid.scheme, fitted.scheme)
        self.tagged = TaggedSentences(fitted, sentences, tags, training.seed)

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        return module(*self.tagged.batch(self.batches.at(step), self.device)), None

    def evaluate(self) -> dict[str, float]:
        metrics = scores(self.gold, self.model.tag(self.valid.sentences), self.model.fitted.scheme)
        name = "f1" if "f1" in metrics else "accuracy"
        return {"loss": 1 - metrics[name], name: metrics[name]}

    @property
    def curve(self) -> Curve:
        """F1 or accuracy beside the baseline's."""
        fitted = self.model.fitted
        found = [fitted.baseline.predict(tokens) for tokens in self.valid.sentences]
        metrics = scores(self.gold, found, fitted.scheme)
        name, label = ("f1", "F1") if "f1" in metrics else ("accuracy", "accuracy")
        return Curve(name, label, metrics[name], f"the {fitted.baseline.name}")

    def describe(self, metrics: dict[str, float]) -> str:
        return f"F1 {100 * metrics['f1']:.2f} %" if "f1" in metrics else f"accuracy {100 * metrics['accuracy']:.2f} %"


HELP = TaskHelp(
    usual="corpus.conll",
    purpose="named entities, or any tags",
    train="""
unrolled train tag corpus.conll
unrolled train tag train.conll --valid dev.conll --test-file test.conll --minutes 10
unrolled train tag notes.jsonl --folds 5 --steps 2000
""",
    predict='unrolled predict runs/tag/model.safetensors "Ada Lovelace met Charles Babbage in London"',
)
Model = TagModel
