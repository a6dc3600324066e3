"""The training of a forecaster, as the loop takes it: loss, metrics and learning curve."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.series import Series
from unrolled.data.windows import Windows
from unrolled.engine.trees import Tree
from unrolled.files.model_file import EvaluationRow
from unrolled.tasks.forecast.fitted import ForecastFitted
from unrolled.tasks.forecast.net import LEVELS, loss_of
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.training import processes
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings

_PART = 512  # windows at once
_MOST_WINDOWS = 500  # of the training part, for the baseline's intervals


class TrainedModel(Protocol):
    """What a job asks of its model."""

    settings: ForecastSettings

    @property
    def fitted(self) -> ForecastFitted: ...

    def keep(self, path: Path, record: list[EvaluationRow]) -> None: ...


class ForecastJob:
    """A forecaster's training, as a `Job`."""

    item = "window"
    baseline_loss: float | None = None  # it has an error, but no likelihood

    def __init__(
        self,
        model: TrainedModel,
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

    @property
    def curve(self) -> Curve:
        """The loss beside that of the linear autoregression, where that has one."""
        return Curve("loss", "loss", self._loss_of_autoregression(), "the linear autoregression")

    def _loss_of_autoregression(self) -> float | None:
        """On the validation part, with intervals that its errors on the training part have; None for distributions."""
        settings, fitted = self.model.settings, self.model.fitted
        if settings.output not in ("quantiles", "mean", "median") or settings.decoder != "direct":
            return None

        def scaled(origins: Sequence[tuple[int, int]]) -> tuple[Windows, Tensor]:
            windows = fitted.cut.windows(self.data, origins)
            weights = torch.from_numpy(fitted.weights).float()
            return windows, (windows.window @ weights[:-1] + weights[-1]).unsqueeze(-1)

        some = self.origins[:: max(1, len(self.origins) // _MOST_WINDOWS)].tolist()
        windows, point = scaled([(i, t) for i, t in some])
        around = torch.zeros(fitted.cut.horizon, 1)
        if settings.output == "quantiles":
            errors = torch.where(windows.is_known, windows.targets - point[..., 0], torch.nan)
            around = torch.nanquantile(errors, torch.tensor(LEVELS), 0).T.nan_to_num()
        total = 0.0
        for i in range(0, len(self.valid), _PART):
            windows, point = scaled(self.valid[i : i + _PART])
            total += len(point) * float(loss_of(point + around, windows.targets, settings.output, windows))
        return total / len(self.valid)

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
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
        for i in range(0, len(self.valid), _PART):
            part = self.valid[i : i + _PART]
            total += len(part) * float(self.module(self.model.fitted.cut.windows(self.data, part).to(self.device)))
        return {"loss": total / len(self.valid)}

    def describe(self, metrics: dict[str, float]) -> str:
        return f"loss {metrics['loss']:.4f}"

    def save(self, path: Path, record: list[EvaluationRow]) -> None:
        self.model.keep(path, record)
