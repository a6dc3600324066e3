"""Tag schemes: recognized, checked, turned into spans and back; spans counted as conlleval counts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.schemes import SCHEMES, Span, count_spans, follows, misfits, recognize, spans_of, tags_of, to_bioes

WITH_SPANS = [scheme for scheme in SCHEMES if scheme != "plain"]


@st.composite
def spans(draw):
    length, at, found = draw(st.integers(1, 12)), 0, []
    while at < length:
        at += draw(st.integers(0, 2))
        width = draw(st.integers(1, 3))
        if at + width > length:
            break
        found.append(Span(at, at + width, draw(st.sampled_from(["PER", "LOC"]))))
        at += width
    return length, found


@given(spans(), st.sampled_from(WITH_SPANS))
def test_spans_survive_their_tags(drawn, scheme):
    length, found = drawn
    tags = tags_of(found, length, scheme)
    assert spans_of(tags, scheme) == found
    assert misfits(tags, scheme) == []
    within = to_bioes(tags, scheme)
    assert tags_of(spans_of(within, "BIOES"), length, scheme) == tags
    around = ["", *within, ""]
    assert all(follows(a, b) for a, b in zip(around, around[1:], strict=False))


@pytest.mark.parametrize(
    ("scheme", "sentences"),
    [
        ("BIO", [["B-PER", "I-PER", "O"], ["B-LOC"]]),
        ("IOB1", [["I-PER", "I-PER", "B-PER", "O"], ["I-LOC"]]),
        ("BIOES", [["B-PER", "E-PER", "S-LOC", "O"]]),
        ("BILOU", [["B-PER", "I-PER", "L-PER", "U-LOC"]]),
        ("BMES", [["B-PER", "M-PER", "E-PER", "O"]]),
        ("plain", [["NOUN", "VERB"], ["O"]]),
        ("plain", [["O", "O"]]),
    ],
)
def test_schemes_are_recognized(scheme, sentences):
    assert recognize(sentences) == scheme


def test_what_does_not_fit_is_found():
    assert misfits(["O", "I-PER", "B-LOC", "I-PER"], "BIO") == [1, 3]
    assert misfits(["B-PER", "O", "E-PER", "B-LOC"], "BIOES") == [1, 2, 3]
    assert misfits(["M-PER"], "BMES") == [0, 0]


def conlleval(tags):
    """Chunks by the two rules of conlleval.pl, startOfChunk and endOfChunk, for prefixes B, I, E, S and O."""
    found, start, before = [], None, ("O", "")
    for i, tag in enumerate([*tags, "O"]):
        now = tuple(tag.split("-")) if tag != "O" else ("O", "")
        (last, of), (prefix, label) = before, now
        ends = last + prefix in ("BB", "BS", "BO", "IB", "IS", "IO") or last in ("E", "S")
        ends = ends or (last != "O" and of != label)
        begins = last + prefix in ("BB", "IB", "OB", "EB", "SB", "OE", "SE", "EE", "OI", "SI", "EI") or prefix == "S"
        begins = begins or (prefix != "O" and of != label)
        if start is not None and ends:
            found.append(Span(start, i, of))
            start = None
        if begins:
            start = i
        before = now
    return found


TAGS = st.lists(st.sampled_from(["O", *(f"{p}-{label}" for p in "BIES" for label in ("X", "Y"))]), max_size=10)


@given(TAGS)
def test_any_tags_are_read_as_conlleval_reads_them(tags):
    assert spans_of(tags, "BIOES") == conlleval(tags)


def test_counts():
    gold, found = [[Span(0, 2, "A"), Span(3, 4, "B")]], [[Span(0, 2, "A"), Span(3, 4, "A")]]
    counts = count_spans(gold, found)
    assert (counts[""].precision, counts[""].recall, counts[""].f1) == (0.5, 0.5, 0.5)
    assert (counts["A"].precision, counts["A"].recall) == (0.5, 1.0)
    assert (counts["B"].found, counts["B"].precision, counts["B"].f1) == (0, 0.0, 0.0)
    assert count_spans([[]], [[]])[""].f1 == 0.0
