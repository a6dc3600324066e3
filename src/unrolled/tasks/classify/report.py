"""The report of the task's models: table, verdict and picture."""

from pathlib import Path

from unrolled.report import pictures
from unrolled.tasks.classify.model import ClassifyModel
from unrolled.tasks.report import TaskReport, shortened


class ClassifyReport(TaskReport[ClassifyModel]):
    """What a model of the task reached, in words."""

    def table(self) -> list[str]:
        model = self.figures["model"]
        who = {"model": "model", "baseline": self.model.fitted.baseline.name, "majority": "majority"}
        width = 2 + max(14, *map(len, who.values()))
        lines = [f"{'':<{width}}{'accuracy':>10}{'macro F1':>10}"]
        for key, name in who.items():
            row = self.figures[key]
            lines.append(f"{name:<{width}}{100 * row['accuracy']:>8.2f} %{100 * row['macro_f1']:>8.2f} %")
        lines.append(
            f"log-loss {abs(model['log_loss']):.3f} nats, calibration error {100 * model['calibration_error']:.1f} %"
        )
        lines.append(f"{'':<16}{'precision':>10}{'recall':>10}{'F1':>10}{'items':>8}")
        for name, row in model["classes"].items():
            shares = "".join(f"{100 * row[key]:>8.2f} %" for key in ("precision", "recall", "f1"))
            lines.append(f"{name[:15]:<16}{shares}{row['n']:>8,}")
        if model["confusion"] and len(model["classes"]) <= 12:
            lines.append("rows: the label, columns: what was found")
            lines.append(f"{'':<16}" + "".join(f"{name[:9]:>10}" for name in model["classes"]))
            for name, counts in model["confusion"].items():
                lines.append(f"{name[:15]:<16}" + "".join(f"{counts[each]:>10,}" for each in model["classes"]))
        return lines

    def facts(self) -> dict[str, str]:
        return {"classes": shortened(self.model.fitted.classes)}

    def picture(self, folder: Path) -> Path | None:
        model, baseline = self.figures["model"], self.figures["baseline"]
        if model["confusion"] and len(model["classes"]) <= 30:
            return pictures.confusion(model["confusion"], folder / "confusion.png")
        f1 = [{name: each["f1"] for name, each in part["classes"].items()} for part in (model, baseline)]
        return pictures.bars(f1[0], f1[1], "F1", folder / "classes.png")


Report = ClassifyReport
