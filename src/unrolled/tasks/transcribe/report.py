"""The report of a transcriber: table, verdict and picture."""

from collections.abc import Iterator
from pathlib import Path

from unrolled.baselines.template import Templates
from unrolled.data.counted import counted
from unrolled.data.fbank import STEP_S
from unrolled.data.transcripts import Transcribed
from unrolled.report import pictures
from unrolled.report.html import charts, elements
from unrolled.report.html.page import Section
from unrolled.tasks.fallback import MODEL, NETWORK
from unrolled.tasks.report import TaskReport, spread
from unrolled.tasks.transcribe.fitted import FREQUENT
from unrolled.tasks.transcribe.model import TranscribeModel

_N_EXAMPLES = 8


class TranscribeReport(TaskReport[TranscribeModel, Transcribed]):
    """The metrics of a transcriber in words."""

    def table(self) -> list[str]:
        lines = [f"{'':<28}{'word':>10}{'character':>12}{'sound':>10}  errors"]
        for name in self._rows():
            row = self.metrics[name]
            lines.append(f"{name:<28}{row['wer']:>8.2%}  {row['cer']:>10.2%}  {row['ser']:>8.2%}".replace("%", " %"))
        return [*lines, f"{counted(self.metrics['n_sounds'], 'sound')}, {self.metrics['seconds'] / 60:.1f} minutes"]

    def last_line(self) -> str:
        fallback = self.model.fallback()
        who = fallback.sentence(f"the {fallback.baseline}", self.metrics.get("by", {}), "sounds")
        return " ".join(filter(None, (super().last_line(), who, self.advice() if fallback.is_always else "")))

    def picture(self, folder: Path) -> Path | None:
        held = self.model.held
        if held is None:
            return None
        sound = held.load(0)
        found = self.model.transcribe([sound])[0]
        path = folder / "heard.png"
        return pictures.heard(self.model.frames(sound), STEP_S, found.words, held.transcripts[0], path)

    def exhibits(self, held: Transcribed | None) -> Iterator[Section]:
        if held is None:
            return
        some = held.part(spread(len(held), _N_EXAMPLES))
        sounds = [some.load(i) for i in range(len(some))]
        found, by_network = self.model.transcribe(sounds), self.model.transcribe(sounds, answer=MODEL)
        first = next((i for i, each in enumerate(by_network) if each.words), 0)
        heard, said = by_network[first], some.transcripts[first]
        words = [(each["word"], each["start"], each["end"]) for each in heard.words]
        shown = charts.spectrogram(
            self.model.frames(sounds[first]), STEP_S, words,
            caption=f"said: {said[:80]}; the network: {heard.text[:80] or 'nothing'}",
            label=f"spectrogram of {said!r}; heard: {heard.text or 'nothing'}",
        )  # fmt: skip
        yield Section("What was heard where", shown)
        rows = [
            (
                f"{each.seconds:.2f} s",
                said,
                each.text,
                "" if each.confidence is None else f"{each.confidence:.2f}",
                each.by,
            )
            for each, said in zip(found, some.transcripts, strict=True)
        ]
        head = ("sound", "said", "heard", "confidence", "by")
        yield Section("Examples", elements.table(head, rows, "transcripts"))

    def _rows(self) -> list[str]:
        return [name for name in (MODEL, NETWORK, FREQUENT, Templates.name) if name in self.metrics]


Report = TranscribeReport
