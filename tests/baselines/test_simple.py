"""Naive Bayes, the most frequent tag, and the baselines of series, against their formulas."""

import math

import numpy as np
import pytest

from unrolled.baselines import series
from unrolled.baselines.cross_fitted import FOLDS, best_scale, cross_fitted, folds_of
from unrolled.baselines.frequent_tag import FrequentTag, tag_log_p
from unrolled.baselines.naive_bayes import NaiveBayes
from unrolled.baselines.ridge import Ridge
from unrolled.errors import ModelFileError


def test_naive_bayes_is_its_formula():
    texts, labels = [["good", "food"], ["bad"], ["good"]], [["up"], ["down"], ["up"]]
    bayes = NaiveBayes.fit(texts, labels, ["down", "up"])
    n_features = 4  # good, food, bad, "good food"
    up = math.log(2 / 3) + math.log((2 + 1) / (4 + n_features))
    down = math.log(1 / 3) + math.log((0 + 1) / (1 + n_features))
    np.testing.assert_allclose(bayes.scores([["Good", "never seen"]]), [[down, up]], rtol=1e-6)


def test_naive_bayes_with_several_labels():
    texts = [["sun"], ["sea"], ["sun", "sea"], ["fog"]] * 5
    labels = [["warm"], ["wet"], ["warm", "wet"], []] * 5
    bayes = NaiveBayes.fit(texts, labels, ["warm", "wet"], is_multiple=True)
    assert ((bayes.scores(texts[:4]) > 0) == [[True, False], [False, True], [True, True], [False, False]]).all()


def test_naive_bayes_survives_its_parts():
    bayes = NaiveBayes.fit([["a"], ["b", "a"]], [["x"], ["y"]], ["x", "y"])
    data, tensors = bayes.to_parts()
    again = NaiveBayes.from_parts(data, tensors, 2)
    np.testing.assert_array_equal(again.scores([["a", "b"]]), bayes.scores([["a", "b"]]))
    with pytest.raises(ModelFileError, match=r"^its baseline is damaged$"):
        NaiveBayes.from_parts(data, tensors, 3)
    with pytest.raises(ModelFileError, match=r"^its baseline is missing$"):
        NaiveBayes.from_parts(data, {}, 2)


def test_the_most_frequent_tag():
    baseline = FrequentTag.fit([["a", "b", "c"], ["a", "b"], ["a"]], [["X", "O", "O"], ["X", "O"], ["O"]])
    assert baseline.predict(["a", "b", "new"]) == ["X", "O", "O"]
    assert FrequentTag.from_data(baseline.to_data()).predict(["a"]) == ["X"]
    with pytest.raises(ModelFileError):
        FrequentTag.from_data({"tags": {"a": 1}, "other": "O"})


def test_scores_of_the_training_part_are_by_others():
    texts, labels = [["a"]] * 40 + [[f"only {i}"] for i in range(10)], [["x"]] * 40 + [["y"]] * 10

    def score(learnt, held):
        assert not set(learnt) & set(held)
        bayes = NaiveBayes.fit([texts[i] for i in learnt], [labels[i] for i in learnt], ["x", "y"])
        return bayes.scores([texts[i] for i in held])

    scores = cross_fitted(50, 0, score, n_scores=2)
    whole = NaiveBayes.fit(texts, labels, ["x", "y"]).scores(texts)
    # of a word that no other text has it cannot be as sure as of its own
    gap = lambda each: (each[40:, 1] - each[40:, 0]).mean()
    assert gap(scores) < gap(whole) - 0.3
    np.testing.assert_array_equal(np.bincount(folds_of(50, 0)), [10] * FOLDS)


def test_a_baseline_that_is_too_sure_is_scaled_down():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(4000, 3))
    odds = np.exp(logits)
    classes = [draw.choice(3, p=row / row.sum()) for row in odds]
    targets = np.eye(3)[classes]
    assert best_scale(5 * logits, targets) == pytest.approx(0.2, rel=0.2)
    assert best_scale(draw.normal(size=(4000, 3)), targets) < 0.1
    several = (draw.random((4000, 3)) < 1 / (1 + np.exp(-logits))).astype(float)
    assert best_scale(logits / 2, several, is_multiple=True) == pytest.approx(2, rel=0.2)


def test_tags_of_words_are_counted_and_smoothed():
    words, tags = [np.array([2, 2, 3]), np.array([2, 4])], [np.array([0, 0, 1]), np.array([1, 2])]
    log_p = tag_log_p(words, tags, 6, 3)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
    assert log_p[2].argmax() == 0
    assert (log_p[3].argmax(), log_p[4].argmax()) == (1, 2)
    np.testing.assert_array_equal(log_p[0], log_p[5])  # never seen


def test_baseline_of_series():
    windows = np.array([[1.0, 2, 3, 4], [5.0, 5, 5, 5]])
    np.testing.assert_array_equal(series.last_value(windows, 2), [[4, 4], [5, 5]])
    np.testing.assert_array_equal(series.seasonal_naive(windows, 5, 3)[0], [2, 3, 4, 2, 3])
    np.testing.assert_array_equal(series.seasonal_naive(windows, 2, 9), series.last_value(windows, 2))
    assert series.scale_of(windows)[1, 0] == pytest.approx(0.005)
    assert series.scale_of(np.zeros((1, 3)))[0, 0] == 1.0


def test_the_autoregression_finds_a_linear_law():
    wave = np.sin(np.arange(300) / 5) * 3 + 7
    windows = np.stack([wave[t : t + 20] for t in range(250)])
    targets = np.stack([wave[t + 20 : t + 24] for t in range(250)])
    scale = series.scale_of(windows)
    weights = series.fit_autoregression(windows, targets, scale)
    np.testing.assert_allclose(series.autoregression(windows, scale, weights), targets, atol=0.02)


def test_the_ridge_is_large_where_windows_are_few_and_the_least_that_serves():
    rng = np.random.default_rng(0)

    def examples(n, of):
        values = of(n + 23)
        windows = np.stack([values[t : t + 20] for t in range(n)])
        return windows, np.stack([values[t + 20 : t + 24] for t in range(n)]), series.scale_of(windows)

    def wave(n):
        return np.sin(np.arange(n) / 5) * 3 + 7

    def walk(n):
        return rng.normal(size=n).cumsum()

    none = tuple(each[:0] for each in examples(1, wave))
    assert series.chosen_ridge(none, examples(9, wave)) == series.chosen_ridge(examples(9, wave), none) == 1.0
    assert series.chosen_ridge(examples(200, wave), examples(50, wave)) == 1e-3
    assert series.chosen_ridge(examples(2000, walk), examples(500, walk)) == 1e-3  # as good as any
    few, late = examples(25, walk), examples(2000, walk)
    ridge = series.chosen_ridge(few, late)
    errors = {
        each: np.abs(
            series.autoregression(late[0], late[2], series.fit_autoregression(*few, ridge=each)) - late[1]
        ).mean()
        for each in (1e-3, ridge)
    }
    assert ridge >= 1
    assert errors[ridge] < 0.7 * errors[1e-3]


def test_ridge_regression_is_what_numpy_solves():
    draw = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    texts = [list(draw.choice(words, 8)) for _ in range(60)]
    windows = [draw.normal(size=(12, 2)) + draw.normal() for _ in range(60)]
    targets = draw.normal(size=60)
    for items in (texts, windows):
        found = Ridge.fit(items, targets)
        entries = found._entries(items)
        dense = np.zeros((60, len(found.scales)))
        dense[entries[0], entries[1]] = entries[2]
        solved = [
            np.linalg.solve(dense.T @ dense + strength * np.eye(dense.shape[1]), dense.T @ (targets - targets.mean()))
            for strength in (0.1, 1.0, 10.0, 100.0)
        ]
        nearest = min(solved, key=lambda weights: np.abs(weights - found.weights).max())
        np.testing.assert_allclose(found.weights, nearest, atol=1e-5 * np.abs(nearest).max())
        np.testing.assert_allclose(found.numbers(items), dense @ nearest + targets.mean(), atol=1e-5)
