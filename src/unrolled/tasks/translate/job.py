"""The training of a translator, as the loop takes it: loss, metrics and learning curve."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.pairs import Pairs
from unrolled.data.subwords import END, Cut
from unrolled.data.tagging import padded
from unrolled.engine.trees import Tree
from unrolled.report.metrics import bleu, bleu_counts, bleu_of
from unrolled.tasks.estimator import ExampleJob
from unrolled.tasks.fallback import MODEL, fitted_fallback
from unrolled.tasks.translate.fitted import TranslateFitted
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

_MOST_VALID = 1000  # pairs that are translated at every evaluation
_OWN_FROM = 4000  # updates until the share of own inputs is whole


class TranslateJob(ExampleJob):
    """A translator's training, as a `Job`."""

    curve = Curve("bleu", "BLEU")

    def __init__(
        self,
        model: Any,
        fitted: TranslateFitted,
        sources: list[Cut],
        targets: list[Cut],
        valid: Pairs,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        lengths = [max(len(a), len(b)) for a, b in zip(sources, targets, strict=True)]
        super().__init__(model, lengths, training, device)
        self.sources = [cut.ids for cut in sources]
        self.targets = [np.append(cut.ids, END) for cut in targets]
        self.valid = valid.part(range(min(len(valid), _MOST_VALID)))
        sides = zip(fitted.source.cut(self.valid.sources), fitted.target.cut(self.valid.targets), strict=True)
        pairs = [(a.ids, np.append(b.ids, END)) for a, b in sides if max(len(a), len(b)) <= model.settings.longest]
        self.valid_pairs = sorted(pairs, key=lambda pair: len(pair[0]))
        self.valid_counts: dict[str, np.ndarray] = {}  # BLEU's, of the baselines

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        places = self.batches.at(step)
        own = self.model.settings.own * min(1.0, step / _OWN_FROM)
        return self._loss(module, [(self.sources[i], self.targets[i]) for i in places], own), None

    def _loss(self, module: nn.Module, pairs: Sequence[tuple[np.ndarray, np.ndarray]], own: float) -> Tensor:
        sources, targets = zip(*pairs, strict=True)
        lengths = torch.tensor([len(each) for each in sources])
        return module(padded(sources).to(self.device), lengths, padded(targets).to(self.device), own)

    def evaluate(self) -> dict[str, float]:
        model, targets = self.model, self.valid.targets
        found = model._by_network(self.valid.sources, 1)
        answers = model._answers(self.valid.sources, found)
        metrics = bleu(answers[MODEL], targets)
        self.valid_counts = self.valid_counts or {
            name: bleu_counts(texts, targets) for name, texts in answers.items() if name != MODEL
        }
        counts = {MODEL: bleu_counts(answers[MODEL], targets), **self.valid_counts}
        confidences = np.array([each.confidence for each in found])
        fallback = fitted_fallback(confidences, counts, score=bleu_of(targets))
        model._fitted = replace(model.fitted, fallback=fallback)
        starts, size = range(0, len(self.valid_pairs), self.batches.batch), self.batches.batch
        with torch.inference_mode():
            parts = [float(self._loss(self.module, self.valid_pairs[i : i + size], 0.0)) for i in starts]
        nats = sum(parts) / max(1, len(parts))
        # chrF beside BLEU, which is rough over few sentences; and the loss, which falls long before there is any BLEU
        decides = 2 - (metrics["bleu"] + metrics["chrf"]) / 100 + 0.1 * nats
        return {"loss": decides, "bleu": metrics["bleu"], "chrf": metrics["chrf"], "nats": nats}

    def describe(self, metrics: dict[str, float]) -> str:
        return f"BLEU {metrics['bleu']:.2f}"
