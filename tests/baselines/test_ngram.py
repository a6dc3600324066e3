"""The n-gram baseline against counting by hand, and its probabilities' sum."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.baselines import ngram
from unrolled.baselines.ngram import NGram
from unrolled.errors import ModelFileError


def discounts(counts):
    """Chen and Goodman's three discounts, each kept between 0.05 and its count less 0.05."""
    n = Counter(counts.values())
    y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    return [min(max(k - (k + 1) * y * n[k + 1] / n[k] if n[k] else y, 0.05), k - 0.05) for k in (1, 2, 3)]


def by_hand(train, test, size, order):
    """Modified Kneser-Ney interpolation by dictionaries."""
    raw = [Counter(tuple(train[i - n + 1 : i + 1]) for i in range(n - 1, len(train))) for n in range(1, order + 1)]
    counts = []
    for n in range(order):
        before = Counter(gram[1:] for gram in raw[n + 1]) if n + 1 < order else raw[n]
        counts.append({gram: max(before[gram], 1) for gram in raw[n]})
    taken = [discounts(each) for each in counts]

    def probability(context, unit):
        n = len(context)
        shorter = 1 / size if not context else probability(context[1:], unit)
        followers = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == context}
        if not followers:
            return shorter
        less = {each: taken[n][min(count, 3) - 1] for each, count in followers.items()}
        seen = followers.get(unit, 0) - less.get(unit, 0)
        return (seen + sum(less.values()) * shorter) / sum(followers.values())

    return -sum(math.log(probability(tuple(test[max(0, i - order + 1) : i]), unit)) for i, unit in enumerate(test))


def witten_bell(train, test, size, order):
    """Witten and Bell's interpolation by dictionaries, and its tables as unrolled 0.1.0 wrote them."""
    followers = defaultdict(Counter)
    for n in range(1, order + 1):
        for i in range(n - 1, len(train)):
            followers[tuple(train[i - n + 1 : i])][train[i]] += 1

    def probability(context, unit):
        if context not in followers:
            return probability(context[1:], unit)
        shorter = 1 / size if not context else probability(context[1:], unit)
        seen = followers[context]
        return (seen[unit] + len(seen) * shorter) / (sum(seen.values()) + len(seen))

    tensors = {}
    for n, hashes in enumerate(ngram._hashes(np.array(train), order), 1):
        keys, first = np.unique(hashes[n - 1 :], return_index=True)
        grams = [tuple(train[i : i + n]) for i in first]
        of_context = [followers.get(gram, {}) if n < order else {} for gram in grams]
        tensors[f"baseline.{n}.keys"] = torch.from_numpy(keys.view(np.int64))
        for name, column in (
            ("counts", [followers[gram[:-1]][gram[-1]] for gram in grams]),
            ("followed", [sum(each.values()) for each in of_context]), ("kinds", [len(each) for each in of_context]),
        ):  # fmt: skip
            tensors[f"baseline.{n}.{name}"] = torch.tensor(column, dtype=torch.int32)
    return -sum(
        math.log(probability(tuple(test[max(0, i - order + 1) : i]), unit)) for i, unit in enumerate(test)
    ), tensors


sequences = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(sequences, sequences, st.integers(1, 5))
def test_is_kneser_and_neys(train, test, order):
    order = min(order, len(train))
    model = NGram.fit(np.array(train), 4, order=order)
    assert model.nats(np.array(test)) == pytest.approx(by_hand(train, test, 4, model.order), rel=1e-6)  # of float32


@given(sequences, sequences, st.integers(1, 5))
def test_tables_of_old_files_are_witten_and_bells(train, test, order):
    nats, tensors = witten_bell(train, test, 4, min(order, len(train)))
    assert NGram.from_tensors(4, tensors).nats(np.array(test)) == pytest.approx(nats, rel=1e-12)


@given(sequences, st.lists(st.integers(0, 3), max_size=6), st.integers(1, 5))
def test_all_units_at_once_are_each_by_itself(train, before, order):
    model = NGram.fit(np.array(train), 4, order=min(order, len(train)))
    context = np.array(before, dtype=np.int64)
    each = [model.log_p(np.array([unit]), context=context)[0] for unit in range(4)]
    np.testing.assert_array_equal(model.next_log_p(context), each)


def test_the_order_is_the_best_on_the_last_tenth():
    draw = np.random.default_rng(0)
    no_context = draw.integers(0, 5, 20_000)
    assert NGram.fit(no_context, 5).order == 1
    by_two = [0, 1]  # the sum of the two before it, with some noise
    for noise in draw.random(3000):
        by_two.append((by_two[-1] + by_two[-2] + (noise < 0.1)) % 5)
    assert NGram.fit(np.array(by_two), 5).order == 3
    assert NGram.fit(np.array([2]), 5).order == 1


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
    model = NGram.fit(ids, 50, order=3)
    assert NGram.from_tensors(50, model.to_tensors()).nats(ids[:99]) == model.nats(ids[:99])
    assert NGram.fit(ids, 50, order=4, most_entries=3000).order == 2
    assert NGram.fit(ids, 50, order=4, most_entries=1).order == 1


def test_damaged_tables_are_told():
    tensors = NGram.fit(np.arange(20) % 3, 3, order=2).to_tensors()
    with pytest.raises(ModelFileError, match="its baseline's tables are missing"):
        NGram.from_tensors(3, {})
    for broken in (tensors["baseline.1.keys"][:-1], tensors["baseline.1.keys"].float(), tensors["baseline.1.keys"][:0]):
        with pytest.raises(ModelFileError, match="its baseline's tables are damaged"):
            NGram.from_tensors(3, tensors | {"baseline.1.keys": broken})
