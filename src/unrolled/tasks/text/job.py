"""The training of a language model, as the loop takes it.

Inputs: a model, units of text. Outputs: the loss of each update, metrics of the validation part.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.engine.trees import Tree
from unrolled.errors import SettingsError
from unrolled.files.model_file import EvaluationRow
from unrolled.nn.bptt import advance
from unrolled.tasks.text.mixture import best_share, mixed
from unrolled.tasks.text.net import TextNet
from unrolled.tasks.text.scoring import streams_for
from unrolled.training import processes
from unrolled.training.job import Curve
from unrolled.training.settings import TrainSettings


class TextJob:
    """A language model's training, as a `Job`: streams of text side by side, windows over time, carried state."""

    def __init__(
        self,
        model: Any,
        net: TextNet,
        train_ids: np.ndarray,
        valid_ids: np.ndarray,
        n_valid_items: int,
        training: TrainSettings,
        device: torch.device,
    ) -> None:
        settings = model.settings
        self.model, self.train_ids, self.valid_ids, self.n_valid_items = model, train_ids, valid_ids, n_valid_items
        self.n_streams, self.seed, self.device = streams_for(len(valid_ids)), training.seed, device
        self.k1 = min(settings.k1, (len(train_ids) - 1) // 2)
        self.overlap = (settings.k2 or settings.k1) - settings.k1
        # a short text has room for fewer streams
        self.batch = max(1, min(settings.batch, (len(train_ids) - 1) // (2 * self.k1)))
        if self.batch % processes.world_size():
            raise SettingsError(
                f"batch={self.batch} cannot be shared by {processes.world_size()} processes; "
                f"take a multiple of {processes.world_size()}"
            )
        self.length = (len(train_ids) - 1) // self.batch
        self.windows = self.steps_per_epoch = self.length // self.k1
        self.items_per_step = self.batch * self.k1
        self.is_bfloat16 = training.precision == "bfloat16"
        self.item = {"char": "char", "byte": "byte", "subword": "subword"}[settings.units]
        self.module = net
        self.baseline_log_p = np.zeros(0)  # of the validation part, once there is a baseline
        self.baseline_loss = math.nan  # what `evaluate` would return for it

    def loss(self, module: nn.Module, step: int, carried: Tree) -> tuple[Tensor, Tree]:
        epoch, window = divmod(step, self.windows)
        start = window * self.k1
        begin = max(0, start - self.overlap)
        stop = start + self.k1
        inputs, targets = self._window(epoch, begin, stop)
        n_kept = max(0, stop - self.overlap) - begin
        logits, state, _ = advance(module, inputs, None if window == 0 else carried, n_kept=n_kept)
        fresh = start - begin
        loss = nn.functional.cross_entropy(logits[fresh:].float().flatten(0, 1), targets[fresh:].flatten())
        return loss, state

    def _window(self, epoch: int, begin: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [stop - begin, batch] of this process's streams; each epoch cuts the text elsewhere."""
        draw = np.random.default_rng((self.seed, epoch))
        offset = int(draw.integers(len(self.train_ids)))
        columns = np.arange(processes.rank(), self.batch, processes.world_size()) * self.length
        at = (offset + columns + np.arange(begin, stop + 1)[:, None]) % len(self.train_ids)
        units = torch.from_numpy(self.train_ids[at]).to(self.device)
        return units[:-1], units[1:]

    def evaluate(self) -> dict[str, float]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_bfloat16):
            by_net = self.model._net_log_p(self.valid_ids, context=self.train_ids, n_streams=self.n_streams)
        share = best_share(by_net, self.baseline_log_p)
        self.model._mix(share)
        extra = self.model.fitted.units.extra_nats(self.valid_ids)
        nats, net_nats = (
            (extra - float(log_p.sum())) / self.n_valid_items
            for log_p in (mixed(by_net, self.baseline_log_p, share), by_net)
        )
        # the network learns long before it adds anything to the n-gram model
        return {"loss": nats + 0.01 * net_nats, "nats": nats, "network_nats": net_nats, "baseline_share": share}

    @property
    def curve(self) -> Curve:
        """Nats of an item beside the n-gram model's."""
        name = f"the {self.model.fitted.baseline.order}-gram model"
        return Curve("nats", f"nats/{self.model.item}", self.baseline_loss, name)

    def describe(self, metrics: dict[str, float]) -> str:
        return in_words(metrics["nats"], self.model.item)

    def save(self, path: Path, record: list[EvaluationRow]) -> None:
        self.model.keep(path, record, self.model.fitted.metrics | {"nats": record[-1]["nats"]})


def in_words(nats: float, item: str) -> str:
    """A loss in words."""
    return f"{nats:.3f} nats/{item} ({nats / math.log(2):.3f} bits/{item})"
