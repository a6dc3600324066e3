"""Which examples go into which update: each epoch in another order, examples of like length together.

All is derived from the seed and the update's number, so that a training that was cut off goes on as it would have.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from unrolled.errors import SettingsError
from unrolled.training import processes

_POOL = 50  # batches among which examples are sorted by length


class Batches:
    """Batches of examples by their lengths.

    Attributes:
        n_batches: in an epoch.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch: int, seed: int) -> None:
        self.lengths, self.seed = np.asarray(lengths), seed
        self.batch = min(batch, len(self.lengths))
        self.n_batches = math.ceil(len(self.lengths) / self.batch)
        if self.batch % processes.world_size():
            raise SettingsError(
                f"batch={self.batch} cannot be shared by {processes.world_size()} processes; "
                f"take a multiple of {processes.world_size()}"
            )

    def at(self, step: int) -> np.ndarray:
        """The examples of an update, of this process."""
        epoch, place = divmod(step, self.n_batches)
        whole = self._epoch(epoch)[place]
        return whole[processes.rank() :: processes.world_size()]

    @functools.lru_cache(maxsize=2)  # noqa: B019 - two epochs, for as long as the training lives
    def _epoch(self, epoch: int) -> list[np.ndarray]:
        draw = np.random.default_rng((self.seed, epoch))
        order = draw.permutation(len(self.lengths))
        if short := -len(order) % self.batch:  # every batch is full, so that processes share it evenly
            order = np.concatenate((order, draw.permutation(len(self.lengths))[:short]))
        pool = _POOL * self.batch
        pools = [order[i : i + pool] for i in range(0, len(order), pool)]
        ordered = np.concatenate([each[np.argsort(self.lengths[each], kind="stable")] for each in pools])
        batches = np.split(ordered, self.n_batches)
        return [batches[i] for i in draw.permutation(self.n_batches)]


def batch_for(n_examples: int, most: int) -> int:
    """The batch where a user gives none: an eighth of the examples, so that an epoch has as many updates at least; 4 to
    `most`, a power of two times the number of processes.
    """
    size = 4
    while 2 * size <= min(most, n_examples // 8):
        size *= 2
    return math.ceil(size / processes.world_size()) * processes.world_size()


def by_length(lengths: Sequence[int] | np.ndarray, most_items: int) -> list[np.ndarray]:
    """All examples once, of like length together, each batch of about `most_items` items with its padding."""
    lengths = np.asarray(lengths)
    batches: list[np.ndarray] = []
    begin = 0
    order = np.argsort(lengths, kind="stable")
    for i in range(1, len(order) + 1):
        if i == len(order) or (i + 1 - begin) * lengths[order[i]] > most_items:
            batches.append(order[begin:i])
            begin = i
    return batches
