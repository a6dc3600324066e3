"""The network that forecasts.

Inputs: windows of series. Outputs: the parameters of each later value's distribution. A window is normalized: its last
value is subtracted, and the rest divided by its spread, so that one network serves series of any size. A linear map of
the window stands beside the recurrent layers. It starts as the linear autoregression; the layers learn the residual.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled.data.windows import Windows
from unrolled.engine.trees import Tree
from unrolled.nn.named_layers import LAYER_NAMES, make_layers
from unrolled.nn.token_encoder import ensemble_option
from unrolled.randomness import set_aside
from unrolled.settings import Settings, option

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
OUTPUTS = {"quantiles": len(LEVELS), "mean": 1, "median": 1, "gaussian": 2, "student": 3, "negative-binomial": 2}
_SAMPLES = 500


@dataclass(frozen=True)
class ForecastNetSettings(Settings):
    """What the network is."""

    cell: str = option("gru", "recurrent layer", choices=LAYER_NAMES, with_start="fixed")
    layers: int = option(1, "recurrent layers", least=1, most=20, with_start="fixed")
    hidden: int = option(64, "features of a layer's hidden state", least=1, most=16384, with_start="fixed")
    dropout: float = option(0.1, "share of features dropped before the output in training", least=0, most=0.95)
    decoder: str = option(
        "direct",
        "all horizons at once, or one step after the other on its own values",
        choices=("direct", "autoregressive"),
        with_start="fixed",
    )
    output: str = option("quantiles", "what is forecast of each value", choices=tuple(OUTPUTS), with_start="fixed")
    ensemble: int = ensemble_option()


class ForecastMember(nn.Module):
    """One network.

    Args:
        settings: see above.
        n_inputs: features at each time of the window: the scaled value, covariates, calendar.
        n_future: features of each later time that are known.
        context, horizon: lengths of the window, and of the forecast.
    """

    def __init__(self, settings: ForecastNetSettings, n_inputs: int, n_future: int, context: int, horizon: int) -> None:
        super().__init__()
        self.settings, self.horizon = settings, horizon
        hidden, n_outputs = settings.hidden, OUTPUTS[settings.output]
        self.recurrent = make_layers(settings.cell, n_inputs, hidden, settings.layers)
        self.dropout = nn.Dropout(settings.dropout)
        self.linear = nn.Linear(context, horizon)
        is_direct = settings.decoder == "direct"
        self.places = nn.Parameter(torch.randn(horizon, 16) * 0.3) if is_direct else None
        width = hidden + (n_future + 16 if is_direct else 0)
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, n_outputs)
        with torch.no_grad():
            self.outer.weight *= 0.1  # the linear map first
            nn.init.zeros_(self.outer.bias)
            if settings.output == "quantiles":
                self.outer.bias[:] = torch.tensor([0.5, 0.5, 0.0, 0.5, 0.5])

    def forward(self, window: Tensor, inputs: Tensor, future: Tensor) -> Tensor:
        """Parameters [batch, horizon, n], direct.

        Args:
            window: [batch, context], scaled.
            inputs: [context, batch, n_inputs].
            future: [horizon, batch, n_future].
        """
        states, _ = self.recurrent(inputs)
        last = self.dropout(states[-1])
        assert self.places is not None
        n_rows = len(last)
        features = torch.cat(
            (
                last.expand(self.horizon, n_rows, -1),
                self.places.unsqueeze(1).expand(-1, n_rows, -1),
                future,
            ),
            2,
        )
        raw = self.outer(nn.functional.silu(self.inner(features))).transpose(0, 1)
        return parameters(raw, self.linear(window), self.settings.output)

    def along(self, inputs: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Parameters of the value after each time [time, batch, n], and the state: autoregressive. They are changes
        from the last value given, which is the first feature of the inputs.
        """
        states, state = self.recurrent(inputs, state)
        raw = self.outer(nn.functional.silu(self.inner(self.dropout(states))))
        return parameters(raw, inputs[..., 0], self.settings.output), state


# from the gaps between neighboring levels to each level's distance from the middle one: gaps add up outward
_OUTWARD = [
    [float(gap >= level) * -1 if gap < len(LEVELS) // 2 else float(gap < level) for level in range(len(LEVELS))]
    for gap in range(len(LEVELS) - 1)
]


def parameters(raw: Tensor, base: Tensor, output: str) -> Tensor:
    """The distribution's parameters [..., n] from the network's numbers [..., n] and a first guess [...]."""
    base = base.unsqueeze(-1)
    if output == "quantiles":
        middle = len(LEVELS) // 2
        center = base + raw[..., middle : middle + 1]
        gaps = nn.functional.softplus(torch.cat((raw[..., :middle], raw[..., middle + 1 :]), -1))
        return center + gaps @ raw.new_tensor(_OUTWARD)
    center = base + raw[..., :1]
    if output in ("mean", "median"):
        return center
    scale = nn.functional.softplus(raw[..., 1:2]) + 1e-3
    if output == "student":
        return torch.cat((center, scale, 2.1 + nn.functional.softplus(raw[..., 2:3] + 3)), -1)
    return torch.cat((center, scale), -1)


def loss_of(params: Tensor, targets: Tensor, output: str, batch: Windows) -> Tensor:
    """The mean loss over what is known; targets [batch, horizon] as scaled."""
    if output == "mean":
        loss = (params[..., 0] - targets).square()
    elif output == "median":
        loss = (params[..., 0] - targets).abs()
    elif output == "quantiles":
        error = targets.unsqueeze(-1) - params
        levels = params.new_tensor(LEVELS)
        loss = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    else:
        last, spread = batch.last.to(params.dtype), batch.spread.to(params.dtype)
        is_count = output == "negative-binomial"
        values = (targets * spread + last).round().clamp_min(0) if is_count else targets
        loss = -distribution(params, output, last, spread).log_prob(values)
    known = batch.is_known
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp_min(1)


def distribution(params: Tensor, output: str, last: Tensor, spread: Tensor) -> torch.distributions.Distribution:
    """The distribution of scaled values; of counts as they are for "negative-binomial"."""
    if output == "gaussian":
        return torch.distributions.Normal(params[..., 0], params[..., 1], validate_args=False)
    if output == "student":
        return torch.distributions.StudentT(params[..., 2], params[..., 0], params[..., 1], validate_args=False)
    # mean and the variance's excess over it: count = 1 / excess
    mean = nn.functional.softplus(params[..., 0] * spread + last) + 1e-4
    count = 1 / params[..., 1]
    return torch.distributions.NegativeBinomial(count, logits=(mean / count).log(), validate_args=False)


def _sample(params: Tensor, output: str, last: Tensor, spread: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Drawn on the CPU, so that a forecast is the same on every device."""
    return distribution(params.cpu(), output, last.cpu(), spread.cpu()).sample(shape).to(params.device)


def levels_of(params: Tensor, output: str, last: Tensor, spread: Tensor) -> Tensor:
    """Quantiles at LEVELS, float64 [batch, horizon, levels], on the values' own scale; one number alone for "mean" and
    "median". `last` and `spread` are float64 [batch, 1]: a small wave on a large level is lost in float32.
    """
    if output in ("quantiles", "mean", "median"):
        return params.double() * spread.unsqueeze(-1) + last.unsqueeze(-1)
    if output == "gaussian":
        found = distribution(params, output, last, spread)
        z = [found.icdf(params.new_tensor(level)) for level in LEVELS]
        return torch.stack(z, -1).double() * spread.unsqueeze(-1) + last.unsqueeze(-1)
    with set_aside(params.device, seed=0):  # the same forecast every time
        drawn = _sample(params, output, last.to(params.dtype), spread.to(params.dtype), (_SAMPLES,))
    quantiles = _quantiles(drawn, 0).double()
    return quantiles if output == "negative-binomial" else quantiles * spread.unsqueeze(-1) + last.unsqueeze(-1)


class ForecastNet(nn.Module):
    """An ensemble of networks of one kind."""

    def __init__(self, settings: ForecastNetSettings, n_inputs: int, n_future: int, context: int, horizon: int) -> None:
        super().__init__()
        self.settings, self.horizon = settings, horizon
        self.members = nn.ModuleList(
            ForecastMember(settings, n_inputs, n_future, context, horizon) for _ in range(settings.ensemble)
        )

    def start_as(self, weights: np.ndarray) -> None:
        """Lets the linear maps start as an autoregression [context + 1, horizon]."""
        with torch.no_grad():
            for member in self.members:
                member.linear.weight.copy_(torch.from_numpy(weights[:-1].T))  # type: ignore[union-attr, operator]
                member.linear.bias.copy_(torch.from_numpy(weights[-1]))  # type: ignore[union-attr, operator]

    def forward(self, batch: Windows) -> Tensor:
        """The mean of the networks' losses."""
        losses = []
        for member in self.members:
            if self.settings.decoder == "direct":
                found = member(batch.window, batch.inputs, batch.future)
            else:
                along, _ = member.along(torch.cat((batch.inputs, batch.later[:-1])), None)  # type: ignore[operator]
                found = along[len(batch.inputs) - 1 :].transpose(0, 1)
            losses.append(loss_of(found, batch.targets, self.settings.output, batch))
        return torch.stack(losses).mean()

    def levels(self, batch: Windows) -> Tensor:
        """Quantiles [batch, horizon, levels] at LEVELS, or one number alone [batch, horizon, 1]."""
        output = self.settings.output
        if self.settings.decoder == "direct":
            found = [member(batch.window, batch.inputs, batch.future) for member in self.members]
            return levels_of(torch.stack(found).mean(0), output, batch.last, batch.spread)
        return torch.stack([self._walk(member, batch) for member in self.members]).mean(0)  # type: ignore[arg-type]

    def _walk(self, member: ForecastMember, batch: Windows) -> Tensor:
        """Steps one by one on drawn values, many paths at once; on the point forecast itself where there is no draw."""
        output = self.settings.output
        n_rows = batch.inputs.shape[1]
        n_paths = 1 if output in ("mean", "median") else 100
        spread, last = (
            each.to(batch.inputs.dtype).repeat_interleave(n_paths, 0) for each in (batch.spread, batch.last)
        )
        found, state = member.along(batch.inputs, None)
        params = found[-1].repeat_interleave(n_paths, 0)
        state = _repeated(state, n_paths)
        later = batch.later.repeat_interleave(n_paths, 1)
        values = []
        with set_aside(params.device, seed=0):
            for k in range(self.horizon):
                value = self._drawn(params, last, spread)
                values.append(value)
                if k + 1 < self.horizon:
                    now = torch.cat((value.unsqueeze(1), later[k, :, 1:]), 1)
                    found, state = member.along(now.unsqueeze(0), state)
                    params = found[0]
        paths = torch.stack(values, 1).view(n_rows, n_paths, self.horizon)
        scaled = paths.double() * batch.spread.unsqueeze(1) + batch.last.unsqueeze(1)
        if n_paths == 1:
            return scaled.transpose(1, 2)
        return _quantiles(scaled, 1)

    def _drawn(self, params: Tensor, last: Tensor, spread: Tensor) -> Tensor:
        """A scaled value [paths] for each row."""
        output = self.settings.output
        if output in ("mean", "median"):
            return params[:, 0]
        if output == "quantiles":  # between the known levels as straight lines, which go on beyond the outer two
            at = torch.rand(len(params), 1).to(params.device)
            levels = params.new_tensor(LEVELS)
            place = torch.searchsorted(levels, at).clamp(1, len(LEVELS) - 1)
            low, high = params.gather(1, place - 1), params.gather(1, place)
            share = (at - levels[place - 1]) / (levels[place] - levels[place - 1])
            return (low + share * (high - low)).squeeze(1)
        drawn = _sample(params, output, last.squeeze(1), spread.squeeze(1))
        return (drawn - last.squeeze(1)) / spread.squeeze(1) if output == "negative-binomial" else drawn


def _quantiles(samples: Tensor, axis: int) -> Tensor:
    """At LEVELS, in the last axis; by sorting, as torch.quantile refuses more than 16 million numbers."""
    ordered = samples.sort(axis).values
    at = samples.new_tensor(LEVELS) * (samples.shape[axis] - 1)
    low, high = (ordered.index_select(axis, place.long()) for place in (at.floor(), at.ceil()))
    return torch.lerp(low.movedim(axis, -1), high.movedim(axis, -1), at - at.floor())


def _repeated(state: Tree, n: int) -> Tree:
    return pytree.tree_map(lambda leaf: leaf.repeat_interleave(n, 1), state)
