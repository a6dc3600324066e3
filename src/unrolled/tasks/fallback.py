"""Who answers an item: the network, or a baseline where the network is less confident.

Inputs: of validation items, the network's confidence, and what its answers and the baselines' add to the metric.
Outputs: who answers. So a model is as good as its baseline before its network has learnt enough. For answers that are
texts, which cannot be blended as scores of classes are.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from unrolled.baselines.cross_fitted import folds_of
from unrolled.errors import ModelFileError
from unrolled.json_values import JsonObject
from unrolled.report.comparison import Score, ratio
from unrolled.settings import option

MODEL = "model"  # who answers; in the metrics, whatever answers
NETWORK = "network alone"  # in the metrics
_ALWAYS = 2.0  # above every probability
_LEAST = 20  # items on either side of a bound: fewer tell nothing about it
_BOUNDS = 20  # at most that are tried

Counts = Mapping[str, np.ndarray]  # by who answers, float [items, counts]


def answer_option() -> str:
    """The setting of the tasks that have it."""
    return option(
        "best", "who answers: the best on the validation part, or always the network", choices=("best", MODEL)
    )


@dataclass(frozen=True)
class Fallback:
    """Who answers.

    Attributes:
        baseline: its name.
        least: confidence, 0 to 1, below which the baseline answers; above 1 it always does.
    """

    baseline: str = ""
    least: float = 0.0

    @property
    def is_never(self) -> bool:
        """Whether the network answers everything."""
        return self.least <= 0

    @property
    def is_always(self) -> bool:
        """Whether the baseline answers everything."""
        return self.least > 1

    def who(self, confidences: np.ndarray) -> list[str]:
        """By the network's confidence [items]: "model" or the baseline's name for each."""
        return [self.baseline if each < self.least else MODEL for each in confidences]

    def sentence(self, name: str, by: Mapping[str, int], of: str) -> str:
        """A sentence for the report: that it answers, `name` in words; nothing where it never does.

        Args:
            name: the baseline's, as it stands in a sentence.
            by: how many of the examples are answered by whom.
            of: what the examples are, such as "texts".
        """
        if self.is_never:
            return ""
        keep = "--answer model takes the network all the same"
        if self.is_always:
            return f"`unrolled predict` answers with {name}, the best on the validation part; {keep}."
        n, total = by.get(self.baseline, 0), sum(by.values())
        return f"Where the network is less confident ({n:,} of {total:,} {of}), {name} answers; {keep}."

    def to_data(self) -> JsonObject:
        return {"baseline": self.baseline, "least": self.least}

    @classmethod
    def from_data(cls, data: object, baselines: Collection[str]) -> "Fallback":
        """As it stands in a model file; in one of 0.1.0 it is None, and the network answers.

        Raises:
            ModelFileError: it is damaged.
        """
        match data:
            case None:
                return NEVER
            case {"baseline": str(name), "least": float(least) | int(least)} if 0 <= least < math.inf and (
                name in baselines or not least
            ):
                return cls(name, float(least))
        raise ModelFileError("what tells who answers, network or baseline, is damaged")


NEVER = Fallback()


def fitted_fallback(
    confidences: np.ndarray,
    counts: Counts,
    *,
    score: Score | None = None,
    is_error: bool = False,
    whole: Collection[str] = (),
) -> Fallback:
    """The best way to share items between the network and a baseline; where two are as good, the network has more.

    Args:
        confidences: the network's, 0 to 1, [items].
        counts: that the metric is made of, by who answers, "model" among them.
        score: as of `comparison.compare`.
        is_error: likewise.
        whole: names of baselines that answer everything or nothing, as their answer is the same for each item.
    """
    order, n = np.argsort(confidences, kind="stable"), len(confidences)
    if not n:
        return NEVER
    some = [*range(_LEAST, n - _LEAST + 1, max(1, n // _BOUNDS))]
    best, found = NEVER, -math.inf
    for name in (name for name in counts if name != MODEL):
        cuts = [0, *([] if name in whole else some), n]  # so many of the least confident go to the baseline
        sums = np.concatenate((np.zeros_like(counts[name][:1]), np.cumsum((counts[name] - counts[MODEL])[order], 0)))
        scores = (score or ratio)(counts[MODEL].sum(0) + sums[cuts]) * (-1 if is_error else 1)
        at = int(scores.argmax())
        if scores[at] > found:
            least = _ALWAYS if cuts[at] == n else float(confidences[order[cuts[at]]]) if cuts[at] else 0.0
            best, found = Fallback(name if least else "", least), float(scores[at])
    return best


def cross_fitted_who(
    confidences: np.ndarray, counts: Counts, fit: Callable[[np.ndarray, Counts], Fallback]
) -> list[str]:
    """Who answers each item by what was fitted on the others alone, fold by fold: what a choice gains on the items that
    it was made on is no gain.
    """
    folds, who = folds_of(len(confidences), 0), np.full(len(confidences), MODEL, dtype=object)
    for fold in np.unique(folds):
        held = folds == fold
        choice = fit(confidences[~held], {name: each[~held] for name, each in counts.items()})
        who[held] = choice.who(confidences[held])
    return who.tolist()
