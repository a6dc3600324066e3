"""The training of a transcriber, as the loop takes it: loss, metrics and learning curve."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.fbank import STEP_S
from unrolled.data.files import Faults, shortened
from unrolled.data.transcripts import Transcribed
from unrolled.engine.trees import Tree
from unrolled.report.metrics import error_rates, word_errors
from unrolled.search import ctc
from unrolled.tasks.estimator import ExampleJob
from unrolled.tasks.fallback import MODEL, Counts, Fallback, fitted_fallback
from unrolled.tasks.transcribe.augment import augmented, masked
from unrolled.tasks.transcribe.fitted import FREQUENT, TranscribeFitted
from unrolled.tasks.transcribe.settings import TranscribeSettings
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

_MOST_JUDGED = 200  # sounds of the validation part whose loss counts beside their errors


class TranscribeJob(ExampleJob):
    """A transcriber's training, as a `Job`."""

    item = "sound"
    curve = Curve("wer", "word error")

    def __init__(
        self,
        model: Any,
        fitted: TranscribeFitted,
        data: Transcribed,
        valid: Transcribed,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        super().__init__(model, (100 * data.seconds).astype(int).tolist(), training, device)
        self.items_per_step = self.batches.batch
        self.data, self.valid, self.seed = data, valid, training.seed
        self.labels = [labels_of(transcript, fitted.characters) for transcript in data.transcripts]
        self.valid_counts: dict[str, np.ndarray] = {}  # of word errors, of the baselines
        known = set(fitted.characters)
        self.judged = [
            i
            for i, (seconds, transcript) in enumerate(zip(valid.seconds, valid.transcripts, strict=True))
            if seconds <= model.settings.longest and known.issuperset(transcript)
        ][:_MOST_JUDGED]

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        places, model, settings = self.batches.at(step), self.model, self.model.settings
        fitted = model.fitted
        frames, mean = [], fitted.net.mean.cpu().numpy()
        for i in places.tolist():
            draw = np.random.default_rng((self.seed, step, i))
            samples = self.data.load(i).at(fitted.rate).samples
            needed = ctc.least_steps(self.labels[i]) if settings.loss == "ctc" else 1
            least = (needed * settings.reduction * STEP_S + 0.03) * fitted.rate
            said = augmented(samples, fitted.rate, draw, speed=settings.speed, noise=settings.noise)
            # a sound that was played too fast for its transcript stays as it was
            heard = model._features(said if len(said) >= least else samples, fitted.rate)
            frames.append(masked(heard, mean, draw, share=settings.masks))
        return self._loss(module, frames, [self.labels[i] for i in places]), None

    def _loss(self, module: nn.Module, frames: Sequence[np.ndarray], labels: Sequence[list[int]]) -> Tensor:
        lengths = torch.tensor([len(each) // self.model.settings.reduction for each in frames])
        steps = self.model.net.grouped(side_by_side(frames).to(self.device))
        rows = [torch.tensor(each) for each in labels]
        together = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        return module(steps, lengths, together, torch.tensor([len(each) for each in labels]))

    def evaluate(self) -> dict[str, float]:
        model, transcripts = self.model, self.valid.transcripts
        heard = [each for sounds in self.valid.loaded() for each in model._hear(sounds, 1)]
        found = [each.text for each in heard]
        rates = error_rates(found, transcripts)
        n = min(len(heard), _MOST_JUDGED)
        if not self.valid_counts:
            part = self.valid.part(range(n))
            self.valid_counts = {
                name: word_errors(texts, part.transcripts) for name, texts in model._by_baselines(part).items()
            }
        counts = {MODEL: word_errors(found[:n], transcripts[:n]), **self.valid_counts}
        fallback = fitted_by_errors(np.array([each.confidence or 0.0 for each in heard[:n]]), counts)
        model._fitted = replace(model.fitted, fallback=fallback)
        size, parts = self.batches.batch, []
        with torch.inference_mode():
            for i in range(0, len(self.judged), size):
                some = self.judged[i : i + size]
                frames = [self.model.frames(self.valid.load(place)) for place in some]
                labels = [labels_of(self.valid.transcripts[place], self.model.fitted.characters) for place in some]
                parts.append(float(self._loss(self.module, frames, labels)))
        nats = sum(parts) / max(1, len(parts))
        # of models with the same words the one with the better characters; the loss falls long before there is any word
        decides = rates["wer"] + 0.1 * rates["cer"] + 0.1 * nats
        return {"loss": decides, "wer": rates["wer"], "cer": rates["cer"], "nats": nats}

    def describe(self, metrics: dict[str, float]) -> str:
        return f"word error {100 * metrics['wer']:.2f} %"


def labels_of(transcript: str, characters: Sequence[str]) -> list[int]:
    """The numbers of a transcript's characters; 0 is no character."""
    number = {character: i for i, character in enumerate(characters, 1)}
    return [number[each] for each in transcript]


def side_by_side(frames: Sequence[np.ndarray]) -> Tensor:
    """[time, batch, mels], padded with zeros."""
    whole = np.zeros((max(map(len, frames)), len(frames), frames[0].shape[1]), np.float32)
    for i, each in enumerate(frames):
        whole[: len(each), i] = each
    return torch.from_numpy(whole)


def check_possible(
    data: Transcribed, kept: Sequence[int], characters: Sequence[str], settings: TranscribeSettings
) -> None:
    """CTC needs a step for each character: sounds that are too short for their transcript are named."""
    faults = Faults()
    if not kept:
        faults.add(f"all sounds are longer than {settings.longest:g} s; take a larger --longest")
    if settings.loss == "ctc":
        for i in kept:
            n_steps = settings.n_steps(data.seconds[i])
            needed = ctc.least_steps(labels_of(data.transcripts[i], characters))
            if needed > n_steps:
                sound = data.sounds[i]
                faults.add(
                    f"{sound if isinstance(sound, Path) else f'sound {i}'}: {data.seconds[i]:.2f} s are {n_steps} "
                    f"steps, its transcript {shortened(data.transcripts[i])} needs {needed}. Mend the transcript, "
                    "take a smaller --reduction, or --loss transducer"
                )
    faults.stop()


def fitted_by_errors(confidences: np.ndarray, counts: Counts) -> Fallback:
    """Who answers, by word errors. The most frequent transcript answers all sounds or none."""
    return fitted_fallback(confidences, counts, is_error=True, whole=(FREQUENT,))
