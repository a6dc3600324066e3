"""The metrics of a classifier's answers, beside its baselines'.

Inputs: labels, and those that model and baselines found. Outputs: metrics of each, and their comparison.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from unrolled.report.comparison import compare, shares
from unrolled.report.metrics import Metrics, metrics_by_class, rights_of

Labels = Sequence[Sequence[str]]


def judged(
    gold: Labels, found: Mapping[str, Labels], classes: Sequence[str], *, baseline: str, of: str, by: str = "accuracy"
) -> Metrics:
    """Metrics of "model", "baseline" and "majority".

    Args:
        gold: the labels of each item.
        found: by who found them, of each item.
        classes: that training had.
        baseline: name of the baseline within a sentence.
        of: what the items are, such as "texts".
        by: the metric that decides, "accuracy" or "macro F1".
    """
    names = _names(gold, classes)
    score = None if by == "accuracy" else macro_f1
    rights = {
        name: class_counts(gold, labels, names) if score else shares(rights_of(gold, labels))
        for name, labels in found.items()
    }
    named = {baseline: rights["baseline"], "the most frequent class": rights["majority"]}
    compared = compare(rights["model"], named, metric=by, of=of, score=score)
    metrics = {name: metrics_by_class(gold, labels, classes) for name, labels in found.items()}
    return metrics | {"n_items": len(gold), "comparison": compared.to_dict()}


def macro_f1_of(gold: Labels, found: Labels, classes: Sequence[str]) -> float:
    """The mean F1 of the classes, each counted the same."""
    return float(macro_f1(class_counts(gold, found, _names(gold, classes)).sum(0)))


def _names(gold: Labels, classes: Sequence[str]) -> list[str]:
    return sorted({*classes, *(name for row in gold for name in row)})


def class_counts(gold: Labels, found: Labels, names: Sequence[str]) -> np.ndarray:
    """What each item adds to F1 of each class [items, 3 · classes]: right, marked and found ones."""
    place, n = {name: i for i, name in enumerate(names)}, len(names)
    counts = np.zeros((len(gold), 3 * n))
    for row, marked, chosen in zip(counts, gold, found, strict=True):
        for k, each in enumerate((set(marked) & set(chosen), set(marked), set(chosen))):
            row[[k * n + place[name] for name in each]] = 1
    return counts


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Macro F1 from sums of such counts [..., 3 · classes]."""
    right, marked, chosen = np.split(sums, 3, -1)
    return (2 * right / np.maximum(marked + chosen, 1)).mean(-1)
