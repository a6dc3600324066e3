"""The report of the task's models: table, verdict and picture."""

from pathlib import Path

from unrolled.data.counted import counted
from unrolled.tasks.fallback import MODEL, NETWORK
from unrolled.tasks.report import TaskReport
from unrolled.tasks.translate.fitted import COPY, IN_WORDS
from unrolled.tasks.translate.model import TranslateModel


class TranslateReport(TaskReport[TranslateModel]):
    """What a model of the task reached, in words."""

    def table(self) -> list[str]:
        rows = [
            f"{name:<28}{self.figures[name]['bleu']:>8.2f}{self.figures[name]['chrf']:>8.2f}"
            for name in (MODEL, NETWORK, self.model.fitted.baseline.name, COPY)
            if name in self.figures
        ]
        last = f"{counted(self.figures['n_sentences'], 'sentence')}; {self.figures['model']['signature']}"
        return [f"{'':<28}{'BLEU':>8}{'chrF':>8}", *rows, last]

    def in_words(self, figure: float) -> str:
        return f"{figure:.2f}"

    def last_line(self) -> str:
        fallback = self.model.fallback()
        who = fallback.told(IN_WORDS.get(fallback.baseline, ""), self.figures.get("by", {}), "sentences")
        return " ".join(filter(None, (super().last_line(), who, self.advice() if fallback.is_always else "")))

    def picture(self, folder: Path) -> Path | None:
        held = self.model.held
        if held is None:
            return None
        cuts = self.model.fitted.source.cut(held.sources[:200])
        readable = [i for i, cut in enumerate(cuts) if 5 <= len(cut) <= 25] or [0]
        return self.model.predict(held.sources[readable[0]]).picture(folder / "attention.png")


Report = TranslateReport
