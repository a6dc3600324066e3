"""A translator: reads files, trains its network, predicts and evaluates."""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.baselines.dictionary import Dictionary
from unrolled.data.counted import counted
from unrolled.data.in_memory import as_list, index_of
from unrolled.data.items import ItemForm, Items
from unrolled.data.pairs import Pairs, read_pairs, sources_in
from unrolled.data.subwords import BEGIN, END, PAD, UNKNOWN, Cut, fit_subwords
from unrolled.data.tagging import padded
from unrolled.data.tokens import in_sentences, is_without_spaces, joined, tokens_of
from unrolled.engine.trees import Tree
from unrolled.errors import DataError
from unrolled.report.comparison import compare
from unrolled.report.metrics import Metrics, bleu, bleu_counts, bleu_of
from unrolled.search.beam import Hypothesis, beam_search
from unrolled.tasks.answers import Answers
from unrolled.tasks.arguments import accepts, checked_items, is_text
from unrolled.tasks.estimator import Estimator, Files, paths_of
from unrolled.tasks.fallback import MODEL, NETWORK, NEVER, Counts, Fallback, cross_fitted_who, fitted_fallback
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.starting import take_weights, unknown_note
from unrolled.tasks.translate.answer import Translation
from unrolled.tasks.translate.fitted import COPY, IN_WORDS, TranslateFitted
from unrolled.tasks.translate.highlights import by_word, source_effects
from unrolled.tasks.translate.job import TranslateJob
from unrolled.tasks.translate.net import Memory, TranslateNet
from unrolled.tasks.translate.settings import TranslateSettings
from unrolled.training.batches import by_length
from unrolled.training.settings import TrainSettings

Start = TranslateFitted | None


class TranslateModel(Estimator[TranslateSettings, Pairs, TranslateFitted]):
    """A translator with the task's verbs.

    Example:
        >>> import unrolled
        >>> words = {"ein": "a", "der": "the", "hund": "dog", "mann": "man", "geht": "walks", "singt": "sings"}
        >>> texts = [f"{a} {b} {c}" for a in ("ein", "der") for b in ("hund", "mann") for c in ("geht", "singt")]
        >>> pairs = [(text, " ".join(words[word] for word in text.split())) for text in texts] * 10
        >>> model = unrolled.TranslateModel(unrolled.TranslateSettings(hidden=16, words=16, subwords=60, dropout=0.0))
        >>> model = model.fit(pairs, train=unrolled.TrainSettings(steps=150, lr=0.02))
        >>> str(model.predict("der hund singt"))
        'the dog sings'
    """

    task = "translate"
    who = "a translator"
    kind = TranslateSettings
    fits = TranslateFitted
    default_training = TrainSettings(minutes=30, lr=2e-3, average=0.998)

    def read(self, files: Files) -> Pairs:
        paths, settings = paths_of(files), self.settings
        pairs = read_pairs(
            paths, asked=settings.sides, header=settings.header, encoding=settings.encoding, learnt=self.read_as
        )
        if self.settings.direction == "backward":
            return replace(pairs, sources=pairs.targets, targets=pairs.sources)
        return pairs

    def items_of(self, path: Path, form: ItemForm) -> Items | None:
        """The sources of a file of pairs, each with its translation beside it; None of another."""
        self.ready()
        is_backward = self.settings.direction == "backward"
        return sources_in(path, form, is_backward=is_backward, asked=self.settings.sides, learnt=self.read_as)

    @accepts("pairs of a text and its translation")
    def as_data(self, data: Any) -> Pairs:
        """From files, or pairs of a text and its translation."""
        if isinstance(data, Pairs):
            return data
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            wrong = [i for i, (a, b) in enumerate(data) if not a.strip() or not b.strip()]
            if wrong:
                raise DataError(f"pairs {wrong[:10]}: have an empty side")
            return Pairs([a for a, _ in data], [b for _, b in data])
        return self.read(data)

    def prepare(
        self, data: Pairs, valid: Pairs, training: TrainSettings, device: torch.device, start: Start = None
    ) -> tuple[TranslateFitted, TranslateJob]:
        settings = self.settings
        bleu(["a"], ["a"])  # a library that is missing must not cost a training
        is_joint = settings.vocabulary == "joint"
        if start is not None:
            source, target, is_spaced = start.source, start.target, start.is_spaced
        else:
            source, target = fit_subwords(data.sources, data.targets, settings.subwords, is_joint=is_joint)
            is_spaced = 2 * sum(map(is_without_spaces, data.targets)) <= len(data)
        sources, targets = source.cut(data.sources), target.cut(data.targets)
        kept = [
            i for i, pair in enumerate(zip(sources, targets, strict=True)) if max(map(len, pair)) <= settings.longest
        ]
        if not kept:
            raise DataError(f"all pairs are longer than {settings.longest} subwords; take a larger --longest")
        if len(kept) < len(data):
            self.notes.append(
                counted(
                    len(data) - len(kept),
                    f"pair[|s] of more than {settings.longest} subwords [is|are] left out of training",
                )
            )
        net = TranslateNet(len(source), len(target), settings, is_joint=is_joint).to(device)
        if start is not None:
            take_weights(net, start.net)
            for side, cuts in (("source", sources), ("target", targets)):
                ids = np.concatenate([cut.ids for cut in cuts])
                self.notes += unknown_note(f"subwords of the {side}", int((ids == UNKNOWN).sum()), len(ids))
        fitted = TranslateFitted(
            net=net,
            source=source,
            target=target,
            is_spaced=is_spaced,
            baseline=Dictionary.fit(*([_words(text) for text in side] for side in (data.sources, data.targets))),
        )
        return fitted, TranslateJob(
            self, fitted, [sources[i] for i in kept], [targets[i] for i in kept], valid, training, device
        )

    @torch.inference_mode()
    def search(self, cuts: Sequence[Cut], *, beam: int | None = None) -> list[Hypothesis]:
        """The best translation of each text in subwords; none of them empty."""
        net = self.ready().net
        settings, device = self.settings, next(net.parameters()).device
        beam = beam or settings.beam
        results: dict[int, Hypothesis] = {}
        for group in by_length([len(cut) for cut in cuts], max(1, 4096 // beam)):
            chosen = [cuts[i] for i in group]
            lengths = torch.tensor([len(cut) for cut in chosen])
            memory = net.encode(padded([cut.ids for cut in chosen]).to(device), lengths)
            state = ((memory.values, memory.keys, memory.is_padding), net.first_state(memory))

            def step(ids: Tensor, state: Tree) -> tuple[Tensor, Tensor, Tree]:
                parts, before = state
                readouts, weights, after = net.decode(ids.unsqueeze(0).to(device), before, Memory(*parts))
                scores = net.scores(readouts[0]).float()
                scores[:, [PAD, BEGIN]] = -torch.inf
                return scores.log_softmax(1), weights[0], (parts, after)

            found = beam_search(
                step,
                state,
                n_rows=len(chosen),
                beam=beam,
                longest=min(2 * int(lengths.max()) + 10, 2 * settings.longest),
                begin=BEGIN,
                end=END,
                length_penalty=settings.length_penalty,
                coverage_penalty=settings.coverage_penalty,
            )
            results |= {int(i): each[0] for i, each in zip(group, found, strict=True)}
        return [results[i] for i in range(len(cuts))]

    def translate(self, texts: Sequence[str], *, beam: int | None = None) -> list[str]:
        """The translations of texts, the empty ones of empty texts; long ones sentence by sentence."""
        return [each.translation for each in self._translated(texts, beam, None)]

    def _translated(self, texts: Sequence[str], beam: int | None, answer: str | None) -> list[Translation]:
        """By who answers each."""
        fallback = self.fallback(answer)
        if fallback.is_always:
            return [self._by_baseline(fallback.baseline, text) for text in texts]
        found = self._by_network(texts, beam)
        who = fallback.who(_confidences(found))
        return [
            each if name == MODEL else self._by_baseline(name, each.text) for each, name in zip(found, who, strict=True)
        ]

    def fallback(self, answer: str | None = None) -> Fallback:
        """When a baseline answers; `answer` overrules the settings'."""
        settings = self.settings if answer is None else replace(self.settings, answer=answer)
        return NEVER if settings.answer == MODEL else self.fitted.fallback

    def _by_network(self, texts: Sequence[str], beam: int | None) -> list[Translation]:
        """The network's translations of texts, whoever answers."""
        cut = [self._parts(text, whole) for text, whole in zip(texts, self.fitted.source.cut(texts), strict=True)]
        flat = [part for parts in cut for part in parts]
        found = iter(zip(flat, self.search(flat, beam=beam), strict=True))
        return [self._joined(text, [next(found) for _ in parts]) for text, parts in zip(texts, cut, strict=True)]

    def _by_baseline(self, name: str, text: str) -> Translation:
        """Each word was read for its own translation, and nothing for the end."""
        source = _words(text)
        target = source if name == COPY else self.fitted.baseline.translate(source)
        written = joined(target, is_spaced=self.fitted.is_spaced) if name != COPY else text if source else ""
        attention = _zeros(len(target) + 1, len(source))
        if len(source) <= self.settings.longest:
            attention = np.eye(len(target) + 1, len(source), dtype=np.float32)
        return Translation(text, written, None, source, target, attention, name)

    def _parts(self, text: str, whole: Cut) -> list[Cut]:
        """A text in subwords; one that is longer than those of the training in its sentences, or shorter still."""
        if not text.strip():
            return []
        longest = self.settings.longest
        if len(whole) <= longest:
            return [whole]
        parts = []
        for sentence in self.fitted.source.cut(in_sentences(text)):
            parts += [
                Cut(sentence.ids[i : i + longest], sentence.texts[i : i + longest])
                for i in range(0, len(sentence), longest)
            ]
        return parts

    def _joined(self, text: str, found: list[tuple[Cut, Hypothesis]]) -> Translation:
        """The translation of the parts of a text, unknown subwords copied from where they were read."""
        written = []
        for cut, each in found:
            best = each.attention.argmax(1).tolist()
            copies = [cut.texts[best[t]] for t, i in enumerate(each.ids) if i == UNKNOWN]
            written.append(self.fitted.target.join(each.ids, copies))
        source = [subword for cut, _ in found for subword in cut.texts]
        target = [subword for _, each in found for subword in self.fitted.target.texts(each.ids)]
        sure = sum(each.log_p for _, each in found) / max(1, len(target) + len(found))
        attention = _zeros(len(target) + 1, len(source))
        if len(found) == 1:
            attention = found[0][1].attention.numpy()
        ids = [(cut.ids.tolist(), each.ids) for cut, each in found]
        written_out = (" " if self.fitted.is_spaced else "").join(written)
        return Translation(text, written_out, sure, source, target, attention, ids=ids)

    def predict(
        self, items: object, *, beam: int | None = None, answer: str | None = None, highlights: bool = False
    ) -> Any:
        """The translation of a text, or of each of a list of texts. `answer` overrules the settings', `highlights`
        tells what each source word did for it.
        """
        texts = [items] if isinstance(items, str) else as_list(items)
        found = self.predict_all(texts, beam=beam, answer=answer, highlights=highlights)
        return found[0] if isinstance(items, str) else Answers(found, index=index_of(items))

    def predict_all(
        self, texts: Iterable[str], *, beam: int | None = None, answer: str | None = None, highlights: bool = False
    ) -> list[Translation]:
        """The translations of texts; an empty one of an empty text."""
        found = self._translated(checked_items(texts, is_text, "a text"), beam, answer)
        return [self._highlighted(each) for each in found] if highlights else found

    def _highlighted(self, found: Translation) -> Translation:
        """With what each source subword did, of a translation of the network's."""
        if found.by != MODEL:
            return found
        net = self.ready().net
        nats = [each for source, target in found.ids for each in source_effects(net, source, target)]
        moved = by_word(found.text, found.source, nats)
        return replace(found, highlights=[{"token": word, "nats": value} for word, value in moved])

    def finish(self, valid: Pairs) -> TranslateFitted:
        """Fits on the validation part who answers. Its metrics there are by what was fitted on the rest of it."""
        fitted = self.ready()
        found = self._by_network(valid.sources, None)
        confidences, answers = _confidences(found), self._answers(valid.sources, found)
        counts = {name: bleu_counts(texts, valid.targets) for name, texts in answers.items()}
        fit = functools.partial(fitted_fallback, score=bleu_of(valid.targets))
        who = [MODEL] * len(valid) if self.settings.answer == MODEL else cross_fitted_who(confidences, counts, fit)
        return replace(fitted, fallback=fit(confidences, counts), metrics=_metrics(answers, counts, who, valid.targets))

    def _answers(self, texts: Sequence[str], found: Sequence[Translation]) -> dict[str, list[str]]:
        """The translations of texts by who answers; `found` are the network's."""
        word_by_word = self.fitted.baseline.name
        return {
            MODEL: [each.translation for each in found],
            word_by_word: [self._by_baseline(word_by_word, text).translation for text in texts],
            COPY: list(texts),
        }

    def evaluate(self, data: object, *, beam: int | None = None) -> Metrics:
        """BLEU and chrF of translated pairs, the model's and the baselines', with the signature of the measure; the
        network's alone too where a baseline answers some of them.
        """
        self.ready()
        data = self.as_data(data)
        found = self._by_network(data.sources, beam)
        answers = self._answers(data.sources, found)
        counts = {name: bleu_counts(texts, data.targets) for name, texts in answers.items()}
        return _metrics(answers, counts, self.fallback().who(_confidences(found)), data.targets)


def _zeros(n_target: int, n_source: int) -> np.ndarray:
    """[target, source], which take no memory: of a book in one line they would be 400 GB."""
    return np.broadcast_to(np.zeros((), np.float32), (n_target, n_source))


def _confidences(found: Sequence[Translation]) -> np.ndarray:
    return np.array([each.confidence for each in found])


def _metrics(
    answers: Mapping[str, Sequence[str]], counts: Counts, who: Sequence[str], targets: Sequence[str]
) -> Metrics:
    """Metrics of translations, and of BLEU's counts of them, by who answers; the model's are those of `who`."""
    texts = {**answers, MODEL: [answers[name][i] for i, name in enumerate(who)]}
    if set(who) != {MODEL}:
        texts[NETWORK] = answers[MODEL]
    metrics: Metrics = {name: bleu(each, targets) for name, each in texts.items()}
    named = {words: counts[name] for name, words in IN_WORDS.items()}
    model = np.stack([counts[name][i] for i, name in enumerate(who)])
    compared = compare(model, named, metric="BLEU", of="sentences", score=bleu_of(targets))
    return metrics | {"n_sentences": len(targets), "by": dict(Counter(who)), "comparison": compared.to_dict()}


def _words(text: str) -> list[str]:
    return [token.text for token in tokens_of(text)]


HELP = TaskHelp(
    usual="pairs.tsv",
    purpose="one language into another",
    train="""
unrolled train translate pairs.tsv --minutes 30
unrolled train translate train.de train.en --valid val.de --valid val.en
unrolled predict runs/translate/model.safetensors "Ein Hund läuft im Schnee."
""",
)
Model = TranslateModel
