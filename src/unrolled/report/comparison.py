"""Is a model better than its baseline, or does it only look so? A paired test over the same examples.

Inputs: counts of each example for the model and for each baseline. Outputs: both metrics, and the probability that
so large a difference comes by chance. Why this test: docs/design/claims.md.
"""

import contextlib
import contextvars
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from unrolled.data.counted import counted
from unrolled.json_values import JsonObject

LEVEL = 0.05
LEAST_BLOCKS = 6  # of fewer, even a gain in each is not significant: 2 · 2^-5 > 0.05
_MOST_BLOCKS = 512
_N_DRAWN = 9999
_MOST_EXACT = 13  # blocks: up to there every way to swap them is tried

Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """A model and its best baseline on the same examples.

    Attributes:
        metric: name of the metric, such as "accuracy".
        is_error: whether less of it is better.
        model, baseline: the metric of each.
        name: of the baseline, as it stands in a sentence.
        p: two-sided; how often a difference as large comes by chance where model and baseline are equally good.
        n: number of examples.
        of: what they are, such as "texts".
        n_blocks: groups of examples that are taken as independent of each other.
    """

    metric: str
    is_error: bool
    model: float
    baseline: float
    name: str
    p: float
    n: int
    of: str
    n_blocks: int

    @property
    def gain(self) -> float:
        """By how much the model is better; below 0 where it is worse."""
        return self.baseline - self.model if self.is_error else self.model - self.baseline

    @property
    def can_tell(self) -> bool:
        """Whether there are enough blocks for any difference to be more than chance."""
        return self.n_blocks >= LEAST_BLOCKS

    @property
    def verdict(self) -> str:
        """The answer: "beats", "loses to", or "does as well as"."""
        if self.p > LEVEL or self.gain == 0:
            return "does as well as"
        return "beats" if self.gain > 0 else "loses to"

    def of_the_best(self, n: int) -> "Comparison":
        """The same where the model is the best of `n` on these examples: a gain must stand out from `n` tries
        (O. Dunn, Journal of the American Statistical Association 56, 1961).
        """
        return replace(self, p=min(1.0, n * self.p)) if self.gain > 0 else self

    def evidence(self) -> str:
        """Probability and number of examples, such as "p = 0.003, 872 texts"."""
        shown = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}" if self.p < 0.1 else f"p = {self.p:.2f}"
        return f"{shown}, {counted(self.n, self.of.removesuffix('s'))}"

    def to_dict(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True)
class PairedCounts:
    """What `compare` was given of a model: its counts [examples, counts], and how they are compared."""

    counts: np.ndarray
    metric: str
    of: str
    score: Score | None
    is_error: bool
    blocks: np.ndarray | None

    def beside(self, other: "PairedCounts", name: str) -> Comparison | None:
        """This model and another one on the same examples; None where these are not the same."""
        mine, others = (each.counts.shape for each in (self, other))
        if (self.metric, self.of, mine) != (other.metric, other.of, others):
            return None
        return compare(
            self.counts, {name: other.counts}, metric=self.metric, of=self.of, score=self.score,
            is_error=self.is_error, blocks=self.blocks,
        )  # fmt: skip


_counted: contextvars.ContextVar[list[PairedCounts] | None] = contextvars.ContextVar("counted", default=None)


@contextlib.contextmanager
def collected_counts() -> Iterator[list[PairedCounts]]:
    """Keeps the counts of each model that is compared with its baseline within: to compare models with each other."""
    found: list[PairedCounts] = []
    token = _counted.set(found)
    try:
        yield found
    finally:
        _counted.reset(token)


def compare(
    model: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    *,
    metric: str,
    of: str,
    score: Score | None = None,
    is_error: bool = False,
    blocks: np.ndarray | None = None,
) -> Comparison:
    """The model and the best of some baselines.

    Args:
        model: float [examples, counts], what each example adds to the counts that the metric is made of.
        baselines: the same by name, at least one.
        metric: see `Comparison`.
        of: likewise.
        is_error: likewise.
        score: from sums of counts [..., counts] to the metric [...]; the first count over the second if None.
        blocks: int [examples], equal numbers where examples depend on each other; else neighbors are put together
            where there are more than 512.
    """
    if (kept := _counted.get()) is not None:
        kept.append(PairedCounts(model, metric, of, score, is_error, blocks))
    score = score or ratio
    whole = {name: float(score(counts.sum(0))) for name, counts in baselines.items()}
    name = (min if is_error else max)(whole, key=lambda each: whole[each])
    blocks = in_blocks(len(model), _MOST_BLOCKS) if blocks is None else blocks
    first, second = (_summed(counts, blocks) for counts in (model, baselines[name]))
    found = Comparison(
        metric,
        is_error,
        float(score(model.sum(0))),
        whole[name],
        name,
        _p(first, second, score),
        len(model),
        of,
        len(first),
    )
    # the best of several baselines on these examples: a loss must stand out from as many tries
    return found if found.gain > 0 else replace(found, p=min(1.0, len(baselines) * found.p))


def ratio(sums: np.ndarray) -> np.ndarray:
    """The first count over the second, 0 where that is 0."""
    return sums[..., 0] / np.where(sums[..., 1] != 0, sums[..., 1], 1)


def root_ratio(sums: np.ndarray) -> np.ndarray:
    """The root of it, of squared errors."""
    return np.sqrt(ratio(sums))


def shares(rights: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Counts [examples, 2] of a metric that is the share of right examples."""
    return np.stack([np.asarray(rights, dtype=float), np.ones(len(rights))], 1)


def in_blocks(n: int, most: int) -> np.ndarray:
    """Numbers of at most `most` blocks for `n` examples in their order, neighbors together."""
    return np.arange(n) * min(n, most) // max(1, n)


def _summed(counts: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """[blocks, counts]."""
    _, places = np.unique(blocks, return_inverse=True)
    return np.stack([np.bincount(places, weights=column) for column in counts.T], 1)


def _p(model: np.ndarray, baseline: np.ndarray, score: Score) -> float:
    """Two-sided p of a difference, by swapping model and baseline in blocks [blocks, counts]: in every way where there
    are few, else in 9,999 drawn ones.
    """
    n = len(model)
    if n <= _MOST_EXACT:
        swaps = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)
    else:
        swaps = np.random.default_rng(0).integers(2, size=(_N_DRAWN, n), dtype=np.int8).astype(float)
    change = swaps @ (baseline - model)
    totals = model.sum(0), baseline.sum(0)
    differences = np.abs(score(totals[0] + change) - score(totals[1] - change))
    found = float(np.abs(score(totals[0]) - score(totals[1])))
    as_large = int((differences >= found * (1 - 1e-9)).sum())
    return as_large / len(swaps) if n <= _MOST_EXACT else (1 + as_large) / (1 + len(swaps))


def p_of_folds(gains: Sequence[float]) -> float:
    """Two-sided p of the gains of a cross-validation, one a fold: the t-test whose variance is corrected for training
    parts that overlap (C. Nadeau and Y. Bengio, Machine Learning 52, 2003).
    """
    n, spread = len(gains), statistics.stdev(gains)
    if spread == 0:  # as if only their signs were known
        return 1.0 if gains[0] == 0 else 2.0 ** (1 - n)
    t = statistics.mean(gains) / (spread * math.sqrt(1 / n + 1 / (n - 1)))
    return two_tails(t, n - 1)


def two_tails(t: float, freedom: int) -> float:
    """How likely Student's t is farther from 0 (M. Abramowitz and I. Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(abs(t) / math.sqrt(freedom))
    is_even = freedom % 2 == 0
    term = 1.0 if is_even else math.cos(angle)
    total = 0.0
    for k in range(2 if is_even else 3, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    within = math.sin(angle) * total
    return max(0.0, 1 - (within if is_even else 2 / math.pi * (angle + within)))
