"""The report of a tagger: table, verdict and picture."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.data.schemes import spans_of
from unrolled.data.tagged import Tagged
from unrolled.data.tagging import located, rewritten
from unrolled.data.tokens import Token, words_of
from unrolled.report import pictures
from unrolled.report.html import elements
from unrolled.report.html.page import Section
from unrolled.tasks.report import TaskReport
from unrolled.tasks.tag.model import TagModel

_MUCH_WORSE = 0.1  # of F1 or accuracy
_MOST_LABELS, _N_EXAMPLES = 30, 8


class TagReport(TaskReport[TagModel, Tagged]):
    """The metrics of a tagger in words."""

    def table(self) -> list[str]:
        return [*self._of_tokens(), *self._of_texts()]

    def _of_texts(self) -> list[str]:
        """What the model reaches on plain text, and whether that is much worse."""
        if not (of_text := self.metrics.get("as_text")):
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
        model, baseline = self.metrics["model"], self.metrics["baseline"]
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
            {name: each["f1"] for name, each in self.metrics[key].get("labels", {}).items()}
            for key in ("model", "baseline")
        )
        return pictures.bars(model, baseline, "span F1", folder / "labels.png") if model else None

    def exhibits(self, held: Tagged | None) -> Iterator[Section]:
        model, baseline = self.metrics["model"], self.metrics["baseline"]
        if labels := model.get("labels"):
            most = sorted(labels, key=lambda name: -labels[name]["n"])[:_MOST_LABELS]
            others = baseline.get("labels", {})
            rows = {name: (labels[name]["f1"], others.get(name, {"f1": 0.0})["f1"], labels[name]["n"]) for name in most}
            yield Section("Label by label", elements.bars(rows, "F1", "spans", "F1 by label"))
        if held is not None:
            yield Section("Examples", elements.examples(self._examples(held)))

    def _examples(self, held: Tagged) -> Iterator[str]:
        """Sentences as they are tagged, and as they were found."""
        scheme = self.model.fitted.scheme
        gold = rewritten(held.tags, held.scheme, scheme)
        # those with tags say more
        places = sorted(range(len(held)), key=lambda i: all(tag == "O" for tag in gold[i]))[:_N_EXAMPLES]
        found = self.model.tag([held.sentences[i] for i in places])
        for i, tags in zip(places, found, strict=True):
            text = " ".join(held.sentences[i])
            tokens = words_of(text)
            spans = [_spans(text, tokens, each, scheme) for each in (gold[i], tags)]
            tones = elements.tones_of(sorted(name for each in spans for _, _, name in each))
            of_gold, of_model = (elements.marked(text, each, tones) for each in spans)
            if spans[0] == spans[1]:
                yield f"{of_model} {elements.paragraph('right', 'dim')}"
            else:
                yield f"found: {of_model}<br>tagged: {of_gold}"


def _spans(text: str, tokens: list[Token], tags: list[str], scheme: str) -> list[tuple[int, int, str]]:
    """Places with their labels; of plain tags each that is not "O"."""
    if scheme == "plain":
        return [(token.start, token.end, tag) for token, tag in zip(tokens, tags, strict=True) if tag != "O"]
    return [(each["start"], each["end"], each["label"]) for each in located(text, tokens, spans_of(tags, scheme))]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


Report = TagReport
