"""Pairs of sentences and their subwords."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.items import ItemForm
from unrolled.data.pairs import read_pairs, sources_in
from unrolled.data.subwords import BEGIN, END, PAD, UNKNOWN, Subwords, fit_subwords
from unrolled.data.tokens import in_sentences, is_without_spaces, joined
from unrolled.errors import DataError, ModelFileError

TEXTS = ["der Hund läuft im Schnee.", "ein Mann, der singt!", "die Hunde laufen; ein Mann läuft."] * 4


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


TWO = "ein Hund\ta dog\neine Katze\ta cat\n"
THREE = TWO.replace("\n", "\tCC-BY\n")


@pytest.mark.parametrize(("name", "text"), [
    *((f"p.{suffix}", head + TWO) for suffix in ("txt", "tsv") for head in ("", "de\ten\n", "Source\tTarget\n")),
    *(("p.txt", head + THREE) for head in ("", "de\ten\tlicence\n")),
])  # fmt: skip
def test_a_file_of_pairs_is_translated_by_the_column_that_the_training_read(name, text, tmp_path):
    path = written(tmp_path / name, text)
    pairs, form = read_pairs([path]), ItemForm()
    for is_backward, column in ((False, "first"), (True, "second")):
        found = sources_in(path, form, is_backward=is_backward)
        both = (pairs.targets, pairs.sources) if is_backward else (pairs.sources, pairs.targets)
        assert list(found.pairs) == [(a, {"text": a, "reference": b}) for a, b in zip(*both, strict=True)]
        assert found.note == f"{path}: 2 pairs of sentences, the {column} column is translated"


@pytest.mark.parametrize(("name", "text", "form"), [
    ("p.txt", "ein Hund\neine Katze\n", {}),  # no tab
    ("p.txt", "text\tlabel\n" + TWO, {}),  # a table of texts
    ("p.tsv", "id\ttext\tlabel\n" + THREE, {}),
    ("p.tsv", THREE, {}),
    ("p.tsv", TWO, {"text": "1"}),  # told otherwise
    ("p.tsv", TWO, {"header": False}),
])  # fmt: skip
def test_a_file_of_something_else_is_no_pairs(name, text, form, tmp_path):
    assert sources_in(written(tmp_path / name, text), ItemForm(**form), is_backward=False) is None
    assert sources_in(tmp_path, ItemForm(**form), is_backward=False) is None


def test_one_file_and_two(tmp_path):
    table = read_pairs([written(tmp_path / "a.tsv", "ein Hund\ta dog\tCC-BY\n\nja\t yes \n\tno\nnein\t\n")])
    assert table.sources == ["ein Hund", "ja"]
    assert table.targets == ["a dog", "yes"]
    assert table.notes == (
        "2 pairs of sentences",
        "columns after the second are left out",
        "2 pairs with an empty side are left out (lines 4, 5)",
    )
    # only a line feed ends a line: the other ends of Unicode stay within their sentence
    two = read_pairs([written(tmp_path / "a", "ein\u2028Hund\r\nja\x0b\n"), written(tmp_path / "b", "a dog\nyes\n")])
    assert two.sources == ["ein\u2028Hund", "ja"]
    assert two.targets == ["a dog", "yes"]


@pytest.mark.parametrize("names", ["en\tde", "English\tGerman\tlicence", "source\ttarget", " src \tTGT\r", "zh\ten"])
def test_a_first_line_that_names_the_columns_is_no_pair(tmp_path, names):
    first, second = (name.strip() for name in names.split("\t")[:2])
    found = read_pairs([written(tmp_path / "a.tsv", f"{names}\nja\t\nein Hund\ta dog\n")])
    assert (found.sources, found.targets) == (["ein Hund"], ["a dog"])
    assert found.notes[1].endswith(f"a.tsv, line 1: {first!r} and {second!r} name the columns; left out")
    assert found.notes[-1] == "1 pair with an empty side is left out (line 2)"


@pytest.mark.parametrize("pair", ["no\tno", "German\tdeutsch", "text\tTexte", "the source\ttarget", "en\t"])
def test_a_first_line_of_words_is_a_pair(tmp_path, pair):
    found = read_pairs([written(tmp_path / "a.tsv", f"{pair}\nein Hund\ta dog\nen\tde\n")])
    first = [pair.split("\t")[0]] if pair.split("\t")[1] else []
    assert found.sources == [*first, "ein Hund", "en"]


def test_faults_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.tsv", "ein Hund\ta dog\nohne\nja\tyes\n" + "x" * 50 + "\n")
    written(tmp_path / "long", "a\nb\nc\n")
    written(tmp_path / "latin", "a\nfa\xe7ade\n".encode("latin-1"))
    written(tmp_path / "blank", "\t\n")
    for files, text in (
        (
            ["a.tsv"],
            "a.tsv, line 2: 'ohne' has no tab; expected a source, a tab, its translation\n"
            f"  a.tsv, line 4: '{'x' * 37}...' has no tab; expected a source, a tab, its translation",
        ),
        (
            ["long"],
            "long, line 1: 'a' has no tab; expected a source, a tab, its translation. No line has one: put tabs in, or "
            "name the file of the translations too",
        ),
        (
            ["a.tsv", "long"],
            "a.tsv has 4 lines, long has 3; expected as many, line by line the same sentences",
        ),
        (["a.tsv", "a.tsv"], "a.tsv: is given twice; expected a file with sources and one with translations"),
        (
            ["a.tsv", "long", "blank"],
            "3 files: expected one with a tab in each line, or two whose lines belong together",
        ),
        (["blank"], "blank: holds no pairs"),
        (
            ["absent", "latin"],
            "absent: no such file\n  latin, line 2: byte 0xe7 is not utf-8. "
            "Pass --encoding with the right one (such as latin-1)",
        ),
    ):
        with pytest.raises(DataError) as caught:
            read_pairs(files)
        assert str(caught.value) == text


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_any_bytes_are_pairs_or_a_clear_fault(tmp_path_factory, content, encoding):
    path = written(tmp_path_factory.mktemp("fuzz") / "pairs", content)
    with contextlib.suppress(DataError):
        pairs = read_pairs([path], encoding=encoding)
        assert all(text.strip() == text != "" for text in (*pairs.sources, *pairs.targets))


def test_subwords_come_back_as_they_were():
    both, same = fit_subwords(TEXTS, TEXTS, 60, is_joint=True)
    assert both is same
    for text, cut in zip(TEXTS, both.cut(TEXTS), strict=True):
        assert both.join(cut.ids) == text
        assert "".join(cut.texts) == text.replace(" ", "")
        assert cut.ids.min() > UNKNOWN
        assert cut.ids.max() < len(both)
    assert Subwords.from_data(both.to_data()).cut(TEXTS)[0].ids.tolist() == both.cut(TEXTS)[0].ids.tolist()


def test_unknown_characters_are_one_subword_to_be_copied():
    subwords = Subwords.fit(TEXTS, 60)
    [cut] = subwords.cut(["der Жук läuft"])
    assert [text for text, number in zip(cut.texts, cut.ids, strict=True) if number == UNKNOWN] == ["Жук"]
    assert subwords.join(cut.ids, ["Bob"]) == "der Bob läuft"
    assert subwords.join(cut.ids) == "der \N{REPLACEMENT CHARACTER} läuft"


@given(st.text(max_size=60))
def test_a_text_cannot_name_the_numbers_that_guide_the_decoder(text):
    subwords = Subwords.fit(TEXTS, 60)
    for given_text in (text, f"<s>{text}</s> <pad>"):
        [cut] = subwords.cut([given_text])
        assert not {PAD, BEGIN, END} & set(cut.ids.tolist())
        assert len(cut.ids) == len(cut.texts)
        assert all(each in given_text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ") for each in cut.texts)


def test_separate_subwords_and_damaged_ones():
    a, b = fit_subwords(TEXTS, ["他 在 雪 里 跑", "他 在 唱 歌"] * 3, 40, is_joint=False)
    assert b.join(b.cut(["他 在 跑"])[0].ids) == "他 在 跑"
    assert a.cut(["他"])[0].ids.tolist()[-1] == UNKNOWN
    for data in (None, {"model": 3}, {**a.to_data(), "model": {}}):
        with pytest.raises(ModelFileError, match=r"^its subwords "):
            Subwords.from_data(data)


def test_sentences_and_words():
    assert in_sentences("He came. “Go!” she said.\nNo 3.5 more? 他来了。她走了！ end") == [
        "He came.", "“Go!”", "she said.", "No 3.5 more?", "他来了。", "她走了！", "end",
    ]  # fmt: skip
    assert in_sentences(" \n ") == []
    assert joined(["a", "dog", ",", "(", "now", ")", "."], is_spaced=True) == "a dog, ( now)."
    assert joined(["他", "来", "了", "。"], is_spaced=False) == "他来了。"
    assert is_without_spaces("他来了 ok")
    assert not is_without_spaces("he came 了")
