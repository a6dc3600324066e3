"""The baselines of speech: the most frequent transcript, and that of the nearest known sound by dynamic time warping.

H. Sakoe and S. Chiba, IEEE Transactions on Acoustics, Speech, and Signal Processing 26(1), 1978.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

MOST_KINDS = 100  # transcripts up to which templates are kept
_MOST_EACH = 5
MOST_FRAMES = 200  # of a sound that are compared


class Templates:
    """Sounds with their transcripts, as features float32 [frames, mels], a few of each transcript."""

    name = "nearest template"

    def __init__(self, frames: list[np.ndarray], transcripts: list[str]) -> None:
        self.frames, self.transcripts = frames, transcripts

    @staticmethod
    def chosen(transcripts: Sequence[str]) -> list[int]:
        """Places of the sounds to keep, the same number of each transcript; none where there are too many kinds."""
        if len(set(transcripts)) > MOST_KINDS:
            return []
        seen: Counter[str] = Counter()
        places = []
        for i, transcript in enumerate(transcripts):
            if seen[transcript] < _MOST_EACH:
                seen[transcript] += 1
                places.append(i)
        return places

    def nearest(self, frames: np.ndarray) -> str:
        """The transcript of the sound that the frames are warped to at least cost."""
        costs = warped(frames[:MOST_FRAMES], [each[:MOST_FRAMES] for each in self.frames])
        return self.transcripts[int(costs.argmin())]


def warped(frames: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """The mean distance along the best way between a sound [n, mels] and each of some others, [others].

    A way starts at both beginnings, ends at both ends, and goes on in one of them or in both at each step; its cost is
    over the sum of both lengths.
    """
    n, longest = len(frames), max(map(len, others))
    padded = np.zeros((len(others), longest, frames.shape[1]))
    for i, other in enumerate(others):
        padded[i, : len(other)] = other
    squares = np.square(frames).sum(1)[:, None, None] + np.square(padded).sum(2)[None]
    cross = np.einsum("nm,okm->nok", frames, padded, optimize=True)
    distance = np.sqrt(np.maximum(squares - 2 * cross, 0))  # [n, others, longest]
    total = np.cumsum(distance[0], 1)
    ends = np.array([len(other) - 1 for other in others])
    for row in distance[1:]:
        # from below or aslant, then along: best[j] = min over i <= j of entry[i] + sum of row[i+1 .. j]
        entry = np.minimum(total, np.concatenate((np.full((len(others), 1), np.inf), total[:, :-1]), 1)) + row
        along = np.cumsum(row, 1)
        total = np.minimum.accumulate(entry - along, 1) + along
    return total[np.arange(len(others)), ends] / (n + ends + 1)
