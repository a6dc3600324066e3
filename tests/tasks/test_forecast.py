"""Forecasts: they learn, know how sure they are, stand beside their baselines, and answer the same saved and resumed."""

import numpy as np
import pytest
import torch
from tests.assertions import assert_equal

import unrolled
from unrolled.baselines.series import scale_of
from unrolled.data.frequency import Frequency
from unrolled.data.series import Series
from unrolled.errors import DataError, ModelFileError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.report.metrics import mase_scale, smape
from unrolled.tasks.forecast import net
from unrolled.tasks.forecast.net import LEVELS, OUTPUTS
from unrolled.tasks.forecast.report import ForecastReport
from unrolled.training.run_folder import Run

DRAW = np.random.default_rng(0)
TIME = np.arange(500)
WAVE = 10 + 3 * np.sin(TIME * 2 * np.pi / 12) + DRAW.normal(size=500) * 0.3
PAIR = Series(["small", "large"], [WAVE, 1000 * WAVE[:300]], Frequency("month"), [np.datetime64("1960-01-01")] * 2)
SETTINGS = {"horizon": 6, "context": 24, "hidden": 12}
TRAINING = unrolled.TrainSettings(steps=60, lr=0.005, precision="float32", patience=0)


@pytest.fixture(scope="module")
def model():
    model = unrolled.ForecastModel(unrolled.ForecastSettings(**SETTINGS))
    model.fit(PAIR, train=TRAINING)
    return model


def test_learns_and_stands_beside_the_baseline(model):
    metrics = model.metrics
    assert set(metrics) == {
        "model",
        "last value",
        "seasonal naive",
        "linear autoregression",
        "part",
        "n_forecasts",
        "answers",
        "comparison",
    }
    assert model.record[-1]["loss"] < model.record[0]["loss"]
    assert metrics["model"]["mase"] < metrics["seasonal naive"]["mase"] < metrics["last value"]["mase"]
    assert len(metrics["model"]["mae_by_step"]) == 6
    assert 0.5 < metrics["seasonal naive"]["coverage"] <= 1
    assert len(ForecastReport(model, metrics).table()) == 11


def test_figures_are_their_formulas(model):
    origins = model.parts.origins(PAIR, "test")
    assert all(
        t + 6 <= len(PAIR.values[i]) and t >= len(PAIR.values[i]) - round(0.1 * len(PAIR.values[i])) for i, t in origins
    )
    levels = model.forecasts_from(PAIR, origins).levels("model")
    targets = np.stack([PAIR.values[i][t : t + 6] for i, t in origins])
    scales = np.array([mase_scale(PAIR.values[i][: round(0.8 * len(PAIR.values[i]))], 12) for i, _ in origins])
    point, metrics = levels[..., 2], model.evaluate(PAIR)["model"]
    assert metrics["mae"] == pytest.approx(np.abs(point - targets).mean())
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.square(point - targets).mean()))
    assert metrics["mase"] == pytest.approx((np.abs(point - targets).mean(1) / scales).mean())
    assert metrics["smape"] == pytest.approx(smape(targets, point))
    losses = [
        2 * np.maximum(q * (targets - levels[..., k]), (q - 1) * (targets - levels[..., k])).sum()
        for k, q in enumerate(LEVELS)
    ]
    assert metrics["wql"] == pytest.approx(np.mean(losses) / np.abs(targets).sum())
    assert metrics["coverage"] == pytest.approx(((levels[..., 0] <= targets) & (targets <= levels[..., 4])).mean())


def test_errors_by_hand():
    assert smape(np.array([100.0, 0]), np.array([50.0, 0])) == pytest.approx((200 * 50 / 150 + 0) / 2)
    assert mase_scale(np.array([1.0, 2, 4, 7]), 2) == pytest.approx(4.0)
    assert np.isnan(mase_scale(np.array([1.0, 1, 1]), 1))


def test_a_series_a_thousand_times_as_large_is_forecast_a_thousand_times_as_large(model):
    origins = [(0, 200), (1, 200)]
    levels = model.forecasts_from(PAIR, origins).levels("model")
    np.testing.assert_allclose(levels[1], 1000 * levels[0], rtol=1e-4)


def test_quantiles_are_in_order(model):
    levels = model.forecasts_from(PAIR, [(0, t) for t in range(30, 400, 7)]).levels("model")
    assert (np.diff(levels, axis=2) >= 0).all()


def test_the_future_is_not_looked_at(model):
    changed = Series(PAIR.names, [np.where(TIME < 300, WAVE, -1e6), PAIR.values[1]], PAIR.frequency, PAIR.first)
    np.testing.assert_array_equal(
        model.forecasts_from(PAIR, [(0, 300)]).levels("model"),
        model.forecasts_from(changed, [(0, 300)]).levels("model"),
    )


def test_nothing_is_fitted_beyond_the_training_part():
    changed = WAVE.copy()
    changed[400:] += 1e6
    models = []
    for values in (WAVE, changed):
        model = unrolled.ForecastModel(unrolled.ForecastSettings(**SETTINGS, season=12, scaling="series"))
        model.fit(values, train=unrolled.TrainSettings(steps=3, precision="float32"))
        models.append(model)
    np.testing.assert_array_equal(models[0].fitted.weights, models[1].fitted.weights)
    assert models[0].fitted.cut.scales == models[1].fitted.cut.scales
    first = [row["train_loss"] for row in models[0].record]
    assert first == [row["train_loss"] for row in models[1].record]


def test_saved_and_loaded_forecasts_are_the_same(model, tmp_path):
    model.save(tmp_path / "m")
    loaded = unrolled.ForecastModel.load(tmp_path / "m")
    for a, b in zip(model.predict(PAIR), loaded.predict(PAIR), strict=True):
        assert a.to_dict() == b.to_dict()
    ours = loaded.predict(PAIR)[1]
    assert ours.stamps[0] == "1985-01-01"
    assert ours.series == "large"
    assert [row["stamp"] for row in ours.rows()] == ours.stamps
    assert loaded.evaluate(PAIR) == model.evaluate(PAIR)
    assert str(ours).startswith("large, by ")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
def test_every_output_and_decoder(output, decoder):
    counts = np.random.default_rng(1).poisson(np.exp(1.5 + np.sin(TIME * 2 * np.pi / 12))).astype(float)
    settings = unrolled.ForecastSettings(
        **SETTINGS, season=12, output=output, decoder=decoder, answer="model", cell="lstm", ensemble=2
    )
    model = unrolled.ForecastModel(settings)
    model.fit(counts, train=TRAINING)
    [forecast] = model.predict(counts)
    assert forecast.by == "model"
    assert np.isfinite(forecast.values).all()
    assert (forecast.quantiles[0.1] <= forecast.quantiles[0.9]).all()
    assert model.metrics["model"]["mae"] < 1.3 * model.metrics["last value"]["mae"]
    np.testing.assert_array_equal(model.predict(counts)[0].values, forecast.values)
    if output == "negative-binomial" and decoder == "direct":
        assert (forecast.quantiles[0.1] >= 0).all()


def test_covariates_that_tell_the_future_help():
    draw = np.random.default_rng(2)
    promotion = (draw.random(500) < 0.3).astype(float)
    values = 5 + 4 * promotion + draw.normal(size=500) * 0.1
    known = Series(["x"], [values], covariates=[promotion[:, None]], n_future=1, covariate_names=("promotion",))
    maes = []
    for data in (known, Series(["x"], [values])):
        model = unrolled.ForecastModel(unrolled.ForecastSettings(**SETTINGS, answer="model"))
        model.fit(data, train=unrolled.TrainSettings(steps=120, lr=0.01, precision="float32", patience=0))
        maes.append(model.metrics["model"]["mae"])
    assert maes[0] < 0.5 * maes[1]
    with pytest.raises(DataError, match=r"^the covariates are promotion; the model learnt with none$"):
        model.predict(known)


def test_the_known_future_must_be_given():
    known = np.arange(60.0)[:, None]
    data = Series(["x"], [np.arange(60.0) % 7], covariates=[known], n_future=1, covariate_names=("price",))
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=3, context=10, hidden=4, answer="model"))
    model.fit(data, train=unrolled.TrainSettings(steps=2, precision="float32"))
    with pytest.raises(
        DataError,
        match=r"^a forecast needs price for the steps to forecast: 'x' has 0 of 3\. Add rows with them and an empty target$",
    ):
        model.predict(data)
    longer = Series(["x"], data.values, covariates=[np.arange(63.0)[:, None]], n_future=1, covariate_names=("price",))
    assert len(model.predict(longer)[0].values) == 3


def test_quantiles_of_many_samples():
    samples = torch.rand(500, 3, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.quantile(samples, torch.tensor(LEVELS), dim=0).movedim(0, -1)
    torch.testing.assert_close(net._quantiles(samples, 0), wanted)
    torch.testing.assert_close(net._quantiles(samples.movedim(0, 1), 1), wanted)
    params = torch.ones(512, 70, 3) * 3  # 18 million samples
    assert net.levels_of(params, "student", torch.zeros(512, 1), torch.ones(512, 1)).shape == (512, 70, 5)


def test_who_answers():
    walk = np.cumsum(np.random.default_rng(5).normal(size=600))
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=3, context=20, hidden=8, output="mean"))
    model.fit(walk, train=unrolled.TrainSettings(steps=20, lr=0.05, precision="float32", patience=0))
    assert model.answers == min(model.fitted.errors, key=model.fitted.errors.get)
    # on a random walk neither is better, and the one that answers is the one that is compared
    assert ForecastReport(model).last_line() == (
        "The model does as well as the last value: RMSE 1.526 against 1.54 (p = 0.88, 20 forecasts). `unrolled predict` "
        "answers with the last value, the best on the validation part; --answer model takes the model all the same."
    )
    asked = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=3, context=20, hidden=8, answer="last value"))
    asked.fit(walk, train=unrolled.TrainSettings(steps=2, precision="float32"))
    [forecast] = asked.predict(walk)
    assert forecast.by == "last value"
    assert forecast.values.tolist() == [walk[-1]] * 3
    assert (forecast.quantiles[0.1] < walk[-1]).all()


def table(n=80):
    days = np.datetime64("2024-01-01") + np.arange(n)
    rows = "".join(f"{day},{5 + i % 7}\n" for i, day in enumerate(days))
    return f"date,x\n{rows}"


def test_a_file_resumed_bit_for_bit(tmp_path, interrupted):
    path = tmp_path / "t.csv"
    path.write_text(table())
    settings = unrolled.ForecastSettings(horizon=3, hidden=8)
    training = unrolled.TrainSettings(steps=9, precision="float32", checkpoint_s=0, lr=0.02)
    whole = unrolled.ForecastModel(settings)
    whole.fit(path, train=training, run=tmp_path / "whole")
    with interrupted(5):
        unrolled.ForecastModel(settings).fit(path, train=training, run=tmp_path / "cut")
    resumed, _ = unrolled.ForecastModel.resume(Run.open(tmp_path / "cut"))
    assert_equal(dict(resumed.net.state_dict()), dict(whole.net.state_dict()))
    assert resumed.predict(path)[0].stamps == ["2024-03-21", "2024-03-22", "2024-03-23"]
    assert resumed.fitted.season == 7


def test_frames_and_arrays():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"day": [f"2024-01-{i:02}" for i in range(1, 32)], "x": [float(i % 7) for i in range(31)]})
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=2, hidden=4))
    model.fit(frame, train=unrolled.TrainSettings(steps=2, precision="float32"))
    assert model.predict(frame)[0].stamps[0] == "2024-02-01"
    assert model.predict([[1.0, 2, 3], [4.0, 5, 6]], answer="last value")[1].series == "1"
    with pytest.raises(DataError, match=r"^the values come row by row; the model learnt from values every day, with "):
        model.predict([[1.0, 2, 3], [4.0, 5, 6]], answer="model")
    with pytest.raises(DataError, match=r"^the values come row by row; the model learnt from values every day, with "):
        model.evaluate([[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
    model.predict(frame[:3])
    assert model.notes[-1].startswith("the model looks back 12 values; 'x' has 3. What is not there is taken to be ")


def test_short_constant_and_odd_series():
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=2, hidden=4, season=4))
    model.fit(
        [np.zeros(30), np.full(40, 7.0), np.arange(12.0)], train=unrolled.TrainSettings(steps=3, precision="float32")
    )
    assert all(np.isfinite(forecast.values).all() for forecast in model.predict([np.zeros(3), np.array([5.0])]))


def test_faults_are_told(model, tmp_path):
    with pytest.raises(
        DataError, match=r"^series are too short for a horizon of 24: 'value' has 50 values\. Expected at least 74, "
    ):
        unrolled.ForecastModel().fit(np.arange(50.0))
    with pytest.raises(DataError, match=r"^an array of values must be \[time\], of finite numbers$"):
        unrolled.ForecastModel().fit(np.array([1.0, np.nan]))
    with pytest.raises(SettingsError, match=r"^fit: a forecast learns from the past of series"):
        unrolled.ForecastModel().fit(WAVE, valid=WAVE)
    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    for changed, described in (
        ({**tensors, "baseline.weights": tensors["baseline.weights"][:3]}, metadata),
        (tensors, metadata | {"vocabulary": "{}"}),
        (tensors, metadata | {"vocabulary": metadata["vocabulary"].replace('"context": 24', '"context": 10000000000')}),
        (tensors, metadata | {"baseline": '{"best": "me"}'}),
    ):
        safetensors_tree.write_tensors(tmp_path / "bad", changed, described)
        with pytest.raises(ModelFileError, match=rf"^{tmp_path}/bad: "):
            unrolled.ForecastModel.load(tmp_path / "bad")


def test_a_picture_is_drawn(model, tmp_path):
    pytest.importorskip("matplotlib")
    path = model.report().draw(PAIR, tmp_path / "forecasts.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_windows_are_measured_in_their_spread(model):
    windows = model.fitted.cut.windows(PAIR, [(0, 100), (1, 5)])
    assert windows.window.shape == (2, 24)
    np.testing.assert_allclose(windows.spread[0], scale_of(WAVE[None, 76:100])[0], rtol=1e-6)
    assert windows.window[1, :19].unique().numel() == 1  # a shorter past begins with its first value
    np.testing.assert_allclose(windows.targets[0], (WAVE[100:106] - WAVE[99]) / windows.spread[0].numpy(), rtol=1e-4)
