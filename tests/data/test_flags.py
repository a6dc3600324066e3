"""Several columns of 0 and 1 are several labels; what the question offers where no column is named can be used."""

import itertools
import re

import pandas
import pytest
from tests.tasks.test_tokens import SMALL

import unrolled
from unrolled.data.labeled import labeled_frame, read_labeled
from unrolled.data.numbered import read_numbered
from unrolled.errors import DataError
from unrolled.tasks.classify.reader import LabeledReader

KINDS = {
    "toxic comments": ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"],
    "emotions": ["joy", "anger"],
    "in Chinese": ["体育", "财经", "科技"],
    "with a blank": ["is spam", "is ad"],
}
WRITTEN = {"0": ("0", "1"), "0.0": ("0.0", "1.0"), "False": ("False", "True"), "false": ("false", "true")}
TEXTS = [f"so this is comment number {i}" for i in range(24)]


def rows_of(names):
    """Whether each text has each label, all combinations in turn."""
    flags = itertools.cycle(itertools.product([False, True], repeat=len(names)))
    return [next(flags) for _ in TEXTS]


def written(path, text, names, marks, *, head=True):
    rows = [[f"{7 * i:06x}", TEXTS[i], *(marks[each] for each in row)] for i, row in enumerate(rows_of(names))]
    lines = [["id", text, *names], *rows] if head else rows
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marks", WRITTEN)
def test_columns_that_are_named_are_the_labels(kind, marks, tmp_path):
    names = KINDS[kind]
    path = written(tmp_path / "a.csv", "comment_text", names, WRITTEN[marks])
    wanted = [sorted(itertools.compress(names, row)) for row in rows_of(names)]
    found = read_labeled([path], text="comment_text", label=", ".join(names))
    assert (found.items, found.labels, found.is_multiple) == (TEXTS, wanted, True)
    n = sum(not row for row in wanted)
    assert found.notes[0] == (
        f"24 texts in column 'comment_text', {len(names)} columns of 0 and 1 are the labels ({n} "
        f"{'text' if n == 1 else 'texts'} without any)"
    )
    again = read_labeled([path], learnt=found.read_as)
    assert (again.items, again.labels) == (TEXTS, wanted)
    frame = pandas.read_csv(path)
    of_frame = labeled_frame(frame, text="comment_text", label=",".join(names), separator=None)
    assert (of_frame.items, of_frame.labels, of_frame.is_multiple) == (TEXTS, wanted, True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["comment_text", "words", "text", "body"])
def test_the_question_offers_what_works(kind, text, tmp_path):
    path = written(tmp_path / "a.csv", text, KINDS[kind], WRITTEN["0"])
    with pytest.raises(DataError) as caught:
        read_labeled([path])
    told = str(caught.value)
    given = {
        name: quoted or plain
        for name, quoted, plain in re.findall(r"--(text|label) (?:'([^']*,[^']*)'|([^\s;.]+))", told)
    }
    assert given["label"] == ",".join(KINDS[kind])
    assert given.get("text", text) == text
    found = read_labeled([path], text=text, label=given["label"])
    assert found.labels == [sorted(itertools.compress(KINDS[kind], row)) for row in rows_of(KINDS[kind])]
    assert ("no text has the label 'toxic'" in found.notes) == (kind == "toxic comments")  # of the first 24
    with pytest.raises(DataError) as caught:  # numbers are no labels: one of the columns is the target
        read_numbered([path])
    assert "--label" not in str(caught.value)


def test_the_question_is_told_word_for_word(tmp_path):
    path = written(tmp_path / "train.csv", "comment_text", KINDS["toxic comments"], WRITTEN["0"])
    names = ",".join(KINDS["toxic comments"])
    listed = ", ".join(map(repr, KINDS["toxic comments"]))
    with pytest.raises(DataError) as caught:
        read_labeled([path])
    assert str(caught.value) == (
        f"{path}: which column is the text? Pass --text with one of 'id', 'comment_text', {listed}. 'comment_text' holds "
        f"texts; to learn from them: --text comment_text --label {names}."
    )
    with pytest.raises(DataError) as caught:
        read_labeled([path], text="comment_text")
    assert str(caught.value) == (
        f"{path}: which column is the label? Pass --label with one of 'id', {listed}, or with several whose 1 says that a "
        f"text has the label: --label {names}"
    )


@pytest.mark.parametrize("odd", ["-1", "2", "", "yes", "0.5"])
def test_a_cell_that_is_neither_is_told(odd, tmp_path):
    path = written(tmp_path / "a.csv", "text", ["a", "b"], WRITTEN["0"])
    lines = path.read_text().splitlines()
    lines[5] = f"x,so this,1,{odd}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        read_labeled([path], label="a,b")
    assert str(caught.value) == (
        f"{path}, line 6, column 'b': {odd!r} is neither 0 nor 1; of several columns of labels each has 1 where the text "
        "has the label"
    )


def test_one_column_with_a_comma_in_its_name_is_one_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(['text,"a,b",a,b', *(f"text {i},{'xy'[i % 2]},0,1" for i in range(20))]) + "\n")
    assert read_labeled([path], label="a,b").labels[:2] == [["x"], ["y"]]


def test_a_column_that_is_not_there_and_a_separator_are_refused(tmp_path):
    path = written(tmp_path / "a.csv", "text", ["up", "down"], WRITTEN["0"])
    with pytest.raises(DataError, match=r"has no column 'dawn'. Did you mean 'down'\?$"):
        read_labeled([path], label="up,dawn")
    told = r"a.csv: labels are in 2 columns; leave --separator out$"
    with pytest.raises(DataError, match=told):
        read_labeled([path], label="up,down", separator=";")
    with pytest.raises(DataError, match=r"the table: labels are in 2 columns; leave --separator out$"):
        labeled_frame(pandas.read_csv(path), text="text", label="up,down", separator=";")


def test_a_model_learns_and_reads_later_files_so(tmp_path):
    path = written(tmp_path / "a.csv", "words", ["up", "down"], WRITTEN["0"])
    settings = unrolled.ClassifySettings(text="words", label="up,down", **SMALL)
    model = unrolled.ClassifyModel(settings).fit([path], train=unrolled.TrainSettings(steps=2, precision="float32"))
    model.save(tmp_path / "m.safetensors")
    later = LabeledReader(unrolled.ClassifyModel.load(tmp_path / "m.safetensors").settings, model.read_as).files([path])
    assert later.is_multiple
    assert later.labels[1:4] == [["down"], ["up"], ["down", "up"]]
