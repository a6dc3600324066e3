"""The dictionary against a plain transcript of IBM model 1."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.baselines import dictionary
from unrolled.baselines.dictionary import Dictionary
from unrolled.errors import ModelFileError

WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_it_is_the_textbooks(pairs):
    chance = defaultdict(lambda: 1.0)
    for _ in range(dictionary._ROUNDS):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            for word in target:
                whole = sum(chance[a, word] for a in source)
                for a in source:
                    counts[a, word] += chance[a, word] / whole
                    totals[a] += chance[a, word] / whole
        chance = {link: count / totals[link[0]] for link, count in counts.items()}
    found = Dictionary.fit([a for a, _ in pairs], [b for _, b in pairs])
    assert found.words.keys() == {a for source, _ in pairs for a in source}
    for a, b in found.words.items():
        assert chance[a, b] == pytest.approx(max(p for (source, _), p in chance.items() if source == a), rel=1e-9)


def test_unknown_words_stay_and_case_does_not_matter():
    found = Dictionary.fit(
        [["Der", "Hund"], ["der", "Mann"], ["ein", "Hund"]], [["the", "dog"], ["the", "man"], ["a", "dog"]]
    )
    assert found.translate(["DER", "hund", "Bob"]) == ["the", "dog", "Bob"]
    assert Dictionary.from_data(found.to_data()).words == found.words
    for data in (None, {}, {"words": {"a": 3}}):
        with pytest.raises(ModelFileError, match=r"^its dictionary is damaged$"):
            Dictionary.from_data(data)


def test_few_pairs_are_counted_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(dictionary, "_MOST_PAIRS", 5)
    found = Dictionary.fit([["a", "b"]] * 3, [["c", "d"]] * 3)
    assert found.words.keys() == {"a", "b"}
