"""What a notebook shows: progress by itself, models and answers as HTML, pictures; and nothing of it elsewhere."""

import dataclasses
import html
import html.parser
import json
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled import markup, tasks
from unrolled.errors import MissingExtraError, SettingsError
from unrolled.tasks.answers import Answers
from unrolled.training import notebook
from unrolled.training.display import Display
from unrolled.training.job import Curve

NOTEBOOK = Path(__file__).parent.parent / "examples" / "first_hour.ipynb"
OLD = Path(__file__).parent / "tasks" / "old_models"
VOID = {"br", "hr", "img", "circle", "path", "polygon", "polyline"}
EVIL = "<script>alert(1)</script>&\"'"
WAVE = np.sin(np.arange(240) / 3) + 5


class Checked(html.parser.HTMLParser):
    """Reads HTML; every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def assert_sound(text):
    """HTML that is whole, runs nothing, asks for nothing from elsewhere, and leaves the page's colors alone."""
    found = Checked(text)
    allowed = [
        "div",
        "span",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "pre",
        "svg",
        "text",
        "circle",
        "path",
        "polygon",
        "polyline",
    ]
    assert set(found.tags) <= set(allowed)
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "class", "id")
        assert "url(" not in value
        assert "nan" not in value
        assert name == "aria-label" or not re.search(
            r"(?:^|[;\s])(?:color|background):(?!inherit|none|rgba|#3b82d6)", value
        )
    return found


def executed(book, folder):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own libraries; what the cells warn of is in their outputs
        client = nbclient.NotebookClient(
            book, timeout=240, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return book


def test_the_first_hour_runs_and_shows_itself(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    book = executed(nbformat.read(NOTEBOOK, 4), str(tmp_path))
    nbformat.write(book, tmp_path / "saved.ipynb")
    cells = [cell for cell in nbformat.read(tmp_path / "saved.ipynb", 4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"display_data", "execute_result"}, "no stream, no error"
    progress = [output.data for output in outputs if output.output_type == "display_data"]
    assert len(progress) == sum(".fit(" in cell.source for cell in cells) == 2  # one output each, updated
    for shown, baseline in zip(progress, ("the linear autoregression", "naive Bayes"), strict=True):
        assert re.match(r"\d+ steps done after \d:\d\d; best at step \d+ of \d+\nThe model ", shown["text/plain"])
        found = assert_sound(shown["text/html"])
        assert "svg" in found.tags
        assert f" {baseline}" in found.texts
        assert "10 evaluations" in found.texts
        assert "height:6px" not in shown["text/html"], "the bar is gone at the end"
    results = [output.data for output in outputs if output.output_type == "execute_result"]
    ours = [data["text/html"] for data in results if data.get("text/html", "").startswith("<div style=")]
    assert len(ours) == 5
    for text in ours:
        assert_sound(text)
    assert "ForecastModel" in ours[0]
    assert len([data for data in results if "image/png" in data]) == 2
    assert all(len(data["text/plain"]) < 400 for data in results if data.get("text/html", "") in ours)
    assert (tmp_path / "reviews.safetensors").is_file()


def test_the_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(book)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in book.cells)


def shell(monkeypatch, *kinds):
    """IPython as it is where such a shell runs, the first kind a subclass of the next."""
    kind = object
    for name in reversed(kinds):
        kind = type(name, (kind,), {})
    made = types.ModuleType("IPython")
    made.get_ipython = lambda: kind() if kinds else None
    monkeypatch.setitem(sys.modules, "IPython", made)


@pytest.mark.parametrize(
    ("kinds", "is_notebook"),
    [
        (["ZMQInteractiveShell"], True),
        (["Shell", "ZMQInteractiveShell", "InteractiveShell"], True),  # Colab's
        (["TerminalInteractiveShell", "InteractiveShell"], False),
        ([], False),  # IPython is imported, and nothing runs in it
    ],
)
def test_a_notebook_is_told_from_a_terminal(monkeypatch, kinds, is_notebook):
    shell(monkeypatch, *kinds)
    assert notebook.in_notebook() == is_notebook


def test_without_ipython_fit_is_silent_and_imports_none(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    unrolled.ClassifyModel(hidden=4, steps=2).fit(["good", "bad"] * 8, ["+", "-"] * 8)
    assert capfd.readouterr() == ("", "")
    assert "IPython" not in sys.modules
    assert type(notebook.display_of_call()) is Display


@pytest.fixture
def kernel(monkeypatch):
    """A notebook's kernel; what its cell shows, oldest first, by number of output."""
    shown = []

    class Handle:
        def __init__(self, number):
            self.number = number

        def update(self, seen, *, raw):
            assert raw
            shown.append((self.number, seen))

    def display(seen, *, raw, display_id):
        assert raw
        assert display_id
        number = 1 + max([number for number, _ in shown], default=0)
        shown.append((number, seen))
        return Handle(number)

    shell(monkeypatch, "ZMQInteractiveShell")
    sys.modules["IPython"].display = types.SimpleNamespace(display=display)
    monkeypatch.setattr(notebook, "_EVERY_S", 0.0)
    return shown


TEXTS = [(f"{word} {i % 4}", label) for i in range(16) for word, label in (("good", "up"), ("bad", "down"))]


def test_fit_shows_its_progress_in_one_output(kernel):
    model = unrolled.ClassifyModel(hidden=4, steps=6, eval_every=2).fit(TEXTS)
    assert {number for number, _ in kernel} == {1}
    assert len(kernel) >= 6
    begun, under_way, ended = kernel[0][1], kernel[-4][1], kernel[-1][1]
    assert "begins" in begun["text/plain"]
    assert re.match(r"step \d+, \d:\d\d · loss \d", under_way["text/plain"])
    assert "height:6px" in under_way["text/html"]
    assert ended["text/plain"].splitlines() == [str(model.result), model.report().verdict()]
    for _, seen in kernel:
        assert_sound(seen["text/html"])
    unrolled.ClassifyModel(hidden=4, steps=2).fit(TEXTS)
    assert {number for number, _ in kernel} == {1, 2}


def test_fit_goes_on_to_trackers_and_callbacks_there(kernel):
    steps = []
    model = unrolled.ClassifyModel(hidden=4, steps=6, eval_every=2)
    model.fit(TEXTS, callbacks=[lambda step, _: steps.append(step) or step >= 2])
    assert steps == [2]
    assert kernel[-1][1]["text/plain"].startswith("stopped by the callback <lambda> after 0:0")


def test_a_display_of_ones_own_is_shown_alone(kernel):
    unrolled.ClassifyModel(hidden=4, steps=2).fit(TEXTS, display=Display())
    assert kernel == []


def test_a_training_that_is_cut_off_says_so(kernel, interrupted):
    model = unrolled.ClassifyModel(hidden=4, steps=6, eval_every=2)
    with interrupted(4):
        model.fit(TEXTS)
    assert re.match(r"ended at step \d, \d:\d\d$", kernel[-1][1]["text/plain"])
    assert "height:6px" not in kernel[-1][1]["text/html"]


def test_notes_are_shown_and_many_are_folded():
    seen = []
    display = notebook.NotebookDisplay(seen.append)
    for i in range(5):
        display.note(f"{EVIL} {i}")
        assert ("notes" in seen[-1]["text/html"]) == (i > 2)
        assert f"{EVIL} {i}" in assert_sound(seen[-1]["text/html"]).texts


def made(name):
    """A tiny fitted model of a task."""
    quick = {"hidden": 4, "steps": 3, "eval_every": 1}
    evil = [(f"good {i % 4}", EVIL) if i % 2 else (f"bad {i % 5}", "down") for i in range(32)]
    tagged = [(["Ada", "met", "Bob"], ["B-PER", "O", "B-PER"]), (["Go", "to", "Rome"], ["O", "O", "B-LOC"])] * 10
    pairs = [("ein hund", "a dog"), ("eine katze", "a cat"), ("ein haus", "a house")] * 8
    sounds = [((0.3 * np.sin(np.arange(4000) * f)).astype("float32"), 8000) for f in (0.2, 0.5)] * 6
    data = {
        "classify": (unrolled.ClassifyModel(**quick), evil),
        "regress": (unrolled.RegressModel(**quick), [(text, float(i % 7)) for i, (text, _) in enumerate(evil)]),
        "forecast": (unrolled.ForecastModel(horizon=4, **quick), WAVE),
        "tag": (unrolled.TagModel(**quick), tagged),
        "understand": (
            unrolled.UnderstandModel(**quick),
            [(*pair, "go" if pair[0][0] == "Go" else "meet") for pair in tagged],
        ),
        "translate": (unrolled.TranslateModel(**quick), pairs),
        "transcribe": (unrolled.TranscribeModel(**quick), list(zip(sounds, ["lo", "hi"] * 6, strict=True))),
    }
    if name == "text":
        model = unrolled.TextModel(hidden=4, layers=1, batch=4, k1=16, steps=3, eval_every=1, precision="float32")
        return model.fit(text="a line of the tale\n" * 100)
    model, examples = data[name]
    return model.fit(examples)


@pytest.mark.parametrize("name", tasks.names())
def test_a_model_shows_what_it_is_and_its_baseline(name):
    model = made(name)
    found = assert_sound(model._repr_html_())
    report = model.report()
    for text in (type(model).__name__, report.verdict(), report.comparison().name, "settings", "network", "trained on"):
        assert text in found.texts, text
    assert any(" parameters, " in text for text in found.texts)
    assert "learning curve" in found.texts
    assert len(repr(model)) < 120
    for text in (repr(report), repr(model.result)):
        assert "\n" not in text
        assert len(text) < 300
    assert report.verdict() in assert_sound(report._repr_html_()).texts
    assert str(report).splitlines() == [*report.table(), "", *report.last_line().splitlines()]
    assert_sound(model.result._repr_html_())
    assert [row[model.result.curve.metric] for row in model.record]


@pytest.mark.parametrize("name", tasks.names())
def test_before_fit_a_model_says_so(name):
    model = tasks.task(name).Model()
    assert "Not fitted yet: call fit." in assert_sound(model._repr_html_()).texts
    assert repr(model) == f"{type(model).__name__}()"


@pytest.mark.parametrize("name", tasks.names())
def test_a_model_of_an_old_file_is_shown_too(name):
    model = unrolled.load(OLD / f"{name}.safetensors")
    found = assert_sound(model._repr_html_())
    told = "the model's file is of unrolled 0.1.0 and has no comparison with a baseline. Call evaluate"
    assert (told in found.texts) == ("comparison" not in model.metrics)
    assert len(repr(model.report())) < 300


@pytest.mark.parametrize("name", ["classify", "tag", "understand", "text"])
def test_the_line_while_it_trains_is_that_of_the_verdict(name, kernel):
    model = made(name)
    drawn = [Checked(seen["text/html"]).texts for _, seen in kernel]
    found = model.report().comparison()
    assert model.result.curve.baseline == pytest.approx(found.baseline)
    assert model.result.curve.name == found.name
    assert any(f" {found.name}" in texts for texts in drawn[:-2]), "shown before the end"


@pytest.mark.parametrize(("settings", "is_known"), [
    ({"output": "median"}, True), ({"output": "quantiles"}, True), ({"output": "mean"}, True),
    ({"output": "gaussian"}, False), ({"decoder": "autoregressive"}, False),
])  # fmt: skip
def test_the_line_of_a_forecast_is_the_autoregressions_loss(settings, is_known):
    noisy = WAVE + np.random.default_rng(0).normal(size=240) / 4
    model = unrolled.ForecastModel(horizon=4, hidden=4, steps=2, **settings).fit(noisy)
    curve = model.result.curve
    assert (curve.baseline is not None) == is_known
    if settings.get("output") in ("median", "mean"):  # as `finish` measures it to choose who answers
        assert curve.baseline == pytest.approx(model.fitted.errors["linear autoregression"], rel=1e-5)
    elif is_known:  # half the absolute error at the median, less at the other levels
        assert 0.3 < curve.baseline / model.fitted.errors["linear autoregression"] < 1


def test_user_text_is_escaped_everywhere():
    model = made("classify")
    answers = model.predict([EVIL, "good"])
    for each in (model, answers, answers[0], model.report()):
        assert_sound(each._repr_html_())
    assert "&lt;script&gt;" in answers._repr_html_()
    forecast = unrolled.ForecastModel(horizon=4, hidden=4, steps=2).fit(WAVE).predict(WAVE)[0]
    named = type(forecast)(EVIL, [EVIL] * 4, forecast.values, forecast.quantiles, EVIL, WAVE, None, EVIL)
    assert EVIL in assert_sound(named._repr_html_()).texts
    swapped = unrolled.SwapReport(None, {EVIL: EVIL}, {EVIL: EVIL})
    assert EVIL in assert_sound(swapped._repr_html_()).texts
    assert repr(swapped) == "<SwapReport: 1 replaced, 1 kept>"


def test_an_explanation_is_short_as_text_and_whole_as_html():
    import torch

    xs, state = torch.zeros(3, 2, 4), torch.zeros(2, 4)
    fused = unrolled.explain(lambda x, h: (h, torch.tanh(x + h)), xs, state, verbose=True)
    assert repr(fused) == "<Explanation: fused, 2 operations in the loop>"
    found = assert_sound(fused._repr_html_())
    assert {"in the loop", "kept for the backward", *fused.stages} <= set(found.texts)
    eager = unrolled.explain(lambda x, h: (h, x + h.sort(1)[0]), xs, state)
    assert repr(eager).startswith("<Explanation: eager, ")
    assert len(repr(eager)) <= 140
    assert eager.reason in assert_sound(eager._repr_html_()).texts
    of_layer = unrolled.explain(unrolled.Recurrent(torch.nn.GRUCell(4, 4), layers=2), xs)
    assert len(repr(of_layer)) <= 140
    assert_sound(of_layer._repr_html_())


def test_many_answers_are_short():
    model = made("classify")
    answers = model.predict(["good"] * 300)
    assert repr(answers).endswith("... 300 in all]")
    assert len(repr(answers)) < 600
    found = assert_sound(answers._repr_html_())
    assert found.tags.count("tr") == 21
    assert "… to_frame() has them all" in found.texts
    assert isinstance(answers[:2], Answers)
    assert repr(answers[:2]).count("<Classified") == 2


@pytest.mark.parametrize("values", [[], [np.nan, np.inf], [1.0], [2.0, 2.0], [1e300, -1e300], [np.nan, 1, np.inf, 2]])
def test_charts_hold_for_odd_values(values):
    text = markup.chart([markup.Line(EVIL, range(len(values)), values)], ends=(EVIL, EVIL), label=EVIL)
    assert_sound(text)
    assert bool(text) == bool(np.isfinite(values).any())


def test_a_curve_of_a_thousand_evaluations_is_small():
    record = [{"step": i, "loss": 1 / (i + 1)} for i in range(5000)]
    text = Curve(baseline=0.5).chart(record)
    assert len(text) < 12_000
    assert_sound(text)
    assert Curve().chart(record[:1]) == ""


@pytest.mark.parametrize("key", ["metric", "figure"], ids=["now", "as earlier files say it"])
@pytest.mark.parametrize("baseline", [0.5, 1, None])
def test_a_curve_is_read_from_a_model_file(key, baseline):
    data = {key: "accuracy", "label": "accuracy", "baseline": baseline, "name": "naive Bayes"}
    found = Curve.from_data(json.loads(json.dumps(data)))
    assert found == Curve("accuracy", "accuracy", baseline, "naive Bayes")
    assert Curve.from_data(dataclasses.asdict(found)) == found


@pytest.mark.parametrize("data", [None, [], "loss", {}, {"metric": 1, "label": "loss", "name": ""}])
def test_without_a_curve_in_a_model_file_the_loss_is_shown(data):
    assert Curve.from_data(data) == Curve()


def series(n, n_series=1):
    import pandas as pd

    names = [f"s{i}" for i in range(n_series)]
    parts = [
        pd.DataFrame({"day": pd.date_range("2024-01-29", periods=n), "name": name, "y": WAVE[:n] + i})
        for i, name in enumerate(names)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_forecast_is_drawn_over_its_dates(horizon):
    pytest.importorskip("matplotlib")
    frame = series(120)
    frame.iloc[110, 2] = np.nan
    model = unrolled.ForecastModel(horizon=horizon, hidden=4, steps=2, target="y", series="name").fit(frame)
    [forecast] = model.predict(frame)
    assert forecast.stamps[0] == "2024-05-28"
    assert forecast.times[-horizon:].astype("datetime64[D]").astype(str).tolist() == forecast.stamps
    n_past = len(forecast.past)
    assert forecast.past[-1] == WAVE[119]
    assert np.isnan(forecast.past[n_past - 10]), "what is missing is not drawn as known"
    figure = forecast.plot()
    [axes] = figure.axes
    known, told = axes.lines[0], axes.lines[-1]
    assert known.get_xdata()[-1] == np.datetime64("2024-05-27")
    assert told.get_xdata()[0] == np.datetime64("2024-05-28")
    assert told.get_ydata().tolist() == forecast.values.tolist()
    figure.draw_without_rendering()
    assert axes.xaxis.get_major_formatter().get_offset() == ("2024-May" if horizon == 1 else "2024-Jun")
    labels = [each.get_text() for each in figure.legends[0].get_texts()]
    assert labels == ["known", "10 to 90 %", "25 to 75 %", "forecast"]
    assert figure._repr_png_().startswith(b"\x89PNG")
    found = assert_sound(forecast._repr_html_())
    assert {forecast.since, forecast.stamps[-1], "values"} <= set(found.texts)


def test_a_panel_each_up_to_a_number():
    pytest.importorskip("matplotlib")
    frame = series(60, 6)
    model = unrolled.ForecastModel(horizon=3, hidden=4, steps=2, target="y", series="name").fit(frame)
    forecasts = model.predict(frame)
    figure = forecasts.plot()
    assert [axes.get_title("left") for axes in figure.axes] == [f"s{i}, by {forecasts[0].by}" for i in range(4)]
    assert figure.axes[-1].get_xlabel() == "4 of 6 series; plot(most=...) draws more"
    assert len(forecasts.plot(most=9).axes) == 6
    assert forecasts.plot(most=6).axes[-1].get_xlabel() == ""
    assert len(forecasts[:2].plot().axes) == 2
    found = assert_sound(forecasts._repr_html_())
    assert "4 of 6 series; plot(most=...) and to_frame() have more" in found.texts
    for some, most in ((forecasts, 0), (forecasts[:0], 4)):
        with pytest.raises(SettingsError) as caught:
            some.plot(most=most)
        assert str(caught.value) == f"plot: {len(some)} forecasts and most={most}; expected at least 1 of each"


def test_without_dates_steps_are_counted():
    pytest.importorskip("matplotlib")
    [forecast] = unrolled.ForecastModel(horizon=3, hidden=4, steps=2).fit(WAVE).predict(WAVE)
    assert forecast.times is None
    [axes] = forecast.plot().axes
    assert axes.lines[-1].get_xdata().tolist() == [0, 1, 2]
    assert axes.get_xlabel() == "steps from the forecast's first"


def test_a_result_draws_its_learning_curve():
    pytest.importorskip("matplotlib")
    model = made("classify")
    above, below = model.result.plot().axes
    assert above.lines[0].get_ydata().tolist() == [row["accuracy"] for row in model.record]
    assert above.lines[1].get_ydata() == [model.report().comparison().baseline] * 2
    assert below.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_pictures_name_what_they_need(monkeypatch):
    model = unrolled.ForecastModel(horizon=3, hidden=4, steps=2).fit(WAVE)
    forecasts = model.predict(WAVE)
    for name in [name for name in sys.modules if name.startswith("matplotlib")] + ["matplotlib", "matplotlib.figure"]:
        monkeypatch.setitem(sys.modules, name, None)
    for plot in (forecasts.plot, forecasts[0].plot, model.result.plot):
        with pytest.raises(MissingExtraError) as caught:
            plot()
        assert str(caught.value) == "pictures need the matplotlib library. Install it: pip install 'unrolled[pictures]'"
    assert_sound(forecasts._repr_html_())  # of which no library is needed


def test_a_report_takes_other_data():
    model = made("classify")
    texts, labels = ["good 1", "bad 2"], [EVIL, "down"]
    assert model.report(texts, labels).metrics["n_items"] == 2
    assert model.report([("good 1", "down")]).metrics["n_items"] == 1
