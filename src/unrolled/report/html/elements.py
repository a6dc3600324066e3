"""Parts of a page: facts, tables, examples with marked spans, commands.

Inputs: texts and numbers. Outputs: HTML in which all texts are escaped, and cut where they are long.
"""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence

TONES = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)")
GRAY = "var(--gray)"
_MOST_CHARS = 400  # of a cell
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # not to be had in HTML


def text(value: object, most: int = _MOST_CHARS) -> str:
    """A value as text that is no HTML."""
    shown = "" if value is None else number(value) if isinstance(value, float) else str(value)
    shown = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", shown)
    return html.escape(shown if len(shown) <= most else f"{shown[: most - 1]}…")


def number(value: float) -> str:
    """A number in a few digits."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    return f"{value:,.0f}" if abs(value) >= 10_000 and value == round(value) else f"{value:.5g}"


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph, with code between backticks; nothing for an empty text."""
    shown = re.sub("`([^`]+)`", r"<code>\1</code>", text(words, 5000))
    return f'<p class="{kind}">{shown}</p>' if words else ""


def heading(words: str) -> str:
    """A heading within a section."""
    return f"<h3>{text(words)}</h3>"


def scrolling(content: str, label: str) -> str:
    """Content that may be wider than the page: it scrolls by itself, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{content}</div>'


def facts(pairs: Mapping[str, object], label: str) -> str:
    """Names with their values; those without a value are left out."""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value, 2000)}</td></tr>'
        for name, value in pairs.items()
        if value not in (None, "")
    )
    return f'<table class="facts" aria-label="{text(label)}"><tbody>{rows}</tbody></table>' if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], label: str) -> str:
    """A table whose first column names the rows; numbers stand to the right."""
    body = [list(row) for row in rows]
    is_number = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(head))]
    kinds = [' class="n"' if each else "" for each in is_number]
    top = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' if name else "<td></td>"
        for name, kind in zip(head, kinds, strict=True)
    )
    lines = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row"{kind}>{text(cell)}</th>' if not i else f"<td{kind}>{text(cell)}</td>"
            for i, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        )
        + "</tr>"
        for row in body
    )
    return scrolling(f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>", label)


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float) or bool(re.fullmatch(r"-?[\d,.]+( %)?|", str(value)))


def counts(of: Mapping[str, Mapping[str, int]], rows: str, columns: str, label: str) -> str:
    """A confusion matrix: a row per label, shaded by its share of the row."""
    names = list(of)
    top = "".join(f'<th scope="col">{text(name, 40)}</th>' for name in names)
    lines = ""
    for name, row in of.items():
        whole = max(1, sum(row.values()))
        cells = "".join(
            f'<td class="n share" style="--p:{100 * row.get(each, 0) / whole:.1f}%">{row.get(each, 0):,}</td>'
            for each in names
        )
        lines += f'<tr><th scope="row">{text(name, 40)}</th>{cells}</tr>'
    corner = f'<td class="dim">{text(rows)} ↓ {text(columns)} →</td>'
    whole_table = f'<table class="counts"><thead><tr>{corner}{top}</tr></thead><tbody>{lines}</tbody></table>'
    return scrolling(whole_table, label)


def bars(rows: Mapping[str, tuple[float, float, int]], metric: str, of: str, label: str) -> str:
    """Shares by name, as bars in a table: the model's, the baseline's, and of how many."""
    heads = ("", f"model, {metric}", f"baseline, {metric}", of)
    top = "<td></td>" + "".join(f'<th scope="col">{text(name)}</th>' for name in heads[1:])
    lines = "".join(
        f'<tr><th scope="row">{text(name, 60)}</th>{_bar(model, TONES[0])}{_bar(baseline, GRAY)}'
        f'<td class="n">{n:,}</td></tr>'
        for name, (model, baseline, n) in rows.items()
    )
    return scrolling(f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>", label)


def _bar(share: float, tone: str) -> str:
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return f'<td class="bar" style="--p:{width:.1f}%;--t:{tone}">{100 * share:.1f} %</td>'


def details(name: str, content: str) -> str:
    """Content that is folded until one opens it; nothing without content."""
    return f"<details><summary>{text(name)}</summary>{content}</details>" if content else ""


def preformatted(lines: Iterable[str], label: str) -> str:
    """Lines as they stand; wide ones scroll."""
    whole = text("\n".join(lines), 20_000)
    return f'<pre tabindex="0" role="region" aria-label="{text(label)}">{whole}</pre>' if whole else ""


def passage(words: str) -> str:
    """A text of several lines, wrapped where it is wide."""
    return f'<pre class="wrap">{text(words, 20_000)}</pre>'


def commands(lines: Iterable[str]) -> str:
    """Commands to copy."""
    return f'<pre class="wrap"><code>{text(chr(10).join(lines), 20_000)}</code></pre>'


def examples(parts: Iterable[str]) -> str:
    """Examples below each other, HTML each."""
    items = "".join(f"<li>{each}</li>" for each in parts)
    return f'<ol class="examples">{items}</ol>' if items else ""


def marked(words: str, spans: Iterable[tuple[int, int, str]], tones: Mapping[str, str]) -> str:
    """A text with marked spans, each named behind it; spans that overlap another are left out.

    Args:
        words: the text.
        spans: start, end and name of each piece, in characters.
        tones: a color for each name; the first color for others.
    """
    found, at = "", 0
    for start, end, name in sorted(spans):
        if start < at or end <= start:
            continue
        tone = tones.get(name, TONES[0])
        found += f'{text(words[at:start], 2000)}<mark style="--t:{tone}">{text(words[start:end], 2000)}'
        found += f" <small>{text(name, 40)}</small></mark>"
        at = end
    return found + text(words[at:], 2000)


def weighted(words: str, weights: Iterable[tuple[int, int, float]]) -> str:
    """A text whose parts are shaded: blue for what is above zero, orange for what is below, darker for more."""
    kept = list(weights)
    most = max((abs(each) for _, _, each in kept), default=0.0) or 1.0
    found, at = "", 0
    for start, end, weight in sorted(kept):
        if start < at or end <= start:
            continue
        tone, strength = TONES[0] if weight > 0 else TONES[1], 30 * abs(weight) / most
        shade = f"background:color-mix(in srgb,{tone} {strength:.0f}%,transparent);border:0"
        found += (
            f'{text(words[at:start], 2000)}<mark style="{shade}" title="{weight:+.2f}">{text(words[start:end])}</mark>'
        )
        at = end
    return found + text(words[at:], 2000)


def tones_of(names: Iterable[str]) -> dict[str, str]:
    """A color for each name, in their order; they repeat after six."""
    return {name: TONES[i % len(TONES)] for i, name in enumerate(dict.fromkeys(names))}
