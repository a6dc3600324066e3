"""A transcriber: reads files, trains its network, predicts and evaluates."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.baselines.template import Templates
from unrolled.data.counted import counted
from unrolled.data.fbank import fbank
from unrolled.data.files import Faults
from unrolled.data.in_memory import as_list, index_of
from unrolled.data.items import ItemForm, Items
from unrolled.data.sound import Sound, as_sound, read_sound
from unrolled.data.transcripts import Transcribed, described, read_transcribed, sounds_of
from unrolled.errors import DataError
from unrolled.report.comparison import compare
from unrolled.report.metrics import Metrics, error_rates, word_errors
from unrolled.search import ctc, transducer
from unrolled.tasks.answers import Answers
from unrolled.tasks.arguments import accepts, checked_items
from unrolled.tasks.estimator import Estimator, Files, paths_of
from unrolled.tasks.fallback import MODEL, NETWORK, NEVER, Counts, Fallback, cross_fitted_who
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.starting import labels_note, take_weights, with_new
from unrolled.tasks.transcribe.decoding import decoded
from unrolled.tasks.transcribe.fitted import MOST_HZ, TranscribeFitted, language_of
from unrolled.tasks.transcribe.job import TranscribeJob, check_possible, fitted_by_errors, side_by_side
from unrolled.tasks.transcribe.net import SpeechNet
from unrolled.tasks.transcribe.settings import TranscribeSettings
from unrolled.tasks.transcribe.stream import Stream, Transcript, located, transcript_of
from unrolled.training.batches import by_length
from unrolled.training.settings import TrainSettings

Start = TranscribeFitted | None
_MOST_MEASURED = 1000  # sounds whose features tell mean and spread


class TranscribeModel(Estimator[TranscribeSettings, Transcribed, TranscribeFitted]):
    """A transcriber with the task's verbs.

    Sounds are paths, or pairs of samples (as `numpy` arrays) and their rate.

    Example:
        >>> import numpy as np, unrolled
        >>> def spoken(word):  # a tone for each letter
        ...     tones = [np.sin(np.arange(1000) * (ord(letter) - 96) / 2) for letter in word]
        ...     return np.concatenate([np.append(tone, np.zeros(200)) for tone in tones]), 8000
        >>> sounds = [(spoken(word), word) for word in ("ab", "ba", "aab", "bba", "bab", "abba")] * 10
        >>> model = unrolled.TranscribeModel(unrolled.TranscribeSettings(hidden=16, layers=1, loss="transducer"))
        >>> model = model.fit(sounds, train=unrolled.TrainSettings(steps=250, lr=0.02, precision="float32"))
        >>> str(model.predict(spoken("abba")))
        'abba'
    """

    task = "transcribe"
    who = "a transcriber"
    kind = TranscribeSettings
    fits = TranscribeFitted
    takes = "SOUND"
    chunk = 20
    default_training = TrainSettings(minutes=20, lr=2e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Transcribed:
        paths = paths_of(files)
        settings = self.settings
        return read_transcribed(
            paths, path=settings.path, text=settings.text, encoding=settings.encoding, learnt=self.read_as
        )

    def items_of(self, path: Path, form: ItemForm) -> Items | None:
        """The sounds of a folder, or of a manifest; a sound by itself."""
        self.ready()
        return sounds_of(path, form, self.settings.path or self.read_as.get("path")) or Items([(str(path), {})], "")

    @accepts("pairs of a sound and its transcript")
    def as_data(self, data: Any) -> Transcribed:
        """From manifests or folders, or pairs of a sound and its transcript."""
        if isinstance(data, Transcribed):
            return data
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            sounds = [_sound(sound) for sound, _ in data]
            transcripts = [" ".join(text.split()) for _, text in data]
            if wrong := [i for i, text in enumerate(transcripts) if not text]:
                raise DataError(f"sounds {wrong[:10]}: have an empty transcript")
            seconds, rates = np.array([each.seconds for each in sounds]), [each.rate for each in sounds]
            return Transcribed(list(sounds), transcripts, seconds, rates, (described(seconds, transcripts, rates),))
        return self.read(data)

    def prepare(
        self, data: Transcribed, valid: Transcribed, training: TrainSettings, device: torch.device, start: Start = None
    ) -> tuple[TranscribeFitted, TranscribeJob]:
        settings = self.settings
        error_rates(["a"], ["a"])  # a library that is missing must not cost a training
        rate = min(MOST_HZ, Counter(data.rates).most_common(1)[0][0]) if start is None else start.rate
        characters = sorted(set("".join(data.transcripts)))
        if start is not None:
            characters = with_new(start.characters, characters)
        unseen = sorted(set("".join(valid.transcripts)) - set(characters))
        if unseen:
            self.notes.append(
                f"characters of the validation part that training never saw count as errors: {''.join(unseen[:50])!r}"
            )
        kept = [i for i, seconds in enumerate(data.seconds) if seconds <= settings.longest]
        if len(kept) < len(data):
            self.notes.append(
                counted(
                    len(data) - len(kept),
                    f"sound[|s] of more than {settings.longest:g} s [is|are] left out of training",
                )
            )
        check_possible(data, kept, characters, settings)
        places = Templates.chosen(data.transcripts)
        templates = Templates([self._frames(data.load(i), rate) for i in places], [data.transcripts[i] for i in places])
        language = None if start is None else start.language
        if settings.language:
            language = language_of(settings)
        net = SpeechNet(len(characters) + 1, settings).to(device)
        if start is not None:
            take_weights(net, start.net, {"characters": (["", *start.characters], ["", *characters])})
            self.notes.append(labels_note("characters", start.characters, characters))
        else:
            some = np.random.default_rng(training.seed).permutation(kept)[:_MOST_MEASURED]
            frames = np.concatenate([self._frames(data.load(int(i)), rate) for i in some])
            net.mean.copy_(torch.from_numpy(frames.mean(0)))
            net.spread.copy_(torch.from_numpy(np.maximum(frames.std(0), 1e-3)))
        fitted = TranscribeFitted(
            net=net,
            characters=characters,
            rate=rate,
            frequent=Counter(data.transcripts).most_common(1)[0][0],
            templates=templates,
            language=language,
        )
        return fitted, TranscribeJob(self, fitted, data.part(kept), valid, training, device)

    def frames(self, sound: Sound) -> np.ndarray:
        """What the network hears of a sound: features float32 [time, mels]."""
        return self._frames(sound, self.fitted.rate)

    def _frames(self, sound: Sound, rate: int) -> np.ndarray:
        return self._features(sound.at(rate).samples, rate)

    def _features(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Of one step at least."""
        rest = self.settings.least_samples(rate) - len(samples)
        return fbank(np.pad(samples, (0, max(0, rest))), rate, self.settings.mels)

    def transcribe(
        self, sounds: Sequence[Sound], *, beam: int | None = None, answer: str | None = None
    ) -> list[Transcript]:
        """What is said in sounds, by who answers each. Where the network hears in both directions, a long one is heard
        in parts, cut where it is quietest; else as a stream, in blocks that go on where the last one ended.
        """
        fallback = self.fallback(answer)
        if fallback.is_always:
            return [self._by_baseline(fallback.baseline, sound) for sound in sounds]
        heard = self._hear(sounds, beam)
        who = fallback.who(np.array([each.confidence or 0.0 for each in heard]))
        return [
            each if name == MODEL else self._by_baseline(name, sound)
            for each, name, sound in zip(heard, who, sounds, strict=True)
        ]

    def fallback(self, answer: str | None = None) -> Fallback:
        """When a baseline answers; `answer` overrules the settings'."""
        settings = self.settings if answer is None else replace(self.settings, answer=answer)
        return NEVER if settings.answer == MODEL else self.fitted.fallback

    def _by_baseline(self, name: str, sound: Sound) -> Transcript:
        return Transcript("", self.fitted.by_baseline(name, self.frames(sound)), None, [], sound.seconds, name)

    def _by_baselines(self, data: Transcribed) -> dict[str, list[str]]:
        """What each baseline says of sounds."""
        fitted = self.fitted
        found: dict[str, list[str]] = {name: [] for name in fitted.baseline_names}
        for sounds in data.loaded():
            for frames in map(self.frames, sounds):
                for name, texts in found.items():
                    texts.append(fitted.by_baseline(name, frames))
        return found

    @torch.inference_mode()
    def _hear(self, sounds: Sequence[Sound], beam: int | None) -> list[Transcript]:
        """What the network hears in sounds, whoever answers."""
        fitted = self.ready()
        net, device, rate = fitted.net, fitted.net.mean.device, fitted.rate
        # a network that hears forward takes a whole sound in blocks
        longest = self.settings.longest if self.settings.direction == "both" else math.inf
        parts = [(i, part) for i, sound in enumerate(sounds) for part in sound.at(rate).in_parts(longest)]
        frames = [self._features(part, rate) for _, part in parts]
        read: dict[int, transducer.Hypothesis | ctc.Alignment] = {}
        for group in by_length([len(each) for each in frames], 20_000):
            batch = side_by_side([frames[i] for i in group]).to(device)
            lengths = torch.tensor([len(frames[i]) // self.settings.reduction for i in group])
            heard = net.heard(net.grouped(batch), lengths)
            for row, i in enumerate(group):
                read[int(i)] = decoded(
                    fitted, self.settings, heard[: int(lengths[row]), row], beam or self.settings.beam
                )
        characters: list[list[tuple[str, float, float]]] = [[] for _ in sounds]
        offsets = [0.0] * len(sounds)
        for place, (i, part) in enumerate(parts):
            if characters[i]:
                characters[i].append((" ", offsets[i], 0.0))
            characters[i] += located(read[place], fitted.characters, self.settings.step_s, offsets[i])
            offsets[i] += len(part) / rate
        return [
            transcript_of(each, sound.seconds, self.settings.step_s)
            for each, sound in zip(characters, sounds, strict=True)
        ]

    def stream(self, rate: int | None = None) -> "Stream":
        """What is heard as sound comes in.

        Args:
            rate: samples a second of what will come; the model's own if None.

        Raises:
            SettingsError: the model hears in both directions.
        """
        fitted = self.ready()
        return Stream(fitted, rate or fitted.rate, self.fallback())

    def predict(self, items: object, *, beam: int | None = None, answer: str | None = None) -> Any:
        """What is said in a sound: a path, or samples and their rate; in each of a list of sounds. `answer` overrules
        the settings'.
        """
        if isinstance(items, str | Path) or (isinstance(items, tuple) and len(items) == 2):
            return self.predict_all([items], beam=beam, answer=answer)[0]
        return Answers(self.predict_all(as_list(items), beam=beam, answer=answer), index=index_of(items))

    def predict_all(
        self, items: Iterable[Any], *, beam: int | None = None, answer: str | None = None
    ) -> list[Transcript]:
        """What is said in each of some sounds; all faults of them are told at once."""
        self.ready()
        faults, names, sounds = Faults(), [], []
        for item in checked_items(items, _may_be_sound, "a path, or samples and their rate"):
            try:
                sounds.append(_sound(item))
            except DataError as fault:
                faults.add(str(fault))
            names.append(str(item) if isinstance(item, str | Path) else "")
        faults.stop()
        found = self.transcribe(sounds, beam=beam, answer=answer)
        return [replace(each, name=name) for name, each in zip(names, found, strict=True)]

    def finish(self, valid: Transcribed) -> TranscribeFitted:
        """Fits on the validation part who answers. Its metrics there are by what was fitted on the rest of it."""
        fitted = self.ready()
        confidences, answers = self._answers(valid, None)
        counts = {name: word_errors(texts, valid.transcripts) for name, texts in answers.items()}
        is_model = self.settings.answer == MODEL
        who = [MODEL] * len(valid) if is_model else cross_fitted_who(confidences, counts, fitted_by_errors)
        fallback = fitted_by_errors(confidences, counts)
        return replace(fitted, fallback=fallback, metrics=_metrics(valid, answers, counts, who))

    def _answers(self, data: Transcribed, beam: int | None) -> tuple[np.ndarray, dict[str, list[str]]]:
        """How sure the network is of each sound, and what is said in it by who answers."""
        heard = [each for sounds in data.loaded() for each in self._hear(sounds, beam)]
        return np.array([each.confidence or 0.0 for each in heard]), {
            MODEL: [each.text for each in heard],
            **self._by_baselines(data),
        }

    def evaluate(self, data: object, *, beam: int | None = None) -> Metrics:
        """Word and character error rates, and the share of sounds with any error; the model's and the baselines', and
        the network's alone where a baseline answers some of them.
        """
        self.ready()
        data = self.as_data(data)
        confidences, answers = self._answers(data, beam)
        counts = {name: word_errors(texts, data.transcripts) for name, texts in answers.items()}
        return _metrics(data, answers, counts, self.fallback().who(confidences))


def _metrics(data: Transcribed, answers: Mapping[str, Sequence[str]], counts: Counts, who: Sequence[str]) -> Metrics:
    """Metrics of transcripts, and of counts of word errors in them, by who answers; the model's are those of `who`."""
    texts = {**answers, MODEL: [answers[name][i] for i, name in enumerate(who)]}
    if set(who) != {MODEL}:
        texts[NETWORK] = answers[MODEL]
    metrics: Metrics = {name: error_rates(each, data.transcripts) for name, each in texts.items()}
    baselines = {f"the {name}": each for name, each in counts.items() if name != MODEL}
    model = np.stack([counts[name][i] for i, name in enumerate(who)])
    compared = compare(model, baselines, metric="word error", of="sounds", is_error=True)
    metrics |= {"n_sounds": len(data), "seconds": float(data.seconds.sum())}
    return metrics | {"by": dict(Counter(who)), "comparison": compared.to_dict()}


def _may_be_sound(item: object) -> bool:
    return isinstance(item, str | Path | Sound) or (isinstance(item, tuple) and len(item) == 2)


def _sound(item: Any) -> Sound:
    if isinstance(item, str | Path):
        return read_sound(item)
    return item if isinstance(item, Sound) else as_sound(*item)


HELP = TaskHelp(
    usual="manifest.csv",
    purpose="speech into text",
    train="""
unrolled train transcribe manifest.csv --minutes 20
unrolled train transcribe recordings/ --direction forward --loss transducer
unrolled predict runs/transcribe/model.safetensors call.wav --format jsonl
arecord -q -f S16_LE -r 16000 -t raw | unrolled stream runs/transcribe/model.safetensors --rate 16000
""",
    predict="unrolled predict runs/transcribe/model.safetensors call.wav --beam 10",
)
Model = TranscribeModel
