"""Charts as SVG within a page: curves, points, grids and spectrograms.

Inputs: numbers and names. Outputs: HTML with a caption, a legend and a picture whose colors are those of the page. Own
SVG in place of matplotlib's: why, docs/design/report.md.
"""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.markup import Band, Line
from unrolled.report.html.elements import GRAY, TONES, number, scrolling, text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BELOW, _ABOVE = 440, 240, 58, 12, 42, 10
_MOST_POINTS, _MOST_DOTS, _MOST_MARKED = 400, 1500, 40
_CELL = 18  # of a grid
_MOST_IMAGE = 1200  # frames of a spectrogram
_HEAT = np.array([[12, 8, 38], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])  # dark to bright


@dataclass(frozen=True)
class Axis:
    """What stands at an axis.

    Attributes:
        name: in words.
        ticks: places and their names; round numbers if None.
        is_log: whether equal distances are equal ratios; of y alone, where all is above zero.
        is_counted: whether all that stands there are whole numbers.
    """

    name: str
    ticks: Sequence[tuple[float, str]] | None = None
    is_log: bool = False
    is_counted: bool = False


class _Plane:
    """From numbers to places in the picture."""

    def __init__(self, xs: np.ndarray, ys: np.ndarray, x: Axis, y: Axis) -> None:
        ys = ys[np.isfinite(ys)]
        self.is_log = y.is_log and bool((ys > 0).all())
        self.left, self.right = _spread(float(xs.min()), float(xs.max()), 0.0)
        low, high = float(ys.min()), float(ys.max())
        self.low, self.high = (math.log10(low), math.log10(high)) if self.is_log else (low, high)
        self.low, self.high = _spread(self.low, self.high, 0.06)
        self.x, self.y = x, y

    def across(self, x: float) -> float:
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * (x - self.left) / (self.right - self.left)

    def down(self, y: float) -> float:
        y = math.log10(y) if self.is_log else y
        return _HEIGHT - _BELOW - (_HEIGHT - _BELOW - _ABOVE) * (y - self.low) / (self.high - self.low)

    def points(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> list[str]:
        return [
            f"{self.across(float(a)):.1f},{self.down(float(b)):.1f}"
            for a, b in zip(x, y, strict=True)
            if math.isfinite(a) and math.isfinite(b)
        ]

    def frame(self) -> str:
        """Axes, ticks and names."""
        bottom = _HEIGHT - _BELOW
        drawn = f'<path d="M{_LEFT} {_ABOVE}V{bottom}H{_WIDTH - _RIGHT}" stroke="var(--dim)" fill="none"/>'
        places = (
            self.x.ticks if self.x.ticks is not None else ticks(self.left, self.right, 5, is_counted=self.x.is_counted)
        )
        taken: list[tuple[float, float]] = []
        for value, name in places:
            at, wide = self.across(value), 7.8 * len(name)
            # names stay within the picture, and one that would cover an earlier one is left out
            first = min(max(at - wide / 2, _LEFT - 20), _WIDTH - wide)
            if not self.left <= value <= self.right or any(a < first + wide and first < b for a, b in taken):
                continue
            taken.append((first - 8, first + wide + 8))
            drawn += f'<path d="M{at:.1f} {bottom}v4" stroke="var(--dim)"/>'
            # at the edge by its end, as fonts are of different widths
            place = f'x="{_WIDTH}" text-anchor="end"' if first == _WIDTH - wide else f'x="{first:.1f}"'
            drawn += f'<text class="axis" {place} y="{bottom + 17}">{text(name)}</text>'
        for value, name in self._heights():
            at = self.down(value)
            drawn += f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="var(--rule)" stroke-opacity=".6"/>'
            drawn += f'<text class="axis" x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text(name)}</text>'
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        return drawn + (
            f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{text(self.x.name)}</text>'
        )

    def _heights(self) -> Sequence[tuple[float, str]]:
        if self.y.ticks is not None:
            return self.y.ticks
        if not self.is_log:
            return ticks(self.low, self.high, 5)
        first, last = math.ceil(self.low), math.floor(self.high)
        if last - first < 1:
            return [(10**at, f"{10**at:.3g}") for at, _ in ticks(self.low, self.high, 4)]
        step = max(1, math.ceil((last - first) / 5))
        return [
            (10.0**power, f"1e{power}" if abs(power) > 3 else f"{10.0**power:g}")
            for power in range(first, last + 1, step)
        ]


def _spread(low: float, high: float, share: float) -> tuple[float, float]:
    """A range that is not empty, a share wider on both sides."""
    if high <= low:
        around = abs(low) * 0.05 or 0.5
        return low - around, high + around
    return low - share * (high - low), high + share * (high - low)


def ticks(low: float, high: float, n: int, *, is_counted: bool = False) -> list[tuple[float, str]]:
    """Some `n` round numbers in a range, with as many decimals as tell them apart; of counts whole ones."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    step = max(1.0, step) if is_counted else step
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    places = [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    if max(map(abs, places), default=0.0) >= 1e6 or decimals > 5:
        return [(place, f"{place:.3g}") for place in places]
    return [(place, f"{place if abs(place) > step / 1e6 else 0.0:,.{decimals}f}") for place in places]


def curves(lines: Sequence[Line], x: Axis, y: Axis, *, caption: str, band: Band | None = None, label: str = "") -> str:
    """Curves over one axis; nothing where no number is finite.

    Args:
        lines: in the order of the legend; a line of few points has a dot at each.
        x: what stands at the axis across.
        y: what stands at the axis up.
        caption: above the picture, as text.
        band: an area below the lines.
        label: what the picture says, for those who cannot see it; where the curves begin and end if empty.
    """
    xs = np.concatenate([np.asarray(line.x, dtype=float) for line in lines] or [np.zeros(0)])
    parts = [np.asarray(line.y, dtype=float) for line in lines]
    parts += [np.asarray(each, dtype=float) for each in (band.low, band.high)] if band is not None else []
    ys = np.concatenate(parts or [np.zeros(0)])
    if not np.isfinite(ys).any() or not np.isfinite(xs).any():
        return ""
    plane = _Plane(xs[np.isfinite(xs)], ys, x, y)
    drawn = plane.frame()
    if band is not None:
        outline = plane.points(band.x, band.low) + plane.points(band.x, band.high)[::-1]
        drawn += f'<polygon points="{" ".join(outline)}" fill="{TONES[0]}" fill-opacity=".2"/>'
    drawn += "".join(_line(line, plane) for line in lines)
    told = "; ".join(filter(None, (_told(line) for line in lines)))
    return _figure(drawn, caption, label or f"{caption}. {y.name} by {x.name}: {told}", _legend(lines, band))


def _told(line: Line) -> str:
    """Where a curve begins and ends, in words."""
    known = [float(each) for each in line.y if math.isfinite(each)]
    if not known:
        return ""
    if line.is_dashed and known[0] == known[-1]:
        return f"{line.name} {number(known[0])}"
    return f"{line.name} from {number(known[0])} to {number(known[-1])}"


def _line(line: Line, plane: _Plane) -> str:
    step = max(1, math.ceil(len(line.x) / _MOST_POINTS))
    x, y = ([*values[:-1:step], values[-1]] if len(values) else [] for values in (line.x, line.y))
    points, dash = plane.points(x, y), ' stroke-dasharray="5 4"' if line.is_dashed else ""
    drawn = f'<polyline points="{" ".join(points)}" fill="none" stroke="{line.color}" stroke-width="2"{dash}/>'
    if len(points) <= _MOST_MARKED and not line.is_dashed:
        drawn += "".join(
            '<circle cx="{}" cy="{}" r="2.6" fill="{}"/>'.format(*each.split(","), line.color) for each in points
        )
    return drawn


def points(
    xs: Sequence[float] | np.ndarray,
    ys: Sequence[float] | np.ndarray,
    x: Axis,
    y: Axis,
    *,
    caption: str,
    lines: Sequence[Line] = (),
    label: str = "",
) -> str:
    """Points of two numbers each, and lines for comparison; of very many points some, evenly."""
    of_x, of_y = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    known = np.isfinite(of_x) & np.isfinite(of_y)
    of_x, of_y = of_x[known], of_y[known]
    if not len(of_x):
        return ""
    whole_x = np.concatenate([of_x, *(np.asarray(line.x, dtype=float) for line in lines)])
    whole_y = np.concatenate([of_y, *(np.asarray(line.y, dtype=float) for line in lines)])
    plane = _Plane(whole_x, whole_y, x, y)
    step = max(1, math.ceil(len(of_x) / _MOST_DOTS))
    drawn = plane.frame() + "".join(_line(line, plane) for line in lines)
    drawn += "".join(
        '<circle cx="{}" cy="{}" r="2.6" fill="{}" fill-opacity=".5"/>'.format(*each.split(","), TONES[0])
        for each in plane.points(of_x[::step], of_y[::step])
    )
    return _figure(drawn, caption, label, _legend(lines, None) if lines else "")


def grid(rows: Sequence[str], columns: Sequence[str], shares: np.ndarray, *, caption: str, label: str = "") -> str:
    """Shares [rows, columns] from 0 to 1 as shaded squares, with a name at each row and column."""
    left = 16 + 7 * max((min(len(each), 18) for each in rows), default=0)
    above = 16 + 5 * max((min(len(each), 18) for each in columns), default=0)
    wide, tall = left + _CELL * len(columns) + 70, above + _CELL * len(rows) + 8
    drawn = ""
    for j, name in enumerate(columns):
        at = left + _CELL * j + 12
        drawn += f'<text x="{at}" y="{above - 5}" transform="rotate(-50 {at} {above - 5})">{text(name, 18)}</text>'
    for i, name in enumerate(rows):
        top = above + _CELL * i
        drawn += f'<text x="{left - 6}" y="{top + 13}" text-anchor="end">{text(name, 18)}</text>'
        for j, other in enumerate(columns):
            share = float(shares[i, j])
            if share >= 0.01:
                drawn += (
                    f'<rect x="{left + _CELL * j}" y="{top}" width="{_CELL - 1}" height="{_CELL - 1}" '
                    f'fill="{TONES[0]}" fill-opacity="{min(1.0, share):.2f}">'
                    f"<title>{text(name)}, {text(other)}: {share:.2f}</title></rect>"
                )
    outline = f'x="{left - 0.5}" y="{above - 0.5}" width="{_CELL * len(columns)}" height="{_CELL * len(rows)}"'
    drawn += f'<rect {outline} fill="none" stroke="var(--rule)"/>'
    size = f'viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}"'
    picture = f'<svg {size} role="img" aria-label="{text(label or caption)}">'
    return (
        f"<figure><figcaption>{text(caption)}</figcaption>"
        f"{scrolling(picture + drawn + '</svg>', f'picture: {caption}')}</figure>"
    )


def spectrogram(
    frames: np.ndarray, step_s: float, words: Sequence[tuple[str, float, float]], *, caption: str, label: str = ""
) -> str:
    """A sound's features [frames, bands] over time, the low bands below, with words where they were heard."""
    every = max(1, math.ceil(len(frames) / _MOST_IMAGE))
    seconds, above = len(frames) * step_s, 26
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BELOW
    image = base64.b64encode(_png(frames[::every].T[::-1])).decode()
    across = lambda second: _LEFT + (right - _LEFT) * min(1.0, max(0.0, second / seconds))
    drawn = (
        f'<image href="data:image/png;base64,{image}" x="{_LEFT}" y="{above}" width="{right - _LEFT}" '
        f'height="{bottom - above}" preserveAspectRatio="none"/>'
    )
    for word, start, end in words:
        first, last = across(start), across(end)
        drawn += (
            f'<path d="M{first:.1f} {bottom}V{above - 4}H{last:.1f}V{bottom}" '
            f'stroke="{TONES[1]}" fill="none"/>'
            f'<text x="{(first + last) / 2:.1f}" y="{above - 9}" text-anchor="middle">{text(word, 16)}</text>'
        )
    for value, name in ticks(0.0, seconds, 5):
        at = across(value)
        drawn += f'<path d="M{at:.1f} {bottom}v4" stroke="var(--dim)"/>'
        drawn += f'<text class="axis" x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{name}</text>'
    middle = (_LEFT + right) / 2
    drawn += f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">seconds</text>'
    for y, name in ((bottom, "low"), (above + 12, "high")):
        drawn += f'<text class="axis" x="{_LEFT - 6}" y="{y}" text-anchor="end">{name}</text>'
    return _figure(drawn, caption, label, "")


def _png(values: np.ndarray) -> bytes:
    """A picture of numbers [height, width], dark to bright between their 2nd and 98th percentile."""
    low, high = np.percentile(values[np.isfinite(values)], (2, 98)) if np.isfinite(values).any() else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / ((high - low) or 1.0), 0, 1)
    levels = (63 * scaled).astype(np.uint8)
    shades = np.stack([np.interp(np.linspace(0, 4, 64), range(5), _HEAT[:, k]) for k in range(3)], 1)
    height, width = levels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in levels)  # each line unfiltered

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, by palette
    parts = (chunk(b"IHDR", head), chunk(b"PLTE", shades.astype(np.uint8).tobytes()))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def _figure(drawn: str, caption: str, label: str, legend: str) -> str:
    return (
        f"<figure><figcaption>{text(caption)}</figcaption>{legend}"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{text(label or caption)}">{drawn}</svg></figure>'
    )


def _legend(lines: Sequence[Line], band: Band | None) -> str:
    marks = [
        f'<li><span class="key" style="border-color:{line.color};'
        f'border-top-style:{"dashed" if line.is_dashed else "solid"}"></span>{text(line.name, 60)}</li>'
        for line in lines
    ]
    if band is not None:
        marks.append(f'<li><span class="key band" style="background:{TONES[0]}"></span>{text(band.name)}</li>')
    return f'<ul class="legend">{"".join(marks)}</ul>'


def baseline_line(name: str, xs: Sequence[float], value: float) -> Line:
    """A baseline's number as a dashed line."""
    return Line(name, [min(xs), max(xs)], [value, value], GRAY, is_dashed=True)
