"""A model of intents and slots: reads files, trains its network, predicts and evaluates."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.data import schemes
from unrolled.data.in_memory import as_list, index_of
from unrolled.data.intents import Intents, read_intents, sentences_in
from unrolled.data.items import ItemForm, Items
from unrolled.data.labeled import check_count
from unrolled.data.schemes import spans_of, tags_of
from unrolled.data.tagged import Tagged
from unrolled.data.tagging import LONGEST, complete, in_parts, located, refined, rewritten, scores, short_enough
from unrolled.data.tokens import Token
from unrolled.errors import DataError
from unrolled.report.comparison import compare, shares
from unrolled.report.metrics import Metrics
from unrolled.tasks.answers import Answers
from unrolled.tasks.arguments import accepts, checked_items, is_text
from unrolled.tasks.blend import NETWORK_ALONE, best_weights, blended, calibrated, calibration, cross_blended
from unrolled.tasks.class_weights import NONE, in_words, weights_of
from unrolled.tasks.classify.judged import class_counts, macro_f1, macro_f1_of
from unrolled.tasks.estimator import Estimator, Files, paths_of
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.highlights import Highlight, effects, hidden_versions, in_batches
from unrolled.tasks.known_answers import check_known
from unrolled.tasks.known_tags import vocabulary_and_prior
from unrolled.tasks.starting import labels_note, rows_of_tokens, take_weights, with_new
from unrolled.tasks.understand.answer import Understood
from unrolled.tasks.understand.fitted import UnderstandFitted
from unrolled.tasks.understand.job import BASELINE, DECIDING, UnderstandJob, log_of, targets_of
from unrolled.tasks.understand.net import UnderstandNet
from unrolled.tasks.understand.settings import UnderstandSettings
from unrolled.training.batches import by_length
from unrolled.training.settings import TrainSettings


class UnderstandModel(Estimator[UnderstandSettings, Intents, UnderstandFitted]):
    """Intents and slots with the task's verbs.

    Example:
        >>> import unrolled
        >>> data = [("fly to rome", ["O", "O", "B-city"], "flight"), ("rain in oslo", ["O", "O", "B-city"], "weather")]
        >>> model = unrolled.UnderstandModel(unrolled.UnderstandSettings(hidden=8, layers=1))
        >>> model = model.fit(data * 20, train=unrolled.TrainSettings(steps=60, lr=0.02))
        >>> model.predict("fly to oslo").slots
        [{'start': 7, 'end': 11, 'label': 'city', 'text': 'oslo'}]
    """

    task = "understand"
    who = "a model of intents"
    kind = UnderstandSettings
    fits = UnderstandFitted
    default_training = TrainSettings(minutes=5, lr=2e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Intents:
        paths, settings = paths_of(files), self.settings
        return read_intents(
            paths, columns=settings.columns, intent=settings.intent, encoding=settings.encoding, learnt=self.read_as
        )

    def items_of(self, path: Path, form: ItemForm) -> Items | None:
        """The sentences of a folder with seq.in, or of tagged ones; None of another file."""
        tags = self.fitted.tags
        return sentences_in(path, form, tags, self.read_as, self.settings.columns)

    def prepare(
        self,
        data: Intents,
        valid: Intents,
        training: TrainSettings,
        device: torch.device,
        start: UnderstandFitted | None = None,
    ) -> tuple[UnderstandFitted, UnderstandJob]:
        settings = self.settings
        data = data.part(short_enough(data.tagged.sentences, self.notes))
        tagged = data.tagged
        if tagged.scheme == "plain" and any(tag != "O" for tags in tagged.tags for tag in tags):
            raise DataError("the slots' tags are of no known scheme; expected such as B-city, I-city and O")
        scheme = "BIO" if tagged.scheme == "plain" else tagged.scheme  # no slots at all
        within = [schemes.to_bioes(tags, scheme) for tags in tagged.tags]
        tags = complete(sorted({tag for tags in within for tag in tags}), scheme)
        intents, of_baseline = sorted(set(data.intents)), tagged.tags
        if start is not None:
            tags, intents = with_new(start.tags, tags), with_new(start.intents, intents)
            scheme, of_baseline = start.scheme, rewritten(tagged.tags, scheme, start.scheme)
        check_count(len(intents), "intents")
        if len(intents) < 2:
            raise DataError(f"there is one intent only, {intents[0]!r}; expected at least two to tell apart")
        vocabulary, has_prior = vocabulary_and_prior(settings, tagged.sentences, tags, start)
        net = UnderstandNet(vocabulary, tags, len(intents), settings, has_prior=has_prior).to(device)
        if start is not None:
            rows: dict[str, tuple[Sequence[str], Sequence[str]]] = {
                "intents": (start.intents, intents),
                "tags": (start.tags, tags),
            }
            rows |= rows_of_tokens(start.vocabulary, vocabulary)
            take_weights(net, start.net, rows)
            self.notes += [labels_note(noun, *rows[noun]) for noun in ("intents", "tags", "words")]
        class_weights = self._class_weights(data.intents, intents)
        fitted = UnderstandFitted(
            net=net,
            vocabulary=vocabulary,
            tags=tags,
            scheme=scheme,
            intents=intents,
            slot_baseline=FrequentTag.fit(tagged.sentences, of_baseline),
            intent_baseline=_bayes(tagged.sentences, data.intents, intents, class_weights),
            scale=_calibration(tagged.sentences, data.intents, intents, training.seed, class_weights),
            class_weights=class_weights,
        )
        return fitted, UnderstandJob(self, fitted, tagged.sentences, within, data.intents, valid, training, device)

    def _class_weights(self, of_sentences: Sequence[str], intents: Sequence[str]) -> np.ndarray | None:
        """How much each intent counts; None where all count the same."""
        asked = self.settings.class_weights
        if asked == NONE:
            return None
        found = weights_of(asked, Counter(of_sentences), intents)
        self.notes.append(in_words(found, intents, DECIDING))
        return found

    def understand(self, sentences: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[list[str]]]:
        """Probabilities of intents [sentences, intents] and tags, of sentences of tokens. Of a very long one each part
        is read by itself; its intent is that of the first.
        """
        return self._blended(sentences, *self._read(sentences))

    def _blended(
        self, sentences: Sequence[Sequence[str]], intents: np.ndarray, tags: list[list[str]]
    ) -> tuple[np.ndarray, list[list[str]]]:
        """What the network read, its intents with what the baseline says of them."""
        fitted = self.fitted
        if fitted.weights == NETWORK_ALONE:
            return intents, tags
        logits = blended(log_of(intents), self._by_baseline(sentences), fitted.weights)
        return logits.double().softmax(1).numpy(), tags

    def _by_baseline(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """The baseline's scores of intents, calibrated, [sentences, intents]."""
        fitted = self.fitted
        return calibrated(fitted.intent_baseline.scores(sentences), fitted.scale)

    def finish(self, valid: Intents) -> UnderstandFitted:
        """Fits what the network and the baseline count for intents on the validation part. Its metrics there are by
        weights that were fitted on the rest of it.
        """
        self.ready()
        intents, tags = self._read(valid.tagged.sentences)
        logits = cross_blended(*self._scores(valid, intents), nn.functional.cross_entropy)
        metrics = self._judged(valid, logits.double().softmax(1).numpy(), tags)
        return replace(self._weighted(valid, intents), metrics=metrics)

    def _weighted(self, data: Intents, intents: np.ndarray) -> UnderstandFitted:
        """What is fitted, with the weights that are the likeliest where the network finds these intents."""
        weights = best_weights(*self._scores(data, intents), nn.functional.cross_entropy)
        return replace(self.fitted, weights=weights)

    def _scores(self, data: Intents, intents: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Of the network, of the baseline, and what is right, each [sentences, intents]."""
        targets = targets_of(data.intents, self.fitted.intents, self.fitted.class_weights)
        return log_of(intents), self._by_baseline(data.tagged.sentences), targets

    @torch.inference_mode()
    def _read(self, sentences: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[list[str]]]:
        """What the network alone finds; in an empty sentence all intents are as likely."""
        fitted = self.ready()
        device = next(fitted.net.parameters()).device
        intents = np.full((len(sentences), len(fitted.intents)), 1 / len(fitted.intents))
        parts = in_parts(sentences)
        numbers: dict[int, list[int]] = {}
        likely: dict[int, np.ndarray] = {}
        for group in by_length([len(part) for _, part in parts], 4096):
            batch = fitted.vocabulary.batch([fitted.vocabulary.encode(parts[i][1]) for i in group]).to(device)
            probabilities, best = fitted.net.best(batch)
            numbers |= dict(zip(group.tolist(), best, strict=True))
            likely |= dict(zip(group.tolist(), probabilities.cpu().numpy(), strict=True))
        within: list[list[str]] = [[] for _ in sentences]
        for i, (place, _) in enumerate(parts):
            if not within[place]:
                intents[place] = likely[i]
            within[place] += [fitted.tags[number] for number in numbers[i]]
        return intents, [tags_of(spans_of(tags, "BIOES"), len(tags), fitted.scheme) for tags in within]

    def predict(self, items: object, *, highlights: bool = False) -> Any:
        """What a text wants; or each of a list of texts. Words are cut at spaces; unknown ones at punctuation too.
        `highlights` tells what each token did for the intent.
        """
        if isinstance(items, str):
            return self.predict_all([items], highlights=highlights)[0]
        return Answers(self.predict_all(as_list(items), highlights=highlights), index=index_of(items))

    def predict_all(self, texts: Iterable[str], *, highlights: bool = False) -> list[Understood]:
        """What each of some texts wants."""
        fitted, texts = self.fitted, checked_items(texts, is_text, "a text")
        tokens = [refined(text, fitted.vocabulary) for text in texts]
        intents, tags = self.understand([[token.text for token in each] for each in tokens])
        found = []
        for text, each, probabilities, of_tokens in zip(texts, tokens, intents, tags, strict=True):
            best = int(probabilities.argmax())
            slots = located(text, each, spans_of(of_tokens, fitted.scheme))
            moved = self._highlights(each, best) if highlights else None
            found.append(Understood(text, fitted.intents[best], float(probabilities[best]), slots, moved))
        return found

    @torch.inference_mode()
    def _highlights(self, tokens: Sequence[Token], intent: int) -> list[Highlight]:
        """By how much the log-probability of an intent falls when each token is hidden; of what is read for it."""
        fitted, tokens = self.ready(), tokens[:LONGEST]
        if not tokens:
            return []
        device = next(fitted.net.parameters()).device
        versions = hidden_versions(fitted.vocabulary, [token.text for token in tokens])
        found = in_batches(
            versions, lambda some: fitted.net.best(fitted.vocabulary.batch(some).to(device))[0].cpu().numpy()
        )
        intents, _ = self._blended([forms for _, _, forms in versions], found, [])
        return effects(tokens, np.log(np.maximum(intents[:, intent], 1e-12)), "nats")

    def evaluate(self, data: object) -> Metrics:
        """Intent accuracy, slot F1 as conlleval counts it, and the share of sentences that are right in both; the
        model's and the baselines'.
        """
        self.ready()
        data = self.as_data(data)
        self.check_answers(data)
        return self._judged(data, *self.understand(data.tagged.sentences))

    def _judged(self, data: Intents, intents: np.ndarray, tags: list[list[str]]) -> Metrics:
        fitted = self.fitted
        gold = rewritten(data.tagged.tags, data.tagged.scheme, fitted.scheme)
        found = [fitted.intents[i] for i in intents.argmax(1)]
        model, rights = _metrics(gold, fitted.scheme, data.intents, found, tags)
        baseline, others = self._of_baseline(data, gold)
        if fitted.class_weights is None:
            compared = compare(shares(rights), {BASELINE: shares(others)}, metric="whole sentences", of="sentences")
        else:
            names = sorted({*fitted.intents, *data.intents})
            both = (found, self._bayes_of(data))
            ours, theirs = (class_counts(_rows(data.intents), _rows(each), names) for each in both)
            compared = compare(ours, {BASELINE: theirs}, metric=DECIDING, of="sentences", score=macro_f1)
            model["macro_f1"] = macro_f1_of(_rows(data.intents), _rows(found), fitted.intents)
        return {
            "model": model,
            "baseline": baseline,
            "n_sentences": len(data),
            "comparison": compared.to_dict(),
        }

    def _bayes_of(self, data: Intents) -> list[str]:
        """The intents by the baseline."""
        fitted = self.fitted
        return [fitted.intents[int(i)] for i in fitted.intent_baseline.scores(data.tagged.sentences).argmax(1)]

    def _of_baseline(self, data: Intents, gold: Sequence[Sequence[str]]) -> tuple[Metrics, list[bool]]:
        fitted = self.fitted
        by_words = [fitted.slot_baseline.predict(tokens) for tokens in data.tagged.sentences]
        bayes = self._bayes_of(data)
        metrics, rights = _metrics(gold, fitted.scheme, data.intents, bayes, by_words)
        if fitted.class_weights is not None:
            metrics["macro_f1"] = macro_f1_of(_rows(data.intents), _rows(bayes), fitted.intents)
        return metrics, rights

    def check_answers(self, data: Intents) -> None:
        check_known(self.fitted.intents, data.intents, "intents")

    @accepts("triples of a text, its tags and its intent")
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
            scheme = schemes.recognize(tags, self.read_as.get("scheme", ""))
            tagged = Tagged(sentences, tags, scheme, [], read_as={"scheme": scheme})
            return Intents(tagged, [each[2] for each in data])
        return self.read(data)


def _metrics(
    gold: Sequence[Sequence[str]],
    scheme: str,
    intents: Sequence[str],
    found_intents: Sequence[str],
    found: Sequence[Sequence[str]],
) -> tuple[Metrics, list[bool]]:
    """The metrics, and which sentences are right as a whole."""
    of_slots = scores(gold, found, scheme)
    rights = [a == b for a, b in zip(intents, found_intents, strict=True)]
    same = [spans_of(a, scheme) == spans_of(b, scheme) for a, b in zip(gold, found, strict=True)]
    whole = [right and is_same for right, is_same in zip(rights, same, strict=True)]
    metrics = {
        "intent": sum(rights) / len(rights),
        "slot_f1": of_slots["f1"],
        "sentence": sum(whole) / len(whole),
        "labels": of_slots.get("labels", {}),
    }
    return metrics, whole


def _rows(names: Sequence[str]) -> list[list[str]]:
    return [[name] for name in names]


def _bayes(
    sentences: Sequence[Sequence[str]],
    of_sentences: Sequence[str],
    intents: Sequence[str],
    class_weights: np.ndarray | None,
) -> NaiveBayes:
    """The baseline of intents, of which each counts by its weight."""
    found = NaiveBayes.fit(sentences, _rows(of_sentences), intents)
    if class_weights is not None:
        found.priors += np.log(class_weights)
    return found


def _calibration(
    sentences: Sequence[Sequence[str]],
    of_sentences: Sequence[str],
    intents: Sequence[str],
    seed: int,
    class_weights: np.ndarray | None,
) -> float:
    """The scale of the intents' baseline; see `blend.calibration`."""

    def score(learnt: np.ndarray, held: np.ndarray) -> np.ndarray:
        of_learnt = [of_sentences[i] for i in learnt]
        found = _bayes([sentences[i] for i in learnt], of_learnt, intents, class_weights)
        return found.scores([sentences[i] for i in held])

    return calibration(len(sentences), seed, score, targets_of(of_sentences, intents, class_weights))


HELP = TaskHelp(
    usual="folder/",
    purpose="intents and slots",
    train="""
unrolled train understand folder/
unrolled train understand commands.jsonl --valid dev.jsonl --minutes 10
""",
    predict="cat sentences.txt | unrolled predict runs/understand/model.safetensors --format jsonl",
)
Model = UnderstandModel
