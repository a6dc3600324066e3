"""The training of the task, as the training loop sees it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.series import Series
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.training import processes
from unrolled.training.settings import TrainSettings


class Trains(Protocol):
    """What a job asks of its model."""

    settings: ForecastSettings

    @property
    def fitted(self) -> ForecastFitted: ...

    def keep(self, path: Path, record: list[dict[str, Any]]) -> None: ...


class ForecastJob:
    """The task as the training loop sees it."""

    item = "window"
    baseline_loss: float | None = None  # it has an error, but no likelihood

    def __init__(
        self,
        model: Trains,
        data: Series,
        origins: Sequence[tuple[int, int]],
        valid: Sequence[tuple[int, int]],
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        self.model, self.data, self.origins, self.device = model, data, np.array(origins), device
        self.seed, self.batch = training.seed, min(model.settings.batch, len(origins))
        self.items_per_step, self.steps_per_epoch = self.batch, math.ceil(len(origins) / self.batch)
        self.valid = valid

    @property
    def module(self) -> nn.Module:
        return self.model.fitted.net

    def loss(self, module: nn.Module, step: int, carried: Any) -> tuple[Tensor, Any]:
        draw = np.random.default_rng((self.seed, step, processes.rank()))
        n = max(1, self.batch // processes.world_size())
        chosen = self.origins[draw.integers(len(self.origins), size=n)]
        return module(
            self.model.fitted.cut.windows(self.data, [(int(i), int(t)) for i, t in chosen]).to(self.device)
        ), None

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        self.module.eval()
        total = 0.0
        for i in range(0, len(self.valid), 512):
            part = self.valid[i : i + 512]
            total += len(part) * float(self.module(self.model.fitted.cut.windows(self.data, part).to(self.device)))
        return {"loss": total / len(self.valid)}

    def describe(self, figures: dict[str, float]) -> str:
        return f"loss {figures['loss']:.4f}"

    def save(self, path: Path, record: list[dict[str, Any]]) -> None:
        self.model.keep(path, record)
