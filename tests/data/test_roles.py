"""Which column has the texts and which the answers: as named, by what the cells hold, or a question that helps."""

import numpy as np
import pandas
import pytest

import unrolled
from unrolled.data.labeled import labeled_frame, read_labeled
from unrolled.data.numbered import numbered_frame, read_numbered
from unrolled.errors import DataError
from unrolled.tasks.classify.reader import LabeledReader

TEXTS = [f"the {size} {thing} number {i}" for i, (size, thing) in enumerate([("big", "cat"), ("small", "dog")] * 6)]
SHORT = ["Sato", "Smith", "Suzuki", "Jones", "Tanaka", "Brown", "Ito", "White", "Kato", "Green", "Mori", "Black"]
LABELS = {"words": ["up", "down"] * 6, "numbers": ["1", "5"] * 6, "many": [f"kind {i % 6}" for i in range(12)]}


def written(folder, *columns, head=()):
    lines = [",".join(row) for row in ([head] if head else []) + list(zip(*columns, strict=True))]
    path = folder / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("head", [(), ("a", "b")])
def test_of_two_columns_the_longer_texts_are_the_texts_and_it_is_said(tmp_path, labels, is_first, head):
    columns = (TEXTS, LABELS[labels]) if is_first else (LABELS[labels], TEXTS)
    names = (head or ("1", "2"))[:: 1 if is_first else -1]
    found = read_labeled([written(tmp_path, *columns, head=head)], header=bool(head))
    assert (found.items, found.labels) == (TEXTS, [[each] for each in LABELS[labels]])
    told = f"column {names[0]!r} is taken for the text and {names[1]!r} for the label, by what they hold; else pass --text and --label"
    assert told in found.notes
    frame = pandas.DataFrame(dict(zip(head or ("1", "2"), columns, strict=True)))
    of_frame = labeled_frame(frame, text=None, label=None, separator=None)
    assert (of_frame.items, of_frame.labels, of_frame.notes) == (found.items, found.labels, (told,))


@pytest.mark.parametrize(
    "columns", [(SHORT, TEXTS), (TEXTS, TEXTS[::-1]), (LABELS["words"], LABELS["many"]), (["1"] * 12, ["2"] * 12)]
)
def test_where_both_columns_can_be_the_text_the_user_is_asked(tmp_path, columns):
    path = written(tmp_path, *columns)
    with pytest.raises(DataError) as caught:
        read_labeled([path], header=False)
    assert str(caught.value) == f"{path}: which column is the text? Pass --text with one of '1', '2'"
    found = read_labeled([path], header=False, text="1")
    assert found.items == list(columns[0])


def test_of_two_columns_the_texts_have_the_numbers_for_a_regression(tmp_path):
    numbers = np.round(np.linspace(1, 9, 12), 2)
    for columns in ((SHORT, map(str, numbers)), (map(str, numbers), SHORT)):
        found = read_numbered([written(tmp_path, *columns)], header=False)
        assert (found.items, found.targets.tolist()) == (SHORT, numbers.tolist())
    found = numbered_frame(pandas.DataFrame({"size": numbers, "who": SHORT}), text=None, target=None)
    assert (found.items, found.targets.tolist()) == (SHORT, numbers.tolist())
    assert found.notes == (
        "column 'who' is taken for the text and 'size' for the target, by what they hold; else pass --text and --target",
    )


def iris():
    draw = np.random.default_rng(0)
    kinds = np.repeat(["setosa", "virginica"], 30)
    wide = np.where(kinds == "setosa", 1.0, 5.0) + draw.normal(0, 0.3, 60)
    return pandas.DataFrame({"petal length": wide.round(2), "petal_width": (wide / 3).round(2), "species": kinds})


def test_rows_of_numbers_are_told_how_they_are_read_and_so_they_are(tmp_path):
    frame, path = iris(), tmp_path / "iris.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        read_labeled([path])
    hint = (
        "Pass --text with one of 'petal length', 'petal_width', 'species'. 'petal length', 'petal_width' hold numbers; "
        "to learn from them, each row by itself: --values 'petal length,petal_width' --series row --label species; or "
        "--series COLUMN, which tells windows of rows apart"
    )
    assert str(caught.value) == f"{path}: which column is the text? {hint}"
    with pytest.raises(DataError) as caught:
        labeled_frame(frame, text=None, label=None, separator=None)
    assert str(caught.value) == f"the frame: which column is the text? {hint}"
    with pytest.raises(DataError, match="--values petal_width --series row --target 'petal length'"):
        read_numbered([path], target="petal length")
    kept = {"values": "petal length,petal_width", "series": "row", "label": "species"}
    data = LabeledReader(unrolled.ClassifySettings(**kept)).files([path])
    assert (len(data), data.items[3].tolist()) == (60, [frame.iloc[3, :2].tolist()])
    model = unrolled.ClassifyModel(**kept, hidden=4, steps=5).fit([path])
    assert model.evaluate(path)["model"]["accuracy"] == 1
    assert [each.labels[0] for each in model.predict_table([path])] == frame["species"].tolist()


@pytest.mark.parametrize("number", ["1e160", "-1e308"])
def test_numbers_whose_squares_are_infinite_are_refused(tmp_path, number):
    path = tmp_path / "t.csv"
    path.write_text("x,label\n" + "\n".join(f"{number if i == 3 else i},{'ab'[i % 2]}" for i in range(20)) + "\n")
    kept = unrolled.ClassifySettings(values="x", series="row")
    with pytest.raises(DataError, match=rf"t.csv, line 5, column 'x': '{number}' is beyond 1e\+100 in size$"):
        LabeledReader(kept).files([path])
    windows = [np.full((4, 2), float(number))] * 4
    with pytest.raises(DataError, match=r"^item 0: holds a number beyond 1e\+100 in size$"):
        LabeledReader(kept).paired(windows, ["a", "b", "a", "b"])
