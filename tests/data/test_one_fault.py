"""One fault of a table is told as one: none that follows from it, and none twice."""

import json
import re

import numpy as np
import pytest

import unrolled
from unrolled.errors import DataError

N = 30
TEXTS = [f"the soup number {i} is {'good' if i % 2 else 'bad'}" for i in range(N)]
SIDES = ["up" if i % 2 else "down" for i in range(N)]
DAYS = [f"2020-01-{i + 1:02}" for i in range(N)]
NUMBERS = [f"{i % 7 + 0.5}" for i in range(N)]
#: by name: the model, and its table
TABLES = {
    "texts": (unrolled.ClassifyModel(), {"text": TEXTS, "label": SIDES}),
    "numbers": (unrolled.RegressModel(), {"text": TEXTS, "target": NUMBERS}),
    "windows": (
        unrolled.ClassifyModel(values="x", series="who"),
        {"x": NUMBERS, "who": [str(i // 3) for i in range(N)], "label": SIDES},
    ),
    "series": (unrolled.ForecastModel(horizon=2), {"date": DAYS, "sales": NUMBERS}),
    "panel": (unrolled.ForecastModel(horizon=2, series="shop"), {"date": DAYS, "shop": SIDES, "sales": NUMBERS}),
    "sounds": (unrolled.TranscribeModel(), {"path": ["a.wav"] * N, "text": TEXTS}),
}
STRANGE = {"first": "569", "second": "30", "third": "malignant", "fourth": "benign"}


def lines_of(columns, mark=","):
    return [mark.join(columns), *(mark.join(row) for row in zip(*columns.values(), strict=True))]


def objects(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def as_lines(values):
    return "".join(f"{json.dumps(each)}\n" for each in values)


#: by name: takes columns, returns the content of a file with one fault, and what is told of it
FAULTS = {
    "more names than columns": lambda c: (lines_of({**c, "z": [""] * N})[:1] + lines_of(c)[1:], "the header has"),
    "fewer names than columns": lambda c: ([lines_of(c)[0].rsplit(",", 1)[0], *lines_of(c)[1:]], "the header has"),
    "counts in place of names": lambda c: ([",".join(STRANGE.values()), *(f"{each},1,2,3" for each in lines_of(c)[1:])], "the header has"),
    "names alike beside fewer columns": lambda c: ([",".join([lines_of(c)[0]] * 2), *lines_of(c)[1:]], "the header has"),
    "another mark between the names": lambda c: ([lines_of(c, ";")[0], *lines_of(c)[1:]], "the header has"),
    "a mark at the end of lines": lambda c: ([lines_of(c)[0], *(f"{each}," for each in lines_of(c)[1:])], "the header has"),
    "an open quotation mark in the names": lambda c: (['"' + lines_of(c)[0], *lines_of(c)[1:]], "left open"),
    "an open quotation mark in the first row": lambda c: ([lines_of(c)[0], '"' + lines_of(c)[1], *lines_of(c)[2:]], "left open"),
    "names alike": lambda c: ([",".join(["a"] * len(c)), *lines_of(c)[1:]], "all named|both named"),
    "names alone": lambda c: (lines_of(c)[:1], "holds no (rows|sounds)"),
    "arrays in lines": lambda c: ([json.dumps(each) for each in zip(*c.values(), strict=True)], "expected an object"),
    "arrays of objects in lines": lambda c: ([json.dumps([each]) for each in objects(c)], "expected an object"),
    "numbers in an array": lambda c: ([json.dumps([1, 2, 3])], "expected an object"),
    "an array that is cut off": lambda c: ([json.dumps(objects(c))[:-1]], "has no end"),
    "an array that is cut off in an object": lambda c: ([json.dumps(objects(c))[:-9]], "is no JSON"),
    "more after an array": lambda c: ([json.dumps(objects(c)), "more"], "more stands after"),
    "empty objects": lambda c: (["{}"] * N, "holds no (rows|sounds)"),
}  # fmt: skip


def shape(fault):
    """A fault without the numbers and names that tell it apart from others of its kind."""
    return re.sub(r"'[^']*'|[\d,]+", "", fault)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TABLES)
def test_one_fault_is_told_as_one(name, fault, tmp_path):
    model, columns = TABLES[name]
    lines, told = FAULTS[fault](columns)
    path = tmp_path / ("t.json" if lines[0][0] in "[{" else "t.csv")
    if name == "sounds":
        pytest.importorskip("soundfile").write(tmp_path / "a.wav", np.zeros(800), 8000)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as found:
        model.read([path])
    faults = str(found.value).replace(f"{path}", "t").split("\n  ")
    kinds = {shape(each) for each in faults if not re.fullmatch(r"and [\d,]+ faults more", each)}
    assert len(kinds) == 1, faults
    assert len(set(faults)) == len(faults)
    assert re.search(told, faults[0]), faults
