"""The baseline of text models: an n-gram model, interpolated by the method of Witten and Bell."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ModelFileError

ORDER = 5
MOST_ENTRIES = 3_000_000
_MULTIPLIER = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)  # an array: its products wrap around in silence


@dataclass(frozen=True)
class _Table:
    """The n-grams of one length that occurred in training: sorted hashes, how often each occurred, how often something
    followed it, and how many different units did.
    """

    keys: np.ndarray  # uint64
    counts: np.ndarray  # int64
    followed: np.ndarray  # int64
    kinds: np.ndarray  # int64

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the keys, and which of them are there."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return at, self.keys[at] == keys


class NGram:
    """P_n(w | c) = (count(c w) + kinds(c) · P_{n-1}(w | shorter c)) / (count(c ·) + kinds(c)), P_0 uniform.

    I. Witten and T. Bell, IEEE Transactions on Information Theory 37, 1991. A unit is predicted from the `order` - 1
    before it. n-grams are told apart by 64-bit hashes.
    """

    def __init__(self, size: int, tables: list[_Table]) -> None:
        self.size = size
        self.tables = tables  # of lengths 1, 2, ...

    @property
    def order(self) -> int:
        return len(self.tables)

    @classmethod
    def fit(cls, ids: np.ndarray, size: int, *, order: int = ORDER, most_entries: int = MOST_ENTRIES) -> "NGram":
        """Counts the n-grams of a sequence of units, int64 [length]; stops at a lower order where the tables would
        outgrow `most_entries`.
        """
        tables: list[_Table] = []
        n_entries = 0
        previous = ids  # the hashes of one unit less
        for length, hashes in enumerate(_hashes(ids, order), 1):
            keys, first, counts = np.unique(hashes[length - 1 :], return_index=True, return_counts=True)
            n_entries += len(keys)
            if n_entries > most_entries and tables:
                break
            zeros = np.zeros(len(keys), dtype=np.int64)
            tables.append(_Table(keys, counts, zeros, zeros.copy()))
            if length > 1:
                # every distinct n-gram is one kind of follower of the context that it begins with
                shorter, contexts = tables[-2], previous[length - 2 : -1]
                at, _ = shorter.find(contexts[first])
                np.add.at(shorter.kinds, at, 1)
                at, _ = shorter.find(contexts)
                np.add.at(shorter.followed, at, 1)
            previous = hashes
        return cls(size, tables)

    def nats(self, ids: np.ndarray, *, context: np.ndarray | None = None) -> float:
        """The loss over a sequence in all, in nats; `context` are units before it that are not counted."""
        n_context = 0 if context is None else len(context[-self.order :])
        whole = ids if context is None else np.concatenate((context[-self.order :], ids))
        hashes = list(_hashes(whole, self.order))
        at, is_there = self.tables[0].find(hashes[0])
        n_units, n_kinds = int(self.tables[0].counts.sum()), len(self.tables[0].keys)
        probability = (np.where(is_there, self.tables[0].counts[at], 0) + n_kinds / self.size) / (n_units + n_kinds)
        for length in range(2, self.order + 1):
            at, is_there = self.tables[length - 1].find(hashes[length - 1])
            counts = np.where(is_there, self.tables[length - 1].counts[at], 0)
            contexts = np.concatenate((hashes[length - 2][:1], hashes[length - 2][:-1]))
            at, is_there = self.tables[length - 2].find(contexts)
            followed = np.where(is_there, self.tables[length - 2].followed[at], 0)
            kinds = np.where(is_there, self.tables[length - 2].kinds[at], 0)
            is_long_enough = np.arange(len(whole)) >= length - 1
            seen = is_long_enough & (followed > 0)
            longer = (counts + kinds * probability) / np.maximum(followed + kinds, 1)
            probability = np.where(seen, longer, probability)
        return float(-np.log(probability[n_context:]).sum())

    def to_tensors(self) -> dict[str, Tensor]:
        """For the model file."""
        tensors = {}
        for length, table in enumerate(self.tables, 1):
            tensors[f"baseline.{length}.keys"] = torch.from_numpy(table.keys.view(np.int64))
            for name in ("counts", "followed", "kinds"):
                tensors[f"baseline.{length}.{name}"] = torch.from_numpy(getattr(table, name).astype(np.int32))
        return tensors

    @classmethod
    def from_tensors(cls, size: int, tensors: dict[str, Tensor]) -> "NGram":
        """What `to_tensors` gave.

        Raises:
            ModelFileError: the tables are damaged.
        """
        tables = []
        for length in range(1, 1 + len({name.split(".")[1] for name in tensors if name.startswith("baseline.")})):
            columns = [tensors.get(f"baseline.{length}.{name}") for name in ("keys", "counts", "followed", "kinds")]
            if any(column is None or column.dim() != 1 or column.is_floating_point() for column in columns):
                raise ModelFileError("its baseline's tables are damaged")
            arrays = [column.long().numpy() for column in columns if column is not None]
            if not len(arrays[0]) or any(len(array) != len(arrays[0]) for array in arrays):
                raise ModelFileError("its baseline's tables are damaged")
            tables.append(_Table(arrays[0].view(np.uint64), *arrays[1:]))
        if not tables:
            raise ModelFileError("its baseline's tables are missing")
        return cls(size, tables)


def _hashes(ids: np.ndarray, order: int) -> Iterator[np.ndarray]:
    """For each n from 1 to `order`: uint64 [length], the hash of the n-gram that ends at each place, or of what
    there is of it near the start.
    """
    units = (ids + 1).astype(np.uint64)
    hashes = units * _MULTIPLIER
    yield hashes
    power = _MULTIPLIER
    for length in range(2, order + 1):
        power = power * _MULTIPLIER
        shifted = np.zeros_like(units)
        shifted[length - 1 :] = units[: 1 - length]
        hashes = hashes + shifted * power
        yield hashes
