"""The pages of runs and models: whole, offline, escaped, and honest about what is missing."""

import json
import re
import shlex
import shutil

import pytest

from tests.report import samples
from tests.report.pages import Page, faults_of
from tests.tasks.test_folder import ROOT, TASKS
from unrolled.files import safetensors_tree
from unrolled.pages import of_run, of_runs
from unrolled.pages.source import read_log, source
from unrolled.tasks.report import TaskReport


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return samples.all_runs(tmp_path_factory)


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the classifier's run, to damage."""
    return shutil.copytree(runs / "classify", tmp_path / "run")


@pytest.fixture(scope="module")
def pages(runs):
    """The page of each task's run."""
    return lambda task: samples.page_of(runs, task).read_text("utf-8")


#: the sections that a task adds of its own
OWN = {
    "classify": ["What was taken for what", "Class by class", "Examples"],
    "forecast": ["Forecasts beside what came", "How far ahead it sees"],
    "regress": ["Predicted against true", "Where it is farthest off"],
    "tag": ["Label by label", "Examples"],
    "text": ["What it writes"],
    "transcribe": ["What was heard where", "Examples"],
    "translate": ["Where it looked", "Examples"],
    "understand": ["Slot by slot", "Examples"],
}


def titles(text):
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", text)


def test_every_task_has_pictures_of_its_own():
    assert OWN.keys() == TASKS.keys() == samples.FILES.keys()
    for module in TASKS.values():
        assert module.Report.exhibits is not TaskReport.exhibits


@pytest.mark.parametrize("task", samples.FILES)
def test_the_page_of_a_run_is_whole_offline_and_small(pages, runs, task):
    text = pages(task)
    assert faults_of(text) == []
    assert len(text.encode()) < 1_000_000
    page = Page(text)
    assert "Missing here" not in page.words, page.words[:600]
    checked = ["Check-up"] if task == samples.CHECKED else []
    usual = [
        "How good it is",
        "How it learned",
        *OWN[task],
        *checked,
        "What was trained on what",
        "Speed",
        "Do it again",
    ]
    assert titles(text) == usual
    found = source(runs / task)
    assert found.report.last_line().replace("`", "") in page.words.replace("`", "")
    assert "stroke-dasharray" in text, "no baseline beside the curve"
    assert str(found.run.config["files"][0]) in page.words
    assert f"unrolled train {task} " in page.words


@pytest.mark.parametrize("task", samples.FILES)
def test_what_comes_from_files_is_text(pages, task):
    text = pages(task)
    page = Page(text)
    assert page.of("script") == []
    assert page.of("img") == page.of("i") == page.of("b") == []
    assert "<script" not in text.lower()


def test_names_of_the_files_are_shown_as_they_are(pages):
    words = Page(pages("classify")).words
    assert samples.EVIL in words
    assert "a <b> & c.csv" in words
    assert "down & out" in words


def test_a_picture_for_each_run_names_its_curve_and_baseline(pages):
    names = [each["aria-label"] for each in Page(pages("classify")).of("svg")]
    assert re.match(
        r"accuracy, validation part\. accuracy by update: model from [\d.]+ to [\d.]+; naive Bayes ", names[0]
    )


def test_the_command_line_writes_it_beside_the_run(call, run):
    said = "check-up of the network, which can take minutes; --no-checkup leaves it out\n"
    assert call("report", run) == (0, f"{run / 'report.html'}\n", said)
    assert "Check-up" in titles((run / "report.html").read_text("utf-8"))
    assert call("report", run, "--no-checkup") == (0, f"{run / 'report.html'}\n", "")
    assert "Check-up" not in titles((run / "report.html").read_text("utf-8"))
    assert faults_of((run / "report.html").read_text("utf-8")) == []
    assert list(run.glob(".*part*")) == []
    lost = run / "none" / "page.html"
    assert call("report", run, "--out", lost) == (
        2, "", f"unrolled: {lost}: the folder that it is to be in is not there\n",
    )  # fmt: skip
    code, _, err = call("report", run, "--encoding", "latin-1")
    assert (code, err.splitlines()[-1]) == (2, "unrolled: --encoding says how files are read; none is named")
    code, _, err = call("report", run, "--out", run)
    assert (code, err) == (
        2, f"unrolled: {run}: is a folder; expected a file to write, such as {run / 'report.html'}\n",
    )  # fmt: skip


def test_the_command_on_the_page_trains_the_same_again(call, pages, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [command] = [
        line for line in Page(pages("classify")).words.splitlines() if line.startswith("unrolled train classify")
    ]
    assert call(*shlex.split(command)[1:], "--folder", "again")[0] == 0
    first, second = (safetensors_tree.read_tensors(each / "model.safetensors")[0] for each in (run, tmp_path / "again"))
    assert all(first[name].equal(second[name]) for name in first)


def words_of(path, *files):
    return Page(of_run.page(source(path, files), is_checked=False)).words


def test_a_model_file_by_itself_says_that_it_has_no_data(run, tmp_path):
    model = tmp_path / "m.safetensors"
    shutil.copy(run / "model.safetensors", model)
    words = words_of(model)
    assert "no examples: a model file does not have its data, so give some: unrolled report MODEL --data FILE" in words
    assert "unrolled train" not in words
    data = source(run).run.config["files"][0]
    assert "right: found" in words_of(model, data)


def test_files_that_changed_or_went_are_said(runs, tmp_path):
    folder = tmp_path / "moved"
    folder.mkdir()
    run = samples.run_of("tag", folder)
    data = folder / "tag-data" / "tags.conll"
    data.write_text(data.read_text("utf-8") + "Cy B-PER\n\n", encoding="utf-8")
    assert f"no examples: {data}: changed since the run began" in words_of(run)
    data.unlink()
    assert f"no examples: {data}: " in words_of(run)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("log.csv", "no log.csv"),
        ("model.safetensors", "no model yet: the run's first evaluation was not reached"),
        ("checkpoint.safetensors", "give some: unrolled report MODEL --data FILE"),
    ],
)
def test_what_is_missing_in_a_run_is_said(run, without, said):
    (run / without).unlink()
    text = of_run.page(source(run), is_checked=False)
    assert faults_of(text) == []
    assert said in Page(text).words
    assert "How it learned" in titles(text)


def test_a_log_that_is_damaged_is_said_and_the_checkpoint_has_the_rows(run):
    whole = len(read_log(run / "log.csv"))
    (run / "log.csv").write_bytes(b"step,loss\n\xff\xfe\n")
    found = source(run)
    assert len(found.record) == whole
    assert any(each.startswith("log.csv: cannot be read (") for each in found.missing)


def test_a_run_that_was_cut_off_has_a_page(tmp_path, interrupted):
    with interrupted(5):
        samples.run_of("classify", tmp_path, "cut")
    text = of_run.page(source(tmp_path / "cut"), is_checked=False)
    assert faults_of(text) == []
    assert "The training did not end: the model has not been judged." in text
    assert f"unrolled train --resume {tmp_path / 'cut'}" in Page(text).words
    assert source(tmp_path / "cut").record == read_log(tmp_path / "cut" / "log.csv") != []


def test_watched_gradients_are_drawn_layer_by_layer(tmp_path):
    run = samples.run_of("classify", tmp_path, watch_gradients=True)
    text = of_run.page(source(run), is_checked=False)
    assert faults_of(text) == []
    names = [each["aria-label"] for each in Page(text).of("svg")]
    for caption in ("steps back in which a layer's gradient halves", "share of a layer's gates that are saturated"):
        [label] = [each for each in names if each.startswith(caption)]
        assert label.count(" from ") == 2, "a bidirectional layer has two"


def test_metrics_that_are_damaged_are_said(run):
    tensors, metadata = safetensors_tree.read_tensors(run / "model.safetensors")
    baseline = json.loads(metadata["baseline"])
    baseline["figures"]["model"] = {"accuracy": "x"}
    metadata["baseline"] = json.dumps(baseline)
    safetensors_tree.write_tensors(run / "model.safetensors", tensors, metadata)
    assert "its metrics are damaged: " in words_of(run)


def test_a_file_in_which_the_metric_of_the_curve_is_called_figure_shows_the_same_curve(run):
    before = source(run).curve
    tensors, metadata = safetensors_tree.read_tensors(run / "model.safetensors")
    settings = json.loads(metadata["settings"])
    curve = settings["training"]["curve"]
    curve["figure"] = curve.pop("metric")
    assert curve["figure"] != "loss"
    metadata["settings"] = json.dumps(settings)
    safetensors_tree.write_tensors(run / "model.safetensors", tensors, metadata)
    assert source(run).curve == before


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/tasks/old_models").glob("*.safetensors")), ids=lambda path: path.stem
)
def test_models_of_older_versions_have_pages(path):
    text = of_run.page(source(path), is_checked=False)
    assert faults_of(text) == []
    assert "How it learned" in titles(text)


def test_where_there_is_nothing_the_command_says_so(call, tmp_path):
    code, out, err = call("report", tmp_path / "none")
    assert (code, out, err) == (2, "", f"unrolled: {tmp_path / 'none'}: no such file\n")
    (tmp_path / "empty").mkdir()
    code, _, err = call("report", tmp_path / "empty")
    assert (code, err) == (
        2, f"unrolled: {tmp_path / 'empty'}: is a folder without a model.safetensors in it; expected a model file or a run\n",
    )  # fmt: skip


def test_runs_side_by_side(call, runs, tmp_path):
    out = tmp_path / "both.html"
    assert call("report", runs / "classify", runs / "classify-2", "--out", out) == (0, f"{out}\n", "")
    text = out.read_text("utf-8")
    assert faults_of(text) == []
    assert titles(text) == ["Which differences count", "Metrics", "How they learned", "What differs", "Do it again"]
    words = Page(text).words
    assert re.search(r"classify and classify-2 (differ by no more than chance|: too few|.*is better than)", words)
    assert re.search(r"celllstmgru", words)
    names = [each["aria-label"] for each in Page(text).of("svg")]
    assert all(each in names[0] for each in ("classify from", "classify-2 from", "naive Bayes"))


def test_runs_that_cannot_be_compared_are_told_why(runs):
    text = of_runs.page([source(runs / name) for name in ("classify", "classify-3", "tag")])
    assert faults_of(text) == []
    words = Page(text).words
    other = "they were validated on other examples; --data FILE judges both on the same"
    assert f"classify and classify-3 cannot be compared: {other}." in words
    assert "classify and tag cannot be compared: they are of the tasks classify and tag." in words


def test_runs_are_compared_on_given_files(runs):
    data = source(runs / "classify").run.config["files"]
    text = of_runs.page([source(runs / name, data) for name in ("classify", "classify-3")])
    assert re.search(r"classify and classify-3 differ by no more than chance: accuracy .* 60 texts\)", Page(text).words)
