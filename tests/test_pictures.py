"""Pictures: one order in confusion tables, legends beside the curves, dates on the axis of what has dates."""

import numpy as np
import pytest

import unrolled
from unrolled.data.frequency import Frequency
from unrolled.data.series import Series
from unrolled.report import pictures
from unrolled.report.metrics import metrics_by_class
from unrolled.tasks.classify.report import ClassifyReport

pytest.importorskip("matplotlib")


@pytest.fixture
def drawn(monkeypatch):
    """The figure of the last picture."""
    figures = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: figures.append(figure) or path)

    def last():
        figures[-1].draw_without_rendering()
        return figures[-1]

    return last


GOLD = [["10"], ["2"], ["odd"], ["2"], ["1"], ["2"]]
FOUND = [["10"], ["10"], ["2"], ["2"], ["1"], ["1"]]


def test_confusions_have_rows_and_columns_in_one_order(drawn, tmp_path):
    counts = metrics_by_class(GOLD, FOUND, ["1", "10", "2"])["confusion"]
    assert list(counts) == ["1", "2", "10", "odd"]
    assert all(list(row) == list(counts) for row in counts.values())
    assert (counts["2"]["10"], counts["odd"]["2"], counts["odd"]["odd"]) == (1, 1, 0)
    pictures.confusion(counts, tmp_path / "c.png")
    [axes] = drawn().axes
    assert [each.get_text() for each in axes.get_xticklabels()] == list(counts)
    assert [each.get_text() for each in axes.get_yticklabels()] == list(counts)
    assert [int(each.get_text()) for each in axes.texts[:4]] == list(counts["1"].values())


def test_the_table_of_a_report_has_that_order_too():
    model = unrolled.ClassifyModel(unrolled.ClassifySettings(hidden=4, words=4, chars=0, pairs=0))
    data = [(f"{word} {i % 3}", label) for i in range(12) for word, label in (("a", "10"), ("b", "2"), ("c", "1"))]
    model.fit(data, train=unrolled.TrainSettings(steps=2, precision="float32"))
    lines = ClassifyReport(model).table()
    at = lines.index("rows: the label, columns: what was found")
    assert lines[at + 1].split() == [line.split()[0] for line in lines[at + 2 :]] == ["1", "2", "10"]


def is_outside(figure):
    legend = figure.legends[0].get_window_extent()
    return not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)


def panel(n=48, horizon=12, times=None):
    values = np.cumsum(np.random.default_rng(0).normal(size=n + horizon))
    after = values[n:]
    return {
        "name": "x", "past": values[:n], "actual": after, "point": after + 1, "low": after - 2, "high": after + 2,
        "baseline": after - 1, "baseline_name": "last value", "times": times,
    }  # fmt: skip


@pytest.mark.parametrize("n_labels", [1, 3, 25])
def test_the_legend_of_bars_covers_none(drawn, tmp_path, n_labels):
    high = {f"label {i}": 1.0 for i in range(n_labels)}
    pictures.bars(high, high, "F1", tmp_path / "b.png")
    assert is_outside(drawn())


@pytest.mark.parametrize("n_panels", [1, 4])
@pytest.mark.parametrize("horizon", [1, 12])
def test_the_legend_of_forecasts_covers_no_curve(drawn, tmp_path, n_panels, horizon):
    pictures.forecasts([panel(horizon=horizon)] * n_panels, tmp_path / "f.png")
    figure = drawn()
    assert is_outside(figure)
    assert figure.axes[-1].get_xlabel() == "steps from the forecast's first"
    assert figure.axes[0].lines[0].get_xdata().tolist() == list(range(-48, horizon))


def test_what_has_dates_has_them_on_its_axis(drawn, tmp_path):
    months = np.datetime64("2020-01") + np.arange(60)
    pictures.forecasts([panel(times=months.astype("datetime64[us]"))], tmp_path / "f.png")
    [axes] = drawn().axes
    assert {"2020", "2022", "2024"} <= {each.get_text() for each in axes.get_xticklabels()}
    assert axes.get_xlabel() == ""


def test_a_forecast_of_months_is_drawn_over_months(drawn, tmp_path):
    values = 10 + np.sin(np.arange(120) * 2 * np.pi / 12)
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=3, context=12, hidden=4))
    model.fit(
        Series(["x"], [values], Frequency("month"), [np.datetime64("2010-01-01")]),
        train=unrolled.TrainSettings(steps=1, precision="float32"),
    )
    model.report().draw(model.held, tmp_path / "f.png")
    drawn()
    data = Series(["x"], [values], Frequency("month"), [np.datetime64("2010-01-01")])
    [(_, origin)] = [max(model.parts.origins(data, "test"))]
    stamps = drawn().axes[0].lines[1].get_xdata()
    assert stamps[0] == data.frequency.stamps(data.first[0], origin, origin + 1)[0]
    assert stamps[0].astype("datetime64[D]").astype(str).endswith("-01")


def test_long_words_leave_room_for_the_sound(tmp_path):
    words = [{"word": "o" * 300, "start": 0.1, "end": 0.4}]
    pictures.heard(np.zeros((50, 8)), 0.01, words, "o" * 900, tmp_path / "heard.png")  # warnings are errors
    assert (tmp_path / "heard.png").stat().st_size > 1000
