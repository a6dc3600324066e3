"""A language model: reads files, trains its network, predicts and evaluates."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from unrolled.baselines.ngram import NGram
from unrolled.data.corpus import STANDARD_LIBRARY, Corpus, read_corpus
from unrolled.data.units import Units, fit_units
from unrolled.errors import ArgumentError, DataError, SettingsError
from unrolled.json_values import JsonObject
from unrolled.report.comparison import compare
from unrolled.report.metrics import Metrics
from unrolled.tasks.arguments import accepts, check_no_texts, named
from unrolled.tasks.capabilities import GenerateSettings
from unrolled.tasks.estimator import Estimator, Files, paths_of
from unrolled.tasks.help import TaskHelp
from unrolled.tasks.starting import labels_note, take_weights
from unrolled.tasks.text.activity import ReadsUnits
from unrolled.tasks.text.fitted import TextFitted
from unrolled.tasks.text.job import TextJob
from unrolled.tasks.text.mixture import best_share, mixed
from unrolled.tasks.text.net import TextNet
from unrolled.tasks.text.sampling import sample
from unrolled.tasks.text.scoring import WARM_UP, log_p_of, streams_for
from unrolled.tasks.text.settings import DEFAULT_TRAINING, TextSettings
from unrolled.tasks.text.sizing import sized
from unrolled.training.display import Display
from unrolled.training.settings import TrainSettings
from unrolled.training.trackers import Callback, Log

Start = TextFitted | None
LEAST_UNITS = 1000
LEAST_SEGMENT, MOST_SEGMENTS = 100, 100  # units of a segment, and segments, that are compared with the baseline's
# more would make the metric no more exact, and take its time from the training
MOST_VALIDATION = 120_000
NOT_GIVEN: object = object()  # in place of files


class TextModel(Estimator[TextSettings, Corpus, TextFitted], ReadsUnits):
    """A language model with the task's verbs.

    Example:
        >>> import unrolled
        >>> settings = unrolled.TextSettings(hidden=16, layers=1, batch=4, k1=20)
        >>> model = unrolled.TextModel(settings)
        >>> model = model.fit(text="to be or not to be\\n" * 200, train=unrolled.TrainSettings(steps=20))
        >>> model.result.steps
        20
        >>> len("".join(model.generate("to be", length=30, seed=1)))
        30
    """

    task = "text"
    who = "a language model"
    kind = TextSettings
    fits = TextFitted
    validates_on_files = has_folds = False  # its end is kept
    source = STANDARD_LIBRARY
    default_training = DEFAULT_TRAINING

    @property
    def item(self) -> str:
        """What the metrics are per: "char", or "byte" where the model reads raw bytes."""
        return "byte" if self.settings.units == "byte" else "char"

    @property
    def units(self) -> Units | None:
        """The vocabulary; None before `fit`."""
        return None if self._fitted is None else self._fitted.units

    def fit(
        self,
        files: object = NOT_GIVEN,
        answers: object = None,
        *,
        valid: object = None,
        text: str | None = None,
        train: TrainSettings | None = None,
        start: object = None,
        run: Path | str | None = None,
        display: Display | None = None,
        log: Log = (),
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Learns from text files, from a text, or, given neither, from the source of Python's standard library.

        The end of the text (`settings.validation` of it) is kept for validation; vocabulary, network and baseline learn
        from the rest. The best weights on the validation part are left in the model.

        Args:
            files: text files; what they hold is joined. None is refused, as a name that was lost may be one.
            answers: a text has none.
            valid: a text has none; set `validation`.
            text: a text, in place of files.
            train: bounds, optimizer, schedule.
            start: a model to start from; see `Estimator.fit`.
            run: a new folder for checkpoints, the best model and the log, to resume from; none is kept if None.
            display: told of the progress.
            log: trackers of its rows; see `Estimator.fit`.
            callbacks: likewise.

        Raises:
            DataError: a file cannot be used.
            SettingsError: settings contradict each other or the text.
            DivergedError: the loss became NaN or infinite.
        """
        _check_fit(files, text, has_run=run is not None, has_more=valid is not None or answers is not None)
        files = None if files is NOT_GIVEN else files
        corpus = self.as_data(files) if text is None else _in_memory(text)
        return super().fit(corpus, train=train, start=start, run=run, display=display, log=log, callbacks=callbacks)

    def read(self, files: Files | None) -> Corpus:
        return read_corpus(_paths(files), encoding=self.settings.encoding, as_bytes=self.settings.units == "byte")

    def reads_by(self, *, of_answers: bool) -> set[str]:
        return super().reads_by(of_answers=of_answers) - ({"encoding"} if of_answers and self.item == "byte" else set())

    @accepts("a corpus")
    def as_data(self, data: Any) -> Corpus:
        """From text files; without any, the source of Python's standard library."""
        return data if isinstance(data, Corpus) else self.read(data)

    def _data_of(self, data: Any) -> Any:
        kinds = (str, bytes) if self.item == "byte" else (str,)
        return _in_memory(data) if isinstance(data, kinds) else data

    def is_of_files(self, data: Any) -> bool:
        return bool(data.sha256)  # a text in memory has none

    def files_of(self, data: Any) -> list[str]:
        return list(data.files)

    def split(self, data: Corpus, seed: int) -> tuple[Corpus, Corpus]:
        whole = self._content(data)
        if len(whole) < LEAST_UNITS:
            raise DataError(
                f"{data.name}: holds {len(whole)} {self.item}s; a text model needs at least {LEAST_UNITS}. "
                "Give more text"
            )
        at = len(whole) - min(int(len(whole) * self.settings.validation), MOST_VALIDATION)
        return data.parts(at, of_bytes=self.item == "byte")

    def _content(self, data: Corpus) -> str | bytes:
        return data.data if self.item == "byte" else data.text

    def prepare(
        self, data: Corpus, valid: Corpus, training: TrainSettings, device: torch.device, start: Start = None
    ) -> tuple[TextFitted, "TextJob"]:
        first, last = self._content(data), self._content(valid)
        text = first if isinstance(first, str) else ""
        self.settings, units, net, notes = _made(self.settings, text, training, device, start)
        job = TextJob(self, net, units.encode(first), units.encode(last), len(last), training, device)
        self.notes += notes
        baseline = NGram.fit(job.train_ids, units.size)
        job.baseline_log_p = baseline.log_p(job.valid_ids, context=job.train_ids)
        nats = units.extra_nats(job.valid_ids) - float(job.baseline_log_p.sum())
        job.baseline_loss = nats / len(last)
        return TextFitted(net=net, units=units, baseline=baseline, metrics={"baseline_nats": job.baseline_loss}), job

    def amounts(self, part: Corpus, held: Corpus) -> JsonObject:
        return {"data": part.name, "items": len(self._content(part)) + len(self._content(held))}

    def finish(self, valid: Corpus) -> TextFitted:
        """Fits the share of the n-gram model on the validation part."""
        fitted = self.fitted
        ids = fitted.units.encode(self._content(valid))
        by_net = self._net_log_p(ids, n_streams=streams_for(len(ids)))
        return replace(fitted, share=best_share(by_net, fitted.baseline.log_p(ids)))

    def _mix(self, share: float) -> None:
        """Sets the share of the n-gram model, 0 to 1, in all that the model says."""
        self._fitted = replace(self.fitted, share=share)

    def judge(self, job: "TextJob") -> Metrics:
        return self._metrics(job.valid_ids, job.n_valid_items, context=job.train_ids)

    def _metrics(
        self, ids: np.ndarray, n_items: int, *, context: np.ndarray | None = None, n_streams: int = 1
    ) -> Metrics:
        """Losses per item, in nats, with carried state; and model and baseline by segment of the text."""
        fitted = self.fitted
        by_net = self._net_log_p(ids, context=context, n_streams=n_streams)
        before = np.array([_start_unit(fitted.units)]) if context is None else context
        by_baseline = fitted.baseline.log_p(ids, context=before)
        extra = fitted.units.extra_nats(ids) / len(ids)
        items = np.full(len(ids), n_items / len(ids))
        model, baseline = (
            np.stack([extra - log_p, items], 1) for log_p in (mixed(by_net, by_baseline, fitted.share), by_baseline)
        )
        segments = np.arange(len(ids)) // max(LEAST_SEGMENT, len(ids) // MOST_SEGMENTS)
        compared = compare(
            model,
            {f"the {fitted.baseline.order}-gram model": baseline},
            metric=f"nats/{self.item}",
            of=f"{self.item}s",
            is_error=True,
            blocks=segments,
        )
        compared = replace(compared, n=n_items)
        return {"nats": compared.model, "baseline_nats": compared.baseline, "comparison": compared.to_dict()}

    def _net_log_p(self, ids: np.ndarray, *, context: np.ndarray | None = None, n_streams: int = 1) -> np.ndarray:
        """log P of each unit of a sequence by the network alone; a line's end stands before it if nothing else does."""
        fitted = self.ready()
        before = np.array([_start_unit(fitted.units)]) if context is None else context[-1 - WARM_UP :]
        return log_p_of(fitted.net, ids, before, n_streams=n_streams)

    def evaluate(self, text: str | bytes | Corpus, *, n_streams: int | None = None) -> Metrics:
        """How well the model tells a text that it has not seen.

        Args:
            text: a text; bytes where the model reads bytes; or what `read` returned.
            n_streams: segments that run side by side; 1 carries the state through all of it and is exact, more are
                faster. By default 1 up to 200,000 units.

        Returns:
            "nats" and "bits" per character (per byte with units="byte"), "baseline_nats" and "baseline_bits" of the
            n-gram model, and "items", how many there were.

        Raises:
            DataError: the text is empty.
        """
        fitted = self.fitted
        units = fitted.units
        text = self._content(text) if isinstance(text, Corpus) else text
        wanted = bytes if self.item == "byte" else str
        if not isinstance(text, str | wanted):
            raise ArgumentError(f"evaluate: expected a text, or what read returned; got {named(text)}")
        if not text:
            raise DataError("evaluate: the text is empty")
        ids = units.encode(text)
        n_streams = (1 if len(ids) <= 200_000 else streams_for(len(ids))) if n_streams is None else n_streams
        n_items = len(ids) if self.item == "byte" else len(text)
        metrics, bit = self._metrics(ids, n_items, n_streams=n_streams), math.log(2)
        bits = {"bits": metrics["nats"] / bit, "baseline_bits": metrics["baseline_nats"] / bit}
        return metrics | bits | {"items": n_items}

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Writes text, as it comes; the prompt itself is not repeated.

        Args:
            prompt: what to go on from; every character of it must be one that the model knows.
            length: units to write, at least 0.
            temperature: below 1 the likelier units gain, above 1 the others; 0 takes the likeliest always.
            top_k: draw from the k likeliest units only; 0 for all.
            top_p: draw from the fewest units that together are at least this likely, above 0, at most 1.
            seed: same seed, same text; None for a new one each time.

        Raises:
            SettingsError: a number is out of its range.
            DataError: the prompt holds characters that the model does not know.
        """
        fitted = self.fitted
        net, units, baseline, share = fitted.net, fitted.units, fitted.baseline, fitted.share
        GenerateSettings(length=length, temperature=temperature, top_k=top_k, top_p=top_p)
        units.check(prompt, "prompt")
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        start = units.encode(prompt) if prompt else np.array([_start_unit(units)])

        def draw() -> Iterator[int]:
            net.eval()
            with torch.inference_mode():
                given, state = torch.from_numpy(start).unsqueeze(1), None
                before = start[max(0, len(start) - baseline.order) :]
                for _ in range(length):
                    logits, state = net(given.to(net.output.weight.device), state)
                    log_p = logits[-1, 0].float().cpu()
                    if share:
                        by_net, by_baseline = log_p.double().log_softmax(0).numpy(), baseline.next_log_p(before)
                        log_p = torch.from_numpy(mixed(by_net, by_baseline, share))
                    unit = sample(log_p, units, temperature, top_k, top_p, generator)
                    given, before = (
                        torch.tensor([[unit]]),
                        np.append(before[max(0, len(before) - baseline.order + 2) :], unit),
                    )
                    yield unit

        return units.decode(draw())


def _made(
    settings: TextSettings, text: str, training: TrainSettings, device: torch.device, start: Start
) -> tuple[TextSettings, Units, TextNet, list[str]]:
    """Settings with a size, the units of a text, a network, and notes for the user."""
    units = fit_units(settings.units, text, settings.subwords) if start is None else start.units.with_new(text)
    settings, notes = sized(settings, units.size, training, device)
    net = TextNet(units.size, settings).to(device)
    if start is not None:
        take_weights(net, start.net, {"units": (start.units.rows, units.rows)})
        notes.append(labels_note("units", start.units.rows, units.rows))
    return settings, units, net, notes


def _start_unit(units: Units) -> int:
    """What the model reads before anything else: the unit of a line's end, or the first there is."""
    return int(units.encode("\n")[0]) or 1


def _paths(files: Files | None) -> list[Path | str]:
    """Files as a list; none of them for None, which stands for the standard library."""
    paths = [] if files is None else paths_of(files)
    if not paths and files is not None:
        raise ArgumentError(
            f"expected text files, or nothing for the source of Python's standard library; got {named(files)}"
        )
    return paths


HELP = TaskHelp(
    usual="book.txt --minutes 5",
    purpose="learn to write like a book",
    train="""
unrolled train text                              15 minutes on Python's source
unrolled train text book.txt --minutes 5
unrolled train text a.txt b.txt --units subword --steps 2000
""",
)
Model = TextModel


def _in_memory(text: str | bytes) -> Corpus:
    """A text that no file has; bytes are one for a model of bytes."""
    return Corpus(text, text.encode(), (), "utf-8", "") if isinstance(text, str) else Corpus("", text, (), "utf-8", "")


def _check_fit(files: object, text: str | None, *, has_run: bool, has_more: bool) -> None:
    """Raises ArgumentError or SettingsError where arguments of `fit` do not go together."""
    if has_more:
        raise SettingsError("fit: a text's validation part is its end; set `validation`")
    if text is not None and (files is not NOT_GIVEN or has_run):
        raise SettingsError("fit: text goes without files and without run, which resumes from files")
    check_no_texts([files] if isinstance(files, str) else files, "A text in memory is passed by name: fit(text=...)")
    if files is None:
        raise ArgumentError("fit: expected text files; got None. Without files it learns from Python's own source")
