"""Tables and lines of tagged sentences: whatever the form and the names of columns, the same sentences."""

import json

import numpy as np
import pytest

from unrolled.data.files import Faults
from unrolled.data.intents import read_intents
from unrolled.data.items import ItemForm
from unrolled.data.tag_columns import TagColumns
from unrolled.data.tagged import read_tagged, sentences_of
from unrolled.data.tagged_lines import conll_sentences
from unrolled.errors import DataError

NOUNS = ["Ada", "Bob", "Rome", "Oslo", "New York", 'x"y', "a,b"]


def drawn(seed, nouns=NOUNS):
    """Sentences, tags, parts of speech and intents at random."""
    draw = np.random.default_rng(seed)
    sizes = [1 + int(draw.integers(5)) for _ in range(12)] + [3]
    sentences = [[str(draw.choice(nouns)) for _ in range(size)] for size in sizes]
    tags = [[str(draw.choice(["O", "B-X", "B-Y"])) for _ in each] for each in sentences[:-1]] + [["B-X", "I-X", "O"]]
    parts = [[str(draw.choice(["NN", "VB"])) for _ in each] for each in sentences]
    return sentences, tags, parts, [str(draw.choice(["go", "buy"])) for _ in sentences]


def cell(text):
    quoted = str(text).replace('"', '""')
    return f'"{quoted}"'


def csv(rows):
    return "\n".join(",".join(map(cell, row)) if row else "" for row in rows) + "\n"


def rows_of(data, mark):
    """A row for each token: what `mark` makes of the numbers of sentence and token, token, part, tag, intent."""
    return [
        (mark(i, j), token, part, tag, intent)
        for i, (tokens, tags, parts, intent) in enumerate(zip(*data, strict=True))
        for j, (token, tag, part) in enumerate(zip(tokens, tags, parts, strict=True))
    ]


def spaced(data, mark):
    """The same with an empty line, or an empty row, after each sentence."""
    whole = []
    for i, row in enumerate(rows_of(data, lambda i, j: (i, j))):
        if i and row[0][1] == 0:
            whole.append([] if mark == "line" else [""] * 4)
        whole.append(row[1:])
    return whole


HEAD = ("nr", "mot", "cat", "etiq", "but")
NAMED = TagColumns("nr", "mot", "etiq")
USUAL = ("sentence", "token", "cat", "tag", "intent")
FORMS = {
    "numbers of sentences": lambda data: (csv([HEAD, *rows_of(data, lambda i, j: i)]), NAMED),
    "only in first rows": lambda data: (csv([HEAD, *rows_of(data, lambda i, j: "" if j else f"s {i}")]), NAMED),
    "numbers of tokens": lambda data: (csv([HEAD, *rows_of(data, lambda i, j: j + 1)]), NAMED),
    "numbers of tokens from 0": lambda data: (csv([HEAD, *rows_of(data, lambda i, j: j)]), NAMED),
    "usual names": lambda data: (csv([USUAL, *rows_of(data, lambda i, j: i)]), TagColumns()),
    "empty lines": lambda data: (csv([USUAL[1:], *spaced(data, "line")]), TagColumns()),
    "empty rows": lambda data: (csv([USUAL[1:], *spaced(data, "row")]), TagColumns()),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_a_token_a_row(form, seed, tmp_path):
    data = drawn(seed)
    text, columns = FORMS[form](data)
    (tmp_path / "t.csv").write_text(text)
    found = read_tagged([tmp_path / "t.csv"], columns=columns)
    assert (found.sentences, found.tags) == data[:2]
    intent = None if columns.token is None else "but"
    both = read_intents([tmp_path / "t.csv"], columns=columns, intent=intent)
    assert (both.tagged.sentences, both.tagged.tags, both.intents) == (*data[:2], data[3])
    again = read_tagged([tmp_path / "t.csv"], learnt=found.read_as)
    assert (again.sentences, again.tags) == data[:2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("join", [" ".join, str])
def test_a_sentence_a_row(join, seed, tmp_path):
    data = drawn(seed, ["Ada", "Bob", "Rome", "Oslo", "a,b"])
    rows = [(i, join(tokens), join(tags), join(parts), intent) for i, (tokens, tags, parts, intent) in enumerate(zip(*data, strict=True))]  # fmt: skip
    path = tmp_path / "t.csv"
    for head, columns, intent in (
        (("Sentence #", "Sentence", "Tag", "POS", "intent"), TagColumns(), None),
        (("id", "text", "slots", "x", "label"), TagColumns(), None),
        (("nr", "mots", "etiq", "cat", "but"), TagColumns(token="mots", tag="etiq"), "but"),
    ):
        path.write_text(csv([head, *rows]))
        found = read_intents([path], columns=columns, intent=intent)
        assert (found.tagged.sentences, found.tagged.tags, found.intents) == (*data[:2], data[3])
        if head[-1] != "label":  # which a tagger takes for tags
            found = read_tagged([path], columns=columns)
            assert (found.sentences, found.tags) == data[:2]


def test_rows_with_other_numbers_of_words_and_tags_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,tags\na b,O B-X\nc d,O\ne f,O O\ng,\n")
    with pytest.raises(DataError) as told:
        read_tagged([path])
    assert str(told.value).splitlines() == [
        f"{path}, line 3: 2 tokens and 1 tag; expected as many",
        f"  {path}, line 5: 1 token and 0 tags; expected as many",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_lines_and_json_by_names_and_numbers(seed, tmp_path):
    data = drawn(seed, ["Ada", "Bob", "Rome"])
    lines = [
        "\n".join(map("\t".join, zip(tokens, tags, parts, strict=True)))
        for tokens, tags, parts in zip(*data[:3], strict=True)
    ]
    (tmp_path / "t.conll").write_text("\n\n".join(lines))
    (tmp_path / "t.tsv").write_text("\n\n".join(lines))
    (tmp_path / "h.conll").write_text("token\ttag\tpos\n" + "\n\n".join(lines))
    (tmp_path / "h.tsv").write_text("token\ttag\tpos\n" + "\n\n".join(lines))
    for name, tag in (("t.conll", "2"), ("t.tsv", "2"), ("h.conll", "2"), ("h.conll", "tag"), ("h.tsv", "tag")):
        found = read_tagged([tmp_path / name], columns=TagColumns(tag=tag))
        assert (found.sentences, found.tags) == data[:2], name
    assert read_tagged([tmp_path / "t.conll"]).tags == data[2]
    assert read_tagged([tmp_path / "t.tsv"]).tags == data[2]
    objects = [{"words": tokens, "ner": tags, "what": intent} for tokens, tags, _, intent in zip(*data, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, objects)))
    found = read_intents([tmp_path / "t.jsonl"], columns=TagColumns(token="words", tag="ner"), intent="what")
    assert (found.tagged.sentences, found.tagged.tags, found.intents) == (*data[:2], data[3])


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("nr,mot,etiq\n1,x,O\n", {}, "which column has the tokens and which has the tags? Pass --token and --tag with one of 'nr', 'mot', 'etiq'"),
        ("nr,token,etiq\n1,x,O\n", {}, "which column has the tags? Pass --tag with one of 'nr', 'token', 'etiq'"),
        ("nr,token,tag\n1,x,O\n", {}, "which column tells sentences apart? Pass --sentence with one of 'nr', 'token', 'tag', or leave a row empty after each sentence"),
        ("nr,token,tag\n1,x,O\n", {"sentence": "nrr"}, "has no column 'nrr'. Did you mean 'nr'?"),
        ("nr,token,tag\n" + "".join(f"{i},x,O\n" for i in range(20)), {"sentence": "nr"},
         "column 'nr' has another value in each row, so each token would be a sentence. Pass --sentence with the column that the tokens of a sentence have alike"),
    ],
)  # fmt: skip
def test_what_is_not_known_of_a_table_is_asked_by_its_option(text, columns, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError) as found:
        read_tagged([path], columns=TagColumns(**columns))
    assert str(found.value) == f"{path}: {told}"


def test_what_was_chosen_is_told_with_the_option_that_chooses(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Sentence #,Word,POS,Tag\n1,a,NN,B-X\n,,NN,\n,b,NN,\n2,c,NN,O\n")
    found = read_tagged([path])
    assert found.sentences == [["a"], ["c"]]
    assert found.notes[1:] == [
        f"{path}: a token a row; 'Word' has the tokens, 'Tag' has the tags, 'Sentence #' tells sentences apart",
        f"{path}: 'POS' may be the column that has the tags; if so, pass --tag",
        f"{path}: 1 row without a token or a tag is left out (line 4)",
    ]
    (tmp_path / "c.conll").write_text("a NN B-X\nb NN O\n")
    notes = read_tagged([tmp_path / "c.conll"], columns=TagColumns(sentence="x")).notes
    assert notes[1:] == [
        f"{tmp_path / 'c.conll'}: tokens from column 1, tags from column 3; else pass --token and --tag",
        f"{tmp_path / 'c.conll'}: is no table, so --sentence makes no difference in it",
    ]
    with pytest.raises(DataError, match=r"c\.conll: no column is named 'x'; pass --tag with its number, from 1$"):
        read_tagged([tmp_path / "c.conll"], columns=TagColumns(tag="x"))
    with pytest.raises(DataError, match=r"c\.conll, line 1: has no column 4, but 3$"):
        read_tagged([tmp_path / "c.conll"], columns=TagColumns(tag="4"))


def test_a_sentence_with_two_intents_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sentence,token,tag,intent\n1,a,O,go\n1,b,O,buy\n2,c,O,\n3,d,O,go\n")
    with pytest.raises(DataError) as told:
        read_intents([path])
    assert str(told.value).splitlines() == [
        f"{path}, line 2: the sentence has the intents 'go', 'buy'; expected one",
        f"  {path}, line 4: the sentence has no intent; expected one",
    ]


LEARNT = {"sentence": "nr", "token": "mot", "tag": "etiq"}
WHOLE = {"token": "mot", "tag": "etiq"}
WORDS = "1,Ada,B-X\n1,met,O\n2,Go,O\n"


@pytest.mark.parametrize(
    ("name", "text", "learnt", "columns", "found"),
    [
        ("a.csv", f"nr,mot,etiq\n{WORDS}", LEARNT, {}, [["Ada", "met"], ["Go"]]),
        ("a.csv", "nr,mot\n1,Ada\n1,met\n2,Go\n", LEARNT, {}, [["Ada", "met"], ["Go"]]),
        ("a.csv", "id,mot\n1,Ada\n1,met\n2,Go\n", LEARNT, {"sentence": "id"}, [["Ada", "met"], ["Go"]]),
        ("a.csv", f"nr,mot,etiq\n{WORDS}", {}, {"sentence": "nr", "token": "mot", "tag": "etiq"}, [["Ada", "met"], ["Go"]]),
        ("a.csv", "sentence,token\n1,Ada\n1,met\n2,Go\n", {}, {}, [["Ada", "met"], ["Go"]]),  # no texts, though `sentence` may name some
        ("a.csv", "sentence,token\nAda met Bob,Ada\nGo to Rome,Rome\n", {}, {}, None),  # of another form: it may hold texts
        ("a.csv", "text,token\n1,Ada\n", {}, {}, None),
        ("a.csv", "nr,text\n1,Ada met Bob.\n2,Go to Rome.\n", LEARNT, {}, None),
        ("a.csv", "mot,etiq\nAda met,B-X O\nGo,O\nGo to,O O\n", WHOLE, {}, [["Ada", "met"], ["Go"], ["Go", "to"]]),
        ("a.csv", "mot\nAda met.\nGo on.\n", WHOLE, {}, ["Ada met.", "Go on."]),  # to be cut as texts are
        ("a.tsv", "Ada\tB-X\nmet\tO\n\nBob\tB-X\n", {}, {}, [["Ada", "met"], ["Bob"]]),
        ("a.conll", "1 Ada B-X\n2 met O\n\n1 Go O\n", {}, {"token": "2", "tag": "etiq"}, [["Ada", "met"], ["Go"]]),
        ("a.txt", "Ada met Bob in Rome\n", {}, {"token": "2"}, None),
        ("a.jsonl", '{"words": ["Ada", "met"]}\n{"words": ["Go"], "ner": ["O"]}\n', {}, {"token": "words", "tag": "ner"}, [["Ada", "met"], ["Go"]]),
    ],
)  # fmt: skip
def test_tokens_of_a_file_to_tag(name, text, learnt, columns, found, tmp_path):
    (tmp_path / name).write_text(text)
    items = sentences_of(tmp_path / name, ItemForm(), ["B-X", "O"], learnt, TagColumns(**columns))
    assert (items and [item for item, _ in items.pairs]) == found
    assert sentences_of(tmp_path / name, ItemForm(text="mot"), ["B-X"], learnt, TagColumns(**columns)) is None


@pytest.mark.parametrize(
    ("head", "columns", "told"),
    [
        ("id,mot", {}, "has no column 'nr', from which the model learnt. It has 'id', 'mot'; pass --sentence with the one that is meant"),
        ("id,mot", {"sentence": "nr"}, "has no column 'nr'. It has 'id', 'mot'; pass --sentence with the one that is meant"),
        ("nr,mot", {"token": "mots"}, "has no column 'mots'. Did you mean 'mot'?"),
    ],
)  # fmt: skip
def test_tokens_whose_sentences_are_not_known_are_no_texts(head, columns, told, tmp_path):
    (tmp_path / "a.csv").write_text(f"{head}\n1,Ada\n1,met\n")
    learnt = {role: column for role, column in LEARNT.items() if role not in columns}
    with pytest.raises(DataError) as found:
        sentences_of(tmp_path / "a.csv", ItemForm(), [], learnt, TagColumns(**columns))
    assert str(found.value) == f"{tmp_path / 'a.csv'}: {told}"


@pytest.mark.parametrize("head", ["", "form\tner\n", "token\tlabel\n"])
def test_a_model_that_learnt_from_a_table_reads_lines_with_and_without_names(head):
    learnt, asked = {"token": "form", "tag": "label"}, TagColumns(token="form", tag="label")
    text = head + "Ada\tB-person\nmet\tO\n"
    if not head:
        found = conll_sentences("a.conll", text, Faults(), [], dict(learnt), asked)
        assert [(tokens, tags) for tokens, tags, _ in found] == [(["Ada", "met"], ["B-person", "O"])]
    for read_as in [{}, learnt] if head else [{}]:
        with pytest.raises(DataError, match=r"no column is named '(form|label)'"):
            conll_sentences("a.conll", text, Faults(), [], dict(read_as), asked)
