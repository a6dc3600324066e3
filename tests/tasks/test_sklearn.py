"""scikit-learn's tools work with classifier, tagger and forecaster, and its own checks hold the classifier.

Inputs and results of pandas and polars are here too: people bring them together.
"""

import subprocess
import sys
import warnings

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone, is_classifier
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

import unrolled
from unrolled.errors import DataError

TEXTS = ["good food, fast", "cold and late", "so good", "late again"] * 10
LABELS = ["up", "down", "up", "down"] * 10
QUICK = {"hidden": 6, "steps": 30, "lr": 0.03}
SENTENCES = [["Ada", "met", "Bob"], ["Go", "to", "Rome"], ["Bob", "left"]] * 8
TAGS = [["B-PER", "O", "B-PER"], ["O", "O", "B-LOC"], ["B-PER", "O"]] * 8
WAVE = np.sin(np.arange(240) / 3) + 5
CHECKED = unrolled.ClassifyModel(hidden=4, steps=5, lr=0.02, cell="rnn", validation=0.5)
#: scikit-learn's checks that do not hold, and why
EXCLUDED = {
    "check_no_attributes_set_in_init": "held, notes and result are there, empty, before fit: their readers need no hasattr",
    "check_fit_score_takes_y": "the arguments are named data and answers; scikit-learn's tools give them by position",
    "check_dont_overwrite_parameters": "fit sets held, notes and result",
    "check_estimators_unfitted": "the error is unrolled's ModelFileError, a ValueError; NotFittedError would need the import",
    "check_do_not_raise_errors_in_init_or_set_params": "settings are checked where they are given",
    "check_n_features_in_after_fitting": "windows may be of any length, and texts have no number of features",
    "check_n_features_in": "likewise",
    "check_classifiers_train": "it asks at its end that windows of another length are refused",
    "check_supervised_y_2d": "a column of labels is taken as it is, without a warning",
    "check_methods_sample_order_invariance": "to 1e-7, the rounding of float32; see the test below",
    "check_methods_subset_invariance": "likewise",
    "check_array_api_input": "runs where SCIPY_ARRAY_API is set",
}


def checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a model does not inherit from BaseEstimator
        found = [check for _, check in estimator_checks_generator(CHECKED, mark=None)]
    names = [getattr(check, "func", check).__name__ for check in found]
    assert set(names) > EXCLUDED.keys()
    return [pytest.param(check, id=name) for name, check in zip(names, found, strict=True) if name not in EXCLUDED]


@pytest.mark.filterwarnings("ignore")  # the checks make some of their own
@pytest.mark.parametrize("check", checks())
def test_scikit_learns_own_checks_hold(check):
    check(clone(CHECKED))


def test_probabilities_are_those_of_each_item_alone_but_for_rounding():
    draws = np.random.default_rng(0)
    windows = draws.normal(size=(60, 7)).cumsum(1)
    model = clone(CHECKED).fit(windows, (windows[:, -1] > 0).astype(int))
    whole, order = model.predict_proba(windows), draws.permutation(60)
    np.testing.assert_allclose(model.predict_proba(windows[order]), whole[order], rtol=2e-6)
    np.testing.assert_allclose(
        np.concatenate([model.predict_proba(window[None]) for window in windows]), whole, rtol=2e-6
    )


def test_clone_makes_an_unfitted_model_with_the_same_settings():
    model = unrolled.ClassifyModel(**QUICK).fit(TEXTS, LABELS)
    again = clone(model)
    assert repr(again) == repr(model) == "ClassifyModel(hidden=6, steps=30, lr=0.03)"
    assert again.net is None
    assert is_classifier(again)


def test_a_classifier_is_cross_validated_searched_and_piped():
    model = unrolled.ClassifyModel(**QUICK)
    assert cross_val_score(model, TEXTS, LABELS, cv=2).tolist() == [1.0, 1.0]
    scored = cross_val_score(
        model, np.array(TEXTS), np.array(LABELS), cv=2, scoring=make_scorer(f1_score, pos_label="up")
    )
    assert scored.tolist() == [1.0, 1.0]
    found = GridSearchCV(model, {"steps": [30], "lr": [1e-9, 0.03]}, cv=2).fit(pandas.Series(TEXTS), LABELS)
    assert not np.isnan(found.cv_results_["mean_test_score"]).any()
    assert found.best_estimator_.get_params()["lr"] == found.best_params_["lr"]
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    piped = Pipeline([("lower", lower), ("classify", model)])
    assert piped.set_params(classify__hidden=7).fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1.0
    assert piped.predict(["SO GOOD"]).to_frame()["labels"].tolist() == ["up"]
    assert piped.predict_proba(["SO GOOD", "LATE"]).shape == (2, 2)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 2] * 20, [2, 10]),
        ([True, False] * 20, [False, True]),
        ([1.0, -1.0] * 20, [-1.0, 1.0]),
        (LABELS, ["down", "up"]),
    ],
)
@pytest.mark.parametrize(
    "kind", [list, np.array, pandas.Series, polars.Series], ids=["list", "numpy", "pandas", "polars"]
)
def test_labels_come_back_as_they_were_also_from_a_file(labels, classes, kind, tmp_path):
    model = unrolled.ClassifyModel(**QUICK).fit(kind(TEXTS), kind(labels))
    model.save(tmp_path / "model.safetensors")
    again = unrolled.ClassifyModel.load(tmp_path / "model.safetensors")
    for each in (model, again):
        assert each.classes_.tolist() == classes
        found = each.predict(kind(TEXTS[:4]))
        assert np.asarray(found).tolist() == labels[:4]
        assert np.asarray(found).dtype.kind == np.array(labels).dtype.kind
        assert (each.predict_proba(TEXTS[:4]).argmax(1) == [classes.index(label) for label in labels[:4]]).all()
        assert each.predict("so good").value == labels[2]


@pytest.mark.parametrize("library", [pandas, polars], ids=["pandas", "polars"])
def test_frames_in_and_out(library):
    frame = library.DataFrame({"number": range(40), "review": TEXTS, "stars": [5, 1] * 20})
    settings = {"text": "review", "label": "stars", **QUICK}
    whole = unrolled.ClassifyModel(**settings).fit(frame)
    beside = unrolled.ClassifyModel(**settings).fit(frame, frame["stars"])
    for model in (whole, beside):
        assert model.score(frame) == model.score(frame, frame["stars"]) == 1.0
        found = model.predict(frame).to_frame(library.__name__)
        assert type(found) is library.DataFrame
        assert list(found.columns) == ["text", "labels", "p(1)", "p(5)"]
        assert list(found["text"]) == TEXTS
        assert found["p(1)"].to_numpy().dtype == np.float64
    with pytest.raises(DataError) as caught:
        unrolled.ClassifyModel(label="star", **QUICK).fit(frame)
    assert str(caught.value) == "the frame: has no column 'star'. Did you mean 'stars'?"


def test_a_frame_keeps_the_index_of_the_series():
    texts = pandas.Series(TEXTS[:4], index=["a", "b", "c", "d"])
    model = unrolled.ClassifyModel(**QUICK).fit(TEXTS, LABELS)
    assert model.predict(texts).to_frame().loc["b", "labels"] == "down"
    assert model.predict(texts)[1:3].to_frame().index.tolist() == ["b", "c"]
    assert model.predict(texts).shape == (4,)
    assert model.predict(texts)[np.array([True, False, True, False])].tolist() == ["up", "up"]


@pytest.mark.parametrize(
    ("items", "labels", "text"),
    [
        (["a", None], ["x", "y"], "item 1 is None; expected a text or a window [time, features]. Leave such items out"),
        (["a", "b"], ["x"], "got 2 items and 1 answer; expected one for each"),
        (["a", "b"], ["x", None], "item 1 has no label; got None. Leave such items out"),
        (["a", "b"], ["x", float("nan")], "item 1 has no label; got nan. Leave such items out"),
        (["a", "b"], ["x", 1], "labels are of the kinds int, str; expected one of str, int, float, bool"),
        (["a", "b"], [0.5, 1.0], "the label of item 0 is 0.5. Unknown label type: a classifier takes classes"),
        ([], [], "there are no items; expected some, with a label each"),
        (np.zeros((2, 3)) * np.nan, [1, 2], "the array: holds NaN or infinity; expected finite numbers"),
        ("ab", ["x"], "expected a list, an array or a series of items; got 'ab'"),
    ],
)
def test_items_and_labels_that_cannot_be_used_are_told(items, labels, text):
    with pytest.raises(DataError) as caught:
        unrolled.ClassifyModel(**QUICK).fit(items, labels)
    assert str(caught.value) == text


def test_a_tagger_is_cross_validated_searched_and_framed():
    model = unrolled.TagModel(hidden=6, layers=1, steps=80, lr=0.03)
    assert cross_val_score(model, SENTENCES, TAGS, cv=KFold(2, shuffle=True, random_state=0)).min() > 0.6
    found = GridSearchCV(model, {"steps": [1, 80]}, cv=2).fit(pandas.Series(SENTENCES), pandas.Series(TAGS))
    assert found.best_score_ > 0.5
    answers = found.predict([["Ada", "met", "Bob"], ["Go"]])
    assert [len(tags) for tags in np.asarray(answers)] == [3, 1]
    assert answers.to_frame("polars").columns == ["sentence", "number", "token", "tag"]


def test_a_forecaster_is_cross_validated_searched_and_piped():
    model = unrolled.ForecastModel(horizon=4, context=30, season=19, hidden=8, steps=15)
    scores = cross_val_score(model, WAVE, cv=TimeSeriesSplit(2))
    assert ((scores > -1) & (scores < 0)).all()
    found = GridSearchCV(model, {"context": [2, 30]}, cv=TimeSeriesSplit(2)).fit(WAVE)
    assert found.best_params_ == {"context": 30}
    piped = make_pipeline(FunctionTransformer(np.log), model).fit(WAVE)
    assert np.asarray(piped.predict(WAVE)).shape == (1, 4)
    assert piped.score(WAVE) > -0.2


def test_import_unrolled_brings_none_of_these_libraries():
    code = "import sys, unrolled; unrolled.ClassifyModel().get_params(); print([n for n in ('sklearn', 'polars', 'IPython', 'tensorboard') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("empty", ["", "   ", "\n"])
def test_a_text_of_no_words_is_learnt_from_and_classified(empty):
    texts, labels = [empty, "good food", "bad wine", "good soup", "bad soup"] * 4, [True, True, False, True, False] * 4
    model = unrolled.ClassifyModel(hidden=4, words=4, chars=0, steps=2).fit(texts, labels)
    assert [each.labels for each in model.predict([empty, "good"])] == [[True], [True]]
