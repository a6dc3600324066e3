"""The report of the task's models: loss beside the n-gram model's, and a sample of what a model writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unrolled.tasks.report import TaskReport
from unrolled.tasks.text.model import TextModel, in_words
from unrolled.training.loop import TrainResult


class TextReport(TaskReport[TextModel]):
    """What a language model reached, in words."""

    def table(self) -> list[str]:
        item, figures = self.model.item, self.figures
        floor = f"a {self.model.fitted.floor.order}-gram model"
        return [
            f"model  {in_words(figures['nats'], item)}",
            f"floor  {in_words(figures['floor_nats'], item)}, {floor}",
        ]

    def verdict(self) -> tuple[str, float, float]:
        return f"nats/{self.model.item}", -self.figures["nats"], -self.figures["floor_nats"]

    def in_words(self, figure: float) -> str:
        return f"{-figure:.3f}"

    def last_line(self) -> str:
        nats, floor, item = self.figures["nats"], self.figures["floor_nats"], self.model.item
        if nats < floor:
            return f"The model beats the floor by {floor - nats:.3f} nats/{item}."
        return (
            f"The model LOSES to the floor by {nats - floor:.3f} nats/{item}: "
            "train longer, or give it more text; until then the n-gram model is the better one."
        )

    def of_evaluation(self, source: str) -> Iterator[str]:
        yield f"text   {source}, {self.figures['items']:,} {self.model.item}s"
        yield from self.table()
        if not self.figures["nats"] < self.figures["floor_nats"]:
            yield "The model LOSES to the floor on this text."

    def of_training(self, result: TrainResult, path: Path, test: Any = None) -> Iterator[str]:
        model, floor = self.table()
        yield f"stopped     {result.reason}; best at step {result.best_step}"
        yield f"model     {model.removeprefix('model')}"
        yield f"floor     {floor.removeprefix('floor')} on the same split"
        yield f"file        {path}"
        yield f'write more  unrolled generate {path} --prompt "..."'
        yield "\n" + "".join(self.model.generate(length=300, temperature=0.7, seed=0)).strip("\n") + "\n"
        yield self.last_line()
        settings, is_beaten = self.model.settings, not self.figures["nats"] < self.figures["floor_nats"]
        if is_beaten and result.steps < 1000 and settings.layers * settings.hidden >= 2 * 384:
            yield (
                f"It made {result.steps} updates, few for its size; a smaller model may learn more in the same time: "
                "--layers 1 --hidden 384 --batch 8 --dropout 0."
            )


Report = TextReport
