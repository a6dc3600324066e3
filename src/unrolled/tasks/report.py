"""The report of a model: tables, verdict, picture, and what a training came to.

Inputs: a fitted model, and what its `evaluate` returned. Outputs: lines of text, and picture files.
"""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from unrolled import markup
from unrolled.data.counted import counted
from unrolled.errors import ModelFileError, UnrolledError
from unrolled.report.comparison import LEAST_BLOCKS, Comparison, p_of_folds
from unrolled.report.html.page import Section
from unrolled.report.metrics import Metrics
from unrolled.tasks.estimator import D, Estimator
from unrolled.training.job import Curve, TrainResult

M = TypeVar("M", bound=Estimator)
_FLATTERED = " The model learnt from them, which flatters it. Evaluate files that it has not seen."


class TaskReport(ABC, Generic[M, D]):
    """A model's metrics in words.

    Attributes:
        model: fitted.
        metrics: what `model.evaluate` returned; by default the metrics on the validation part.
        is_flattered: whether the metrics are of data that the model learnt from, which its verdict says.
    """

    for_more: ClassVar[str] = ""  # what makes more examples, where there are too few

    def __init__(self, model: M, metrics: Metrics | None = None, *, is_flattered: bool = False) -> None:
        self.model = model
        self.is_flattered = is_flattered
        self.metrics = model.fitted.metrics if metrics is None else metrics

    @abstractmethod
    def table(self) -> list[str]:
        """The metrics, in lines."""

    def comparison(self) -> Comparison:
        """The model beside its best baseline. The best weights were chosen on the validation part, so there a gain
        must stand out from as many tries as there were evaluations.

        Raises:
            ModelFileError: the model comes from a file of unrolled 0.1.0, which kept no comparison.
        """
        if "comparison" not in self.metrics:
            raise ModelFileError(
                "the model's file is of unrolled 0.1.0 and has no comparison with a baseline. Call evaluate"
            )
        found = Comparison(**self.metrics["comparison"])
        is_chosen_on = (
            self.metrics is self.model.fitted.metrics and self.metrics.get("part", "validation") == "validation"
        )
        return found.of_the_best(len(self.model.record)) if is_chosen_on else found

    def in_words(self, value: float) -> str:
        """The metric that decides."""
        return f"{100 * value:.2f} %"

    def claim(self, found: Comparison) -> str:
        """What the comparison says of the model, in a sentence."""
        shown, beside = self.in_words(found.model), self.in_words(found.baseline)
        metrics = f"{found.metric} {shown} against {beside}"
        if not found.can_tell:
            n, n_apart = counted(found.n, found.of.removesuffix("s")), found.n_blocks
            apart = (
                "" if n_apart == found.n else f", of which {n_apart:,} {'is' if n_apart == 1 else 'are'} independent"
            )
            return (
                f"Too few {found.of} to tell the model from {found.name}: {metrics} ({n}{apart}; a difference can show "
                f"from {LEAST_BLOCKS} on).{self.for_more}{_FLATTERED if self.is_flattered else ''}"
            )
        verb = "LOSES to" if found.verdict == "loses to" else found.verdict
        model, more = "The model", ""
        if self.is_flattered:
            model, more = (
                "On data that it learnt from, which flatters it, the model",
                " Evaluate files that it has not seen.",
            )
        return f"{model} {verb} {found.name}: {metrics} ({self._apart(found)}{found.evidence()}).{more}"

    def _apart(self, found: Comparison) -> str:
        """By how much one is better, where both metrics look the same."""
        look = self.in_words(found.model)
        if look != self.in_words(found.baseline) or found.verdict == "does as well as":
            return ""
        gain = abs(found.gain)
        return f"by {100 * gain:.1g} %, " if look.endswith("%") else f"by {gain:.1g}, "

    def verdict(self) -> str:
        """What the comparison says of this model, in a sentence."""
        return self.claim(self.comparison())

    def _verdict_if_any(self) -> str:
        try:
            return self.verdict()
        except ModelFileError as fault:
            return str(fault)

    def curve(self, curve: Curve) -> Curve:
        """A learning curve's description, with the baseline that the comparison names where it has the same metric and
        is of the same examples.
        """
        found = self.comparison()
        if curve.metric == "loss" or found.metric != curve.label or "part" in self.metrics:
            return curve
        return replace(curve, baseline=found.baseline, name=found.name)

    def facts(self) -> dict[str, str]:
        """What stands beside the metrics in a notebook: the task's own facts."""
        return {}

    def __str__(self) -> str:
        return "\n".join([*self.table(), "", self.last_line()])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._verdict_if_any()}>"

    def html(self) -> str:
        """The metric that decides, the model's beside the baseline's, the verdict, and the whole table folded."""
        if "comparison" not in self.metrics:
            return markup.sentence(self._verdict_if_any())
        found = self.comparison()
        rows = [("model", self.in_words(found.model)), (found.name, self.in_words(found.baseline))]
        return (
            markup.table(("", found.metric), rows)
            + markup.sentence(self.verdict(), is_bold=True)
            + markup.details("all metrics", markup.preformatted(self.table()))
        )

    def _repr_html_(self) -> str:
        return markup.block(markup.heading(type(self).__name__, repr(self.model)), self.html())

    def metrics_line(self) -> str:
        """The metric that decides, the model's and the best baseline's."""
        found = self.comparison()
        return f"{found.metric} {self.in_words(found.model)}, {found.name} {self.in_words(found.baseline)}"

    def last_line(self) -> str:
        """Whether the model is worth anything, in words; and if not, what can help."""
        found = self.comparison()
        return self.claim(found) + (f" {self.advice()}" if found.verdict == "loses to" else "")

    def advice(self) -> str:
        """What can help a model that loses: longer training, only if it was still improving when it ended, or had
        hardly begun.
        """
        if self.was_improving():
            return "It was still improving when its training ended: train longer."
        record = self.model.record
        best, last = min(record, key=lambda row: row["loss"])["step"], record[-1]["step"]
        at = f"It was best at step {best:,} of {last:,}"
        if self.is_early():
            return f"{at}, but its training had hardly begun: train longer, or try another --lr."
        ways = [f"--{name}" for name in ("hidden", "layers") if hasattr(self.model.settings, name)]
        return (
            f"{at}, so longer training will not help: give it more examples, or "
            f"try another --lr or a smaller {' or '.join(ways)}."
        )

    def was_improving(self) -> bool:
        """Whether the best evaluation of the training came in its last tenth."""
        record = self.model.record
        return not record or min(record, key=lambda row: row["loss"])["step"] >= 0.9 * record[-1]["step"]

    def is_early(self) -> bool:
        """Whether the training ended before an evaluation could tell that longer training does not help."""
        return not self.model.training.get("has_begun", True)

    def picture(self, folder: Path) -> Path | None:
        """Draws what the metrics say into a folder; None where there is nothing to draw.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return None

    def exhibits(self, held: D | None) -> Iterator[Section]:
        """What the task shows of a model on a page, section by section: pictures of its metrics, and examples.

        Args:
            held: data of the task that the network did not learn from, for examples; None where there are none.
        """
        return iter(())

    def of_evaluation(self, source: str) -> Iterator[str]:
        """What an evaluation came to, in lines; `source` names the data."""
        yield from self.table()
        yield ""
        yield self.last_line()

    def of_training(self, result: TrainResult, path: Path, test: object = None) -> Iterator[str]:
        """What a training came to, in lines: the metrics beside the baseline's, where the model is, the verdict.

        Args:
            result: of the training.
            path: the model file; a picture is drawn beside it.
            test: data of the task; its metrics are computed, and decide.
        """
        yield f"stopped  {result.reason}; best at step {result.best_step}"
        yield f"\n{self.metrics.get('part', 'validation')} part"
        yield from (f"  {line}" for line in self.table())
        last = self
        if test is not None:
            last = type(self)(self.model, self.model.evaluate(test))
            yield "\ntest file"
            yield from (f"  {line}" for line in last.table())
        try:
            if picture := last.picture(path.parent):
                yield f"\npicture  {picture}"
        except UnrolledError as fault:  # a picture is no reason to fail
            yield f"\npicture  none: {fault}"
        if start := self.model.training.get("start"):
            yield f"start    {start}"
        takes = "TABLE" if getattr(self.model, "needs_table", "") else self.model.takes
        yield f"file     {path}\npredict  unrolled predict {path} {takes}"
        yield f"\n{last.last_line()}"


def spread(n: int, most: int) -> list[int]:
    """Places of up to `most` of `n` examples, as far apart as they can be."""
    return sorted({i * (n - 1) // max(1, most - 1) for i in range(most)}) if n else []


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are."""
    shown = ", ".join(map(str, names[:8]))
    return shown if len(names) <= 8 else f"{shown}, ... {len(names):,} in all"


def of_folds(reports: Sequence[TaskReport]) -> Iterator[str]:
    """What a cross-validation came to, in lines: mean and spread of the metric that decides, and whether the gains of
    the folds, which are pairs of model and baseline, are more than chance.
    """
    found, in_words = [report.comparison() for report in reports], reports[0].in_words
    sides = {"model": [each.model for each in found], "baseline": [each.baseline for each in found]}
    for who, numbers in sides.items():
        spread = in_words(statistics.stdev(numbers)).removesuffix(" %")
        yield f"{who:<10}{in_words(statistics.mean(numbers))} ± {spread}"
    names = list(dict.fromkeys(each.name for each in found))
    whole = replace(
        found[0],
        model=statistics.mean(sides["model"]),
        baseline=statistics.mean(sides["baseline"]),
        name=names[0] if len(names) == 1 else f"the best baseline of each fold ({', '.join(names)})",
        p=p_of_folds([each.gain for each in found]),
        n=len(found),
        of="folds",
        n_blocks=LEAST_BLOCKS,  # the t-test tells with fewer
    )
    yield f"\n{reports[0].claim(whole)}"
