"""Forecasts of awkward series: small waves on large levels, series that rest and jump, gaps, short ones, counts, dates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unrolled
from unrolled.baselines import series as baselines
from unrolled.baselines.series import scale_of
from unrolled.data.frequency import Frequency
from unrolled.data.series import Series
from unrolled.errors import DataError
from unrolled.report.metrics import forecast_metrics
from unrolled.tasks.forecast.fitted import fitted_on
from unrolled.tasks.forecast.settings import ForecastSettings
from unrolled.tasks.forecast.widening import widening

TIME = np.arange(400)
BRIEF = unrolled.TrainSettings(steps=40, lr=0.005, precision="float32", patience=0)
WAVE = np.sin(TIME * 2 * np.pi / 12)


def fitted(data, training=BRIEF, **settings):
    given = {"horizon": 6, "context": 24, "hidden": 8, "season": 12} | settings
    return unrolled.ForecastModel(unrolled.ForecastSettings(**given)).fit(data, train=training)


@pytest.mark.parametrize("level", [1e3, 1e6, -1e6, 1e8])
@pytest.mark.parametrize("output", ["quantiles", "mean", "gaussian"])
def test_a_small_wave_on_a_large_level_is_forecast_as_well_as_the_wave(level, output):
    noisy = WAVE + np.random.default_rng(0).normal(size=len(WAVE)) * 0.1
    alone, above = (fitted(level_of + noisy, output=output) for level_of in (0.0, level))
    for name in ("model", "seasonal naive", "linear autoregression"):
        assert above.metrics[name]["mae"] == pytest.approx(alone.metrics[name]["mae"], rel=0.02)
    assert above.predict(level + noisy)[0].values == pytest.approx(level + alone.predict(noisy)[0].values, abs=0.02)


def test_scales_follow_the_spread_and_are_bounded_by_the_usual_change():
    waves = np.stack([WAVE[:24], 1e6 + WAVE[:24], 1e9 + 1e-3 * WAVE[:24]])
    np.testing.assert_allclose(scale_of(waves)[:, 0], [WAVE[:24].std()] * 2 + [1e-3 * WAVE[:24].std()], rtol=1e-3)
    assert scale_of(np.full((1, 5), 7.0))[0, 0] == pytest.approx(0.007)
    assert scale_of(np.zeros((1, 5)))[0, 0] == 1
    assert scale_of(np.full((1, 5), 7.0), np.array([[2.0]]))[0, 0] == pytest.approx(0.02)


def test_a_series_that_rests_and_jumps_does_not_ruin_a_panel():
    draw = np.random.default_rng(1)
    others = [10 * (i + 1) + 3 * WAVE + draw.normal(size=len(WAVE)) * 0.3 for i in range(7)]
    pegged = np.full(len(WAVE), 7.8)
    pegged[250:] = np.cumsum(draw.normal(size=150) * 0.05) + 12
    pegged[:250:50] += 1e-7
    names = [f"s{i}" for i in range(7)]
    alone = fitted(Series(names, others), answer="model")
    both = fitted(Series([*names, "pegged"], [*others, pegged]), answer="model")
    walk = np.cumsum(draw.normal(size=len(WAVE)))
    usual = fitted(Series([*names, "walk"], [*others, walk]), answer="model")
    apart = lambda model: model.evaluate(Series(names, others))["model"]["mae"]
    assert apart(alone) < apart(both) < apart(usual)  # it does less harm than an ordinary walk does
    limit = both.fitted.cut.limit
    assert both.fitted.cut.windows(Series(["p"], [pegged]), [(0, 248)]).targets.abs().max() <= limit


def test_values_drawn_between_neighbors_count_in_no_metric_and_no_loss():
    known = np.random.default_rng(2).random(len(WAVE)) > 0.2
    strange = np.where(known, WAVE, 1e3)  # what is drawn there shall not matter
    data = Series(["x"], [strange], known=[known])
    model = fitted(data)
    origins = model.parts.origins(data, "test")
    targets = np.stack([WAVE[t : t + 6] for _, t in origins])
    is_known = np.stack([known[t : t + 6] for _, t in origins])
    errors = np.abs(model.forecasts_from(data, origins).levels("model")[..., 2] - targets)
    assert model.metrics["model"]["mae"] == pytest.approx(errors[is_known].mean())
    windows = model.fitted.cut.windows(data, origins)
    np.testing.assert_array_equal(windows.is_known.numpy(), is_known)
    before = model.net(windows)
    windows.targets[~windows.is_known] = 5.0
    assert torch.equal(model.net(windows), before)


def test_metrics_leave_out_what_is_not_known():
    levels = np.array([[[1.0, 2, 3], [1, 2, 3]]])
    whole = forecast_metrics(levels[:, :1], (0.1, 0.5, 0.9), np.array([[5.0]]), np.array([[2.0]]))
    part = forecast_metrics(levels, (0.1, 0.5, 0.9), np.array([[5.0, np.nan]]), np.array([[2.0]]))
    assert np.isnan(part.pop("mae_by_step")[1])
    assert part == {name: value for name, value in whole.items() if name != "mae_by_step"}


@pytest.mark.parametrize("output", ["quantiles", "mean"])
def test_short_series_have_intervals_and_it_is_said_that_few_errors_widen_them(output):
    short = WAVE[:40] + np.random.default_rng(3).normal(size=40) * 0.2
    model = fitted(short, output=output, context=12)
    assert model.notes == [
        "1 forecast fits into the validation part, too few for intervals: errors on the training part count too, and "
        "few errors make intervals wider"
    ]
    for answer in ("model", "last value", "linear autoregression"):
        [forecast] = model.predict(short, answer=answer)
        assert (forecast.quantiles[0.9] > forecast.quantiles[0.1]).all(), answer


@pytest.mark.parametrize("output", ["quantiles", "mean", "gaussian", "student"])
def test_forecasts_of_counts_are_not_negative(output):
    counts = np.random.default_rng(4).poisson(0.5, 400).astype(float)
    model = fitted(counts, output=output)
    for answer in ("model", "last value", "seasonal naive", "linear autoregression"):
        assert min(values.min() for values in model.predict(counts, answer=answer)[0].quantiles.values()) >= 0
    free = unrolled.ForecastModel(unrolled.ForecastSettings(below_zero="yes", horizon=6, context=24, hidden=8))
    free.fit(counts, train=BRIEF)
    assert free.predict(counts, answer="last value")[0].quantiles[0.1].min() < 0
    below = fitted(counts - 1, output=output)
    assert below.predict(counts - 1, answer="last value")[0].quantiles[0.1].min() < 0


def test_a_series_that_is_too_short_is_left_out_of_a_panel_with_a_note():
    notes = []

    class Noting(unrolled.training.display.Display):
        def note(self, text):
            notes.append(text)

    panel = Series(["long", "short"], [WAVE, WAVE[:10]])
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=6, context=24, hidden=8))
    model.fit(panel, train=unrolled.TrainSettings(steps=2, precision="float32"), display=Noting())
    assert notes[0] == (
        "1 series is left out, too short for a horizon of 6: 'short' has 10 values. Expected at least 20, for "
        "training, validation and test"
    )
    assert [forecast.series for forecast in model.predict(panel)] == ["long", "short"]
    with pytest.raises(DataError, match=r"^series are too short for a horizon of 6: 'a' has 9; 'b' has 9 values\. "):
        model.fit(Series(["a", "b"], [WAVE[:9]] * 2))


def csv(path, rows, head="date,x"):
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_kinds_known_in_advance_help_and_are_kept_in_the_model_file(tmp_path):
    draw = np.random.default_rng(5)
    days = np.datetime64("2022-01-01") + np.arange(400)
    kind = draw.choice(["", "", "", "sale", "closed"], 400)
    values = 5 + 4 * (kind == "sale") - 3 * (kind == "closed") + draw.normal(size=400) * 0.1
    rows = [f"{day},{value},{name}" for day, value, name in zip(days, values, kind, strict=True)]
    path = csv(tmp_path / "t.csv", rows, "date,x,event")
    settings = unrolled.ForecastSettings(horizon=4, context=14, hidden=16, target="x", future="event", answer="model")
    model = unrolled.ForecastModel(settings)
    model.fit(path, train=unrolled.TrainSettings(steps=250, lr=0.01, precision="float32", patience=0))
    assert model.metrics["model"]["mae"] < 0.5 * model.metrics["linear autoregression"]["mae"]
    model.save(tmp_path / "m")
    loaded = unrolled.ForecastModel.load(tmp_path / "m")
    later = [f"{days[-1] + 1 + i},,{name}" for i, name in enumerate(["sale", "", "", "strike"])]
    [forecast] = loaded.predict(csv(tmp_path / "later.csv", [*rows[-60:], *later], "date,x,event"))
    assert forecast.values[0] > forecast.values[1] + 2
    assert loaded.notes[0] == "column 'event': the model never saw 'strike', which count as none of its kinds"


def test_another_frequency_than_the_model_learnt_is_refused_and_one_row_is_enough(tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(90)
    path = csv(tmp_path / "days.csv", [f"{day},{i % 7}" for i, day in enumerate(days)])
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=3, hidden=4))
    model.fit(path, train=unrolled.TrainSettings(steps=2, precision="float32"))
    assert model.predict(csv(tmp_path / "one.csv", ["2024-05-01,3"]))[0].stamps == [
        "2024-05-02",
        "2024-05-03",
        "2024-05-04",
    ]
    hours = csv(tmp_path / "hours.csv", [f"2024-01-01 {hour:02}:00,{hour}" for hour in range(24)])
    with pytest.raises(DataError) as caught:
        model.predict(hours)
    assert str(caught.value) == f"{hours}: the stamps go every hour; the model learnt from stamps that go every day"


def test_the_order_of_day_and_month_is_the_model_s(tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(90)
    write = lambda some: [f"{day.item():%d/%m/%Y},{i % 7}" for i, day in enumerate(some)]
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=1, hidden=4))
    model.fit(csv(tmp_path / "t.csv", write(days)), train=unrolled.TrainSettings(steps=2, precision="float32"))
    model.save(tmp_path / "m")
    loaded = unrolled.ForecastModel.load(tmp_path / "m")
    assert loaded.predict(csv(tmp_path / "u.csv", write(days[31:36])))[0].stamps == ["06/02/2024"]


@pytest.mark.parametrize("freq", ["D", "h", "ME", "B"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_frames_and_series_of_pandas_with_an_index_of_dates(freq, zone):
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2023-03-01", periods=100, freq=freq, tz=zone)
    frame = pandas.DataFrame({"x": np.arange(93) % 7}, index=index[:93])
    for data in (frame, frame["x"], frame[::-1]):
        model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=7, hidden=4))
        model.fit(data, train=unrolled.TrainSettings(steps=2, precision="float32"))
        assert model.predict(data)[0].stamps == index[93:].astype(str).tolist()


def test_an_index_of_periods_and_polars_dates():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    index = pandas.period_range("2004Q1", periods=64, freq="Q")
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=4, hidden=4))
    model.fit(
        pandas.Series(np.arange(60.0) % 4, index[:60]), train=unrolled.TrainSettings(steps=2, precision="float32")
    )
    assert model.fitted.season == 4
    assert model.predict(pandas.Series(np.arange(60.0) % 4, index[:60]))[0].stamps == index[60:].astype(str).tolist()
    frame = pandas.DataFrame(
        {"t": pandas.date_range("2023-10-25", periods=200, freq="h", tz="Europe/Berlin"), "x": 1.0}
    )
    notes = unrolled.ForecastModel().as_data(frame).notes
    assert notes == ("1 series of 200 values, every hour",)
    begin = polars.date(2024, 1, 1)
    dates = polars.select(polars.date_range(begin, polars.date(2024, 2, 10), "1d")).to_series()
    frame = polars.DataFrame({"day": dates, "x": np.arange(41.0) % 7})
    model.fit(frame, train=unrolled.TrainSettings(steps=2, precision="float32"))
    assert model.predict(frame)[0].stamps[0] == "2024-02-11"


def test_the_command_line_from_an_odd_file_to_dated_forecasts(call, tmp_path):
    days = np.datetime64("2010-01-01") + np.arange(12)
    asked = csv(tmp_path / "asked.csv", [f"{day.item():%m/%d/%Y},{i}" for i, day in enumerate(days)])
    code, _, told = call("train", "forecast", asked, "--steps", "1", "--folder", tmp_path / "no")
    assert code == 2
    assert "Pass --day-first or --month-first" in told
    assert not (tmp_path / "no").exists()
    months = [f"01/{month:02}/{year},{year + month % 12}" for year in range(2010, 2022) for month in range(1, 13)]
    path = csv(tmp_path / "sales.csv", [*reversed(months), "Total,290000"])
    options = ("--horizon", "3", "--hidden", "4", "--steps", "2", "--folder", tmp_path / "run")
    code, _, told = call("train", "forecast", path, *options)
    assert code == 0
    assert f"{path}, line 146 is left out: 'Total' in column 'date' is no time" in " ".join(told.split())
    code, out, told = call("predict", tmp_path / "run/model.safetensors", path, "--format", "csv")
    assert code == 0
    assert [line.split(",")[1] for line in out.splitlines()] == ["stamp", "01/01/2022", "01/02/2022", "01/03/2022"]
    assert f"{path}, line 146 is left out: 'Total' in column 'date' is no time" in told
    code, out, _ = call("train", "forecast", "--help")
    assert "--day-first / --month-first" in out


def test_the_regression_of_a_short_series_is_not_worse_than_its_season():
    """Windows of a long season are fewer than the weights; a fixed small ridge had five times the error."""
    rng = np.random.default_rng(3)
    clear = np.clip(np.sin(2 * np.pi * (np.arange(48 * 6) - 12) / 48), 0, None)
    values = clear * (1 + 0.1 * rng.normal(size=len(clear)))
    data = Series([""], [values], Frequency("second", 1800), [np.datetime64("2021-05-01")])
    fitted, _ = fitted_on(data, [230], ForecastSettings(horizon=24))
    ahead = range(230, len(values) - 24)
    windows, targets = fitted.cut.values(data, [(0, t) for t in ahead])
    scale = fitted.cut.scale(data, [(0, t) for t in ahead], windows)
    error = np.abs(baselines.autoregression(windows, scale, fitted.weights) - targets).mean()
    assert error < 1.1 * np.abs(baselines.seasonal_naive(windows, 24, 48) - targets).mean()


@pytest.mark.parametrize(
    ("origins", "factors"),  # Student's t over the normal quantile, from tables
    [
        ([(0, 5)], (3.0777 / 1.2816, 1.0000 / 0.6745)),
        ([(0, t) for t in range(8)], (3.0777 / 1.2816, 1.0000 / 0.6745)),  # two horizons: one degree of freedom
        ([(0, t) for t in range(9)], (1.8856 / 1.2816, 0.8165 / 0.6745)),
        ([(i, t) for i in range(11) for t in range(4)], (1.3722 / 1.2816, 0.6998 / 0.6745)),
        ([(0, t) for t in range(50_000)], (1.2824 / 1.2816, 0.6747 / 0.6745)),
    ],
)
def test_intervals_of_few_errors_are_wider_by_students_t(origins, factors):
    outer, inner = factors
    assert widening(origins, 4) == pytest.approx([outer, inner, 1.0, inner, outer], rel=2e-4)


@pytest.mark.parametrize("output", ["quantiles", "mean"])
def test_quantiles_stand_in_order_also_where_all_errors_have_one_sign(output):
    rising = np.arange(30.0) + np.random.default_rng(0).normal(size=30) * 0.3  # the last value errs upwards alone
    model = unrolled.ForecastModel(horizon=3, output=output, hidden=2).fit(
        rising, train=unrolled.TrainSettings(steps=1)
    )
    assert (model.fitted.residuals["last value"][0] > 0).all()
    for answer in ("model", *model.fitted.baseline_names):
        [forecast] = model.predict(rising, answer=answer)
        levels = np.stack([forecast.quantiles[level] for level in sorted(forecast.quantiles)])
        assert (np.diff(levels, axis=0) >= 0).all()
        assert levels[2].tolist() == forecast.values.tolist()


@pytest.mark.slow
def test_eighty_per_cent_intervals_of_short_random_walks_hold_about_that():
    held = []
    for seed in range(300):
        walk = np.random.default_rng(seed).normal(size=28).cumsum()
        model = unrolled.ForecastModel(horizon=4, hidden=2).fit(walk[:24], train=unrolled.TrainSettings(steps=1))
        [forecast] = model.predict(walk[:24], answer="last value")
        held.append((forecast.quantiles[0.1] <= walk[24:]) & (walk[24:] <= forecast.quantiles[0.9]))
    # of 600 other walks 0.755, with a standard error of 0.013, and 0.648 without the factor
    assert 0.70 < np.mean(held) < 0.86


def test_a_network_is_widened_and_its_file_keeps_it(tmp_path):
    short = WAVE[:40] + np.random.default_rng(3).normal(size=40) * 0.2
    model = fitted(short, context=12)
    wide = model.predict(short, answer="model")[0].quantiles
    model.save(tmp_path / "m.safetensors")
    loaded = unrolled.ForecastModel.load(tmp_path / "m.safetensors")
    assert loaded.fitted.wider.tolist() == model.fitted.wider.tolist()
    assert loaded.fitted.wider[0] > 1
    loaded._fitted = replace(loaded.fitted, wider=np.ones(5))
    narrow = loaded.predict(short, answer="model")[0].quantiles
    for level, factor in zip((0.1, 0.25, 0.75, 0.9), model.fitted.wider[[0, 1, 3, 4]], strict=True):
        assert wide[level] - wide[0.5] == pytest.approx(factor * (narrow[level] - narrow[0.5]))


def test_metrics_that_there_are_not_are_a_dash_with_the_reason():
    flat = fitted(np.full(60, 5.0), test=0.2)
    lines = flat.report(np.full(60, 5.0)).table()
    assert not any("nan" in line for line in lines)
    assert lines[-1] == "- MASE: the training part does not change from one season to the next"
    assert sum(line.split()[-3:-2] == ["-"] for line in lines) == 0
    assert lines[2].split()[4] == "-"
    zeros = fitted(np.zeros(60), test=0.2).report(np.zeros(60)).table()
    assert zeros[-2:] == [lines[-1], "- wQL: all values to forecast are zero"]


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.", "x.png.zip"])
def test_a_picture_of_no_known_form_is_told(name, tmp_path):
    model = fitted(WAVE)
    with pytest.raises(DataError) as told:
        model.report(WAVE).draw(model.as_data(WAVE), str(tmp_path / name))
    assert str(told.value) == (
        f"{tmp_path / name}: expected a name of a picture, that ends in .png, .svg, .pdf or .jpg"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.png", "x.SVG", "x.pdf", "x.jpg"])
def test_pictures_of_known_forms_are_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    model = fitted(WAVE)
    model.report(WAVE).draw(model.as_data(WAVE), str(tmp_path / name))
    assert (tmp_path / name).stat().st_size > 1000
