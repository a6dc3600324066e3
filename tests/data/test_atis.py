"""Lines of ATIS, BOS to EOS with tags and an intent: read by the task of intents and by the tagger; no others are."""

import pytest

import unrolled
from unrolled.data.atis import are_atis
from unrolled.data.intents import read_intents, sentences_in
from unrolled.data.items import ItemForm
from unrolled.data.tagged import read_tagged, sentences_of
from unrolled.errors import DataError

SENTENCES = [
    ("show flights to boston", "O O O B-toloc.city_name", "atis_flight"),
    ("what is the fare", "O O O O", "atis_airfare#atis_flight"),
    ("BOS to EOS", "B-fromloc O B-toloc", "atis_abbreviation"),  # airports' codes may be so
    ("now", "B-time", "atis_quantity"),
    ("从 北京 到 上海", "O B-from O B-to", "flight"),
] * 6


def line_of(words, tags, intent, mark="\t"):
    return f"BOS {words} EOS{mark}O {tags} {intent}"


def written(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["atis.train.w-intent.iob", "atis.txt", "atis.tsv"])
@pytest.mark.parametrize("mark", ["\t", " \t", "\t "])
def test_sentences_slots_and_intents_are_read(name, mark, tmp_path):
    path = written(tmp_path / name, ["", *(line_of(*each, mark) for each in SENTENCES)])
    found = read_intents([path])
    assert found.tagged.sentences == [words.split() for words, _, _ in SENTENCES]
    assert found.tagged.tags == [tags.split() for _, tags, _ in SENTENCES]
    assert found.intents == [intent for _, _, intent in SENTENCES]
    assert f"{path}: lines as those of ATIS, BOS words EOS and their tags; the last one is the intent" in found.notes
    tagged = read_tagged([path])
    assert (tagged.sentences, tagged.tags) == (found.tagged.sentences, found.tagged.tags)
    assert f"{path}: lines as those of ATIS, BOS words EOS and their tags; intents are left out" in tagged.notes
    assert [" ".join(tokens) for tokens, _ in sentences_of(path, ItemForm(), ["x"]).pairs] == [
        each for each, _, _ in SENTENCES
    ]
    assert [text for text, _ in sentences_in(path, ItemForm(), ["x"]).pairs] == [each for each, _, _ in SENTENCES]


@pytest.mark.parametrize("at", [0, 3, 29])
def test_lines_that_cannot_be_used_are_told(at, tmp_path):
    for odd, told in (
        ("just words", "'just words' is unlike the other lines: BOS words EOS, a tab, their tags"),
        ("BOS to rome EOS\tO O flight", "4 words with BOS and EOS, and 3 tags; expected as many, the intent the last"),
        ("BOS EOS\tO flight", "has no words between BOS and EOS"),
        ("BOS to EOS\tO O O", "has no intent; expected it in the place of the tag of EOS"),
    ):
        lines = [line_of(*each) for each in SENTENCES]
        lines[at] = odd
        path = written(tmp_path / "a.iob", lines)
        with pytest.raises(DataError) as caught:
            read_intents([path])
        assert str(caught.value) == f"{path}, line {at + 1}: {told}"


def test_sentences_without_intents_are_tagged(tmp_path):
    path = written(tmp_path / "a.iob", [line_of(words, tags, "O") for words, tags, _ in SENTENCES])
    assert read_tagged([path]).tags == [tags.split() for _, tags, _ in SENTENCES]


@pytest.mark.parametrize(
    "lines",
    [
        ["BOS O", "to O", "EOS O", "", "now O"],  # CoNLL whose tokens are these words
        ["BOS\tO", "to\tO", "EOS\tO"],
        ["BOS to rome EOS"] * 5,  # no tags
        ["BOS to rome\tO O B-city"] * 5,
        ["to rome EOS\tO O B-city"] * 5,
        ['{"tokens": ["BOS", "EOS"], "tags": ["O", "O"], "intent": "a"}'],
        ["BOSTON EOS\tO O"] * 5,
    ],
)
def test_nothing_else_is_taken_for_it(lines):
    assert not are_atis(lines)


def test_a_model_learns_from_such_a_file_and_tags_it(tmp_path, call):
    path = written(tmp_path / "a.iob", [line_of(*each) for each in SENTENCES])
    settings = unrolled.UnderstandSettings(hidden=8, words=8)
    model = unrolled.UnderstandModel(settings).fit([path], train=unrolled.TrainSettings(steps=1, precision="float32"))
    model.save(tmp_path / "m.safetensors")
    code, out, _ = call("predict", tmp_path / "m.safetensors", path, "--format", "jsonl")
    assert (code, len(out.splitlines())) == (0, 30)
    assert "BOS to EOS" in out.splitlines()[2]
    assert call("evaluate", tmp_path / "m.safetensors", path)[0] == 0
