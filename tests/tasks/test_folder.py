"""What holds of every task: all tests here take the tasks from their folder."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import unrolled
from unrolled import tasks
from unrolled.errors import ModelFileError
from unrolled.tasks.estimator import Estimator
from unrolled.tasks.fitted import Fitted
from unrolled.tasks.report import TaskReport

ROOT = Path(__file__).parents[2]
TASKS = {name: tasks.task(name) for name in tasks.names()}
# what needs nothing fitted: it makes it, reads data, or cuts them
NOT_FITTED = {
    "fit",
    "load",
    "resume",
    "read",
    "as_data",
    "split",
    "folds",
    "prepare",
    "get_params",
    "set_params",
    "paired",
    "reads_by",
}
# what says how data are cut, and what `fit` calls amid a training
OF_A_TRAINING = {"is_of_files", "files_of", "amounts", "judge", "origins", "every_origin"}
# an argument that would do if the model were fitted
GIVEN = {"answers": [], "data": [], "items": "a", "texts": ["a"], "sounds": [], "sentences": [], "files": [], "text": "a", "cuts": [],
         "sound": None, "form": None, "origins": [], "valid": [], "path": "no.safetensors", "record": []}  # fmt: skip


def verbs():
    for name, module in TASKS.items():
        for verb, method in inspect.getmembers(module.Model, inspect.isfunction):
            if not verb.startswith("_") and verb not in NOT_FITTED | OF_A_TRAINING:
                yield name, verb, method


@pytest.mark.parametrize(
    ("name", "verb", "method"), [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in verbs()]
)
def test_before_fit_every_verb_says_so(name, verb, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = TASKS[name].Model()
    wanted = [each for each in list(inspect.signature(method).parameters.values())[1:] if each.default is each.empty]
    with pytest.raises(ModelFileError) as caught:
        getattr(model, verb)(*(GIVEN[each.name] for each in wanted))
    assert str(caught.value) == f"the model is not fitted yet. Call fit, or {type(model).__name__}.load"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TASKS)
def test_what_is_fitted_is_a_frozen_value_and_no_attribute_is_invented(name):
    kind = TASKS[name].Model
    assert issubclass(kind, Estimator)
    assert issubclass(TASKS[name].Report, TaskReport)
    assert issubclass(kind.fits, Fitted)
    assert kind.fits.__dataclass_params__.frozen
    assert {field.name for field in dataclasses.fields(kind.fits)} > {"net", "metrics", "record", "training"}
    model = kind()
    assert vars(model).keys() == {
        "settings",
        "result",
        "notes",
        "held",
        "read_as",
        "_fitted",
        "_named",
        "_training_values",
    }
    assert (model.net, model.metrics, model.record, model.training) == (None, {}, [], {})
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet"):
        TASKS[name].Report(model)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_exported_documented_and_in_the_readme(name):
    module = TASKS[name]
    assert module.Model.task == name
    for kind in (module.Model, module.Model.kind):
        assert getattr(unrolled, kind.__name__) is kind
        assert f"from {kind.__module__} import {kind.__name__} as {kind.__name__}" in (
            ROOT / "src/unrolled/__init__.py"
        ).read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"unrolled train {name} " in readme
    pages = [page for page in (ROOT / "docs").glob("*.md") if f"unrolled train {name} " in page.read_text("utf-8")]
    assert pages
    assert any(f"(docs/{page.name})" in readme for page in pages)


def test_no_list_of_tasks_is_written_by_hand():
    """Where three tasks stand on neighboring lines, somebody listed them; the docs may, and what exports them must."""
    quoted = re.compile("|".join(rf"[\"']{name}[\"']" for name in TASKS))
    allowed = {ROOT / "src/unrolled/__init__.py"}
    for path in sorted(set((ROOT / "src").rglob("*.py")) - allowed):
        lines = path.read_text(encoding="utf-8").splitlines()
        for i in range(len(lines)):
            near = set(quoted.findall("\n".join(lines[i : i + 8])))
            assert len(near) < 3, f"{path}, line {i + 1}: {near}"


def test_the_command_line_knows_no_task_by_name():
    plain_words = {"text"}  # of answers, and of prose
    for path in sorted((ROOT / "src/unrolled/cli").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for name in TASKS:
            found = re.findall(rf"tasks\.{name}\b|\b{name.capitalize()}(?:Model|Settings|Report)\b", source)
            found += re.findall(rf"train {name}\b|runs/{name}\b|task == .{name}\b", source)
            found += [] if name in plain_words else re.findall(rf"\b{name}\b", source)
            assert not found, (path.name, found)
        assert "type: ignore" not in source, path.name


@pytest.mark.parametrize("name", TASKS)
def test_the_command_line_offers_every_task(call, name):
    code, out, _ = call("train", name, "--help")
    assert code == 0
    assert TASKS[name].__doc__.split("\n")[0] in " ".join(out.split())
    _, out, _ = call("--help")
    assert f"unrolled train {name} {TASKS[name].HELP.usual}" in out
    _, out, _ = call("predict", "--help")
    assert TASKS[name].HELP.predict in out
