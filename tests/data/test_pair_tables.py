"""Translations in tables: CSV with a header, JSON lines, objects of both languages; what cannot be told is asked."""

import json

import pandas
import polars
import pytest

import unrolled
from unrolled.data.items import ItemForm, read_items
from unrolled.data.pair_sides import AskedSides, are_names
from unrolled.data.pairs import read_pairs, sources_in
from unrolled.errors import DataError

SOURCES = [f'Go to "number" {i}, please.' for i in range(24)]
TARGETS = [f'Geh zu "Nummer" {i}, bitte.' for i in range(24)]
#: the names of sources and targets
NAMES = [
    ("en", "de"), ("English", "German"), ("source", "target"), ("src", "tgt"), ("en_text", "de_text"),
    ("zh-CN", "en-US"), ("english sentence", "german sentence"), ("text", "translation"), ("input", "output"),
    ("original", "translation"), ("sentence_en", "sentence_de"),
]  # fmt: skip
FORMS = ["csv", "csv;", "jsonl", "json", "parquet", "nested jsonl", "nested json", "nested parquet"]
BESIDE = {"none": {}, "numbers": {"id": list(range(24))}, "languages": {"lang_pair": ["en-de"] * 24}}


def written(folder, form, columns):
    """A file of a form with some columns."""
    frame = pandas.DataFrame(columns)
    path = folder / f"pairs.{form.split()[-1].rstrip(';')}"
    if form.startswith("nested"):
        *others, a, b = frame.columns
        nested = "pair" if "translation" in (a, b) else "translation"
        frame[nested] = [{str(a): x, str(b): y} for x, y in zip(frame[a], frame[b], strict=True)]
        frame = frame[[*others, nested]]
    if form.endswith("jsonl"):
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in frame.to_dict("records")))
    elif form.endswith("json"):
        path.write_text(json.dumps(frame.to_dict("records")))
    elif form.endswith("parquet"):
        polars.DataFrame(frame.to_dict("list")).write_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=form[3:] or ",")
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", NAMES)
def test_columns_of_known_names_are_the_sides(form, names, tmp_path):
    path = written(tmp_path, form, dict(zip(names, (SOURCES, TARGETS), strict=True)))
    found = read_pairs([path])
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
    assert found.notes == (
        "24 pairs of sentences",
        f"column {names[0]!r} is taken for the source and {names[1]!r} for the target; else pass --source and --target",
    )
    turned = read_pairs([path], asked=AskedSides(names[1], names[0]))
    assert (turned.sources, turned.targets, turned.notes) == (TARGETS, SOURCES, ("24 pairs of sentences",))
    for is_backward, texts in ((False, SOURCES), (True, TARGETS)):
        items = sources_in(path, ItemForm(), is_backward=is_backward)
        assert [text for text, _ in items.pairs] == texts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beside", BESIDE)
def test_sides_of_any_name_are_named_or_asked(form, beside, tmp_path):
    path = written(tmp_path, form, {**BESIDE[beside], "question": SOURCES, "reply": TARGETS})
    asked = read_pairs([path], asked=AskedSides("question", "reply"))
    assert (asked.sources, asked.targets) == (SOURCES, TARGETS)
    if form in ("csv", "csv;"):
        with pytest.raises(DataError) as caught:
            read_pairs([path])
        assert str(caught.value) == (
            f"{path}, line 1: 'question', 'reply' may be names of columns or a pair. Pass --header if they are names, "
            "--no-header if they are a pair"
        )
        found = read_pairs([path], header=True)
    else:
        found = read_pairs([path])
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
    again = read_pairs([path], learnt=found.read_as)
    assert (again.sources, again.targets) == (SOURCES, TARGETS)


def test_targets_that_stand_first_are_targets(tmp_path):
    for form, (a, b) in (
        ("csv", ("target", "source")),
        ("jsonl", ("translation", "text")),
        ("csv", ("tgt_en", "src_de")),
    ):
        found = read_pairs([written(tmp_path, form, {a: TARGETS, b: SOURCES})])
        assert (found.sources, found.targets) == (SOURCES, TARGETS)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("n_more", [0, 1, 3])
def test_names_in_lines_with_tabs_and_options_for_them(suffix, n_more, tmp_path):
    more = {f"note {i}": [f"a note, number {j}" for j in range(24)] for i in range(n_more)}
    columns = {"id": range(24), **more, "de": TARGETS, "en": SOURCES}
    path = tmp_path / f"p.{suffix}"
    rows = [columns, *zip(*columns.values(), strict=True)]
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    found = read_pairs([path])
    assert (found.sources[-1], found.targets[-1]) == (TARGETS[-1], SOURCES[-1])
    found = read_pairs([path], asked=AskedSides("en", "de"))
    assert (found.sources[-1], found.targets[-1]) == (SOURCES[-1], TARGETS[-1])


def test_a_pair_on_the_first_line_is_not_lost(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "\n".join(
            f'"{a.replace(chr(34), "")}","{b.replace(chr(34), "")}"' for a, b in zip(SOURCES, TARGETS, strict=True)
        )
    )
    with pytest.raises(
        DataError, match=r"may be names of columns or a pair\. Pass --header if they are names, --no-header"
    ):
        read_pairs([path])
    assert len(read_pairs([path], header=False)) == 24
    assert len(read_pairs([path], header=True)) == 23
    assert [
        text
        for text, _ in sources_in(path, ItemForm(header=False), is_backward=False, asked=AskedSides("1", "2")).pairs
    ] == [text.replace('"', "") for text in SOURCES]


def test_files_of_pairs_are_joined_and_no_lines_of_two_languages(tmp_path):
    halves = []
    for i in range(2):
        path = tmp_path / f"{i}.tsv"
        path.write_text(
            "".join(f"{a}\t{b}\n" for a, b in list(zip(SOURCES, TARGETS, strict=True))[12 * i : 12 * i + 12])
        )
        halves.append(path)
    found = read_pairs(halves)
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
    assert found.notes[-1] == "2 files of pairs, as most lines have a tab, are read one after the other"
    tables = []
    for i in range(3):
        (tmp_path / f"t{i}").mkdir()
        part = slice(8 * i, 8 * i + 8)
        tables.append(written(tmp_path / f"t{i}", "csv", {"en": SOURCES[part], "de": TARGETS[part]}))
    found = read_pairs(tables)
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
    with pytest.raises(DataError) as caught:
        read_pairs([tables[0], halves[0]])
    assert str(caught.value) == f"{tables[0]} is a table, {halves[0]} is none; name files of one form"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"a": SOURCES, "b": TARGETS, "c": TARGETS}, "which columns are the sentences and their translations? Pass --source and --target with two of 'a', 'b', 'c'"),
        ({"id": range(24), "a": SOURCES}, "which columns are the sentences and their translations? Pass --source and --target with two of 'id', 'a'"),
        ({"en": SOURCES, "de": TARGETS, "fr": TARGETS}, "which columns are the sentences and their translations? Pass --source and --target with two of 'en', 'de', 'fr'"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_told_are_asked(columns, told, tmp_path):
    if "id" in columns:
        columns = {**columns, "mark": ["x"] * 24}
        told = f"{told}, 'mark'"
    for form in ("csv", "jsonl"):
        path = written(tmp_path, form, columns)
        with pytest.raises(DataError) as caught:
            read_pairs([path])
        assert str(caught.value) == f"{path}: {told}"
    with pytest.raises(DataError, match=r"which column is the target\? Pass --target with one of "):
        read_pairs([path], asked=AskedSides(source="a" if "a" in columns else "en"))
    with pytest.raises(DataError, match=r"has no column 'xy'"):
        read_pairs([path], asked=AskedSides(source="xy"))
    name = next(reversed(columns))
    with pytest.raises(DataError, match=f"--source and --target both name '{name}'; expected two columns"):
        read_pairs([path], asked=AskedSides(name, name))


def test_odd_objects_and_empty_sides_are_told(tmp_path):
    rows = [{"translation": {"en": a, "de": b}} for a, b in zip(SOURCES, TARGETS, strict=True)] * 50
    rows[3]["translation"]["de"] = ""
    rows[5]["translation"] = {"en": "alone", "de": None}
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_pairs([path])
    n_left = 50 + 50
    assert len(found) == len(rows) - n_left
    assert (
        f"{n_left} pairs with an empty side are left out ({path}, line 4, {path}, line 6, {path}, line 28, "
        in found.notes[-1]
    )
    rows = [{"translation": {"en": a, "de": b}} for a, b in zip(SOURCES, TARGETS, strict=True)] * 50
    rows[1100] = {"translation": "none"}
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError) as caught:
        read_pairs([path])
    assert str(caught.value) == (
        f"{path}, line 1101, column 'translation': 'none' is no object of texts such as {{\"en\": ..., \"de\": ...}}"
    )


def test_a_sentence_of_several_lines_is_one(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('en,de\n"a dog\nruns","ein Hund \n läuft"\n' + "x,y\n" * 3)
    found = read_pairs([path])
    assert (found.sources[0], found.targets[0]) == ("a dog runs", "ein Hund läuft")


@pytest.mark.parametrize(
    "line", ["It is", "Go on!\tGeh weiter!", "Hello\tHallo", "en", "text\tlabel", "The text\tDer Text", "no way\tit is"]
)
def test_sentences_are_no_names(line):
    assert not are_names(line.split("\t"))


def test_lines_of_two_files_are_told_that_columns_make_no_difference(tmp_path):
    for name, texts in (("a.en", SOURCES), ("a.de", TARGETS)):
        (tmp_path / name).write_text("\n".join(texts))
    found = read_pairs([tmp_path / "a.en", tmp_path / "a.de"], asked=AskedSides("en", "de"))
    assert found.notes[-1].endswith("a.de: no columns of these names; --source and --target make no difference")


def test_a_later_table_is_translated_by_the_column_of_the_training(tmp_path):
    path = written(tmp_path, "csv", {"en": SOURCES, "de": TARGETS})
    settings = unrolled.TranslateSettings(hidden=8, words=8, subwords=40)
    model = unrolled.TranslateModel(settings).fit([path], train=unrolled.TrainSettings(steps=1, precision="float32"))
    model.save(tmp_path / "m.safetensors")
    model = unrolled.TranslateModel.load(tmp_path / "m.safetensors")
    assert model.read_as == {"source": "en", "target": "de"}
    (tmp_path / "later").mkdir()
    later = written(tmp_path / "later", "csv", {"note": TARGETS, "de": TARGETS, "en": SOURCES})
    assert [text for text, _ in model.items_of(later, ItemForm()).pairs] == SOURCES
    data = model.read([later])
    assert (data.sources, data.targets) == (SOURCES, TARGETS)
    alone = written(tmp_path / "later", "csv", {"note": TARGETS, "en": SOURCES})
    assert [text for text, _ in model.items_of(alone, ItemForm()).pairs] == SOURCES
    other = written(tmp_path / "later", "csv", {"note": TARGETS, "fr": SOURCES})
    with pytest.raises(DataError, match=r"has no column 'en', from which the model learnt"):
        model.read([other])


OBJECTS = [{"a": "x", "b": "y"}, {"author": "x", "place": "y"}, {"url": "x", "licence": "y", "by": "z"}]
SIDES = [("en", "de"), ("source", "target"), ("sentence_en", "sentence_fr")]


@pytest.mark.parametrize("beside", OBJECTS)
@pytest.mark.parametrize("names", SIDES)
@pytest.mark.parametrize("is_first", [True, False])
def test_an_object_beside_two_sides_is_not_the_pair(names, beside, is_first, tmp_path):
    """Objects that describe a pair, with two texts in them, were read in the place of its sentences."""
    path = tmp_path / "p.jsonl"
    rows = [dict(zip(names, pair, strict=True)) for pair in zip(SOURCES, TARGETS, strict=True)]
    rows = [{"meta": beside} | row if is_first else row | {"meta": beside} for row in rows]
    path.write_text("\n".join(map(json.dumps, rows)))
    for asked in (AskedSides(), AskedSides(*names), AskedSides(source=names[0])):
        if asked.source is None or asked.target is not None:
            found = read_pairs([path], asked=asked)
            assert (found.sources, found.targets) == (SOURCES, TARGETS)
        items = sources_in(path, ItemForm(), is_backward=False, asked=asked)
        assert [text for text, _ in items.pairs] == SOURCES


@pytest.mark.parametrize("beside", OBJECTS)
def test_objects_without_sides_are_none(beside, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": "a", "meta": beside}) for text in SOURCES))
    with pytest.raises(DataError, match="which columns are the sentences and their translations"):
        read_pairs([path])
    assert sources_in(path, ItemForm(), is_backward=False) is None


@pytest.mark.parametrize("keys", [("en", "de"), ("ast", "oc"), ("eu", "ca"), ("xx_YY", "zz")])
def test_objects_of_a_column_of_translations_are_pairs_whatever_the_languages(keys, tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [dict(zip(keys, pair, strict=True)) for pair in zip(SOURCES, TARGETS, strict=True)]
    path.write_text("\n".join(json.dumps({"id": i, "translation": row}) for i, row in enumerate(rows)))
    found = read_pairs([path])
    assert (found.sources, found.targets) == (SOURCES, TARGETS)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("names", [("category", "text"), ("text", "label"), ("user", "message")])
@pytest.mark.parametrize("is_backward", [True, False])
def test_a_table_that_is_no_table_of_pairs_is_read_by_its_texts(names, suffix, is_backward, tmp_path):
    """Of two columns of any names the first was translated, though the other was known to hold texts."""
    path = written(tmp_path, suffix, {names[0]: SOURCES, names[1]: TARGETS})
    assert sources_in(path, ItemForm(), is_backward=is_backward) is None
    texts = SOURCES if names[0] == "text" else TARGETS
    assert [text for text, _ in read_items(path, ItemForm()).pairs] == texts


def test_a_blank_line_above_pairs_makes_no_table_of_them(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("\n" + "".join(f"{a}\t{b}\n" for a, b in zip(SOURCES, TARGETS, strict=True)))
    found = read_pairs([path])
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
