"""`predict --highlights`: what moved an answer, for each task that has it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.errors import SettingsError
from unrolled.tasks.translate.highlights import by_word, source_effects

OLD = Path(__file__).parent / "old_models"
SERIES = np.sin(np.arange(200.0) * 0.3) + 0.01 * np.arange(200)


def load(name):
    return unrolled.load(OLD / f"{name}.safetensors")


def test_a_forecast_names_the_values_before_which_add_up():
    model = load("forecast")
    [plain], [found] = model.predict(SERIES, answer="model"), model.predict(SERIES, answer="model", highlights=True)
    np.testing.assert_array_equal(plain.values, found.values)
    context = model.fitted.cut.context
    assert len(found.highlights) == context
    # beside a window that was at its last value all along
    total = sum(each["effect"] for each in found.highlights)
    data = model.as_data(SERIES)
    flat = model.fitted.cut.windows(data, [(0, len(SERIES))])
    flat.window.zero_()
    flat.inputs[..., 0] = 0
    middle = 2
    with torch.inference_mode():
        at_last = float(model.fitted.net.levels(flat)[0, :, middle].mean())
    assert total == pytest.approx(found.values.mean() - at_last, rel=0.02)
    assert found.to_dict()["highlights"] == found.highlights
    assert "highlights" not in plain.to_dict()
    assert str(found).splitlines()[-1].startswith("  moved by  ")


def test_a_baseline_that_forecasts_has_none():
    with pytest.raises(SettingsError) as fault:
        load("forecast").predict(SERIES, answer="last value", highlights=True)
    assert str(fault.value) == "--highlights goes with --answer model; the last value answers here"


def test_a_translation_names_the_words_of_its_source():
    model = load("translate")
    found = model.predict("ein hund", answer="model", highlights=True)
    assert [each["token"] for each in found.highlights] == ["ein", "hund"]
    assert found.to_dict()["highlights"] == found.highlights
    assert str(found).startswith(found.translation + "  ")
    net, [(source, target)] = model.fitted.net, found.ids
    effects = source_effects(net, source, target)
    assert sum(effects) == pytest.approx(sum(each["nats"] for each in found.highlights), rel=1e-5)
    assert model.predict("", highlights=True).highlights == []
    by_baseline = model._by_baseline("copy of the source", "ein hund")
    assert model._highlighted(by_baseline) is by_baseline


def test_words_of_subwords():
    assert by_word("ab c", ["a", "b", "", "c"], [1, 2, 3, 4]) == [("ab", 3), ("c", 7)]
    assert by_word("abc", ["a", "bc"], [1, 2]) == [("a", 1), ("bc", 2)]
    assert by_word("A b", ["a", "b"], [1, 2]) == [("a", 1), ("b", 2)]  # not what was written


def test_an_intent_and_a_number_name_their_tokens():
    found = load("understand").predict("go to rome", highlights=True)
    assert [each["token"] for each in found.highlights] == ["go", "to", "rome"]
    assert max(abs(each["nats"]) for each in found.highlights) > 0
    assert load("understand").predict("", highlights=True).highlights == []
    items = [("good food", 5.0), ("bad food", 1.0), ("good wine", 5.0), ("bad soup", 1.0)] * 12
    model = unrolled.RegressModel(hidden=4, words=4, layers=1, chars=0, steps=3).fit(items)
    found = model.predict("good soup", highlights=True)
    by_token = {each["token"]: each["effect"] for each in found.highlights}
    assert by_token["good"] > 0 > by_token["soup"]  # of soups all were bad
    without = model.predict("\N{REPLACEMENT CHARACTER} soup").number
    assert by_token["good"] == pytest.approx(found.number - without, abs=0.2)
    assert found.rows()[0].keys() == {"text", "number", "low", "high"}


def test_highlights_on_the_command_line(call):
    code, out, _ = call("predict", str(OLD / "understand.safetensors"), "go to rome", "--highlights")
    assert code == 0
    answer, moved = out.rstrip("\n").split("  ", 1)
    assert answer.startswith("go (")
    assert {each.rsplit(" ", 1)[0] for each in moved.split("  ")[-1].split(", ")} == {"go", "to", "rome"}
    code, out, _ = call("predict", str(OLD / "translate.safetensors"), "ein hund", "--highlights", "--format", "jsonl")
    assert code == 0
    assert [each["token"] for each in json.loads(out)["highlights"]] == ["ein", "hund"]
    goes_with = "a classifier or a forecast or a regression or a translator or a model of intents"
    for task in ("tag", "transcribe"):
        path = OLD / f"{task}.safetensors"
        assert call("predict", path, "x", "--highlights") == (
            2,
            "",
            f"unrolled: --highlights goes with {goes_with}; {path} is a model of the task {task!r}\n",
        )
    path = OLD / "text.safetensors"
    assert call("predict", path, "x", "--highlights") == (
        2,
        "",
        f"unrolled: {path}: a model of the task 'text' writes; use: unrolled generate {path}\n",
    )
