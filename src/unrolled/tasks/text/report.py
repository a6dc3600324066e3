"""The report of a language model: loss beside the n-gram model's, and a sample of what a model writes."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.data.corpus import Corpus
from unrolled.report.html import elements
from unrolled.report.html.page import Section
from unrolled.tasks.report import TaskReport
from unrolled.tasks.text.job import in_words
from unrolled.tasks.text.model import TextModel
from unrolled.training.job import TrainResult

_TEMPERATURES, _LENGTH = (0.5, 0.8, 1.0), 400


class TextReport(TaskReport[TextModel, Corpus]):
    """The metrics of a language model in words."""

    def table(self) -> list[str]:
        item, metrics = self.model.item, self.metrics
        order = self.model.fitted.baseline.order
        baseline = f"{'an' if order in (8, 11) else 'a'} {order}-gram model"
        return [
            f"model     {in_words(metrics['nats'], item)}",
            f"baseline  {in_words(metrics['baseline_nats'], item)}, {baseline}",
        ]

    def in_words(self, value: float) -> str:
        return f"{value:.3f}"

    def last_line(self) -> str:
        return self.claim(self.comparison())  # what can help is the next step

    def of_evaluation(self, source: str) -> Iterator[str]:
        yield f"text      {source}, {self.metrics['items']:,} {self.model.item}s"
        yield from super().of_evaluation(source)

    def of_training(self, result: TrainResult, path: Path, test: object = None) -> Iterator[str]:
        model, baseline = self.table()
        yield f"stopped     {result.reason}; best at step {result.best_step}"
        yield f"model       {model.removeprefix('model').strip()}"
        yield f"baseline    {baseline.removeprefix('baseline').strip()} on the same split"
        if start := self.model.training.get("start"):
            yield f"start       {start}"
        yield f"file        {path}"
        yield f'write more  unrolled generate {path} --prompt "..."'
        yield "\n" + "".join(self.model.generate(length=300, temperature=0.7, seed=0)).strip("\n") + "\n"
        yield self.last_line()
        yield f"Next step: {self.next_step(result)}"

    def next_step(self, result: TrainResult) -> str:
        """What to try after a training."""
        settings, minutes = self.model.settings, max(1, round(result.seconds / 60))
        if result.steps < 1000 and settings.layers * settings.hidden >= 2 * 384:
            return (
                f"it made {result.steps:,} updates, few for its size; a smaller model learns more in the same time: "
                "--layers 1 --hidden 384 --batch 8 --dropout 0."
            )
        if self.was_improving():
            return f"it was still improving: --minutes {4 * minutes}."
        if self.is_early():
            return f"it had hardly begun to learn: --minutes {4 * minutes}."
        return "it no longer improved: more text, or a larger model (--hidden, --layers), can help."

    def exhibits(self, held: Corpus | None) -> Iterator[Section]:
        parts = ""
        for temperature in _TEMPERATURES:
            written = "".join(self.model.generate(length=_LENGTH, temperature=temperature, seed=0)).strip("\n")
            parts += elements.heading(f"Temperature {temperature:g}") + elements.passage(written)
        yield Section("What it writes", parts)


Report = TextReport
