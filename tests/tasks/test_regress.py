"""Numbers of texts and windows: learnt beyond the baseline, saved, scored as scikit-learn does, refused word for word."""

import csv
import json

import numpy as np
import pytest
from tests.assertions import assert_equal
from tests.tasks.test_tokens import SMALL

import unrolled
from unrolled.baselines.ridge import Ridge
from unrolled.errors import DataError, ModelFileError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.tasks.regress.job import best_share
from unrolled.tasks.regress.model import metrics_of
from unrolled.tasks.regress.report import Report

TRAINING = unrolled.TrainSettings(steps=200, lr=0.02, precision="float32", patience=0, warmup=5)
SIZES = {"tiny": 50, "small": 100, "large": 200, "huge": 400}


def houses(n, seed):
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        size, garden = str(draw.choice(list(SIZES))), int(draw.integers(2))
        found.append((f"a {size} house{' with garden' * garden}", SIZES[size] + 30.0 * garden + 5 * draw.normal()))
    return found


def waves(n, seed):
    """The number is the frequency, which no simple statistic of the window tells."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        rate = 0.3 + draw.random()
        found.append((np.sin(np.arange(24) * rate + 6 * draw.random())[:, None] * 50 + 1000, 100 * rate))
    return found


CASES = {
    "texts": (houses, {}, "a large house with garden"),
    "windows": (waves, {"values": "x", "series": "id"}, np.ones((9, 1))),
}


@pytest.fixture(scope="module", params=CASES)
def fitted(request):
    make, settings, item = CASES[request.param]
    model = unrolled.RegressModel(**{**SMALL, "dropout": 0.1}, **settings)
    return model.fit(make(200, 0), train=TRAINING), make(60, 1), item


def test_it_learns_and_stands_beside_its_baseline(fitted):
    model, test, item = fitted
    metrics = model.evaluate(test)
    assert metrics["model"]["rmse"] < 1.05 * metrics["baseline"]["rmse"]
    assert metrics["baseline"]["rmse"] < metrics["mean"]["rmse"]
    if not isinstance(item, str):
        assert metrics["model"]["rmse"] < 0.8 * metrics["baseline"]["rmse"]
    assert metrics["mean"]["r2"] <= 0
    report = Report(model, metrics)
    assert report.table()[0].split() == ["MAE", "RMSE", "R²"]
    far = Report(model, {name: metrics[name] | {"r2": -4601462.062} for name in ("model", "baseline", "mean")}).table()
    assert {len(line) for line in far} == {len(far[0])}
    assert [line.split()[-1] for line in far[1:]] == ["-4.6e+06"] * 3
    assert report.last_line().startswith("The model ")
    assert "RMSE" in report.last_line()
    assert model.score([each for each, _ in test], [number for _, number in test]) == metrics["model"]["r2"]


def test_answers_are_numbers_with_intervals_saved_as_fitted(fitted, tmp_path):
    model, test, item = fitted
    items, targets = [each for each, _ in test], np.array([number for _, number in test])
    found = model.predict(items)
    assert np.asarray(found).shape == (60,)
    within = [each.low <= target <= each.high for each, target in zip(found, targets, strict=True)]
    assert 0.5 < np.mean(within) <= 1
    one = model.predict(item)
    assert list(one.to_dict()) == ["text", "number", "low", "high"]
    model.save(tmp_path / "m")
    loaded = unrolled.load(tmp_path / "m")
    assert np.array_equal(loaded.predict(items), found)
    assert json.dumps(loaded.evaluate(test)) == json.dumps(model.evaluate(test))


def test_a_network_that_learnt_nothing_answers_as_its_baseline():
    model = unrolled.RegressModel(**SMALL).fit(houses(100, 0), train=unrolled.TrainSettings(steps=1, lr=1e-9))
    metrics = model.evaluate(houses(60, 1))
    assert metrics["model"]["rmse"] == pytest.approx(metrics["baseline"]["rmse"], rel=0.1)


def test_ridge_is_that_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    windows = [draw.normal(size=(8, 2)) for _ in range(120)]
    targets = np.array([3 * window.mean() + window[0, 1] for window in windows]) + draw.normal(size=120) / 10
    found = Ridge.fit(windows, targets)
    rows = np.zeros((120, len(found.scales)))
    i, j, values = found._entries(windows)
    rows[i, j] = values
    wanted = [
        linear.Ridge(alpha=alpha, tol=1e-10).fit(rows, targets).predict(rows) for alpha in (0.1, 1.0, 10.0, 100.0)
    ]
    assert min(np.abs(each - found.numbers(windows)).max() for each in wanted) < 1e-4


def test_metrics_and_share():
    assert metrics_of(np.array([1.0, 3]), np.array([2.0, 3])) == {
        "mae": 0.5,
        "rmse": pytest.approx(0.5**0.5),
        "r2": 0.5,
    }
    assert metrics_of(np.array([2.0, 2]), np.array([2.0, 3]))["r2"] == 0
    draw = np.random.default_rng(0)
    truth, noise = draw.normal(size=2000), draw.normal(size=2000)
    assert best_share(truth, truth) == pytest.approx(1, abs=0.01)
    assert best_share(noise, truth) < 0.05
    assert best_share(np.zeros(5), truth[:5]) in (0.0, 0.5, 1.0)


@pytest.mark.parametrize("size", [1e-90, 1e-30, 1e30, 1e97])
def test_numbers_of_any_size_are_predicted_alike(size):
    texts, numbers = zip(*houses(60, 0), strict=True)
    one, other = (
        unrolled.RegressModel(**SMALL).fit(list(texts), [each * of for each in numbers], train=TRAINING)
        for of in (1, size)
    )
    assert other.report().metrics["model"]["r2"] == pytest.approx(one.report().metrics["model"]["r2"], rel=1e-4)


def test_texts_without_a_token_are_no_texts():
    with pytest.raises(DataError, match=r"^none of the texts has a token in it$"):
        unrolled.RegressModel(**SMALL).fit([""] * 20, list(range(20)), train=TRAINING)


def test_texts_without_numbers_and_numbers_of_no_kind():
    texts = [text for text, _ in houses(20, 0)]
    for numbers, said in (
        ([1.0] * 19, "got 20 items and 19 answers; expected one for each"),
        ([float("nan")] + [1.0] * 19, "item 0 has the target nan; input y contains NaN or infinity"),
        ([2.0] * 5 + [-1e160] + [1.0] * 14, "item 5 has the target -1e+160; expected at most 1e+100 in size"),
        ([2.5] * 20, "all targets are 2.5; a regression needs at least two numbers"),
    ):
        with pytest.raises(DataError) as caught:
            unrolled.RegressModel(**SMALL).fit(texts, numbers, train=TRAINING)
        assert str(caught.value) == said
    with pytest.raises(
        SettingsError,
        match=r"^--values needs --series, the column that tells windows apart; --series row: "
        r"each row is one$",
    ):
        unrolled.RegressModel(values="x").settings.window_columns()


@pytest.mark.parametrize(
    ("name", "value"), [("spread", 0.0), ("spread", -1.0), ("share", 2.0), ("low", None), ("share", "x")]
)
def test_damaged_numbers_are_refused(tmp_path, name, value):
    model = unrolled.RegressModel(**{**SMALL, "validation": 0.3}).fit(
        houses(100, 0), train=unrolled.TrainSettings(steps=2)
    )
    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    metadata["vocabulary"] = json.dumps(json.loads(metadata["vocabulary"]) | {name: value})
    safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata)
    with pytest.raises(ModelFileError, match=r"damaged"):
        unrolled.load(tmp_path / "bad")


def test_scikit_learn_takes_it():
    selection = pytest.importorskip("sklearn.model_selection")
    texts, numbers = zip(*houses(60, 0), strict=True)
    model = unrolled.RegressModel(**SMALL, steps=5)
    assert len(selection.cross_val_score(model, list(texts), list(numbers), cv=2)) == 2


def test_a_training_that_starts_from_a_model_is_ahead(fitted):
    model, test, item = fitted
    then = unrolled.TrainSettings(steps=10, lr=0.003, precision="float32", patience=0, warmup=2)
    tuned = unrolled.RegressModel().fit(test, train=then, start=model)
    assert tuned.settings.hidden == SMALL["hidden"]
    if not isinstance(item, str):  # of texts the baseline knows all
        scratch = unrolled.RegressModel(**SMALL).fit(test, train=then)
        assert min(row["rmse"] for row in tuned.record) < min(row["rmse"] for row in scratch.record)
    other = waves(10, 0) if isinstance(item, str) else houses(10, 0)
    with pytest.raises(DataError, match=r"^these are .*; the model that training starts from reads "):
        unrolled.RegressModel().fit(other, train=then, start=model)


def test_on_the_command_line_and_resumed_bit_for_bit(call, tmp_path, monkeypatch, interrupted):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f'{i},"{text}","{price:.2f}"\n'.replace(".", ",") for i, (text, price) in enumerate(houses(120, 0)))
    (tmp_path / "h.csv").write_text("id,description,price\n" + rows + '999,"a new house",\n')
    brief = ["--hidden", 8, "--steps", 12, "--precision", "float32", "--warmup", 2]
    asked = ["--text", "description", "--target", "price", "--decimal", ","]
    code, out, err = call("train", "regress", "h.csv", *brief, *asked, "--validation", 0.3, "--folder", "run")
    assert code == 0
    assert "120 texts in column 'description', numbers in column 'price'" in err
    assert "1 row without a text or a number is left out" in err
    assert "RMSE" in out.splitlines()[-1]
    settings = {"text": "description", "target": "price", "decimal": ",", "hidden": 8, "validation": 0.3}
    with interrupted(7):
        unrolled.RegressModel(**settings, steps=12, precision="float32", warmup=2).fit("h.csv", run="again")
    assert call("train", "--resume", "again")[0] == 0
    first, second = (unrolled.load(tmp_path / name) for name in ("run", "again"))
    assert_equal(first.net.state_dict(), second.net.state_dict())
    code, _, _ = call("predict", "run", "h.csv", "--format", "csv", "--out", "out.csv")
    assert code == 0
    with open("out.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 121
    assert list(found[0]) == ["id", "description", "price", "number", "low", "high"]
    code, out, _ = call("evaluate", "run", "h.csv", "--format", "json")
    assert code == 0
    assert json.loads(out)["model"].keys() == {"mae", "rmse", "r2"}
    code, _, err = call("train", "regress", "h.csv", *brief, "--text", "description", "--target", "id", "--header")
    assert code == 0
    (tmp_path / "bad.csv").write_text("text,price\n" + "a house,12\na flat,much\n" * 5)
    code, _, err = call("train", "regress", "bad.csv", *brief)
    assert code == 2
    assert err.splitlines()[0].startswith("unrolled: bad.csv, line 3, column 'price': 'much' is not a number")
    for n_empty in (0, 1, 5):
        (tmp_path / "words.csv").write_text("text,rating\n" + "a house,\n" * n_empty + "a house,good\na flat,bad\n" * 5)
        code, _, err = call("train", "regress", "words.csv", *brief)
        assert (code, err) == (
            2,
            f"unrolled: words.csv, line {2 + n_empty}, column 'rating': 'good' is no number, nor is any other value of "
            "the column. To learn which class a text belongs to: unrolled train classify\n",
        )


def test_windows_on_the_command_line(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(
        f"w{i},{value[0]:.4f},{number:.3f}\n" for i, (window, number) in enumerate(waves(40, 0)) for value in window
    )
    (tmp_path / "w.csv").write_text("rec,x,load\n" + rows)
    asked = ["--values", "x", "--series", "rec", "--target", "load"]
    brief = ["--hidden", 8, "--steps", 5, "--precision", "float32"]
    code, _, err = call("train", "regress", "w.csv", *asked, *brief, "--folder", "run")
    assert code == 0
    assert "40 windows of 24 rows of 1 number" in err
    assert "the validation part has 4 items, too few for intervals" in err
    code, out, _ = call("predict", "run", "w.csv")
    assert (code, len(out.splitlines())) == (0, 40)
    float(out.splitlines()[0])


def test_a_column_of_fractions_as_classes_is_told_and_stars_are_not(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, number in (("prices", lambda i: f"{10 + i / 7:.2f}"), ("stars", lambda i: 1 + i % 5)):
        (tmp_path / f"{name}.csv").write_text(
            "text,label\n" + "".join(f"house {i % 9},{number(i)}\n" for i in range(60))
        )
        _, _, err = call("train", "classify", f"{name}.csv", "--steps", 2, "--hidden", 8, "--folder", name)
        told = "column 'label' holds 60 numbers, taken as classes; to predict them as numbers: unrolled train regress"
        assert (told in err) == (name == "prices")
