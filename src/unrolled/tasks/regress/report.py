"""The report of a regression: table and verdict."""

from collections.abc import Iterator

from unrolled.data.numbered import Numbered
from unrolled.markup import Line
from unrolled.report.html import charts, elements
from unrolled.report.html.charts import Axis
from unrolled.report.html.elements import GRAY, TONES
from unrolled.report.html.page import Section
from unrolled.tasks.regress.model import RegressModel
from unrolled.tasks.report import TaskReport

_MOST_POINTS, _N_WORST = 2000, 8


class RegressReport(TaskReport[RegressModel, Numbered]):
    """The metrics of a regression in words."""

    def table(self) -> list[str]:
        who = {"model": "model", "baseline": self.model.fitted.baseline.name, "mean": "mean"}
        width = 2 + max(map(len, who.values()))
        lines = [f"{'':<{width}}{'MAE':>12}{'RMSE':>12}{'R²':>10}"]
        for key, name in who.items():
            row = self.metrics[key]
            lines.append(f"{name:<{width}}{row['mae']:>12.6g}{row['rmse']:>12.6g}{_short(row['r2']):>10}")
        return lines

    def in_words(self, value: float) -> str:
        return f"{value:.6g}"

    def exhibits(self, held: Numbered | None) -> Iterator[Section]:
        if held is None:
            return
        part = held.part(range(min(_MOST_POINTS, len(held))))
        found = self.model.predict_all(part.items)
        truth, numbers = part.targets.tolist(), [each.number for each in found]
        ends = [min(truth), max(truth)]
        lines = [Line("as it is", ends, ends, GRAY)]
        if (first := found[0]).low is not None and first.high is not None:
            for name, bound in (("80 % lie between", first.low), ("and", first.high)):
                away = bound - first.number
                lines.append(Line(name, ends, [end + away for end in ends], TONES[1], is_dashed=True))
        shown = charts.points(
            truth, numbers, Axis("as it is"), Axis("predicted"), caption="predicted (up) against as it is (across)",
            lines=lines, label=f"{len(truth):,} points: predicted numbers against the true ones",
        )  # fmt: skip
        yield Section("Predicted against true", shown)
        worst = sorted(range(len(part)), key=lambda i: -abs(truth[i] - numbers[i]))[:_N_WORST]
        rows = [(found[i].text, truth[i], numbers[i], numbers[i] - truth[i]) for i in worst]
        yield Section(
            "Where it is farthest off", elements.table(("item", "as it is", "predicted", "off by"), rows, "worst items")
        )


def _short(r2: float) -> str:
    """R² with three digits after the point; of other units than those of the training it may be -10⁶."""
    return f"{round(r2, 3) + 0.0:.3f}" if r2 > -1000 else f"{r2:.3g}"


Report = RegressReport
