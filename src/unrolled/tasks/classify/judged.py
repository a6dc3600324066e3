"""The metrics of a classifier's answers, beside its baselines'.

Inputs: labels, and those that model and baselines found. Outputs: metrics of each, and their comparison.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.report.comparison import compare, shares
from unrolled.report.metrics import figures_of, rights_of

Labels = Sequence[Sequence[str]]


def judged(
    gold: Labels, found: Mapping[str, Labels], classes: Sequence[str], *, baseline: str, of: str
) -> dict[str, Any]:
    """Metrics of "model", "baseline" and "majority".

    Args:
        gold: the labels of each item.
        found: by who found them, of each item.
        classes: that training had.
        baseline: name of the baseline within a sentence.
        of: what the items are, such as "texts".
    """
    rights = {name: shares(rights_of(gold, labels)) for name, labels in found.items()}
    named = {baseline: rights["baseline"], "the most frequent class": rights["majority"]}
    compared = compare(rights["model"], named, metric="accuracy", of=of)
    figures = {name: figures_of(gold, labels, classes) for name, labels in found.items()}
    return figures | {"n_items": len(gold), "comparison": compared.to_dict()}
