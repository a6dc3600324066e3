"""Units that follow something in a text: found where one was planted, and not in noise."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.errors import ArgumentError, DataError, SettingsError
from unrolled.insight.text_features import features_of
from unrolled.insight.units import UnitActivity

OLD = str(Path(__file__).parents[1] / "tasks/old_models/text.safetensors")
LINES = ['He said "to be" & left', "    f(a, (b), [12])", "", "plain <words> go on 7"]
TEXT = "\n".join(LINES[i % 4] for i in np.random.default_rng(0).integers(0, 4, 300)) + "\n"


def noise(n, seed):
    """Smooth, as states are."""
    walk = np.random.default_rng(seed).normal(size=(len(TEXT), n))
    return np.apply_along_axis(lambda column: np.convolve(column, np.ones(5), "same"), 0, walk).astype(np.float32)


def test_features_of_a_text():
    text = 'a "b\nc" (d[1]) \n\n  E\n\tf "g\n\nh'
    found = features_of(text)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, len(text))
    at = {char: text.index(char) for char in "abcd1Efgh"}
    assert [found["inside quotes"][at[c]] for c in "abcdgh"] == [0, 1, 1, 0, 1, 0]  # an empty line ends them
    assert [found["depth of brackets"][at[c]] for c in "cd1E"] == [0, 1, 2, 0]
    assert [found["indentation"][at[c]] for c in "aEf"] == [0, 2, 4]
    assert [found["position in the line"][at[c]] for c in "abcE"] == [1, 4, 1, 3]
    assert [found["digits"][at[c]] for c in "a1"] == [0, 1]
    assert [found["capitals"][at[c]] for c in "aE"] == [0, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_units_are_found_and_judged_on_the_other_half(sign):
    features, values = features_of(TEXT), noise(20, 1)
    for i, name in enumerate(features):
        values[:, 3 * i] = sign * features[name] / features[name].std() + 0.3 * values[:, 3 * i]
    activity = UnitActivity(TEXT, [f"layer 1 h {i}" for i in range(20)], values)
    found = {each.feature: each for each in activity.search()}
    for i, name in enumerate(features):
        assert found[name].number == 3 * i, name
        assert found[name].unit == f"layer 1 h {3 * i}"
        assert found[name].is_found
        assert found[name].value > 0.75
    assert found["digits"].measure == "AUC"
    assert found["depth of brackets"].measure == "correlation"


def test_noise_follows_nothing_far():
    found = [
        each for seed in range(5) for each in UnitActivity(TEXT, [f"{i}" for i in range(30)], noise(30, seed)).search()
    ]
    values = [each.value - (0.5 if each.measure == "AUC" else 0) for each in found]
    assert max(values) < 0.2
    assert sum(each.is_found for each in found) < len(found) / 3


def test_a_text_without_the_features():
    assert (
        UnitActivity("abc " * 50, ["h"], np.zeros((200, 1), np.float32)).search()[0].feature == "position in the line"
    )
    assert UnitActivity("\n" * 200, ["h"], np.zeros((200, 1), np.float32)).search() == []
    with pytest.raises(SettingsError) as fault:
        UnitActivity("abc", ["h"], np.zeros((3, 1), np.float32)).search()
    assert str(fault.value) == "units: a text of 3 characters. Expected at least 32."


def test_colored_text_as_a_page_a_picture_and_for_a_terminal():
    values = np.zeros((len(TEXT), 2), np.float32)
    values[5:9, 1] = 2
    activity = UnitActivity(TEXT, ["layer 1 h 0", "layer 1 h 1"], values)
    page, picture = activity.html("layer 1 h 1"), activity.svg(1)
    assert "&lt;words&gt;" in page
    assert "<words>" not in page
    assert page.count("rgba(214,69,65") == 1
    root = ET.fromstring(picture)
    shown = "".join(each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text"))
    assert shown == "".join(TEXT.split())
    runs = list(activity.runs(1))
    assert "".join(run for run, _ in runs) == TEXT
    assert dict(runs)[TEXT[5:9]] != (255, 255, 255)
    with pytest.raises(SettingsError) as fault:
        activity.html("2")
    assert str(fault.value) == "unit '2': there is none. Expected 0 to 1, or a name such as 'layer 1 h 0'."


def test_activity_is_the_nets_own_states():
    model = unrolled.load(OLD)
    text = "to be or not to be"
    activity = model.activity(text)
    assert activity.text == text
    assert activity.values.shape == (len(text), len(activity.names))
    net = model.ready().net
    ids = torch.from_numpy(model.units.encode(text)).unsqueeze(1)
    with torch.no_grad():
        hidden, _ = net.recurrent(net.embedding(ids))
    last = max(int(name.split()[1]) for name in activity.names)
    columns = [i for i, name in enumerate(activity.names) if name.startswith(f"layer {last} h ")]
    np.testing.assert_allclose(activity.values[:, columns], hidden[:, 0].numpy(), atol=1e-5)
    with pytest.raises(DataError):
        model.activity("")
    with pytest.raises(ArgumentError) as fault:
        model.activity(None)
    assert str(fault.value).startswith("activity: expected a text, got ")


def test_on_the_command_line(call, tmp_path):
    text = "to be or not to be\nthat is a\n" * 6
    code, out, _ = call("units", OLD, text)
    assert code == 0
    assert "position in the line" in out
    code, out, _ = call("units", OLD, text, "--format", "json")
    assert code == 0
    [row] = [each for each in json.loads(out) if each["feature"] == "position in the line"]
    assert row.keys() == {"feature", "unit", "number", "measure", "value", "by_chance", "is_found"}
    (tmp_path / "t.txt").write_text(text)
    for name, begin in (("u.html", "<!doctype html>"), ("u.svg", "<svg ")):
        code, out, _ = call("units", OLD, str(tmp_path / "t.txt"), "--unit", "0", "--out", str(tmp_path / name))
        assert code == 0
        assert (tmp_path / name).read_text().startswith(begin)
    code, out, _ = call("units", OLD, text, "--unit", "0")
    assert code == 0
    assert "\x1b" not in out  # no terminal, no color
    assert text.splitlines()[0] in out
    for arguments, words in (
        (("units", OLD, text, "--out", "x.html"), "--out is for the text colored by one unit: name it with --unit"),
        (("units", OLD, text, "--unit", "0", "--out", "x.png"), "--out x.png: expected a name that ends in .html or .svg"),
        (("units", OLD.replace("text.", "tag."), text),
         f"{OLD.replace('text.', 'tag.')}: is a model of the task 'tag'; expected one of 'text'"),
    ):  # fmt: skip
        code, out, err = call(*arguments)
        assert (code, out, err) == (2, "", f"unrolled: {words}\n")


@pytest.mark.parametrize("name", ["typo.txt", "no/such/book.md", "script.py", "t.txt.gz"])
def test_a_name_of_no_file_is_no_text(call, name):
    code, _, err = call("units", OLD, name)
    assert (code, err) == (2, f"unrolled: {name}: no such file. If it is a text, write it to a file, and name that\n")


def test_files_in_another_encoding(call, tmp_path):
    text = "to be or not to be\nthat is a\n" * 9
    (tmp_path / "t.txt").write_bytes(text.encode("cp037"))
    code, _, err = call("units", OLD, tmp_path / "t.txt")
    assert (code, "Pass --encoding with the right one" in err) == (2, True)
    code, out, _ = call("units", OLD, tmp_path / "t.txt", "--encoding", "cp037")
    assert (code, f"over {len(text):,} characters" in out) == (0, True)
