"""Connectionist temporal classification.

Inputs: log-probabilities over time. Outputs: labels with their places. A. Graves, S. Fernández, F. Gomez and
J. Schmidhuber, ICML 2006; the search is that of A. Hannun et al., arXiv:1408.2873. The loss is torch's.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

BLANK = 0


@dataclass
class Alignment:
    """Labels read off a path.

    Attributes:
        ids: the labels.
        frames: the time step at which each is surest.
        log_p: of each, there.
        last: the class of the last time step.
        n_frames: time steps read.
    """

    ids: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    last: int = BLANK
    n_frames: int = 0

    def read(self, log_p: np.ndarray) -> None:
        """Goes on over [time, classes]: the likeliest class at each step, repetitions taken as one."""
        for label, sure in zip(log_p.argmax(1).tolist(), log_p.max(1).tolist(), strict=True):
            if label != BLANK and label == self.last:
                if sure > self.log_p[-1]:
                    self.frames[-1], self.log_p[-1] = self.n_frames, sure
            elif label != BLANK:
                self.ids.append(label)
                self.frames.append(self.n_frames)
                self.log_p.append(sure)
            self.last = label
            self.n_frames += 1


def least_steps(labels: Sequence[int]) -> int:
    """How many time steps labels need: one each, and a blank between two that are the same."""
    return len(labels) + sum(a == b for a, b in itertools.pairwise(labels))


@dataclass
class _Prefix:
    """Log-probabilities of all paths to a prefix that end in a blank, or in its last label."""

    blank: float = -math.inf
    label: float = -math.inf
    frames: tuple[int, ...] = ()
    sure: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.label))


def beam(
    log_p: np.ndarray,
    *,
    width: int = 10,
    bonus: Callable[[tuple[int, ...], int], float] | None = None,
    least: float = -math.inf,
) -> list[tuple[Alignment, float]]:
    """The likeliest labels with their scores, the best first: paths to the same labels are added up.

    Args:
        log_p: [time, classes].
        width: prefixes kept at each time step.
        bonus: what a label after others adds to the score, such as a language model's log-probability; class 0 asks for
            the end.
        least: labels of a lower log-probability at a time step are not looked at.
    """
    extra: dict[tuple[int, ...], float] = {(): 0.0}
    kept: dict[tuple[int, ...], _Prefix] = {(): _Prefix(blank=0.0)}
    for t, row in enumerate(log_p.tolist()):
        after: dict[tuple[int, ...], _Prefix] = {}
        labels = [label for label, sure in enumerate(row) if label != BLANK and sure >= least]
        for ids, one in kept.items():
            same = after.setdefault(ids, _Prefix(frames=one.frames, sure=one.sure))
            same.blank = float(np.logaddexp(same.blank, one.total + row[BLANK]))
            if ids:
                same.label = float(np.logaddexp(same.label, one.label + row[ids[-1]]))
                if row[ids[-1]] > one.sure[-1] and one.label > one.blank:
                    same.frames, same.sure = (*one.frames[:-1], t), (*one.sure[:-1], row[ids[-1]])
            for label in labels:
                longer = (*ids, label)
                if longer not in extra:
                    extra[longer] = extra[ids] + (bonus(ids, label) if bonus else 0.0)
                grown = after.get(longer)
                if grown is None or not grown.frames or len(grown.frames) < len(longer):
                    grown = after.setdefault(longer, _Prefix())
                    grown.frames, grown.sure = (*one.frames, t), (*one.sure, row[label])
                before = one.blank if ids and ids[-1] == label else one.total
                grown.label = float(np.logaddexp(grown.label, before + row[label]))
        possible = [ids for ids, one in after.items() if one.total > -math.inf]
        kept = {ids: after[ids] for ids in sorted(possible, key=lambda ids: -(after[ids].total + extra[ids]))[:width]}
    scores = {ids: one.total + extra[ids] + (bonus(ids, BLANK) if bonus else 0.0) for ids, one in kept.items()}
    order = sorted(kept, key=lambda ids: -scores[ids])
    return [
        (Alignment(list(ids), list(kept[ids].frames), list(kept[ids].sure), n_frames=len(log_p)), scores[ids])
        for ids in order
    ]
