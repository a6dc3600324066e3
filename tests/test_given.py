"""What a user gives by mistake is told in one line, and what a training guessed is not asked again."""

import numpy as np
import pytest

import unrolled
from tests.tasks.test_tokens import SMALL
from unrolled.errors import ArgumentError, DataError

BRIEF = unrolled.TrainSettings(steps=2, precision="float32")
GOOD = [f"a good soup number {i} and more" for i in range(20)]
BAD = [f"a bad soup number {i} and more" for i in range(20)]


@pytest.mark.parametrize("path", [3, None, b"model", ["model"], object, {}])
@pytest.mark.parametrize("load", [unrolled.load, unrolled.ClassifyModel.load, unrolled.TextModel.load])
def test_no_path_is_loaded(path, load):
    with pytest.raises(ArgumentError) as told:
        load(path)
    kind = type(path).__name__
    assert str(told.value) == (
        f"load: expected the path of a model file, such as 'model.safetensors'; got a value of type {kind}"
    )


def test_no_path_is_saved():
    model = unrolled.ClassifyModel(**SMALL).fit(GOOD + BAD, ["+"] * 20 + ["-"] * 20, train=BRIEF)
    with pytest.raises(ArgumentError, match=r"^save: expected the path of a model file, such as 'model\.safetensors'"):
        model.save(3)


@pytest.mark.parametrize("kind", ["Classify", "Regress", "Tag", "Translate", "Understand"])
def test_texts_without_answers_are_no_files(kind):
    with pytest.raises(ArgumentError) as told:
        getattr(unrolled, f"{kind}Model")().fit(GOOD)
    assert str(told.value) == (
        "fit: expected names of files; got 'a good soup number 0 and more', which is none. Texts go with their answers: "
        "fit(texts, answers)"
    )


def test_a_name_with_spaces_is_one_of_a_file(tmp_path):
    (tmp_path / "a table.csv").write_text("text,label\ngood,+\nbad,-\n")
    with pytest.raises(DataError, match=r"/no table\.csv: no such file$"):
        unrolled.ClassifyModel().fit([str(tmp_path / "a table.csv"), str(tmp_path / "no table.csv")])


@pytest.mark.parametrize("task", ["classify", "regress"])
@pytest.mark.parametrize("suffix", ["csv", "txt"])
@pytest.mark.parametrize("has_header", [True, False])
def test_the_column_that_training_guessed_is_predicted(tmp_path, call, task, suffix, has_header):
    answers = [str(i % 2) for i in range(40)] if task == "regress" else ["good" if i % 2 else "bad" for i in range(40)]
    rows = [f"{answer},{text}" for answer, text in zip(answers, GOOD + BAD, strict=True)]
    first = ["mood,words"] if has_header else []
    table, new = tmp_path / "t.csv", tmp_path / f"new.{suffix}"
    table.write_text("\n".join([*first, *rows]) + "\n")
    new.write_text("\n".join([*first, *rows[:3]]) + "\n")
    kind = unrolled.RegressModel if task == "regress" else unrolled.ClassifyModel
    model = kind(**SMALL, header=None if has_header else False).fit([table], train=BRIEF)
    fresh = kind(**SMALL, header=None if has_header else False).as_data([table])
    assert any("by what they hold" in note for note in fresh.notes)
    assert not any("by what they hold" in note for note in model.as_data([table]).notes)
    model.save(tmp_path / "m.safetensors")
    _, out, err = call("predict", tmp_path / "m.safetensors", new, "--format", "csv")
    if suffix == "txt" and not has_header:  # nothing tells that it is a table
        assert err == f"{new}: a text a line\n"
        return
    assert err == f"{new}: a table of 3 rows, texts in column {'words' if has_header else '2'!r}\n"
    assert len(out.splitlines()) == 4


def test_a_usual_name_holds_where_the_guessed_column_is_not_there(tmp_path):
    model = unrolled.ClassifyModel(**SMALL)
    (tmp_path / "t.csv").write_text("\n".join(["mood,words", *(f"{i % 2},{text}" for i, text in enumerate(GOOD))]))
    model.fit([tmp_path / "t.csv"], train=BRIEF)
    assert model.read_as == {"text": "words", "label": "mood"}
    data = unrolled.ClassifyModel(**SMALL).fit(np.array(GOOD + BAD), ["+"] * 20 + ["-"] * 20, train=BRIEF)
    assert data.read_as == {}
