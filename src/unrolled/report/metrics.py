"""Metrics of classifiers, forecasts, translations and transcripts.

Inputs: predictions and targets. Outputs: metrics.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unrolled import optional_libraries
from unrolled.data.tokens import is_without_spaces, tokens_of

#: metrics by name, nested: by who answers, by class, by step. What is in them depends on the task, so that a union of
#: all types would make each reader check what it knows
Metrics = dict[str, Any]

_MOST_CONFUSED = 200  # classes up to which there is a confusion matrix


def metrics_by_class(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]], classes: Sequence[str]) -> Metrics:
    """Accuracy, macro F1, precision, recall and F1 by class, and the confusion matrix where each text has one class."""
    names = sorted({*classes, *(name for row in gold for name in row)}, key=_in_order)
    marked, chosen, rights = (
        Counter(name for row in rows for name in set(row))
        for rows in (gold, found, [set(a) & set(b) for a, b in zip(gold, found, strict=True)])
    )
    by_class = {}
    for name in names:
        right = rights[name]
        precision = right / chosen[name] if chosen[name] else 0.0
        recall = right / marked[name] if marked[name] else 0.0
        f1 = 2 * right / (marked[name] + chosen[name]) if right else 0.0
        by_class[name] = {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "n": marked[name],
        }
    accuracy = sum(rights_of(gold, found)) / len(gold)
    metrics = {"accuracy": accuracy, "macro_f1": float(np.mean([each["f1"] for each in by_class.values()]))}
    confusion: dict[str, dict[str, int]] = {}
    if len(names) <= _MOST_CONFUSED and all(len(row) == 1 for row in (*gold, *found)):
        confusion = {name: dict.fromkeys(names, 0) for name in names}
        for (a,), (b,) in zip(gold, found, strict=True):
            confusion[a][b] += 1
    return {**metrics, "classes": by_class, "confusion": confusion}


def _in_order(name: str) -> tuple[bool, float, str]:
    """Numbers by their size, before words."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def rights_of(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[bool]:
    """Whether all labels of each text are right."""
    return [set(a) == set(b) for a, b in zip(gold, found, strict=True)]


def calibration_metrics(targets: np.ndarray, probabilities: np.ndarray, *, is_multiple: bool) -> dict[str, float]:
    """Log-loss in nats, and the expected calibration error over ten bins (M. Naeini et al., AAAI 2015).

    targets [items, classes], 0 or 1; probabilities likewise.
    """
    p = np.clip(probabilities, 1e-12, 1)
    if is_multiple:
        loss = -(targets * np.log(p) + (1 - targets) * np.log(np.clip(1 - probabilities, 1e-12, 1))).mean()
        sure, right = np.maximum(p, 1 - p).ravel(), ((p > 0.5) == (targets > 0.5)).ravel()
    else:
        loss = -(targets * np.log(p)).sum(1).mean()
        sure, right = p.max(1), targets[np.arange(len(p)), p.argmax(1)] > 0
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return {"log_loss": float(loss), "calibration_error": float(sum(gaps))}


def smape(actual: np.ndarray, found: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, in per cent, as the M4 competition counts it."""
    size = np.abs(actual) + np.abs(found)
    return float(200 * np.nanmean(np.abs(actual - found) / np.where(size == 0, 1.0, size)))


def mase_scale(values: np.ndarray, season: int) -> float:
    """What errors are measured in: the mean change from one season to the next in the training part; NaN if none.

    Values that are NaN are left out.
    """
    season = season if len(values) > season else 1
    change = np.abs(values[season:] - values[:-season])
    change = change[~np.isnan(change)]
    return float(change.mean()) if len(change) and change.mean() > 0 else math.nan


def forecast_metrics(levels: np.ndarray, at: Sequence[float], targets: np.ndarray, scales: np.ndarray) -> Metrics:
    """Metrics of quantiles [n, horizon, levels] at some levels; targets [n, horizon], scales [n, 1] for MASE.

    Targets that are NaN are left out of all.
    """
    point = levels[..., len(at) // 2]
    error = np.abs(targets - point)
    over = targets[..., None] - levels
    pinball = 2 * np.maximum(np.array(at) * over, (np.array(at) - 1) * over)
    size = np.nansum(np.abs(targets))
    is_known = ~np.isnan(targets)
    is_scaled = is_known & ~np.isnan(scales)
    n_by_step = is_known.sum(0)
    by_step = np.where(n_by_step > 0, np.nansum(error, 0) / np.maximum(n_by_step, 1), math.nan)
    return {
        "mae": float(np.nanmean(error)),
        "rmse": float(np.sqrt(np.nanmean(np.square(error)))),
        "smape": smape(targets, point),
        "mase": float((error / scales)[is_scaled].mean()) if is_scaled.any() else math.nan,
        "wql": float(np.nansum(pinball.mean(2)) / size) if size else math.nan,
        "coverage": float(((levels[..., 0] <= targets) & (targets <= levels[..., -1]))[is_known].mean()),
        "mae_by_step": by_step.tolist(),
    }


def bleu(found: Sequence[str], targets: Sequence[str]) -> Metrics:
    """BLEU and chrF of translations against one reference each, as sacrebleu counts them, with its signature (extra:
    translate). References in a script without spaces are cut by characters.

    M. Post, WMT 2018; K. Papineni et al., ACL 2002; M. Popović, WMT 2015.
    """
    library, measure = _bleu_measure(targets)
    by_chars = library.CHRF()
    return {
        "bleu": float(measure.corpus_score(list(found), [list(targets)]).score),
        "chrf": float(by_chars.corpus_score(list(found), [list(targets)]).score),
        "signature": f"BLEU {measure.get_signature()}; chrF {by_chars.get_signature()}",
    }


def _bleu_measure(targets: Sequence[str]) -> tuple[Any, Any]:
    """The library, and its BLEU for these references."""
    library = optional_libraries.library("sacrebleu.metrics", "translation needs", "translate")
    n_without = sum(is_without_spaces(text) for text in targets)
    return library, library.BLEU(
        tokenize="zh" if 2 * n_without > len(targets) else "13a",
        # else BLEU is zero where no sentence has four words
        effective_order=all(len(tokens_of(text)) < 4 for text in targets),
        force=True,  # tokens apart by spaces are no fault
    )


def bleu_counts(found: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """What each sentence adds to BLEU's counts [sentences, counts]: right n-grams by length, n-grams, both lengths."""
    _, measure = _bleu_measure(targets)
    each = [measure.corpus_score([text], [[target]]) for text, target in zip(found, targets, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in each], dtype=float)


def bleu_of(targets: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """BLEU from sums of such counts [..., counts]."""
    _, measure = _bleu_measure(targets)

    def score(sums: np.ndarray) -> np.ndarray:
        n, flat = measure.max_ngram_order, sums.reshape(-1, sums.shape[-1]).astype(int).tolist()
        found = [
            measure.compute_bleu(
                row[:n], row[n : 2 * n], row[-2], row[-1],
                smooth_method=measure.smooth_method, smooth_value=measure.smooth_value,
                effective_order=measure.effective_order, max_ngram_order=n,
            ).score
            for row in flat
        ]  # fmt: skip
        return np.array(found).reshape(sums.shape[:-1])

    return score


def word_errors(found: Sequence[str], transcripts: Sequence[str]) -> np.ndarray:
    """Counts [sounds, 2] of the word error rate, as jiwer counts them (extra: speech): wrong words, and words."""
    jiwer = optional_libraries.library("jiwer", "speech needs", "speech")
    counts = []
    for text, transcript in zip(found, transcripts, strict=True):
        each = jiwer.process_words(transcript, text)
        counts.append([each.substitutions + each.deletions + each.insertions, len(each.references[0])])
    return np.array(counts, dtype=float)


def error_rates(found: Sequence[str], transcripts: Sequence[str]) -> dict[str, float]:
    """Word and character error rates of transcripts, as jiwer counts them (extra: speech), and the share of those with
    any error. None of the references is empty.
    """
    jiwer = optional_libraries.library("jiwer", "speech needs", "speech")
    return {
        "wer": float(jiwer.wer(list(transcripts), list(found))),
        "cer": float(jiwer.cer(list(transcripts), list(found))),
        "ser": sum(a != b for a, b in zip(found, transcripts, strict=True)) / len(transcripts),
    }
