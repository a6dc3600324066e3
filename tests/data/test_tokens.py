"""Tokens of any script, and the numbers that a network reads."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.tokens import ends_of, tokens_of, words_of
from unrolled.data.vocabulary import TokenVocabulary, Vocabulary
from unrolled.training.batches import Batches, by_length


@given(st.text(max_size=60))
def test_tokens_cover_all_that_is_not_space(text):
    for cut in (tokens_of, words_of):
        tokens = cut(text)
        assert all(text[token.start : token.end] == token.text for token in tokens)
        ends = [0, *(token.end for token in tokens)]
        starts = [*(token.start for token in tokens), len(text)]
        between = "".join(text[a:b] for a, b in zip(ends, starts, strict=True))
        assert not between.strip() or all(not char.isprintable() or char.isspace() for char in between)


def test_scripts():
    cut = lambda text: [token.text for token in tokens_of(text)]
    assert cut("Don't stop, 3.5%!") == ["Don't", "stop", ",", "3", ".", "5", "%", "!"]
    assert cut("很快，好吃 ok了") == ["很", "快", "，", "好", "吃", "ok", "了"]
    assert cut("Größe naïve Ελλάδα") == ["Größe", "naïve", "Ελλάδα"]
    assert cut("กข") == ["ก", "ข"]


def test_vocabulary_keeps_the_frequent_and_numbers_from_two():
    vocabulary = Vocabulary.fit(["a", "b", "b", "c", "c", "c"], least=2, most=1)
    assert vocabulary.names == ["c"]
    assert vocabulary.numbers(["c", "b"]) == [2, 1]
    assert len(vocabulary) == 3


def test_a_batch_is_padded_and_knows_characters():
    vocabulary = TokenVocabulary.fit([["New", "york"], ["new", "york"]], most_pairs=10)
    batch = vocabulary.batch([vocabulary.encode(["New", "york"]), vocabulary.encode(["x"])])
    assert batch.words.tolist() == [[2, 1], [3, 0]]
    assert batch.lengths.tolist() == [2, 1]
    assert batch.pairs.tolist()[0][0] == 2
    assert batch.chars[batch.forms[0, 0]].tolist()[:3] == vocabulary.chars.numbers("New")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_has_every_example(lengths, batch, seed):
    batches = Batches(lengths, batch, seed)
    epoch = np.concatenate([batches.at(step) for step in range(batches.n_batches)])
    assert set(epoch.tolist()) == set(range(len(lengths)))
    assert all(len(batches.at(step)) == batches.batch for step in range(batches.n_batches))
    again = Batches(lengths, batch, seed)
    assert all((batches.at(step) == again.at(step)).all() for step in (0, batches.n_batches, 3 * batches.n_batches))


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100))
def test_by_length_takes_each_once(lengths, most):
    groups = by_length(lengths, most)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= most for group in groups)


@given(st.text(alphabet="ab'’ .,高\u0301\n-_0", max_size=300), st.integers(2, 12))
def test_the_ends_of_a_text_are_those_of_its_tokens(text, most):
    tokens = tokens_of(text)
    first, last = most // 2, most - most // 2
    assert ends_of(text, most) == (tokens if len(tokens) <= most else [*tokens[:first], *tokens[-last:]])


def test_the_ends_of_a_very_long_text_cost_nothing():
    begin = time.perf_counter()
    assert len(ends_of("word, " * 10_000_000, 400)) == 400
    assert time.perf_counter() - begin < 5
