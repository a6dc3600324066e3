"""The report of the task's models: table, verdict and picture."""

from pathlib import Path

from unrolled.report import pictures
from unrolled.tasks.report import TaskReport
from unrolled.tasks.understand.model import UnderstandModel


class UnderstandReport(TaskReport[UnderstandModel]):
    """What a model of the task reached, in words."""

    def table(self) -> list[str]:
        shown = {"intent": "intent", "slot_f1": "slot F1", "sentence": "sentence"}
        if self.model.fitted.class_weights is not None:
            shown["macro_f1"] = "macro F1"
        lines = [f"{'':<10}" + "".join(f"{name:>10}" for name in shown.values())]
        for name in ("model", "baseline"):
            row = self.figures[name]
            lines.append(f"{name:<10}" + "".join(f"{100 * row[key]:>8.2f} %" for key in shown))
        fitted = self.model.fitted
        return [*lines, f"baseline: {fitted.intent_baseline.name} for intents, {fitted.slot_baseline.name} for slots"]

    def picture(self, folder: Path) -> Path | None:
        labels = self.figures["model"]["labels"]
        most = sorted(labels, key=lambda name: -labels[name]["n"])[:25]
        model = {name: labels[name]["f1"] for name in most}
        baseline = {name: each["f1"] for name, each in self.figures["baseline"]["labels"].items()}
        return pictures.bars(model, baseline, "slot F1", folder / "slots.png") if model else None


Report = UnderstandReport
