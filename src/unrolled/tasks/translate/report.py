"""The report of a translator: table, verdict and picture."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.data.counted import counted
from unrolled.data.pairs import Pairs
from unrolled.report.html import charts, elements
from unrolled.report.html.page import Section
from unrolled.tasks.fallback import MODEL, NETWORK
from unrolled.tasks.report import TaskReport, spread
from unrolled.tasks.translate.fitted import COPY, IN_WORDS
from unrolled.tasks.translate.model import TranslateModel

_N_EXAMPLES = 8


class TranslateReport(TaskReport[TranslateModel, Pairs]):
    """The metrics of a translator in words."""

    def table(self) -> list[str]:
        rows = [
            f"{name:<28}{self.metrics[name]['bleu']:>8.2f}{self.metrics[name]['chrf']:>8.2f}"
            for name in (MODEL, NETWORK, self.model.fitted.baseline.name, COPY)
            if name in self.metrics
        ]
        last = f"{counted(self.metrics['n_sentences'], 'sentence')}; {self.metrics['model']['signature']}"
        return [f"{'':<28}{'BLEU':>8}{'chrF':>8}", *rows, last]

    def in_words(self, value: float) -> str:
        return f"{value:.2f}"

    def last_line(self) -> str:
        fallback = self.model.fallback()
        who = fallback.sentence(IN_WORDS.get(fallback.baseline, ""), self.metrics.get("by", {}), "sentences")
        return " ".join(filter(None, (super().last_line(), who, self.advice() if fallback.is_always else "")))

    def picture(self, folder: Path) -> Path | None:
        held = self.model.held
        if held is None:
            return None
        return self.model.predict(held.sources[self._readable(held)]).picture(folder / "attention.png")

    def exhibits(self, held: Pairs | None) -> Iterator[Section]:
        if held is None:
            return
        first = self._readable(held)
        found = self.model.predict_all([held.sources[first]], answer=MODEL)[0]
        if len(found.attention):
            shown = charts.grid(
                [*found.target, "(end)"], found.source, found.attention,
                caption="read in the source (across) for each subword written (down)",
                label=f"attention of the translation of {held.sources[first]!r}",
            )  # fmt: skip
            yield Section("Where it looked", shown)
        places = list(dict.fromkeys((first, *spread(len(held), _N_EXAMPLES))))
        answers = self.model.predict_all([held.sources[i] for i in places])
        rows = [(held.sources[i], each.translation, held.targets[i]) for i, each in zip(places, answers, strict=True)]
        yield Section("Examples", elements.table(("source", "translation", "reference"), rows, "translations"))

    def _readable(self, held: Pairs) -> int:
        """The first sentence whose picture is neither empty nor crowded."""
        cuts = self.model.fitted.source.cut(held.sources[:200])
        return next((i for i, cut in enumerate(cuts) if 5 <= len(cut) <= 25), 0)


Report = TranslateReport
