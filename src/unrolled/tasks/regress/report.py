"""The report of the task's models: table and verdict."""

from unrolled.tasks.regress.model import RegressModel
from unrolled.tasks.report import TaskReport


class RegressReport(TaskReport[RegressModel]):
    """What a model of the task reached, in words."""

    def table(self) -> list[str]:
        who = {"model": "model", "baseline": self.model.fitted.baseline.name, "mean": "mean"}
        width = 2 + max(map(len, who.values()))
        lines = [f"{'':<{width}}{'MAE':>12}{'RMSE':>12}{'R²':>10}"]
        for key, name in who.items():
            row = self.figures[key]
            lines.append(f"{name:<{width}}{row['mae']:>12.6g}{row['rmse']:>12.6g}{row['r2']:>10.3f}")
        return lines

    def in_words(self, figure: float) -> str:
        return f"{figure:.6g}"


Report = RegressReport
