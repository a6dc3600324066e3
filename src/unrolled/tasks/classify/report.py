"""The report of a classifier: table, verdict and picture."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.data.labeled import Labeled
from unrolled.report import pictures
from unrolled.report.html import elements
from unrolled.report.html.page import Section
from unrolled.tasks.classify.answer import Classified
from unrolled.tasks.classify.inputs import TextInput
from unrolled.tasks.classify.model import ClassifyModel
from unrolled.tasks.report import TaskReport, shortened, spread

_MOST_CLASSES, _N_EXAMPLES = 30, 8


class ClassifyReport(TaskReport[ClassifyModel, Labeled]):
    """The metrics of a classifier in words."""

    def table(self) -> list[str]:
        model = self.metrics["model"]
        who = {"model": "model", "baseline": self.model.fitted.baseline.name, "majority": "majority"}
        width = 2 + max(14, *map(len, who.values()))
        lines = [f"{'':<{width}}{'accuracy':>10}{'macro F1':>10}"]
        for key, name in who.items():
            row = self.metrics[key]
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
        model, baseline = self.metrics["model"], self.metrics["baseline"]
        if model["confusion"] and len(model["classes"]) <= 30:
            return pictures.confusion(model["confusion"], folder / "confusion.png")
        f1 = [{name: each["f1"] for name, each in part["classes"].items()} for part in (model, baseline)]
        return pictures.bars(f1[0], f1[1], "F1", folder / "classes.png")

    def exhibits(self, held: Labeled | None) -> Iterator[Section]:
        model, baseline = self.metrics["model"], self.metrics["baseline"]
        if model["confusion"] and len(model["classes"]) <= _MOST_CLASSES:
            shown = elements.counts(model["confusion"], "label", "found", "confusion table")
            yield Section("What was taken for what", shown)
        names = sorted(model["classes"], key=lambda name: -model["classes"][name]["n"])[:_MOST_CLASSES]
        rows = {
            name: (
                model["classes"][name]["f1"],
                baseline["classes"].get(name, {"f1": 0.0})["f1"],
                model["classes"][name]["n"],
            )
            for name in names
        }
        yield Section("Class by class", elements.bars(rows, "F1", "items", "F1 by class"))
        if held is not None and isinstance(self.model.fitted.input_layer, TextInput):
            part = held.part(spread(len(held), _N_EXAMPLES))
            words = (
                "Blue words moved the answer toward the class that was found, orange ones away from it: by how much "
                "its log-probability falls when the word is hidden."
            )
            yield Section("Examples", elements.paragraph(words, "dim") + elements.examples(self._examples(part)))

    def _examples(self, part: Labeled) -> Iterator[str]:
        """Texts with the words that moved the answer, and whether it is right."""
        found = self.model.predict_all(part.items, highlights=True)
        for answer, labels in zip(found, part.labels, strict=True):
            moved = [(each["start"], each["end"], each["nats"]) for each in answer.highlights or ()]
            is_right = sorted(map(str, answer.labels)) == sorted(labels)
            said = f"{'right' if is_right else 'WRONG'}: found {_sure(answer)}; label {', '.join(labels) or 'none'}"
            yield f"{elements.weighted(answer.text, moved)}{elements.paragraph(said, 'dim')}"


def _sure(answer: Classified) -> str:
    """Labels with their probabilities."""
    return ", ".join(f"{name} ({100 * answer.probabilities[name]:.0f} %)" for name in answer.labels) or "none"


Report = ClassifyReport
