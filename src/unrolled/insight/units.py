"""Single units of a network that reads text: what each follows, and the text colored by it.

Inputs: a text, and the value of each unit after each of its characters. Outputs: the units that follow a feature of
the text best, judged on a part that did not choose them; the text as HTML, as a picture and for a terminal.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unrolled.errors import SettingsError
from unrolled.insight.text_features import features_of

_SHIFTS = 20  # of the comparison by chance
_LEAST = 8  # characters with and without a feature, in each half
_WIDTH = 100  # characters of a line of a picture
_RED, _BLUE = (214, 69, 65), (59, 130, 214)
_HALF = 0.5  # of a value's color on a page that may be light or dark


@dataclass(frozen=True)
class Follower:
    """The unit that follows a feature best.

    Attributes:
        feature: its name.
        unit, number: the unit's name, and its place among all.
        measure: "AUC" of what is or is not (0.5 is chance), "correlation" of a number (0 is chance).
        value: on the second half of the text; unit and sign were chosen on the first.
        by_chance: the same of the best unit after the feature was moved along the text, the largest of 20 times.
    """

    feature: str
    unit: str
    number: int
    measure: str
    value: float
    by_chance: float

    @property
    def is_found(self) -> bool:
        """Whether it is beyond chance."""
        return self.value > self.by_chance


@dataclass(frozen=True, eq=False, repr=False)
class UnitActivity:
    """What each unit does as a text is read.

    Attributes:
        text: the text.
        names: of the units, such as "layer 2 c 17".
        values: float32 [chars, units], after each character.
    """

    text: str
    names: list[str]
    values: np.ndarray

    def __repr__(self) -> str:
        return f"<UnitActivity: {len(self.names):,} units over {len(self.text):,} characters>"

    def number(self, unit: int | str) -> int:
        """The place of a unit among all, by its place or its name.

        Raises:
            SettingsError: there is none.
        """
        name = str(unit).strip()
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise SettingsError(
            f"unit {name!r}: there is none. Expected 0 to {len(self.names) - 1}, or a name such as {self.names[0]!r}."
        )

    def search(self) -> list[Follower]:
        """For each feature that the text has, the unit that follows it best; those beyond chance first.

        Raises:
            SettingsError: the text is too short to be judged.
        """
        if len(self.text) < 4 * _LEAST:
            raise SettingsError(f"units: a text of {len(self.text)} characters. Expected at least {4 * _LEAST}.")
        scores = _Scores(self.values)
        found = [
            follower
            for name, target in features_of(self.text).items()
            if (follower := self._best(name, target, scores))
        ]
        return sorted(found, key=lambda each: (not each.is_found, -each.value + each.by_chance))

    def _best(self, name: str, target: np.ndarray, scores: "_Scores") -> Follower | None:
        if not _is_there(target):
            return None
        unit, value = scores.best(target)
        step = len(target) // (_SHIFTS + 1)
        moved = [np.roll(target, step * (i + 1)) for i in range(_SHIFTS)]
        measure, none = ("AUC", 0.5) if _is_binary(target) else ("correlation", 0.0)
        by_chance = max((scores.best(each)[1] for each in moved if _is_there(each)), default=none)
        return Follower(name, self.names[unit], unit, measure, float(value), float(by_chance))

    def html(self, unit: int | str) -> str:
        """The text as a page, colored by a unit: red where it is high, blue where it is low."""
        number = self.number(unit)
        spans = "".join(
            f'<span style="background:rgba({r},{g},{b},{alpha:.2f})">{html.escape(run)}</span>'
            for run, (r, g, b), alpha in self._runs(number)
        )
        name = html.escape(self.names[number])
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            "<style>:root{color-scheme:light dark}body{max-width:70em;margin:2em auto;padding:0 1em;"
            "font-family:system-ui,sans-serif}pre{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6}</style>"
            f"<h1>{name}</h1><p>Red where the unit is high, blue where it is low.</p><pre>{spans}</pre></html>\n"
        )

    def svg(self, unit: int | str) -> str:
        """The same as a picture."""
        number = self.number(unit)
        x = y = 0
        parts = []
        for char, (r, g, b), alpha in self._runs(number, of_one=True):
            if char == "\n" or x == _WIDTH:
                x, y = 0, y + 1
            if char == "\n":
                continue
            at = f'x="{8 * x + 10}" y="{18 * y + 10}"'
            parts.append(f'<rect {at} width="8" height="18" fill="rgb({r},{g},{b})" fill-opacity="{alpha:.2f}"/>')
            if char.strip():
                shown = html.escape(char)
                parts.append(f'<text x="{8 * x + 10}" y="{18 * y + 23}">{shown}</text>')
            x += 1
        size = f'width="{8 * _WIDTH + 20}" height="{18 * (y + 1) + 20}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="13">'
            f'<title>{html.escape(self.names[number])}</title><rect width="100%" height="100%" fill="#fff"/>'
            + "".join(parts)
            + "</svg>\n"
        )

    def runs(self, unit: int | str) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Pieces of the text with the color behind each, on a white ground, for a terminal."""
        for run, color, alpha in self._runs(self.number(unit)):
            red, green, blue = (round(255 + alpha * (each - 255)) for each in color)
            yield run, (red, green, blue)

    def _runs(self, number: int, *, of_one: bool = False) -> Iterator[tuple[str, tuple[int, int, int], float]]:
        """Pieces of one color, what it is, and how strong: in 16 steps, as many as an eye tells apart."""
        values = self.values[:, number].astype(np.float64)
        values = values - np.median(values)
        most = float(np.abs(values).max()) or 1.0
        levels = np.rint(8 * values / most).astype(int).tolist()
        start = 0
        for i in range(1, len(levels) + 1):
            if of_one or i == len(levels) or levels[i] != levels[start]:
                level = levels[start]
                yield self.text[start:i], _RED if level > 0 else _BLUE, abs(level) / 8 * _HALF * 1.6
                start = i


class _Scores:
    """Values of units, ranked once: each half of the text by itself."""

    def __init__(self, values: np.ndarray) -> None:
        middle = len(values) // 2
        self._halves = [_Half(values[:middle]), _Half(values[middle:])]
        self._middle = middle

    def best(self, target: np.ndarray) -> tuple[int, float]:
        """The unit that fits best on the first half, and how well it fits on the second, with the sign of the first."""
        first, second = self._halves
        score = _auc if _is_binary(target) else _correlation
        chance = 0.5 if _is_binary(target) else 0.0
        chosen = score(first, target[: self._middle]) - chance
        unit = int(np.abs(chosen).argmax())
        held = score(second, target[self._middle :])[unit] - chance
        return unit, float(chance + np.sign(chosen[unit]) * held)


class _Half:
    def __init__(self, values: np.ndarray) -> None:
        order = values.argsort(0, kind="stable")
        self.ranks = np.empty_like(values, dtype=np.float64)
        np.put_along_axis(self.ranks, order, np.arange(1, len(values) + 1, dtype=np.float64)[:, None], 0)
        centered = values - values.mean(0)
        spread = np.sqrt(np.square(centered).sum(0))
        self.scaled = centered / np.where(spread > 0, spread, 1)
        self.moves = spread > 0


def _auc(half: _Half, target: np.ndarray) -> np.ndarray:
    """The probability that a unit is higher at a character with the feature than at one without, for each unit."""
    n, n_with = len(target), target.sum()
    above = half.ranks.T @ target - n_with * (n_with + 1) / 2
    return np.where(half.moves, above / (n_with * (n - n_with)), 0.5)


def _correlation(half: _Half, target: np.ndarray) -> np.ndarray:
    centered = target - target.mean()
    return half.scaled.T @ (centered / np.sqrt(np.square(centered).sum()))


def _is_binary(target: np.ndarray) -> bool:
    return bool(np.isin(target, (0, 1)).all())


def _is_there(target: np.ndarray) -> bool:
    """Whether both halves of a text have enough of a feature, and of one that is or is not enough without."""
    middle = len(target) // 2
    for half in (target[:middle], target[middle:]):
        n_other = int((half != np.median(half)).sum())
        if n_other < _LEAST or (_is_binary(target) and len(half) - n_other < _LEAST):
            return False
    return True
