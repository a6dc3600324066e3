"""The report of the task's models: loss beside the n-gram model's, and a sample of what a model writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unrolled.tasks.report import TaskReport
from unrolled.tasks.text.model import TextModel, in_words
from unrolled.training.job import TrainResult


class TextReport(TaskReport[TextModel]):
    """What a language model reached, in words."""

    def table(self) -> list[str]:
        item, figures = self.model.item, self.figures
        baseline = f"a {self.model.fitted.baseline.order}-gram model"
        return [
            f"model     {in_words(figures['nats'], item)}",
            f"baseline  {in_words(figures['baseline_nats'], item)}, {baseline}",
        ]

    def verdict(self) -> tuple[str, float, float]:
        return f"nats/{self.model.item}", -self.figures["nats"], -self.figures["baseline_nats"]

    def in_words(self, figure: float) -> str:
        return f"{-figure:.3f}"

    def last_line(self) -> str:
        nats, baseline, item = self.figures["nats"], self.figures["baseline_nats"], self.model.item
        if nats < baseline:
            return f"The model beats the baseline by {baseline - nats:.3f} nats/{item}."
        return (
            f"The model LOSES to the baseline by {nats - baseline:.3f} nats/{item}: "
            "train longer, or give it more text; until then the n-gram model is the better one."
        )

    def of_evaluation(self, source: str) -> Iterator[str]:
        yield f"text      {source}, {self.figures['items']:,} {self.model.item}s"
        yield from self.table()
        if not self.figures["nats"] < self.figures["baseline_nats"]:
            yield "The model LOSES to the baseline on this text."

    def of_training(self, result: TrainResult, path: Path, test: Any = None) -> Iterator[str]:
        model, baseline = self.table()
        yield f"stopped     {result.reason}; best at step {result.best_step}"
        yield f"model       {model.removeprefix('model').strip()}"
        yield f"baseline    {baseline.removeprefix('baseline').strip()} on the same split"
        yield f"file        {path}"
        yield f'write more  unrolled generate {path} --prompt "..."'
        yield "\n" + "".join(self.model.generate(length=300, temperature=0.7, seed=0)).strip("\n") + "\n"
        yield self.last_line()
        settings, is_beaten = self.model.settings, not self.figures["nats"] < self.figures["baseline_nats"]
        if is_beaten and result.steps < 1000 and settings.layers * settings.hidden >= 2 * 384:
            yield (
                f"It made {result.steps} updates, few for its size; a smaller model may learn more in the same time: "
                "--layers 1 --hidden 384 --batch 8 --dropout 0."
            )


Report = TextReport
