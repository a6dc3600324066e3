"""Files as fastText has them: read with their labels, as texts to predict too, and nothing else taken for them."""

import gzip
import io
import itertools

import pytest
from tests.tasks.test_tokens import SMALL

import unrolled
from unrolled.data.items import ItemForm, is_fasttext, read_items
from unrolled.data.labeled import read_labeled
from unrolled.errors import DataError

NAMES = ["food-safety", "5", "菜", "__", "Sauce:hot", "a,b", "x", "y.z", "-1", "é"]  # one has the mark of a table in it
TEXTS = [
    "How do I bake bread ?",
    ", a text that begins with a mark",
    "汤 很 好",
    "the label : __lab__",
    'say "so" | or not',
]


def lines_of(n_labels):
    """Lines, and what is in them: texts and labels."""
    kinds = itertools.cycle(itertools.combinations(NAMES, n_labels))
    rows = [(TEXTS[i % len(TEXTS)] + f" {i}", sorted(next(kinds))) for i in range(40)]
    return [" ".join([*(f"__label__{name}" for name in names), text]) for text, names in rows], rows


def written(path, lines, encoding="utf-8"):
    content = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("n_labels", [1, 2, 3])
@pytest.mark.parametrize("name", ["cooking.train", "train.txt", "x.csv", "x.tsv", "x.txt.gz"])
@pytest.mark.parametrize("mark", [" ", "\t", "  "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_labels_and_texts_are_read(n_labels, name, mark, encoding, tmp_path):
    lines, rows = lines_of(n_labels)
    lines = [line.replace(" ", mark, n_labels) for line in lines]
    path = written(tmp_path / name, ["", *lines, " "], encoding)
    found = read_labeled([path])
    assert list(zip(found.items, found.labels, strict=True)) == rows
    assert found.is_multiple == (n_labels > 1)
    n = len({name for _, names in rows for name in names})
    how = "one label each" if n_labels == 1 else "several labels each"
    assert found.notes[0] == f"40 texts in lines as fastText has them, {how}, {n} classes"
    items = read_items(path, ItemForm())
    assert items.note == f"{path}: lines as fastText has them, __label__NAME and a text; the texts are read"
    assert [(text, beside["label"].split()) for text, beside in items.pairs if text] == [
        (text, [each.removeprefix("__label__") for each in line.split()[:n_labels]])
        for line, (text, _) in zip(lines, rows, strict=True)
    ]


def test_a_label_may_stand_anywhere_and_lines_without_a_text_are_left_out(tmp_path):
    path = written(
        tmp_path / "a.txt", ["__label__a good __label__b food", "__label__a", "__label__a so __label__", "__label__c x"]
    )
    with pytest.raises(DataError) as caught:
        read_labeled([path])
    expected = "expected __label__NAME and a text, as in the other lines"
    assert str(caught.value) == f"{path}, line 3: a label has no name; {expected}"
    path = written(
        tmp_path / "a.txt", ["__label__a good __label__b food", "__label__a", "__label__b __label__b x", "__label__b y"]
    )
    found = read_labeled([path])
    assert (found.items, found.labels) == (["good food", "x", "y"], [["a", "b"], ["b"], ["b"]])
    assert found.notes == (
        "3 texts in lines as fastText has them, 1 to 2 labels each, 2 classes",
        "1 line without a text is left out",
        f"labels stand behind words too, and are taken as labels, as fastText does: {path}, line 1",
    )


def test_a_line_without_a_label_is_told(tmp_path):
    lines, _ = lines_of(1)
    for at in (0, 7, 39):
        path = written(tmp_path / "a.txt", [*lines[:at], "no label here", *lines[at:]])
        with pytest.raises(DataError) as caught:
            read_labeled([path])
        assert str(caught.value) == (
            f"{path}, line {at + 1}: has no label; expected __label__NAME and a text, as in the other lines"
        )


ROWS = [f"__label__{i % 2}" for i in range(40)]
#: files that hold the prefix, and are something else
OTHERS = {
    "texts about it": [f"the prefix __label__x of {i} marks labels" for i in range(40)],
    "one line about it": ["__label__x is how a line begins", *(f"so much for {i}" for i in range(40))],
    "a headed CSV": ["label,text", *(f"{row},good food {i}" for i, row in enumerate(ROWS))],
    "a CSV": [f"{row},good food {i}" for i, row in enumerate(ROWS)],
    "a CSV of several labels": [f"{row} __label__a,good food {i}" for i, row in enumerate(ROWS)],
    "a headed CSV of several labels": ["labels;text", *(f"{row} __label__a;good food {i}" for i, row in enumerate(ROWS))],
    "a headed TSV": ["label\ttext", *(f"{row}\tgood food {i}" for i, row in enumerate(ROWS))],
    "a column of that name": ["__label__,text", *(f"{i % 2},good food {i}" for i in range(40))],
    "a TSV with a column of that name": ["__label__x\ttext", *(f"{i % 2}\tgood food {i}" for i in range(40))],
    "JSON lines": [f'{{"text": "__label__{i} x", "label": "a"}}' for i in range(40)],
    "no names": [f"__label__ good food {i}" for i in range(40)],
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is_taken_for_it(name, tmp_path):
    path = written(tmp_path / "a.txt", OTHERS[name])
    assert not is_fasttext(path, "utf-8")
    if not name.startswith("a CSV"):  # whose columns have no names
        items = read_items(path, ItemForm())
        assert "fastText" not in items.note
        assert len(list(items.pairs)) in (40, 41)


@pytest.mark.parametrize("kind", ["folder", "absent", "binary", "empty", "damaged.gz"])
def test_what_cannot_be_read_has_no_labels(kind, tmp_path):
    path = tmp_path / kind
    contents = {"binary": b"__label__a\0\0\xff" * 50, "empty": b"", "damaged.gz": gzip.compress(b"__label__a b")[:14]}
    if kind == "folder":
        path.mkdir()
    elif kind in contents:
        path.write_bytes(contents[kind])
    assert not is_fasttext(path, "utf-8")


def test_a_header_that_is_asked_for_makes_it_a_table(tmp_path):
    path = written(tmp_path / "a.tsv", [f"{row}\tgood food {i}" for i, row in enumerate(ROWS)])
    found = read_labeled([path], text="2", label="1", header=False)
    assert found.labels[:2] == [["__label__0"], ["__label__1"]]


def test_files_of_two_forms_and_folders_of_such_files_are_refused(tmp_path):
    lines, _ = lines_of(1)
    one, other = written(tmp_path / "a.train", lines), written(tmp_path / "b.valid", ["x", "y"])
    with pytest.raises(DataError) as caught:
        read_labeled([other, one])
    assert str(caught.value) == f"{one} has lines as fastText has them, {other} has not; name files of one form"
    with pytest.raises(DataError) as caught:
        read_labeled([tmp_path])
    assert str(caught.value) == f"{one}: has labels in its lines, as fastText has them; name it, not the folder"


def test_a_model_takes_later_files_as_the_first(tmp_path):
    one = written(tmp_path / "one.txt", lines_of(1)[0])
    several = written(tmp_path / "several.txt", [*lines_of(1)[0], *lines_of(2)[0]])
    brief = unrolled.TrainSettings(steps=2, precision="float32")
    model = unrolled.ClassifyModel(**SMALL).fit([one], train=brief)
    with pytest.raises(DataError, match=r"line 41: has the labels .*; the model learnt one label for each text"):
        model.evaluate([several])
    with pytest.raises(DataError, match=r"^some items have several labels; the model learnt one label for each$"):
        model.evaluate([("good", ["5", "菜"]), ("bad", ["5"])])
    model = unrolled.ClassifyModel(**SMALL).fit([several], train=brief)
    model.save(tmp_path / "m.safetensors")
    model = unrolled.ClassifyModel.load(tmp_path / "m.safetensors")
    assert model.read([one]).is_multiple
    assert model.evaluate([one])["model"]


def test_standard_input_with_labels_is_refused(tmp_path, call, monkeypatch):
    lines, _ = lines_of(1)
    brief = unrolled.TrainSettings(steps=2, precision="float32")
    unrolled.ClassifyModel(**SMALL).fit([written(tmp_path / "a.txt", lines)], train=brief).save(
        tmp_path / "m.safetensors"
    )
    code, out, err = call("predict", tmp_path / "m.safetensors", tmp_path / "a.txt", "--format", "csv")
    assert (code, len(out.splitlines()), out.splitlines()[0].split(",")[:3]) == (0, 41, ["label", "text", "labels"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(f"{lines[0]}\n".encode()))))
    code, out, err = call("predict", tmp_path / "m.safetensors")
    assert (code, out) == (2, "")
    assert err == (
        "unrolled: standard input: begins with a label, '__label__food-safety', as fastText has it; expected a text a "
        "line. Name the file instead: unrolled predict MODEL FILE\n"
    )
