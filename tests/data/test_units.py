"""Text becomes units and comes back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.units import Bytes, Chars, Subwords, units_from_data
from unrolled.errors import DataError, MissingExtraError, ModelFileError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
SUBWORDS = Subwords.fit("the cat sat on the mat, 猫 and all\n" * 50, 320)


def there_and_back(units, text):
    return "".join(units.decode(int(unit) for unit in units.encode(text)))


@given(texts)
def test_every_kind_gives_the_text_back(text):
    for units in (Chars.fit(text), Bytes(), SUBWORDS):
        assert there_and_back(units, text) == text
        again = units_from_data(units.to_data())
        assert again.size == units.size
        assert np.array_equal(again.encode(text), units.encode(text))
        assert units.encode(text).max() < units.size


def test_text_comes_as_soon_as_a_character_is_complete():
    pieces = list(Bytes().decode("a猫".encode()))
    assert pieces == ["a", "猫"]
    assert list(Bytes().decode(b"\xe7\x8c")) == ["\N{REPLACEMENT CHARACTER}"]


def test_unknown_characters_are_unit_0_and_cost_what_it_takes_to_name_them():
    units = Chars.fit("abc")
    ids = units.encode("a?c!")
    assert ids.tolist() == [1, 0, 3, 0]
    assert units.extra_nats(ids) == pytest.approx(2 * math.log(0x110000 - 3))
    assert there_and_back(units, "a?") == "a\N{REPLACEMENT CHARACTER}"
    with pytest.raises(DataError, match=r"^prompt: '!', '\?' did not occur in the text the model was trained on\."):
        units.check("a?c!", "prompt")
    units.check("cab", "prompt")


def test_subwords_are_fewer_than_characters():
    assert len(SUBWORDS.encode("the cat sat")) < 11
    assert 256 < SUBWORDS.size <= 320


@pytest.mark.parametrize(
    "data", [None, {}, {"kind": "word"}, {"kind": "char", "chars": ""}, {"kind": "char", "chars": "aa"},
             {"kind": "char", "chars": ["a"]}, {"kind": "subword", "tokenizer": {}}, {"kind": "subword"}]
)  # fmt: skip
def test_damaged_vocabularies_are_told(data):
    with pytest.raises(ModelFileError):
        units_from_data(data)


def test_the_extra_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"Install it: pip install 'unrolled\[subword\]'"):
        Subwords.fit("text", 300)
