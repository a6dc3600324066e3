"""A check-up as a section of a page: the findings in sentences, and the measurements that they are made of.

Inputs: a `Checkup`. Outputs: HTML.
"""

import math

from unrolled.insight.diagnosis import Checkup
from unrolled.insight.layer_checkup import LayerCheckup
from unrolled.markup import Line
from unrolled.report.html import charts, elements
from unrolled.report.html.charts import Axis
from unrolled.report.html.elements import TONES
from unrolled.report.html.page import Section

_MOST_LAYERS = 6  # in one picture
_LEAST = -30.0  # power of ten: below it a gradient is drawn as that
TITLE = "Check-up"
_BACK = Axis("steps before the last one", is_counted=True)


def section(found: Checkup, on: str) -> Section:
    """The section.

    Args:
        found: the check-up.
        on: the data that it was made on, in words.
    """
    findings = "".join(f"<li>{elements.text(f'{each.kind}: {each}', 2000)}</li>" for each in found.verdict)
    said = f"<ul>{findings}</ul>" if findings else elements.paragraph("Nothing found.", "verdict")
    drawn = "".join(
        filter(None, (_gradients(found.layers), _past(found), _forgetting(found.layers), _exponents(found.layers)))
    )
    measurements = elements.preformatted(str(found).splitlines(), "all measurements of the check-up")
    return Section(
        TITLE,
        elements.paragraph(f"What is wrong with the network, as unrolled.checkup measures it on {on}.", "dim")
        + said
        + f'<div class="grid">{drawn}</div>'
        + elements.details("all measurements", measurements),
    )


def _gradients(layers: list[LayerCheckup]) -> str:
    """How much of the gradient of the last step is left, by steps back."""
    lines: list[Line] = []
    for layer in layers:
        if layer.reach is None:
            continue
        known = {back: power for back, power in enumerate(layer.reach.curve.tolist()) if math.isfinite(power)}
        values = [10.0 ** max(power, _LEAST) for power in known.values()]
        lines.append(Line(layer.name, list(known), values, TONES[len(lines) % len(TONES)]))
    return charts.curves(
        lines[:_MOST_LAYERS], _BACK, Axis("norm", is_log=True), caption="the last step's gradient on its way back"
    )


def _past(found: Checkup) -> str:
    """What is lost where the network knows no more than some steps."""
    past = found.past
    if past is None or len(past.contexts) < 2:
        return ""
    line = Line("lost", past.contexts, past.shares, TONES[0])
    caption = f"what is lost of its {'loss' if past.of_loss else 'output'} where it knows so few steps"
    return charts.curves([line], Axis("steps that it knows", is_counted=True), Axis("share lost"), caption=caption)


def _forgetting(layers: list[LayerCheckup]) -> str:
    """How long each unit keeps what it knows, the longest first."""
    lines: list[Line] = []
    for layer in layers:
        for leaf, times in layer.forgetting.items():
            known = sorted(
                (value for value in times.double().tolist() if math.isfinite(value) and value > 0), reverse=True
            )
            if known:
                tone = TONES[len(lines) % len(TONES)]
                lines.append(Line(f"{layer.name}: {leaf}", range(1, len(known) + 1), known, tone))
    units = Axis("units, the longest first", is_counted=True)
    y = Axis("steps until a change has halved", is_log=True)
    return charts.curves(lines[:_MOST_LAYERS], units, y, caption="how long each unit remembers, in steps")


def _exponents(layers: list[LayerCheckup]) -> str:
    """Whether states along the data come together, below zero, or drift apart."""
    lines = [
        Line(layer.name, range(1, len(layer.lyapunov) + 1), layer.lyapunov, TONES[i % len(TONES)])
        for i, layer in enumerate(each for each in layers if each.lyapunov)
    ]
    lines = lines[:_MOST_LAYERS]
    if lines:
        lines.append(charts.baseline_line("neither apart nor together", [1, max(len(line.x) for line in lines)], 0.0))
    return charts.curves(
        lines, Axis("exponent", is_counted=True), Axis("1/step"), caption="Lyapunov exponents, per step"
    )
