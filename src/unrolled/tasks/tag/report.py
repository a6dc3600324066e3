"""The report of the task's models: table, verdict and picture."""

from pathlib import Path

from unrolled.report import pictures
from unrolled.tasks.report import TaskReport
from unrolled.tasks.tag.model import TagModel

_MUCH_WORSE = 0.1  # of F1 or accuracy


class TagReport(TaskReport[TagModel]):
    """What a model of the task reached, in words."""

    def table(self) -> list[str]:
        return [*self._of_tokens(), *self._of_texts()]

    def _of_texts(self) -> list[str]:
        """What the model reaches on plain text, and whether that is much worse."""
        if not (of_text := self.figures.get("as_text")):
            return []
        name, model = self.comparison().metric, self.comparison().model
        [reached] = of_text.values()
        lines = [f"the same sentences as plain text, cut as predict cuts them: {name} {_percent(reached)}"]
        if model - reached > _MUCH_WORSE:
            lines.append(
                "That is MUCH WORSE: the files have other tokens than plain text. Give predict tokens with spaces "
                "between, or train on files whose tokens are those of the text"
            )
        return lines

    def _of_tokens(self) -> list[str]:
        model, baseline = self.figures["model"], self.figures["baseline"]
        if "f1" not in model:
            return [
                f"model     accuracy {_percent(model['accuracy'])}",
                f"baseline  accuracy {_percent(baseline['accuracy'])}, {self.model.fitted.baseline.name}",
            ]
        lines = [f"{'':<16}{'precision':>10}{'recall':>10}{'F1':>10}{'baseline F1':>13}{'spans':>8}"]
        none = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        for name in ["", *model["labels"]]:
            row, below = (each if not name else each["labels"].get(name, none) for each in (model, baseline))
            numbers = "".join(f"{_percent(row[key]):>10}" for key in ("precision", "recall", "f1"))
            lines.append(f"{name or 'all':<16}{numbers}{_percent(below['f1']):>13}{row['n']:>8,}")
        return [*lines, f"baseline: {self.model.fitted.baseline.name}"]

    def picture(self, folder: Path) -> Path | None:
        model, baseline = (
            {name: each["f1"] for name, each in self.figures[key].get("labels", {}).items()}
            for key in ("model", "baseline")
        )
        return pictures.bars(model, baseline, "span F1", folder / "labels.png") if model else None


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


Report = TagReport
