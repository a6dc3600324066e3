"""The report of a model of intents and slots: table, verdict and picture."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.data.intents import Intents
from unrolled.data.schemes import spans_of
from unrolled.data.tagging import located
from unrolled.data.tokens import words_of
from unrolled.report import pictures
from unrolled.report.html import elements
from unrolled.report.html.page import Section
from unrolled.tasks.report import TaskReport
from unrolled.tasks.understand.model import UnderstandModel

_MOST_LABELS, _N_EXAMPLES = 30, 8


class UnderstandReport(TaskReport[UnderstandModel, Intents]):
    """The metrics of a model of intents and slots in words."""

    def table(self) -> list[str]:
        shown = {"intent": "intent", "slot_f1": "slot F1", "sentence": "sentence"}
        if self.model.fitted.class_weights is not None:
            shown["macro_f1"] = "macro F1"
        lines = [f"{'':<10}" + "".join(f"{name:>10}" for name in shown.values())]
        for name in ("model", "baseline"):
            row = self.metrics[name]
            lines.append(f"{name:<10}" + "".join(f"{100 * row[key]:>8.2f} %" for key in shown))
        fitted = self.model.fitted
        return [*lines, f"baseline: {fitted.intent_baseline.name} for intents, {fitted.slot_baseline.name} for slots"]

    def picture(self, folder: Path) -> Path | None:
        labels = self.metrics["model"]["labels"]
        most = sorted(labels, key=lambda name: -labels[name]["n"])[:25]
        model = {name: labels[name]["f1"] for name in most}
        baseline = {name: each["f1"] for name, each in self.metrics["baseline"]["labels"].items()}
        return pictures.bars(model, baseline, "slot F1", folder / "slots.png") if model else None

    def exhibits(self, held: Intents | None) -> Iterator[Section]:
        labels, others = (self.metrics[who]["labels"] for who in ("model", "baseline"))
        if labels:
            most = sorted(labels, key=lambda name: -labels[name]["n"])[:_MOST_LABELS]
            rows = {name: (labels[name]["f1"], others.get(name, {"f1": 0.0})["f1"], labels[name]["n"]) for name in most}
            yield Section("Slot by slot", elements.bars(rows, "F1", "slots", "F1 by slot"))
        if held is not None:
            yield Section("Examples", elements.examples(self._examples(held)))

    def _examples(self, held: Intents) -> Iterator[str]:
        """Sentences with the slots that were found, and what is right where that is something else."""
        data, scheme = held.tagged, held.tagged.scheme
        n = min(_N_EXAMPLES, len(held))
        probabilities, tags = self.model.understand(data.sentences[:n])
        for i in range(n):
            text = " ".join(data.sentences[i])
            tokens = words_of(text)
            found, gold = (
                [(each["start"], each["end"], each["label"]) for each in located(text, tokens, spans_of(*of))]
                for of in ((tags[i], self.model.fitted.scheme), (data.tags[i], scheme))
            )
            best = int(probabilities[i].argmax())
            intent = self.model.fitted.intents[best]
            tones = elements.tones_of(sorted(name for _, _, name in (*found, *gold)))
            is_right = (intent, found) == (held.intents[i], gold)
            shown = elements.marked(text, found, tones)
            said = f"{'right' if is_right else 'found'}: {intent} ({100 * probabilities[i, best]:.0f} %)"
            yield f"{shown}{elements.paragraph(said, 'dim')}" + (
                ""
                if is_right
                else f"{elements.marked(text, gold, tones)}{elements.paragraph(f'as it is: {held.intents[i]}', 'dim')}"
            )


Report = UnderstandReport
