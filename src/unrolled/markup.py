"""HTML that notebooks show: facts, tables, charts.

Inputs: texts and numbers. Outputs: HTML in which all texts are escaped. Colors are those of the page or read well on
light and on dark ones; nothing is loaded from elsewhere. A file of its own, as engine, training and tasks all use it.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BLUE, GRAY = "#3b82d6", "#8a8a8a"  # 4.0 and 3.5 to 1 on white, 4.1 and 4.7 to 1 on #181818
_MOST_CHARS = 200  # of a cell
_MOST_POINTS = 400  # of a line
_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE = 560, 170, 64, 20, 8
_RULE = "border:0;border-bottom:1px solid rgba(128,128,128,.3)"
_CELL = f"{_RULE};padding:2px 12px 2px 0;text-align:left;vertical-align:top;font-size:13px"


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        name: for the legend.
        x, y: as many; what is not finite is left out.
        color: as HTML names it.
        is_dashed: whether it is drawn so.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    color: str = BLUE
    is_dashed: bool = False


@dataclass(frozen=True)
class Band:
    """An area between two curves, `low` and `high`, which are as many as `x`."""

    name: str
    x: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray
    high: Sequence[float] | np.ndarray


def block(*parts: str) -> str:
    """Parts below each other, in the colors of the page."""
    whole = "".join(part for part in parts if part)
    return f'<div style="max-width:760px;color:inherit;line-height:1.45;overflow-x:auto">{whole}</div>'


def heading(name: str, remark: str = "") -> str:
    """A name, and in gray what it is."""
    beside = f' <span style="opacity:.7">{html.escape(remark)}</span>' if remark else ""
    return f"<div><b>{html.escape(name)}</b>{beside}</div>"


def sentence(text: str, *, is_bold: bool = False) -> str:
    """A paragraph; nothing for an empty text."""
    weight = "font-weight:600;" if is_bold else ""
    return f'<div style="{weight}margin:4px 0">{html.escape(text)}</div>' if text else ""


def facts(pairs: Mapping[str, object]) -> str:
    """Names with their values; those without a value are left out."""
    dim = "font-weight:400;opacity:.7;white-space:nowrap"
    rows = "".join(
        f'<tr style="background:none"><th style="{_CELL};{dim}">{html.escape(name)}</th>'
        f'<td style="{_CELL}">{html.escape(str(value))}</td></tr>'
        for name, value in pairs.items()
        if value not in (None, "")
    )
    return f'<table style="margin:4px 0;border-collapse:collapse">{rows}</table>' if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers with six digits."""
    top = "".join(f'<th style="{_CELL};font-weight:600">{escaped(name)}</th>' for name in head)
    body = "".join(
        '<tr style="background:none">' + "".join(f'<td style="{_CELL}">{escaped(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<table style="margin:4px 0;border-collapse:collapse"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def details(name: str, content: str) -> str:
    """Content that is folded until one clicks on its name."""
    return f'<details style="margin:4px 0"><summary>{escaped(name)}</summary>{content}</details>'


def preformatted(lines: Iterable[str]) -> str:
    """Lines as they stand."""
    text = html.escape("\n".join(lines))
    return f'<pre style="background:none;color:inherit;font-size:12px;line-height:1.35;margin:4px 0">{text}</pre>'


def bar(share: float) -> str:
    """How far something is, 0 to 1."""
    width = 100 * min(1.0, max(0.0, share))
    return (
        '<div style="width:100%;max-width:560px;height:6px;background:rgba(128,128,128,.25);border-radius:3px">'
        f'<div style="width:{width:.1f}%;height:6px;background:{BLUE};border-radius:3px"></div></div>'
    )


def escaped(value: object) -> str:
    """A value as text that is no HTML, cut where it is long."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return html.escape(text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 3]}...")


def chart(lines: Sequence[Line], *, band: Band | None = None, ends: tuple[str, str], label: str) -> str:
    """Curves over one axis, as SVG, with a legend above it.

    Args:
        lines: at least one with a finite point, else there is no chart.
        band: drawn below the lines.
        ends: what stands at the two ends of the axis.
        label: what it shows, for those who cannot see it.
    """
    xs = np.concatenate([np.asarray(line.x, dtype=float) for line in lines])
    ys = [np.asarray(line.y, dtype=float) for line in lines]
    ys += [np.asarray(each, dtype=float) for each in (band.low, band.high)] if band else []
    values = np.concatenate(ys)
    values = values[np.isfinite(values)]
    if not len(values) or not len(xs):
        return ""
    at = _Axes(float(xs.min()), float(xs.max()), float(values.min()), float(values.max()))
    drawn = ""
    if band is not None:
        outline = [*zip(band.x, band.low, strict=True), *reversed([*zip(band.x, band.high, strict=True)])]
        points = at.points([x for x, _ in outline], [y for _, y in outline])
        drawn += f'<polygon points="{points}" fill="{BLUE}" fill-opacity=".22"/>'
    drawn += "".join(_curve(line, at) for line in lines)
    text = 'fill="currentColor" fill-opacity=".75" font-size="11"'
    bottom = _HEIGHT - _BELOW
    drawn += (
        f'<path d="M{_LEFT} {_ABOVE}V{bottom}H{_WIDTH - 4}" stroke="currentColor" stroke-opacity=".4" fill="none"/>'
    )
    for value, y in {at.low: bottom, at.high: _ABOVE + 8}.items():
        drawn += f'<text x="{_LEFT - 5}" y="{y}" text-anchor="end" {text}>{value:.4g}</text>'
    for x, anchor, shown in ((_LEFT, "start", ends[0]), (_WIDTH - 4, "end", ends[1])):
        drawn += f'<text x="{x}" y="{_HEIGHT - 5}" text-anchor="{anchor}" {text}>{html.escape(shown)}</text>'
    return (
        _legend([(line.name, line.color, line.is_dashed) for line in lines], band)
        + f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" style="max-width:100%" '
        f'role="img" aria-label="{html.escape(label)}">{drawn}</svg>'
    )


@dataclass(frozen=True)
class _Axes:
    left: float
    right: float
    low: float
    high: float

    def points(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
        wide, tall = (self.right - self.left) or 1.0, (self.high - self.low) or 1.0
        return " ".join(
            f"{_LEFT + (_WIDTH - 4 - _LEFT) * (float(a) - self.left) / wide:.1f},"
            f"{_HEIGHT - _BELOW - (_HEIGHT - _BELOW - _ABOVE) * (float(b) - self.low) / tall:.1f}"
            for a, b in zip(x, y, strict=True)
            if math.isfinite(b)
        )


def _curve(line: Line, at: _Axes) -> str:
    step = max(1, math.ceil(len(line.x) / _MOST_POINTS))
    x, y = ([*values[:-1:step], values[-1]] if len(values) else [] for values in (line.x, line.y))
    points, dash = at.points(x, y), ' stroke-dasharray="5 4"' if line.is_dashed else ""
    if " " not in points and points:  # one point makes no line
        first, second = points.split(",")
        return f'<circle cx="{first}" cy="{second}" r="3" fill="{line.color}"/>'
    return f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.7"{dash}/>'


def _legend(lines: Sequence[tuple[str, str, bool]], band: Band | None) -> str:
    marks = [
        f'<span style="border-top:2px {"dashed" if is_dashed else "solid"} {color};display:inline-block;width:18px;'
        f'vertical-align:middle"></span> {escaped(name)}'
        for name, color, is_dashed in lines
    ]
    if band is not None:
        square = f"background:{BLUE};opacity:.3;display:inline-block;width:18px;height:9px"
        marks.append(f'<span style="{square}"></span> {escaped(band.name)}')
    return f'<div style="font-size:12px">{" &nbsp; ".join(marks)}</div>'
