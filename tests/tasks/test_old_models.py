"""Model files that unrolled 0.1.0 wrote, one of each task: they load and answer as they did then.

`old_models/` holds them; commit 58401d1 made them, with three steps of training each, and a later one that of `regress`. What they answer makes no sense,
and need not.
"""

from pathlib import Path

import numpy as np
import pytest

from unrolled import tasks
from unrolled.errors import ModelFileError

OLD = Path(__file__).parent / "old_models"


def text(model):
    assert "".join(model.generate("to be", length=40, seed=1)) == "r,rehunrano hahbtohnohs a\nnorrrbhoeabnen"


def forecast(model):
    (found,) = model.predict(np.sin(np.arange(200.0) * 0.3) + 0.01 * np.arange(200))
    assert found.values == pytest.approx([1.6949273, 1.4367510], rel=1e-5)


def classify(model):
    found = model.predict(["good food", "bad day"])
    assert [each.labels for each in found] == [["b"], ["a"]]
    assert [max(each.probabilities.values()) for each in found] == pytest.approx([0.5371137, 0.7408615], rel=1e-4)


def tag(model):
    (found,) = model.predict([["Ada", "saw", "Bob"]])
    assert found.tags == ["B-P", "B-P", "B-P"]


def understand(model):
    (found,) = model.predict(["go to rome"])
    assert (found.intent, [slot["text"] for slot in found.slots]) == ("go", ["go", "to", "rome"])
    assert found.probability == pytest.approx(0.5383701, rel=1e-4)


def translate(model):
    found = model.predict(["ein hund", "eine katze"])
    assert [each.translation for each in found] == ["hhhhhhhhhhhhhei", "hhhhhhhhhhhhckatze"]


def transcribe(model):
    sound = (0.3 * np.sin(2 * np.pi * 300 * np.arange(8000) / 8000)).astype("float32")
    (found,) = model.predict([(sound, 8000)])
    assert (found.text, found.confidence) == ("d", pytest.approx(0.2639, rel=1e-2))


OF_0_1_0 = [text, forecast, classify, tag, understand, translate, transcribe]


def test_there_is_one_of_each_task():
    assert sorted(path.stem for path in OLD.glob("*.safetensors")) == sorted(tasks.names())


@pytest.mark.parametrize("answers", OF_0_1_0, ids=lambda answers: answers.__name__)
def test_it_loads_and_answers_as_before(answers, tmp_path):
    name = answers.__name__
    kind = tasks.task(name).Model
    model = kind.load(OLD / f"{name}.safetensors")
    answers(model)
    with pytest.raises(ModelFileError, match=r"^the model's file is of unrolled 0\.1\.0 and has no comparison"):
        tasks.task(name).Report(model).comparison()
    model.save(tmp_path / "new.safetensors")  # in today's form
    answers(kind.load(tmp_path / "new.safetensors"))
