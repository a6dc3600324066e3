"""The n-gram baseline against counting by hand, and its probabilities' sum."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.baselines.ngram import NGram
from unrolled.errors import ModelFileError


def by_hand(train, test, size, order):
    """Witten and Bell's interpolation by dictionaries."""
    counts, followers = Counter(), defaultdict(Counter)
    for n in range(1, order + 1):
        for i in range(n - 1, len(train)):
            gram = tuple(train[i - n + 1 : i + 1])
            counts[gram] += 1
            if n > 1:
                followers[gram[:-1]][gram[-1]] += 1
    followers[()] = Counter(train)

    def probability(context, unit):
        if context and context not in followers:
            return probability(context[1:], unit)
        shorter = 1 / size if not context else probability(context[1:], unit)
        seen = followers[context]
        return (seen[unit] + len(seen) * shorter) / (sum(seen.values()) + len(seen))

    return -sum(math.log(probability(tuple(test[max(0, i - order + 1) : i]), unit)) for i, unit in enumerate(test))


sequences = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(sequences, sequences, st.integers(1, 5))
def test_is_witten_and_bells(train, test, order):
    order = min(order, len(train))
    model = NGram.fit(np.array(train), 4, order=order)
    assert model.nats(np.array(test)) == pytest.approx(by_hand(train, test, 4, model.order), rel=1e-12)


@given(sequences, sequences, sequences)
def test_context_counts_nothing_itself(train, before, test):
    model = NGram.fit(np.array(train), 4, order=min(3, len(train)))
    whole = model.nats(np.array(before + test))
    first, second = model.nats(np.array(before)), model.nats(np.array(test), context=np.array(before))
    assert first + second == pytest.approx(whole, rel=1e-9)


@given(sequences, st.lists(st.integers(0, 3), max_size=4))
def test_probabilities_sum_to_one(train, before):
    model = NGram.fit(np.array(train), 4, order=min(4, len(train)))
    context = np.array(before, dtype=np.int64)
    total = sum(math.exp(-model.nats(np.array([unit]), context=context)) for unit in range(4))
    assert total == pytest.approx(1, rel=1e-12)


def test_tables_come_back_and_stay_small():
    ids = np.random.default_rng(0).integers(0, 50, 5000)
    model = NGram.fit(ids, 50)
    assert NGram.from_tensors(50, model.to_tensors()).nats(ids[:99]) == model.nats(ids[:99])
    assert NGram.fit(ids, 50, most_entries=3000).order == 2
    assert NGram.fit(ids, 50, most_entries=1).order == 1


def test_damaged_tables_are_told():
    tensors = NGram.fit(np.arange(20) % 3, 3, order=2).to_tensors()
    with pytest.raises(ModelFileError, match="its baseline's tables are missing"):
        NGram.from_tensors(3, {})
    for broken in (tensors["baseline.1.keys"][:-1], tensors["baseline.1.keys"].float(), tensors["baseline.1.keys"][:0]):
        with pytest.raises(ModelFileError, match="its baseline's tables are damaged"):
            NGram.from_tensors(3, tensors | {"baseline.1.keys": broken})
