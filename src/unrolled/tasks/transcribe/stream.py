"""Transcripts: labels become words with times, for whole sounds and for streams."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from unrolled.baselines.template import MOST_FRAMES
from unrolled.data.fbank import Fbank
from unrolled.data.sound import Resampler, as_sound
from unrolled.engine.trees import Tree
from unrolled.errors import SettingsError
from unrolled.report.pictures import TimedWord
from unrolled.search import ctc, transducer
from unrolled.tasks.answers import Shown
from unrolled.tasks.fallback import MODEL, Fallback
from unrolled.tasks.transcribe.fitted import TranscribeFitted


@dataclass(frozen=True, repr=False)
class Transcript(Shown):
    """What was heard.

    Attributes:
        name: of the file, or empty.
        text: what was said.
        confidence: geometric mean of the characters' probabilities; None where there are none, or a baseline answers.
        words: word, start and end in seconds, confidence; none where a baseline answers.
        seconds: length of the sound.
        by: who answers: "model", or the name of a baseline.
    """

    name: str
    text: str
    confidence: float | None
    words: list[TimedWord] = field(repr=False)
    seconds: float
    by: str = MODEL

    @property
    def value(self) -> str:
        """The text."""
        return self.text

    def to_dict(self) -> dict[str, object]:
        return {
            "file": self.name, "text": self.text, "confidence": self.confidence,
            "seconds": self.seconds, "by": self.by, "words": self.words,
        }  # fmt: skip

    def rows(self) -> list[dict[str, object]]:
        """One row, without the words' times."""
        return [{name: value for name, value in self.to_dict().items() if name != "words"}]

    def __str__(self) -> str:
        return self.text


def located(
    read: transducer.Hypothesis | ctc.Alignment, characters: Sequence[str], step_s: float, offset_s: float = 0.0
) -> list[tuple[str, float, float]]:
    """Characters, when they begin, and their log-probabilities."""
    return [
        (characters[label - 1], offset_s + frame * step_s, sure)
        for label, frame, sure in zip(read.ids, read.frames, read.log_p, strict=True)
    ]


def transcript_of(characters: Sequence[tuple[str, float, float]], seconds: float, step_s: float) -> Transcript:
    """Characters with when they begin and their log-probabilities, as words."""
    words: list[TimedWord] = []
    group: list[tuple[str, float, float]] = []
    for each in (*characters, (" ", 0.0, 0.0)):
        if each[0] != " ":
            group.append(each)
        elif group:
            sure = math.exp(sum(log_p for _, _, log_p in group) / len(group))
            words.append(
                {
                    "word": "".join(character for character, _, _ in group),
                    "start": round(group[0][1], 3),
                    "end": round(min(seconds, group[-1][1] + step_s), 3),
                    "confidence": round(sure, 4),
                }
            )
            group = []
    letters = [log_p for character, _, log_p in characters if character != " "]
    confidence = round(math.exp(sum(letters) / len(letters)), 4) if letters else None
    return Transcript("", " ".join(word["word"] for word in words), confidence, words, seconds)


class Stream:
    """Transcribes a sound in chunks, whose sizes do not change the text. Until the sound is over the text is the
    network's; a baseline answers at the end, as it needs the whole sound.

    Example: `stream = model.stream(16000)`, then `text = stream.accept(samples)` again and again, and
    `transcript = stream.finish()`.

    Attributes:
        seconds: of sound that came in.
        busy_s: seconds that the machine took for it.
    """

    def __init__(self, fitted: TranscribeFitted, rate_in: int, fallback: Fallback) -> None:
        """Of samples at `rate_in`, which are heard at the rate of what is fitted."""
        self.fitted, self.fallback = fitted, fallback
        settings = fitted.net.settings
        if settings.direction != "forward":
            raise SettingsError(
                "the model hears in both directions, and so not before the sound is over. "
                "Train with --direction forward"
            )
        self.net, self.characters, self.rate = fitted.net, fitted.characters, rate_in
        self._resample = Resampler(rate_in, fitted.rate)
        self._fbank = Fbank(fitted.rate, settings.mels)
        self._first = np.zeros((0, settings.mels), np.float32)  # what the baseline compares
        self._left = np.zeros((0, settings.mels), np.float32)
        self._state: Tree = None
        self._path = ctc.Alignment()
        self._n_steps = self.n_samples = 0
        self.busy_s = 0.0
        with torch.inference_mode():
            is_ctc = settings.loss == "ctc"
            self._written = transducer.Hypothesis(state=None if is_ctc else self.net.first_written())

    @property
    def seconds(self) -> float:
        return self.n_samples / self.rate

    @property
    def text(self) -> str:
        """What was heard so far; nothing where a baseline always answers."""
        if self.fallback.is_always:
            return ""
        return "".join(self.characters[label - 1] for label in self._read().ids).strip()

    def accept(self, samples: np.ndarray) -> str:
        """Takes samples, mono, floats from -1 to 1 or integers of any width; gives the text so far."""
        if not len(samples):
            return self.text
        began = time.perf_counter()
        values = as_sound(samples, self.rate).samples
        self.n_samples += len(values)
        self._hear(self._fbank(self._resample(values)))
        self.busy_s += time.perf_counter() - began
        return self.text

    def finish(self) -> Transcript:
        """The sound is over: what was heard in it."""
        began = time.perf_counter()
        rest = self._resample(np.zeros(0, np.float32), last=True)
        self._hear(self._fbank(rest))
        if not self._n_steps and self.n_samples:
            self._hear(
                self._fbank(
                    np.zeros(self.net.settings.least_samples(self._fbank.rate) - self._fbank.n_samples, np.float32)
                )
            )
        step_s = self.net.settings.step_s
        found = transcript_of(located(self._read(), self.characters, step_s), self.seconds, step_s)
        [by] = self.fallback.who(np.array([found.confidence or 0.0]))
        if by != MODEL and len(self._first):
            found = Transcript("", self.fitted.by_baseline(by, self._first), None, [], self.seconds, by)
        self.busy_s += time.perf_counter() - began
        return found

    def _read(self) -> transducer.Hypothesis | ctc.Alignment:
        return self._path if self.net.settings.loss == "ctc" else self._written

    @torch.inference_mode()
    def _hear(self, frames: np.ndarray) -> None:
        """Step by step, so that the same products are taken whatever the chunks."""
        self._first = np.concatenate((self._first, frames[: MOST_FRAMES - len(self._first)]))
        self._left = np.concatenate((self._left, frames))
        reduction = self.net.settings.reduction
        while len(self._left) >= reduction:
            now, self._left = self._left[:reduction], self._left[reduction:]
            step = self.net.grouped(torch.from_numpy(now).to(self.net.mean.device).unsqueeze(1))
            heard, self._state = self.net.encode_on(step, self._state)
            if self.net.settings.loss == "ctc":
                self._path.read(self.net.class_log_p(heard[:, 0]).float().cpu().numpy())
            else:
                self._written = transducer.greedy(
                    heard[:, 0], self._written, self._n_steps, self.net.join, self.net.predict
                )
            self._n_steps += 1
