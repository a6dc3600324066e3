"""Cells, lines and files of tagged sentences that were misread without a word: each is read right, or refused."""

import json

import numpy as np
import pytest

from unrolled.data import schemes
from unrolled.data.intents import read_intents
from unrolled.data.items import ItemForm
from unrolled.data.labeled import read_labeled
from unrolled.data.tag_columns import TagColumns, are_wholes, cells
from unrolled.data.tagged import read_tagged, sentences_of
from unrolled.data.tagging import rewritten
from unrolled.errors import DataError

LETTERS = ["a", "B", "7", "'", '"', "\\", "é", "京", "😀", ",", "[", "]", ".", "\t"]
WRITTEN = {
    "Python": repr,
    "JSON": json.dumps,
    "JSON, as it is": lambda words: json.dumps(words, ensure_ascii=False),
    "NumPy": lambda words: np.array2string(np.array(words, dtype=object), threshold=100_000, max_line_width=30),
    "without spaces": lambda words: json.dumps(words, separators=(",", ":")),
}


def csv(rows):
    quoted = ([str(cell).replace('"', '""') for cell in row] for row in rows)
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in quoted)


def words_of(seed):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 9, 20)
    return [["".join(draw.choice(LETTERS, draw.integers(1, 6))).strip() or "x" for _ in range(size)] for size in sizes]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", WRITTEN)
def test_a_list_in_a_cell_has_the_same_words_whoever_wrote_it(form, seed, tmp_path):
    """NumPy writes no commas, so Python took all the texts of a list for one; numbers were cut at spaces, brackets and
    all.
    """
    sentences = words_of(seed)
    assert cells([WRITTEN[form](words) for words in sentences]) == sentences
    tags = [[len(word) % 3 for word in words] for words in sentences]
    rows = [[WRITTEN[form](words), str(np.array(marks))] for words, marks in zip(sentences, tags, strict=True)]
    (tmp_path / "t.csv").write_text(csv([["tokens", "ner_tags"], *rows]), encoding="utf-8")
    found = read_tagged([tmp_path / "t.csv"])
    assert (found.sentences, found.tags) == (sentences, [list(map(str, marks)) for marks in tags])
    (tmp_path / "t.csv").write_text(csv([["tokens"], *(row[:1] for row in rows)]), encoding="utf-8")
    items = sentences_of(tmp_path / "t.csv", ItemForm(), [], found.read_as)
    assert [item for item, _ in items.pairs] == sentences


@pytest.mark.parametrize(
    "wrong",
    ["['a', None]", '["a", null]', "[0.5, 1.5]", "['a' 'b' ... 'y' 'z']", "['a', 'b'", "a b", "['a', '']", "['a', x]",
     "[['a'], ['b']]", "['a' + 'b']", "['a', f()]", '["\\ud8"]', "[" * 100_000 + "]" * 100_000],
)  # fmt: skip
def test_a_cell_that_is_no_list_among_lists_is_told(wrong, tmp_path):
    (tmp_path / "t.csv").write_text(csv([["tokens", "tags"], *[["['a', 'b']", "['O', 'B-X']"]] * 3, [wrong, "['O']"]]))
    with pytest.raises(DataError) as told:
        read_tagged([tmp_path / "t.csv"])
    shown = repr(wrong if len(wrong) <= 40 else wrong[:37] + "...")
    assert str(told.value) == (
        f"{tmp_path / 't.csv'}, line 5, column 'tokens': {shown} is no list of texts, such as ['a', 'b']; most cells "
        "of the column are in brackets"
    )


def test_brackets_in_texts_are_words():
    column = ["[ laughter ]", "go to Rome", "[1] it says", "see [2]"]
    assert cells(column) == [each.split() for each in column]
    assert are_wholes(column)
    assert are_wholes(["['a']", "['b']"])
    assert not are_wholes(["a", "b", "c d"])
    assert cells(["", "['a']", " "]) == [[], ["a"], []]


@pytest.mark.parametrize("cell", ["[{}]", "[ {} ]", "[{}] now and [{}]", "[ ok ] {} [ ok ]"])
@pytest.mark.parametrize("words", [["pos", "neg"], ["good-film", "京"], ["a.b", "x/y"]])
def test_words_in_brackets_are_no_lists(cell, words, tmp_path):
    """Such classes and sentences were refused, as lists that cannot be read."""
    column = [cell.format(*(word, word)[: cell.count("{}")]) for word in words * 10]
    assert cells(column) == [each.split() for each in column]
    (tmp_path / "t.csv").write_text(csv([["text", "label"], *([f"it is {i}", each] for i, each in enumerate(column))]))
    assert read_labeled([tmp_path / "t.csv"]).labels == [[each] for each in column]


@pytest.mark.parametrize("cell", ["[a, b]", "[None]", "[0.5]", "[nan]", "[a b]", "[['a'], [b]]"])
def test_what_may_be_a_list_is_none_of_words(cell):
    assert cells([cell] * 20) == [None] * 20


@pytest.mark.parametrize("n", [1, 19, 40])
def test_texts_beside_lists_of_labels_are_texts_to_a_tagger(n, tmp_path):
    rows = [[f"this is text {i}", "['a', 'b']"] for i in range(n)]
    (tmp_path / "t.csv").write_text(csv([["text", "labels"], *rows]))
    assert sentences_of(tmp_path / "t.csv", ItemForm(), ["O", "B-X"]) is None


@pytest.mark.parametrize("name", ["t.conll", "t.tsv"])
@pytest.mark.parametrize("widths", [(2, 3), (2, 4), (3, 2), (4, 3)])
def test_sentences_of_other_numbers_of_columns_are_told(widths, name, tmp_path):
    """The column of the first sentence's tags was taken in all, whatever it has there."""
    blocks = ["".join("\t".join([*["w", "NN", "VP", "X"][: n - 1], "O"]) + "\n" for _ in range(2)) for n in widths]
    (tmp_path / name).write_text("\n".join(blocks))
    n = widths[1]
    told = f"has {n} columns, the first sentence has {widths[0]}; expected as many, or --tag with the number of the"
    with pytest.raises(DataError, match=told if n > widths[0] else f"line 4: has no column {widths[0]}, but {n}$"):
        read_tagged([tmp_path / name])
    assert len(read_tagged([tmp_path / name], columns=TagColumns(tag="2")).sentences) == 2


def test_a_token_over_several_lines_is_told(tmp_path):
    """A quotation mark that stands as it is in a CSV file hides all up to the next one."""
    (tmp_path / "t.csv").write_text('sentence,token,tag\n1,",O\n1,Bob,B-X\n1,",O\n2,yes,O\n2,Ada,B-X\n')
    with pytest.raises(DataError) as told:
        read_tagged([tmp_path / "t.csv"])
    shown = repr(",O\n1,Bob,B-X\n1,")
    assert str(told.value) == (
        f"{tmp_path / 't.csv'}, line 2: {shown} goes over several lines; is a quotation mark left open?"
    )


def test_values_of_sentences_that_come_again_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("doc,token,tag\n1,a,O\n1,b,B-X\n2,c,O\n2,d,O\n1,e,O\n1,f,O\n2,g,O\n")
    notes = read_tagged([tmp_path / "t.csv"], columns=TagColumns(sentence="doc")).notes
    assert notes[2:] == [
        f"{tmp_path / 't.csv'}: column 'doc': '1' in line 6 stands after other values again, and begins a sentence, "
        "and so do 1 more"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_files_of_a_training_are_read_by_columns_of_the_same_names(order, tmp_path):
    """Else the model, which keeps one name for each, would read later files otherwise; no model learnt here yet."""
    texts = {
        "a.csv": "tokens,tags,intent\na b,O B-X,x\nc d,O B-X,y\n",
        "b.csv": "words,tags,class\na b,O B-X,x\nc d,O B-X,y\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    first, second = files = [tmp_path / name for name in [*texts][::order]]
    names = {first: ("tokens", "tags", "intent"), second: ("words", "tags", "class")}
    names = dict(zip(files, [*names.values()][::order], strict=True))
    for read, n in ((read_tagged, 2), (read_intents, 3)):
        with pytest.raises(DataError) as told:
            read(files)
        one, other = (", ".join(map(repr, names[file][:n])) for file in (second, first))
        assert str(told.value) == (
            f"{second}: is read by the columns {one}, the file before by {other}; give the columns of both the same "
            "names"
        )


@pytest.mark.parametrize("order", [1, -1])
def test_a_named_column_is_asked_of_lines_in_any_order_of_files(order, tmp_path):
    (tmp_path / "a.csv").write_text("sentence,token,label\n1,a,O\n1,b,B-X\n2,c,O\n")
    (tmp_path / "b.conll").write_text("a O\nb B-X\n")
    with pytest.raises(DataError, match=r"b\.conll: no column is named 'label'; pass --tag with its number, from 1$"):
        read_tagged([tmp_path / "a.csv", tmp_path / "b.conll"][::order], columns=TagColumns(tag="label"))


@pytest.mark.parametrize("number", ["9" * 5000, "0", "-1", "²", "1.0", ""])
def test_a_number_of_a_column_is_one(number, tmp_path):
    (tmp_path / "t.conll").write_text("a O\nb B-X\n")
    with pytest.raises(DataError, match=r"no column is named .*; pass --tag with its number, from 1$"):
        read_tagged([tmp_path / "t.conll"], columns=TagColumns(tag=number))


def test_numbers_of_sentences_may_be_long(tmp_path):
    digits = "9" * 5000
    (tmp_path / "t.csv").write_text(f"sentence,token,tag\n{digits},a,O\n{digits},b,B-X\n1,c,O\n")
    assert read_tagged([tmp_path / "t.csv"]).sentences == [["a", "b"], ["c"]]


@pytest.mark.parametrize("content", ["\n\n", " ", "\t\n", "\n\t\t\n"])
def test_a_file_of_spaces_holds_nothing(content, tmp_path):
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(DataError, match=r"holds no rows|which column"):
        read_tagged([tmp_path / "t.tsv"])


def test_one_column_is_not_named_twice():
    with pytest.raises(DataError, match=r"^--token and --tag both name the column 'x'; expected two columns$"):
        TagColumns(token="x", tag="x")


@pytest.mark.parametrize("span", [{"start": False, "end": 1}, {"start": 0, "end": True}, {"start": 0.0, "end": 1}])
def test_a_place_is_a_whole_number(span, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "a b", "spans": [{**span, "label": "X"}]}))
    with pytest.raises(DataError, match=r'a span must be \{"start"'):
        read_tagged([tmp_path / "t.jsonl"])


SPANS = [
    {"start": 0, "end": 3, "label": "X"},
    {"start": 8, "end": 20, "label": "Y"},
    {"start": 21, "end": 24, "label": "Y"},
]
WORDS = "Ada met Big New York Bob"
PLACES = [schemes.Span(0, 1, "X"), schemes.Span(2, 5, "Y"), schemes.Span(5, 6, "Y")]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("n_tagged", "n_spans"), [(50, 2), (2, 50), (0, 5), (5, 0)])
@pytest.mark.parametrize("scheme", [each for each in schemes.SCHEMES if each != "plain"])
def test_spans_follow_the_scheme_of_tags_beside_them(scheme, n_tagged, n_spans, asked, tmp_path):
    """They are BIOES by themselves, of which a part was taken for strays, and lost."""
    tags = schemes.tags_of(PLACES, 6, scheme)
    objects = [{"tokens": ["no", "name"], "tags": ["O", "O"]}]
    objects += n_tagged * [{"tokens": WORDS.split(), "tags": tags}] + n_spans * [{"text": WORDS, "spans": SPANS}]
    lines = [json.dumps({**each, "intent": "go"}) for each in objects]
    for at in (0, len(lines) // 2):
        (tmp_path / "t.jsonl").write_text("\n".join([*lines[at:], *lines[:at]]))
        given = {"scheme": scheme} if asked else {}
        for read in (read_tagged, read_intents):
            found = read([tmp_path / "t.jsonl"], **given)
            found = getattr(found, "tagged", found)
            assert found.scheme == scheme or not asked
            of_each = [schemes.spans_of(each, found.scheme) for each in found.tags]
            assert [spans for spans in of_each if spans] == [PLACES] * (n_tagged + n_spans)
            assert len(found.notes) == 1


@pytest.mark.parametrize("wanted", schemes.SCHEMES)
@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_tags_of_spans_and_plain_ones_are_not_judged_by_each_other(scheme, wanted):
    """Plain tags were no spans at all, and a model was as good as its baseline on them: F1 of 0 % both."""
    words = 6 * ["O"]
    tags = ["X", *words[1:]] if scheme == "plain" else schemes.tags_of(PLACES, 6, scheme)
    assert rewritten([words], scheme, wanted) == [words]
    if (scheme == "plain") == (wanted == "plain"):
        assert schemes.spans_of(rewritten([tags], scheme, wanted)[0], wanted) == schemes.spans_of(tags, scheme)
        return
    kinds = "tag of a span, such as B-city", "plain tag, such as city"
    here, there = kinds if wanted == "plain" else kinds[::-1]
    with pytest.raises(DataError) as told:
        rewritten([words, tags], scheme, wanted)
    assert str(told.value) == f"{tags[0]!r} is a {here}; expected each to be a {there}, as in the training part"
