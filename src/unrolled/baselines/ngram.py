"""The baseline of text models: an n-gram model, smoothed by the method of Kneser and Ney.

Inputs: a sequence of units. Outputs: how likely each unit is after those before it; the text model mixes that into what
its network says.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ModelFileError

MOST_ORDER = 8
MOST_ENTRIES = 3_000_000
_MOST_HELD = 100_000  # units that the order is chosen on
_MOST_LEARNT = 2_000_000  # units before those that it is chosen by
_LEAST_GAIN = 0.0005  # of the loss, by which a longer n-gram must be better
_LEAST_DISCOUNT = 0.05  # of every count: what never occurred keeps a chance
_MULTIPLIER = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)  # an array: its products wrap around in silence


@dataclass(frozen=True)
class _Grams:
    """The n-grams of one length, as they were counted.

    Attributes:
        keys: uint64, their hashes, sorted.
        counts: int64, how often each occurred.
        suffix, prefix: int64, the place among the n-grams of one unit less of each without its first, last unit.
    """

    keys: np.ndarray
    counts: np.ndarray
    suffix: np.ndarray
    prefix: np.ndarray


@dataclass(frozen=True)
class _Table:
    """The n-grams of one length as probabilities need them; P(unit | context) = (weight + rest · P(unit | shorter
    context)) / total.

    Attributes:
        keys: uint64, their hashes, sorted.
        weight: float64 that a float32 holds, of an n-gram's last unit after the others.
        rest: likewise, of an n-gram as a context: what the shorter context says.
        total: float64, of an n-gram as a context; 0 where nothing follows it.
    """

    keys: np.ndarray
    weight: np.ndarray
    rest: np.ndarray
    total: np.ndarray

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the keys, and which of them are there."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return at, self.keys[at] == keys


class NGram:
    """P_n(w | c) = (count(c w) - D(count(c w)) + Σ_v D(count(c v)) · P_{n-1}(w | shorter c)) / count(c ·), P_0 uniform.

    Modified Kneser-Ney smoothing, S. Chen and J. Goodman, Computer Speech and Language 13, 1999: a discount D each for
    counts of 1, 2 and more; the count of a shorter n-gram is the number of units that it occurred after. A unit is
    predicted from the `order` - 1 before it. n-grams are told apart by 64-bit hashes.
    """

    def __init__(self, size: int, tables: list[_Table], rest: float, total: float) -> None:
        self.size = size
        self.tables = tables  # of lengths 1, 2, ...
        self.rest, self.total = rest, total  # of the empty context

    @property
    def order(self) -> int:
        return len(self.tables)

    @classmethod
    def fit(cls, ids: np.ndarray, size: int, *, order: int | None = None, most_entries: int = MOST_ENTRIES) -> "NGram":
        """Learns from a sequence of units.

        Args:
            ids: int64 [length], below `size`; at least one.
            size: how many units there are.
            order: length of the longest n-grams; the best one on the sequence's last tenth if None.
            most_entries: n-grams that are kept; a lower order is taken where there are more.
        """
        order = order or cls._best_order(ids, size, most_entries)
        return cls(size, *_smoothed(_counted(ids, order, most_entries)))

    @classmethod
    def _best_order(cls, ids: np.ndarray, size: int, most_entries: int) -> int:
        n_held = min(len(ids) // 10, _MOST_HELD)
        if not n_held:
            return 1
        learnt, held = ids[:-n_held][-_MOST_LEARNT:], ids[-n_held:]
        grams = _counted(learnt, MOST_ORDER, most_entries)
        best, least = 1, np.inf
        for order in range(1, len(grams) + 1):
            nats = cls(size, *_smoothed(grams[:order])).nats(held, context=learnt)
            if nats >= least * (1 - _LEAST_GAIN):
                break
            best, least = order, nats
        return best

    def log_p(self, ids: np.ndarray, *, context: np.ndarray | None = None) -> np.ndarray:
        """log P of each unit of a sequence after those before it, float64 [length]; `context` comes before all."""
        n_context = 0 if context is None else len(context[-self.order :])
        whole = ids if context is None else np.concatenate((context[-self.order :], ids))
        hashes = list(_hashes(whole, self.order))
        at, is_there = self.tables[0].find(hashes[0])
        probability = (np.where(is_there, self.tables[0].weight[at], 0) + self.rest / self.size) / self.total
        for length, (shorter, table) in enumerate(itertools.pairwise(self.tables), 2):
            at, is_there = table.find(hashes[length - 1])
            weight = np.where(is_there, table.weight[at], 0)
            contexts = np.concatenate((hashes[length - 2][:1], hashes[length - 2][:-1]))
            at, is_there = shorter.find(contexts)
            total = np.where(is_there, shorter.total[at], 0)
            is_seen = (np.arange(len(whole)) >= length - 1) & (total > 0)
            longer = (weight + shorter.rest[at] * probability) / np.maximum(total, 1e-9)
            probability = np.where(is_seen, longer, probability)
        return np.log(probability[n_context:])

    def nats(self, ids: np.ndarray, *, context: np.ndarray | None = None) -> float:
        """The loss over a sequence in all, in nats; `context` are units before it that are not counted."""
        return float(-self.log_p(ids, context=context).sum())

    def next_log_p(self, context: np.ndarray) -> np.ndarray:
        """log P of every unit after those of `context`, float64 [size]."""
        context = context[max(0, len(context) - self.order + 1) :]
        last = (np.arange(self.size) + 1).astype(np.uint64) * _MULTIPLIER
        at, is_there = self.tables[0].find(last)
        probability = (np.where(is_there, self.tables[0].weight[at], 0) + self.rest / self.size) / self.total
        hashes = [each[-1:] for each in _hashes(context, len(context))] if len(context) else []
        for before, (shorter, table) in zip(hashes, itertools.pairwise(self.tables), strict=False):
            at, is_there = shorter.find(before)
            if not is_there[0] or not shorter.total[at[0]] > 0:
                break  # nor did any longer context occur
            rest, total = shorter.rest[at[0]], shorter.total[at[0]]
            at, is_there = table.find(last + before * _MULTIPLIER)
            probability = (np.where(is_there, table.weight[at], 0) + rest * probability) / total
        return np.log(probability)

    def to_tensors(self) -> dict[str, Tensor]:
        """For the model file."""
        tensors = {"baseline.root": torch.tensor([self.rest, self.total], dtype=torch.float64)}
        for length, table in enumerate(self.tables, 1):
            tensors[f"baseline.{length}.keys"] = torch.from_numpy(table.keys.view(np.int64))
            tensors[f"baseline.{length}.weight"] = torch.from_numpy(table.weight.astype(np.float32))
            tensors[f"baseline.{length}.rest"] = torch.from_numpy(table.rest.astype(np.float32))
            tensors[f"baseline.{length}.total"] = torch.from_numpy(table.total)
        return tensors

    @classmethod
    def from_tensors(cls, size: int, tensors: dict[str, Tensor]) -> "NGram":
        """What `to_tensors` gave.

        Raises:
            ModelFileError: the tables are damaged.
        """
        lengths = {name.split(".")[1] for name in tensors if name.startswith("baseline.")} - {"root"}
        if not lengths:
            raise ModelFileError("its baseline's tables are missing")
        root, is_old = tensors.get("baseline.root"), "baseline.root" not in tensors
        names = ("counts", "followed", "kinds") if is_old else ("weight", "rest", "total")
        tables = []
        for length in range(1, 1 + len(lengths)):
            keys, *columns = (_column(tensors.get(f"baseline.{length}.{name}")) for name in ("keys", *names))
            if keys.dtype != np.int64 or not len(keys) or any(len(column) != len(keys) for column in columns):
                raise ModelFileError("its baseline's tables are damaged")
            weight, rest, total = (column.astype(np.float64) for column in columns)
            if is_old:  # of unrolled 0.1.0, by Witten and Bell: a context's rest is how many kinds followed it
                rest, total = total, rest + total
            tables.append(_Table(keys.view(np.uint64), weight, rest, total))
        if root is None:
            kinds = float(len(tables[0].keys))
            return cls(size, tables, kinds, float(tables[0].weight.sum()) + kinds)
        if root.shape != (2,) or not bool((root > 0).all()):
            raise ModelFileError("its baseline's tables are damaged")
        return cls(size, tables, *root.double().tolist())


def _column(tensor: Tensor | None) -> np.ndarray:
    """A column of a table, from a file."""
    if tensor is None or tensor.dim() != 1 or (tensor.is_floating_point() and not bool((tensor >= 0).all())):
        raise ModelFileError("its baseline's tables are damaged")
    return tensor.numpy() if tensor.is_floating_point() else tensor.long().numpy()


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


def _counted(ids: np.ndarray, order: int, most_entries: int) -> list[_Grams]:
    """The n-grams of lengths 1 to `order`; fewer lengths where the sequence is short or there would be too many."""
    grams: list[_Grams] = []
    n_entries, previous, none = 0, ids, np.zeros(0, dtype=np.int64)
    for length, hashes in enumerate(_hashes(ids, min(order, len(ids))), 1):
        keys, first, counts = np.unique(hashes[length - 1 :], return_index=True, return_counts=True)
        n_entries += len(keys)
        if n_entries > most_entries and grams:
            break
        ends = first + length - 1
        places = [np.searchsorted(grams[-1].keys, previous[at]) for at in (ends, ends - 1)] if grams else [none, none]
        grams.append(_Grams(keys, counts, *places))
        previous = hashes
    return grams


def _smoothed(grams: Sequence[_Grams]) -> tuple[list[_Table], float, float]:
    """Tables, and rest and total of the empty context."""
    # the first n-gram of all occurred after nothing
    counts = [
        np.maximum(np.bincount(longer.suffix, minlength=len(each.keys)), 1)
        for each, longer in itertools.pairwise(grams)
    ]
    counts.append(grams[-1].counts)
    weights, taken = [], []
    for each in counts:
        discount = _discounts(each)[np.minimum(each, 3)]
        weights.append((each - discount).astype(np.float32).astype(np.float64))
        taken.append(discount)
    tables = []
    for i, gram in enumerate(grams):
        rest, total = np.zeros(len(gram.keys)), np.zeros(len(gram.keys))
        if i + 1 < len(grams):
            prefix = grams[i + 1].prefix
            rest = np.bincount(prefix, taken[i + 1], len(rest)).astype(np.float32).astype(np.float64)
            total = np.bincount(prefix, weights[i + 1], len(rest)) + rest
        tables.append(_Table(gram.keys, weights[i], rest, total))
    rest_of_all = float(taken[0].sum())
    return tables, rest_of_all, float(weights[0].sum()) + rest_of_all


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken from counts of 0 (nothing), 1, 2, and 3 or more."""
    n_with = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    share = n_with[1] / (n_with[1] + 2 * n_with[2]) if n_with[1] else 0.5
    found = [0.0]
    for k in (1, 2, 3):
        discount = k - (k + 1) * share * n_with[k + 1] / n_with[k] if n_with[k] else share
        found.append(float(np.clip(discount, _LEAST_DISCOUNT, k - _LEAST_DISCOUNT)))
    return np.array(found)
