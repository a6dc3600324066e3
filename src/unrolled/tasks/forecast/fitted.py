"""The fitted parts of a forecaster, and how a model file holds them."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import numpy as np
import torch

from unrolled.baselines import series as baselines
from unrolled.data.counted import counted
from unrolled.data.frequency import UNITS, Frequency
from unrolled.data.series import Column, Series, calendar_of
from unrolled.data.series_table import Like
from unrolled.data.windows import Cutting, moments
from unrolled.errors import DataError, ModelFileError
from unrolled.files.model_file import ModelFile, without_numbers
from unrolled.json_values import Json, JsonObject, entries, number, numbers_of, table, texts, whole
from unrolled.tasks.fitted import Fitted, Parts
from unrolled.tasks.forecast.net import LEVELS, ForecastNet
from unrolled.tasks.forecast.settings import ANSWERS, ForecastSettings
from unrolled.tasks.starting import take_weights


@dataclass(frozen=True, kw_only=True)
class ForecastFitted(Fitted):
    """What is fitted for forecasts.

    Attributes:
        frequency, season: of the series; the season in steps.
        target: name of the column.
        covariate_names: those known in advance first.
        columns, static_columns: how texts and numbers beside the values became columns of numbers.
        day_first: the order of day and month in the stamps, None where it did not matter.
        n_static: how many numbers describe a series as a whole.
        cut: how windows are cut and scaled.
        weights: float64 [context + 1, horizon], the linear autoregression, a baseline.
        residuals: by who answers, float64 [horizon, levels]: quantiles of the errors on the validation part.
        wider: float64 [levels], how much farther than the network says its quantiles lie from the middle.
        errors: by who answers, on the validation part.
        best: who has the smallest of them, "model" or a baseline.
    """

    net: ForecastNet
    frequency: Frequency
    season: int
    target: str
    covariate_names: tuple[str, ...]
    n_static: int
    cut: Cutting
    weights: np.ndarray
    residuals: dict[str, np.ndarray] = field(default_factory=dict)
    wider: np.ndarray = field(default_factory=lambda: np.ones(len(LEVELS)))
    errors: dict[str, float] = field(default_factory=dict)
    best: str = "model"
    columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()
    day_first: bool | None = None

    def to_parts(self) -> Parts:
        vocabulary: JsonObject = {
            "season": self.season, "context": self.cut.context,
            "frequency": asdict(self.frequency), "day_first": self.day_first,
            "columns": [asdict(each) for each in self.columns],
            "static_columns": [asdict(each) for each in self.static_columns],
            "covariates": list(self.covariate_names), "n_future": self.cut.n_future, "n_static": self.n_static,
            "target": self.target, "scales": self.cut.scales, "wider": self.wider.tolist(),
        }  # fmt: skip
        tensors = {f"baseline.residuals.{name}": torch.from_numpy(each) for name, each in self.residuals.items()}
        tensors["baseline.weights"] = torch.from_numpy(self.weights)
        tensors |= {
            "scaler.means": torch.from_numpy(self.cut.means),
            "scaler.spreads": torch.from_numpy(self.cut.spreads),
        }
        return vocabulary, {"best": self.best, "errors": self.errors}, tensors

    @classmethod
    def from_parts(cls, file: ModelFile, settings: ForecastSettings) -> Self:
        held, horizon = file.vocabulary, settings.horizon
        season, context = whole(held["season"]), whole(held["context"])
        frequency = _frequency(table(held.get("frequency") or {"unit": held["unit"], "count": held["count"]}))
        day_first = held.get("day_first")
        names, n_future, n_static = tuple(texts(held["covariates"])), whole(held["n_future"]), whole(held["n_static"])
        best = str(file.baseline["best"])
        errors = numbers_of(file.baseline["errors"])
        known = None if held["scales"] is None else numbers_of(held["scales"])
        wider = np.array(held.get("wider", [1.0] * len(LEVELS)), dtype=np.float64)
        if wider.shape != (len(LEVELS),) or not (np.isfinite(wider) & (wider >= 1)).all():
            raise ModelFileError("its description of intervals is damaged")
        sizes = (season, context)
        if min(sizes) < 1 or max(sizes) > 10**9 or best not in ANSWERS[1:] or not isinstance(day_first, bool | None):
            raise ModelFileError("its description of the series is damaged")
        wanted = {"baseline.weights": (context + 1, horizon), "scaler.means": (len(names),)}
        wanted["scaler.spreads"] = wanted["scaler.means"]
        wanted |= {name: (horizon, len(LEVELS)) for name in file.tensors if name.startswith("baseline.residuals.")}
        for name, shape in wanted.items():
            if name not in file.tensors or tuple(file.tensors[name].shape) != shape:
                raise ModelFileError(f"its {name} is missing or damaged")
        numbers = {name: file.tensors[name].double().numpy() for name in wanted}
        prefix = "baseline.residuals."
        cut = Cutting(context, horizon, n_future, numbers["scaler.means"], numbers["scaler.spreads"], known)
        with without_numbers():
            net = _make_net(settings, frequency, cut, names, n_static)
        return cls(
            net=net,
            frequency=frequency,
            season=season,
            target=str(held["target"]),
            covariate_names=names,
            n_static=n_static,
            cut=cut,
            weights=numbers["baseline.weights"],
            residuals={name.removeprefix(prefix): each for name, each in numbers.items() if name.startswith(prefix)},
            wider=wider,
            errors=errors,
            best=best,
            columns=_columns(entries(held.get("columns", []))),
            static_columns=_columns(entries(held.get("static_columns", []))),
            day_first=day_first,
        )

    @property
    def like(self) -> Like:
        """What other series are read like."""
        return Like(self.frequency, self.columns, self.static_columns, self.read_as)

    def check_calendar(self, data: Series) -> None:
        """Holds series to have the calendar that the network reads; one without stamps has none.

        Raises:
            DataError: they have another one.
        """
        found, learnt = (calendar_of(each, each.stamps(0, 0, 1)).shape[1] for each in (data.frequency, self.frequency))
        if found != learnt:
            raise DataError(
                f"the values come {data.frequency.words}; the model learnt from values {self.frequency.words}, with "
                "their dates. Give a table or a frame with such dates, or let a baseline answer, as with "
                "--answer 'last value'"
            )

    @property
    def baseline_names(self) -> list[str]:
        """The baselines that there are: without a season, the seasonal one is the last value."""
        return [name for name in baselines.NAMES if name != "seasonal naive" or self.season > 1]

    def check_future(self, data: Series) -> None:
        """Holds covariates that are known in advance to be there for the whole horizon.

        Raises:
            DataError: some are missing.
        """
        horizon, n_future = self.cut.horizon, self.cut.n_future
        faults = []
        for name, values, covariates in zip(data.names, data.values, data.covariates, strict=True):
            after = covariates[len(values) : len(values) + horizon, :n_future]
            n_known = int((~np.isnan(after)).all(1).sum())
            if n_future and n_known < horizon:
                faults.append(f"{name or data.target!r} has {n_known} of {horizon}")
        if faults:
            shown = "; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else "")
            known = ", ".join(self.covariate_names[:n_future])
            raise DataError(
                f"a forecast needs {known} for the steps to forecast: {shown}. Add rows with them and an empty target"
            )

    def short_notes(self, data: Series) -> list[str]:
        """A note on series that are shorter than a window, whose forecasts know little."""
        short = [i for i, values in enumerate(data.values) if len(values) < self.cut.context]
        if not short:
            return []
        told = ", ".join(f"{data.names[i] or data.target!r} has {len(data.values[i])}" for i in short[:10])
        return [
            f"the model looks back {counted(self.cut.context, 'value')}; {told}{', ...' if len(short) > 10 else ''}. "
            "What is not there is taken to be like the first, so intervals may be far too narrow"
        ]


def _frequency(held: JsonObject) -> Frequency:
    """A frequency from a model file.

    Raises:
        ModelFileError: there is none such.
    """
    found = Frequency(
        str(held["unit"]), whole(held["count"]), str(held.get("anchor", "")), str(held.get("days", "")),
        whole(held.get("start", 0)), whole(held.get("per_day", 1)), number(held.get("step", 1.0)),
    )  # fmt: skip
    days, anchors = re.fullmatch("[01]*1[01]*", found.days), ("", "end", "first weekday", "last weekday")
    is_day = found.anchor.isdigit() and 1 <= int(found.anchor) <= 31
    is_session = found.unit != "session" or bool(len(found.days) == 7 and days and found.count <= 86400)
    is_sound = found.unit in UNITS and 1 <= found.count <= 10**15 and (found.anchor in anchors or is_day) and is_session
    if not is_sound or not 0 <= found.start < 86400 or not 1 <= found.per_day <= 86400 or not math.isfinite(found.step):
        raise ModelFileError("its description of the series is damaged")
    return found


def _columns(held: list[Json]) -> tuple[Column, ...]:
    """Columns from a model file."""
    return tuple(
        Column(str(each["name"]), tuple(texts(each["kinds"])), number(each["mean"]), number(each["spread"]))
        for each in map(table, held)
    )


def fitted_on(
    data: Series, ends: Sequence[int], settings: ForecastSettings, start: ForecastFitted | None = None
) -> tuple[ForecastFitted, list[tuple[int, int]]]:
    """What is fitted on the training part of each series, and where its windows' forecasts begin.

    Args:
        data: the series.
        ends: where the training part of each ends.
        settings: as given.
        start: of the model that the training starts from, which knows season, context and scalers.

    Raises:
        DataError: series are too short, or are no such as the model reads.
    """
    horizon = settings.horizon
    season, context = _steps(data, ends, settings) if start is None else (start.season, start.cut.context)
    # fitted on the training part alone
    means, spreads = moments(np.concatenate([each[:end] for each, end in zip(data.covariates, ends, strict=True)]))
    if start is not None:
        _check_like(data, start)
        means, spreads = start.cut.means, start.cut.spreads
    n_static = data.static.shape[1] if data.static is not None else 0
    origins = [
        (i, t)
        for i, end in enumerate(ends)
        for t in range(max(1, min(context, end - horizon)), end - horizon + 1)
        if data.known[i][t : t + horizon].any()
    ]
    scales = None
    if settings.scaling == "series":
        scales = {
            name: float(baselines.scale_of(values[None, :end])[0, 0])
            for name, values, end in zip(data.names, data.values, ends, strict=True)
        }
        if start is not None:
            scales |= start.cut.scales or {}
    cut = Cutting(context, horizon, data.n_future, means, spreads, scales)
    some = origins[:: max(1, len(origins) // 20_000)]
    weights = baselines.fit_autoregression(*_examples(data, cut, some), ridge=_ridge(data, cut, some, ends))
    net = _make_net(settings, data.frequency, cut, data.covariate_names, n_static)
    net.start_as(weights) if start is None else take_weights(net, start.net)
    fitted = ForecastFitted(
        net=net,
        frequency=data.frequency,
        season=season,
        target=data.target,
        covariate_names=data.covariate_names,
        n_static=n_static,
        cut=cut,
        weights=weights,
        columns=data.columns,
        static_columns=data.static_columns,
        day_first=data.day_first,
    )
    return fitted, origins


def _steps(data: Series, ends: Sequence[int], settings: ForecastSettings) -> tuple[int, int]:
    """Season and context, in steps."""
    season = settings.season or data.frequency.season_in(max(ends))
    week = data.frequency.week if season == data.frequency.season else 0
    usual = int(np.median(ends))  # one short series does not shorten the windows of all
    context = settings.context or max(2, min(max(week, 2 * season, 2 * settings.horizon, 16), usual // 2))
    return season, context


def check_frequency(data: Series, start: ForecastFitted) -> None:
    """Holds series to have the frequency of the model that the training starts from.

    Raises:
        DataError: they have another one.
    """
    if data.frequency != start.frequency:
        raise DataError(
            f"there is a value {data.frequency.words}; the model that training starts from reads series with one "
            f"{start.frequency.words}"
        )


def _check_like(data: Series, start: ForecastFitted) -> None:
    """Holds series to be such as the model reads that the training starts from.

    Raises:
        DataError: they are not.
    """
    check_frequency(data, start)
    n_static = 0 if data.static is None else data.static.shape[1]
    columns = [list(start.covariate_names), start.n_static]
    if [list(data.covariate_names), n_static] != columns:
        raise DataError(
            f"the covariates are {_listed(data.covariate_names)}; the model that training starts from reads "
            f"{_listed(start.covariate_names)}. Name the same with --future, --past and --static"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _ridge(data: Series, cut: Cutting, origins: Sequence[tuple[int, int]], ends: Sequence[int]) -> float:
    """The ridge that suits the last fifth of the training parts, learnt from what is over before it."""
    early = [(i, t) for i, t in origins if t + cut.horizon <= 0.8 * ends[i]]
    late = [(i, t) for i, t in origins if t >= 0.8 * ends[i]]
    return baselines.chosen_ridge(*(_examples(data, cut, each) if each else _NONE for each in (early, late)))


_NONE = (np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, 1)))


def _examples(
    data: Series, cut: Cutting, origins: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows, what follows them and their scales, for the autoregression: clipped, without values drawn between
    neighbors if enough are left.
    """
    windows, targets = cut.values(data, origins)
    scale = cut.scale(data, origins, windows)
    is_whole = ~np.isnan(targets).any(1)
    if is_whole.sum() >= min(2 * (cut.context + 1), len(origins) / 2) and is_whole.any():
        windows, targets, scale = windows[is_whole], targets[is_whole], scale[is_whole]
    else:
        targets = np.stack([data.values[i][t : t + cut.horizon] for i, t in origins])
    last = windows[:, -1:]
    return windows, last + scale * np.clip((targets - last) / scale, -cut.limit, cut.limit), scale


def long_enough(data: Series, ends: Sequence[int], horizon: int) -> Series:
    """The series whose training parts, which end there, are long enough for a window; a note on the others.

    Raises:
        DataError: none is.
    """
    short = [i for i, end in enumerate(ends) if end < horizon + 2]
    if not short:
        return data
    told = "; ".join(f"{data.names[i] or data.target!r} has {len(data.values[i]):,}" for i in short[:10])
    shown = f"for a horizon of {horizon}: {told}{'; ...' if len(short) > 10 else ''} values. Expected at least "
    least = f"{3 * horizon + 2}, for training, validation and test"
    if len(short) == len(data):
        raise DataError(f"series are too short {shown}{least}; take a smaller --horizon, or --test 0")
    kept = data.part([i for i, end in enumerate(ends) if end >= horizon + 2])
    told = f"{counted(len(short), 'series [is|are] left out, too short')} {shown}{least}"
    return replace(kept, notes=(*data.notes, told))


def _make_net(
    settings: ForecastSettings, frequency: Frequency, cut: Cutting, covariate_names: Sequence[str], n_static: int
) -> ForecastNet:
    """The network for series of a frequency, with these covariates."""
    n_calendar = calendar_of(frequency, frequency.stamps(0, 0, 1)).shape[1]
    n_known = cut.n_future + n_calendar + n_static
    n_past = len(covariate_names) - cut.n_future
    return ForecastNet(settings, 1 + n_past + n_known, n_known, cut.context, settings.horizon)
