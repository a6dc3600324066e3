"""What a check-up has found: measurements of each layer, findings in sentences.

Inputs: measurements, as `checkup.py` puts them in. Outputs: a text, plain data, pictures.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unrolled.insight.checkup_plot import drawn
from unrolled.insight.layer_checkup import LayerCheckup, in_words, plain
from unrolled.insight.past import Past
from unrolled.insight.record import Record
from unrolled.json_values import JsonObject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (
    "NaN",
    "exploding",
    "vanishing",
    "truncation too short",
    "saturated gates",
    "dead units",
    "unstable in evaluation",
    "no memory needed",
)


@dataclass(frozen=True)
class Finding:
    """A fault of a network.

    Attributes:
        kind: one of "NaN", "exploding", "vanishing", "truncation too short", "saturated gates", "dead units", "unstable
            in evaluation", "no memory needed".
        layer: where, such as "encoder, layer 1, forward"; empty where it is the whole model.
        evidence: what was measured, a sentence with the numbers.
        advice: what to do.
    """

    kind: str
    layer: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        where = f"{self.layer}: " if self.layer else ""
        return f"{where}{self.evidence} {self.advice}"


@dataclass(frozen=True, eq=False, repr=False)
class Checkup:
    """What `unrolled.checkup` has found.

    Attributes:
        verdict: the findings, the gravest first; empty for a healthy net.
        half_life: steps in which the gradient halves on its way back, of the layer where it reaches farthest; infinite
            where it does not fall, NaN where there is none.
        horizon: steps before the last one that still count: what comes before them changes the loss, or without a loss
            the output, by less than 5 % of what is to be known.
        lyapunov: the leading exponents of all layers, in 1/step, the largest first.
        layers: the measurements of each layer and direction.
        past: what the past is worth, by steps; None where it could not be measured.
        loss: its value in evaluation mode.
        n_steps: of the longest layer.
        record: of the probe; its gradients are those of the last step's output.
        unseen: names of recurrent modules that could not be looked into, with the reason.
    """

    verdict: list[Finding]
    half_life: float
    horizon: int
    lyapunov: list[float]
    layers: list[LayerCheckup]
    past: Past | None
    loss: float
    n_steps: int
    record: Record
    unseen: dict[str, str] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.verdict

    def to_dict(self) -> JsonObject:
        """All measurements as plain data, for JSON; what is infinite or NaN is None."""
        past = self.past
        return {
            "verdict": [vars(finding) | {"text": str(finding)} for finding in self.verdict],
            "half_life": plain(self.half_life),
            "horizon": self.horizon,
            "lyapunov": list(map(plain, self.lyapunov)),
            "steps": self.n_steps,
            "loss": plain(self.loss),
            "past": None
            if past is None
            else {
                "contexts": past.contexts,
                "shares": list(map(plain, past.shares)),
                "losses": list(map(plain, past.losses)),
                "of_loss": past.of_loss,
                "gain": plain(past.gain),
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "unseen": self.unseen,
        }

    def plot(self) -> "Figure":
        """Four pictures in a figure of matplotlib's: the gradient-flow map (time by layer), forgetting times, Lyapunov
        exponents, and the means of gates over the sequence.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in self.verdict))
        return drawn(self.layers, self.record, f"Check-up: {kinds or 'nothing found'}")

    def __str__(self) -> str:
        lines = [f"- {finding}" for finding in self.verdict] or ["Nothing found."]
        lines += ["", self._in_short()]
        lines += [str(layer) for layer in self.layers]
        lines += [f"not seen: {name or 'the model'}: {reason}" for name, reason in self.unseen.items()]
        return "\n".join(lines)

    def _in_short(self) -> str:
        parts = [f"gradient: {in_words(self.half_life)}"] if not math.isnan(self.half_life) else []
        parts.append(f"the past counts up to {self.horizon} of {self.n_steps - 1} steps back")
        if self.lyapunov:
            parts.append(f"largest Lyapunov exponent {self.lyapunov[0]:.3f} per step")
        parts.append(f"loss {self.loss:.4g}")
        return "; ".join(parts)

    def __repr__(self) -> str:
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in self.verdict)) or "nothing found"
        return f"<Checkup: {kinds}; horizon {self.horizon} of {self.n_steps - 1} steps>"
