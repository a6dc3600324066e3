"""A regression: reads files, trains its network, predicts and evaluates."""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.baselines.cross_fitted import cross_fitted
from unrolled.baselines.ridge import Ridge
from unrolled.data.counted import counted
from unrolled.data.in_memory import is_frame
from unrolled.data.numbered import Numbered, numbered_frame, numbered_in_memory, read_numbered, read_numbered_windows
from unrolled.data.table import Table, of_frame, read_table
from unrolled.data.windows_of_table import read_windows
from unrolled.errors import DataError, SettingsError
from unrolled.report.comparison import compare, root_ratio
from unrolled.report.metrics import Metrics
from unrolled.tasks.arguments import accepts, checked_items, is_text, window
from unrolled.tasks.classify.inputs import InputLayer, NumberInput, TextInput
from unrolled.tasks.classify.sequences import SequenceModel
from unrolled.tasks.estimator import Files, are_files, paths_of
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.highlights import Highlight, effects
from unrolled.tasks.regress.answer import Estimated
from unrolled.tasks.regress.fitted import RegressFitted
from unrolled.tasks.regress.job import RegressJob, best_share
from unrolled.tasks.regress.net import RegressNet
from unrolled.tasks.regress.settings import RegressSettings
from unrolled.tasks.starting import labels_note, rows_of_tokens, take_weights
from unrolled.training.settings import TrainSettings

_LEAST_ERRORS = 20  # of the validation part, for an interval
Start = RegressFitted | None


class RegressModel(SequenceModel[RegressSettings, Numbered, RegressFitted]):
    """A regression of texts or windows with the task's verbs.

    Example:
        >>> import unrolled
        >>> texts = [f"{size} house{' with garden' * garden}" for size in ("small", "large") for garden in (0, 1)] * 10
        >>> prices = [100.0, 150.0, 200.0, 250.0] * 10
        >>> model = unrolled.RegressModel(hidden=8, steps=40, lr=0.02).fit(texts, prices)
        >>> model.predict("large house with garden").number > model.predict("small house").number + 50
        True
    """

    task = "regress"
    who = "a regression"
    estimator_type = "regressor"
    kind = RegressSettings
    fits = RegressFitted
    default_training = TrainSettings(minutes=5, lr=1e-3, average=0.998, precision="float32")

    def read(self, files: Files) -> Numbered:
        settings, paths = self.settings, paths_of(files)
        if settings.values:
            return self._windows(read_table(paths, encoding=settings.encoding, header=settings.header))
        return read_numbered(
            paths,
            text=settings.text,
            target=settings.target,
            decimal=settings.decimal or "",
            encoding=settings.encoding,
            header=settings.header,
            learnt=self.read_as,
        )

    def _windows(self, table: Table) -> Numbered:
        names, series = self.settings.window_columns()
        target, decimal = self.settings.target or "target", self.settings.decimal or ""
        return read_numbered_windows(
            table, values=names, series=series, target=target, decimal=decimal, learnt=self.read_as
        )

    def paired(self, data: object, answers: object) -> Numbered:
        return numbered_in_memory(data, answers, text=self.settings.text)

    @accepts("pairs of a text or a window [time, features] and its number")
    def as_data(self, data: Any) -> Numbered:
        """From files; a frame; or pairs of a text or window [time, features] and its number."""
        if isinstance(data, Numbered):
            return data
        if is_frame(data) and self.settings.values:
            return self._windows(of_frame(data))
        if is_frame(data):
            return numbered_frame(data, text=self.settings.text, target=self.settings.target, learnt=self.read_as)
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            return self.paired([item for item, _ in data], [number for _, number in data])
        if not are_files(data):
            raise DataError("a regression requires y to be passed, but the target y is None: give the numbers too")
        return self.read(data)

    def prepare(
        self, data: Numbered, valid: Numbered, training: TrainSettings, device: torch.device, start: Start = None
    ) -> tuple[RegressFitted, RegressJob]:
        if len(data) < 2:
            raise DataError("there is one example only; expected at least 3, better hundreds")
        if (data.targets == data.targets[0]).all():
            raise DataError(f"all targets are {data.targets[0]:g}; a regression needs at least two numbers")
        if len(valid) < _LEAST_ERRORS:
            self.notes.append(f"the validation part has {counted(len(valid), 'item')}, too few for intervals")
        input_layer = self._input_layer(data, start)
        sequences: list[Any] = [input_layer.sequence(item) for item in data.items]
        if not any(map(len, sequences)):
            raise DataError("none of the texts has a token in it")
        net = RegressNet(input_layer, self.settings).to(device)

        def score(learnt: np.ndarray, held: np.ndarray) -> np.ndarray:
            found = Ridge.fit([sequences[i] for i in learnt], data.targets[learnt])
            return found.numbers([sequences[i] for i in held])[:, None]

        left = data.targets - cross_fitted(len(data), training.seed, score, n_scores=1)[:, 0]
        spread = float(np.sqrt(np.square(left).mean())) or 1.0
        if start is not None:
            spread = start.spread
            self._from(net, start, input_layer)
        fitted = RegressFitted(
            net=net, input_layer=input_layer, spread=spread, baseline=Ridge.fit(sequences, data.targets)
        )
        return fitted, RegressJob(self, fitted, sequences, left / spread, valid, training, device)

    def _input_layer(self, data: Numbered, start: Start) -> InputLayer:
        """How items are read: as by the model that the training starts from, its words and new ones."""
        is_of_texts = isinstance(data.items[0], str)
        if start is None:
            most = self.settings.most_tokens
            return TextInput.fit(data.items, self.settings, most) if is_of_texts else NumberInput.fit(data.items)
        input_layer, words = start.input_layer, {True: "texts", False: "windows of numbers"}
        if is_of_texts != isinstance(input_layer, TextInput):
            raise DataError(
                f"these are {words[is_of_texts]}; the model that training starts from reads {words[not is_of_texts]}"
            )
        if isinstance(input_layer, TextInput):
            found = TextInput.fit(data.items, self.settings, input_layer.most_tokens)
            return TextInput(input_layer.vocabulary.with_new(found.vocabulary), input_layer.most_tokens)
        return input_layer

    def _from(self, net: RegressNet, start: RegressFitted, input_layer: InputLayer) -> None:
        """Gives a network the weights of the model that the training starts from."""
        if isinstance(input_layer, TextInput) and isinstance(start.input_layer, TextInput):
            rows = rows_of_tokens(start.input_layer.vocabulary, input_layer.vocabulary)
            self.notes.append(labels_note("words", *rows["words"]))
            take_weights(net, start.net, rows)
        else:
            take_weights(net, start.net)

    @torch.inference_mode()
    def _network(self, sequences: Sequence[Sized]) -> np.ndarray:
        """What the network adds, scaled, float64 [items]; zeros for an empty item."""
        fitted = self.ready()
        result = np.zeros(len(sequences))
        for places, batch in self._batches(sequences):
            result[places] = fitted.net.numbers(batch).double().cpu().numpy()
        return result

    def _numbers(self, sequences: Sequence[Sized]) -> np.ndarray:
        fitted = self.fitted
        return fitted.baseline.numbers(sequences) + fitted.share * fitted.spread * self._network(sequences)

    def finish(self, valid: Numbered) -> RegressFitted:
        """Fits the network's share, and the interval, on the validation part."""
        fitted = self.ready()
        sequences = [fitted.input_layer.sequence(item) for item in valid.items]
        left, found = (valid.targets - fitted.baseline.numbers(sequences)) / fitted.spread, self._network(sequences)
        share = best_share(found, left)
        errors = fitted.spread * (left - share * found)
        if len(errors) < _LEAST_ERRORS:
            return replace(fitted, share=share)
        low, high = np.quantile(errors, (0.1, 0.9)).tolist()
        return replace(fitted, share=share, low=low, high=high)

    def predict_all(
        self, items: Iterable[object], *, highlights: bool = False, names: Sequence[str] = ()
    ) -> list[Estimated]:
        """The number of each of some texts or windows; `names` of windows, numbers if not given."""
        fitted = self.fitted
        if highlights and not isinstance(fitted.input_layer, TextInput):
            raise SettingsError("--highlights goes with texts")
        if isinstance(fitted.input_layer, TextInput):
            given = checked_items(items, is_text, "a text")
        else:
            wanted = "a window [time, features]"
            given = [window(item) for item in checked_items(items, lambda item: not is_text(item), wanted)]
        numbers = self._numbers([fitted.input_layer.sequence(item) for item in given]).tolist()
        shown = [item if isinstance(item, str) else names[i] if names else str(i) for i, item in enumerate(given)]
        moved = [self._highlights(text) if highlights else None for text in shown]
        low, high = fitted.low, fitted.high
        return [
            Estimated(text, number, highlights=each)
            if low is None or high is None
            else Estimated(text, number, number + low, number + high, each)
            for text, number, each in zip(shown, numbers, moved, strict=True)
        ]

    def _highlights(self, text: str) -> list[Highlight]:
        """By how much the number falls when each token is hidden."""
        fitted = self.ready()
        tokens, versions, added = self._hidden(text, lambda batch: fitted.net.numbers(batch).double().cpu().numpy())
        if not tokens:
            return []
        by_baseline = fitted.baseline.numbers(versions)
        return effects(tokens, by_baseline + fitted.share * fitted.spread * added, "effect")

    def predict_table(self, files: Sequence[Path | str], *, highlights: bool = False) -> list[Estimated]:
        """The number of each window in a table; it needs no column of targets."""
        self.ready()
        names, series = self.settings.window_columns()
        table = read_table(list(files), encoding=self.settings.encoding, header=self.settings.header)
        decimal = self.settings.decimal or ""
        data = read_windows(table, values=names, series=series, label=None, decimal=decimal, learnt=self.read_as)
        self.notes, self.beside = list(data.notes), data.beside
        return self.predict_all(data.items, highlights=highlights, names=data.names)

    def evaluate(self, data: object) -> Metrics:
        """MAE, RMSE and R² on items with their numbers; the model's, the baseline's, and those of the mean of the
        training part.
        """
        fitted, data = self.fitted, self.as_data(data)
        sequences = [fitted.input_layer.sequence(item) for item in data.items]
        baseline = fitted.baseline
        found = {
            "model": self._numbers(sequences),
            "baseline": baseline.numbers(sequences),
            "mean": np.full(len(data), baseline.intercept),
        }
        metrics: Metrics = {name: metrics_of(data.targets, each) for name, each in found.items()}
        counts = {
            name: np.stack([np.square(data.targets - each), np.ones(len(data))], 1) for name, each in found.items()
        }
        compared = compare(
            counts["model"],
            {baseline.in_words: counts["baseline"], "the mean": counts["mean"]},
            metric="RMSE",
            of="texts" if isinstance(fitted.input_layer, TextInput) else "windows",
            score=root_ratio,
            is_error=True,
        )
        return metrics | {"n_items": len(data), "comparison": compared.to_dict()}

    def score(self, data: object, answers: object = None) -> float:
        """R², as of scikit-learn's regressors; arguments as of `evaluate`, or items and their numbers."""
        return float(self.evaluate(data if answers is None else self.paired(data, answers))["model"]["r2"])


def metrics_of(targets: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """MAE, RMSE, and R², the share of the variance that is explained: 1 at best, 0 where there is no variance."""
    errors = np.square(targets - found)
    total = float(np.square(targets - targets.mean()).sum())
    r2 = 1 - float(errors.sum()) / total if total > 0 else 0.0
    return {"mae": float(np.abs(targets - found).mean()), "rmse": float(np.sqrt(errors.mean())), "r2": r2}


HELP = TaskHelp(
    usual="houses.csv --target price",
    purpose="a number of a text or a window",
    train="""
unrolled train regress houses.csv --text description --target price
unrolled train regress reviews.csv --target stars --minutes 3
unrolled train regress sensors.csv --values x,y,z --series recording --target load
""",
    predict="unrolled predict runs/regress/model.safetensors houses.csv --format csv --out prices.csv",
)
Model = RegressModel
