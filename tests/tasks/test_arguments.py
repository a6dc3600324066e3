"""Wrong arguments of every verb of every task: one clear line, and nothing of Python's own."""

from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled import tasks
from unrolled.errors import ArgumentError, UnrolledError

OLD = Path(__file__).parent / "old_models"
MODELS = {name: tasks.task(name).Model.load(OLD / f"{name}.safetensors") for name in tasks.names()}
BAD = {
    "None": None, "int": 3, "float": 1.5, "bool": True, "type": int, "object": object(), "bytes": b"abc",
    "set": {1, 2}, "dict": {"a": 1}, "list of None": [None], "list of int": [1, 2], "nested": [[["a"]]],
    "nan": np.full(50, np.nan), "strings": np.array(["a", "b"]), "an array without axes": np.array(1.0),
    "objects": np.array([None, {}], dtype=object), "pairs of None": [(None, None)], "single": [("a",)],
    "too many": [("a", "b", "c", "d")], "huge": [10**400] * 50, "empty lists": [[], []], "mixed": [("a", "b"), None],
}  # fmt: skip
RIGHT = {("forecast", "list of int"), ("classify", "strings"), ("regress", "strings"), ("tag", "strings"), ("understand", "strings"), ("translate", "strings"), ("tag", "empty lists"), ("tag", "single"),
         ("tag", "too many")}  # fmt: skip
VERBS = [
    (name, verb)
    for name in tasks.names()
    for verb in ("fit", "predict", "predict_all", "evaluate")
    if hasattr(MODELS[name], verb)
]


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_a_wrong_argument_is_told(name, verb, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = MODELS[name] if verb != "fit" else type(MODELS[name])()
    options = {"train": unrolled.TrainSettings(steps=1, precision="float32")} if verb == "fit" else {}
    if (name, what) in RIGHT and verb.startswith("predict"):
        assert getattr(model, verb)(BAD[what])
        return
    with pytest.raises(UnrolledError) as caught:
        getattr(model, verb)(BAD[what], **options)
    assert str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_lines_say_what_is_wanted():
    for call, text in {
        lambda: MODELS["classify"].predict_all(None): "predict: expected a text, or a list of those; got None",
        lambda: MODELS["tag"].predict(
            [3]
        ): "predict: item 0: expected a text or a list of tokens; got a value of type int",
        lambda: unrolled.ClassifyModel().fit([("a", "b")] * 9, train={"steps": 3}): (
            "fit: train must be unrolled.TrainSettings, such as unrolled.TrainSettings(steps=100); got a value of type dict"
        ),
        lambda: unrolled.TranslateModel().fit([1, 2]): (
            "expected files, or pairs of a text and its translation; got a list that begins with int"
        ),
    }.items():
        with pytest.raises(ArgumentError) as caught:
            call()
        assert str(caught.value) == text
