"""Naive Bayes, the most frequent tag, and the baselines of series, against their formulas."""

import math

import numpy as np
import pytest

from unrolled.baselines import series
from unrolled.baselines.frequent_tag import FrequentTag
from unrolled.baselines.naive_bayes import NaiveBayes
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
