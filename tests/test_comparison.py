"""Claims about models: on noise "beats" and "loses" come as rarely as the level says, and what is better is seen."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import unrolled
from unrolled import tasks
from unrolled.data.frequency import Frequency
from unrolled.data.series import Series
from unrolled.data.tagging import scores, sentence_counts
from unrolled.report.comparison import (
    LEVEL,
    Comparison,
    compare,
    p_of_folds,
    ratio,
    root_ratio,
    shares,
    two_tails,
)
from unrolled.report.metrics import bleu, bleu_counts, bleu_of, error_rates, word_errors
from unrolled.tasks.forecast.compared import blocks_of, compared
from unrolled.tasks.report import TaskReport, of_folds

N = 300
MOST = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / N)  # what a test of that level exceeds once in a thousand times


def texts(draw):
    """Labels that are guessed."""
    model, baseline = draw.random((2, 60)) < 0.5
    return compare(shares(model), {"naive Bayes": shares(baseline)}, metric="accuracy", of="texts")


def few_texts(draw):
    model, baseline = draw.random((2, 8)) < 0.5
    return compare(shares(model), {"naive Bayes": shares(baseline)}, metric="accuracy", of="texts")


def sentences(draw):
    """F1 of spans of sentences that are long and short."""
    gold = draw.integers(1, 10, size=50)
    model, baseline = (np.stack([2.0 * draw.binomial(gold, 0.5), 2.0 * gold], 1) for _ in range(2))
    return compare(model, {"the most frequent tag": baseline}, metric="F1", of="sentences")


def pieces(draw):
    """Losses that a piece of text has in common."""
    losses = np.repeat(draw.normal(size=(2, 40)), 25, axis=1) + draw.normal(size=(2, 1000))
    model, baseline = (np.stack([row + 3, np.ones(1000)], 1) for row in losses)
    blocks = np.arange(1000) // 100
    return compare(model, {"the 5-gram model": baseline}, metric="nats", of="chars", is_error=True, blocks=blocks)


def walk(draw, *, n_series, stride, dates=False, horizon=5, length=300):
    """Two forecasts of random walks: the last value, and what rises and falls slowly by chance, each its own."""
    shared = draw.normal(size=length) * dates * 2
    values = [np.cumsum(draw.normal(size=length) + shared) for _ in range(n_series)]
    first = [np.datetime64("2020-01-01")] * n_series if dates else []
    data = Series([str(i) for i in range(n_series)], values, Frequency("month" if dates else "row"), first)
    origins = [(i, t) for i in range(n_series) for t in range(100, length - horizon, stride)]
    targets = np.stack([values[i][t : t + horizon] for i, t in origins])
    last = np.stack([np.repeat(values[i][t - 1], horizon) for i, t in origins])
    levels = {}
    for name in ("model", "drift"):
        rises = [np.convolve(draw.normal(size=length), np.ones(4), "same") for _ in range(1 if dates else n_series)]
        drift = np.stack([rises[i % len(rises)][t] for i, t in origins])[:, None] * 0.3
        levels[name] = (last + drift)[..., None]
    return compared(levels, targets, ["drift"], blocks_of(data, origins, horizon), is_squared=False)


NOISE = {
    "texts": texts,
    "few texts": few_texts,
    "sentences": sentences,
    "pieces of text": pieces,
    "a walk": lambda draw: walk(draw, n_series=1, stride=5),
    "a walk, origins that overlap": lambda draw: walk(draw, n_series=1, stride=1),
    "a panel": lambda draw: walk(draw, n_series=4, stride=5, length=150),
    "a panel that moves together": lambda draw: walk(draw, n_series=4, stride=5, dates=True),
}


@pytest.mark.parametrize("kind", NOISE)
def test_on_noise_nothing_is_claimed_more_often_than_the_level_says(kind):
    draw = np.random.default_rng(0)
    claims = [each for each in (NOISE[kind](draw) for _ in range(N)) if each.verdict != "does as well as"]
    assert len(claims) <= MOST * N, kind


def test_the_best_of_many_evaluations_must_stand_out_from_as_many_tries():
    draw, claims = np.random.default_rng(0), {"as it is": 0, "of the best": 0}
    for _ in range(N):
        rights = draw.random((11, 40)) < 0.5
        best = rights[:10][rights[:10].sum(1).argmax()]
        found = compare(shares(best), {"the most frequent class": shares(rights[10])}, metric="accuracy", of="texts")
        claims["as it is"] += found.verdict == "beats"
        claims["of the best"] += found.of_the_best(10).verdict == "beats"
    assert claims["as it is"] > MOST * N > claims["of the best"]


def test_a_loss_against_the_best_of_many_baselines_must_stand_out_too():
    draw, n_lost = np.random.default_rng(0), 0
    for _ in range(N):
        model, *others = draw.random((6, 60)) < 0.5
        found = compare(shares(model), {str(i): shares(each) for i, each in enumerate(others)}, metric="a", of="texts")
        n_lost += found.verdict == "loses to"
    assert n_lost <= MOST * N


@pytest.mark.parametrize(("folds", "examples"), [(2, 10), (3, 10), (5, 5), (5, 50), (10, 10)])
def test_folds_of_noise(folds, examples):
    draw = np.random.default_rng(0)
    gains = [(draw.random((folds, examples)) - draw.random((folds, examples)) > 0).mean(1) - 0.5 for _ in range(N)]
    assert sum(p_of_folds(each.tolist()) <= LEVEL for each in gains) <= MOST * N


def test_what_is_better_is_seen():
    draw = np.random.default_rng(0)
    baseline = draw.random(872) < 0.807
    model = np.where(draw.random(872) < 0.15, draw.random(872) < 0.95, baseline)
    found = compare(shares(model), {"naive Bayes": shares(baseline)}, metric="accuracy", of="texts")
    assert found.verdict == "beats"
    assert compare(shares(baseline), {"x": shares(model)}, metric="a", of="texts").verdict == "loses to"
    assert p_of_folds([0.04, 0.05, 0.045, 0.06, 0.05]) < 0.01


def test_p_by_hand():
    ones, zeros = np.ones(6), np.zeros(6)
    won = compare(shares(ones), {"x": shares(zeros)}, metric="accuracy", of="texts")
    assert (won.p, won.verdict, won.can_tell) == (2 / 64, "beats", True)
    assert compare(shares(ones[:5]), {"x": shares(zeros[:5])}, metric="accuracy", of="texts").can_tell is False
    same = compare(shares(ones), {"x": shares(ones)}, metric="accuracy", of="texts")
    assert (same.p, same.verdict) == (1.0, "does as well as")


def test_of_accuracies_it_is_mcnemars_exact_test():
    for n_won, n_lost in ((12, 4), (30, 18), (9, 8)):
        model = np.r_[np.ones(n_won), np.zeros(n_lost), np.ones(50)]
        baseline = np.r_[np.zeros(n_won), np.ones(n_lost), np.ones(50)]
        n = n_won + n_lost
        exact = min(1.0, 2 * sum(math.comb(n, k) for k in range(n_won, n + 1)) / 2**n)
        found = compare(shares(model), {"x": shares(baseline)}, metric="accuracy", of="texts").p
        assert found == pytest.approx(exact, abs=0.015)  # 9,999 draws


def test_students_t_has_the_values_of_the_tables():
    for t, freedom, p in ((12.706, 1, 0.05), (4.303, 2, 0.05), (2.776, 4, 0.05), (4.032, 5, 0.01), (2.042, 30, 0.05)):
        assert two_tails(t, freedom) == pytest.approx(p, abs=5e-5)
        assert two_tails(-t, freedom) == two_tails(t, freedom)


def test_scores():
    sums = np.array([[9.0, 4.0], [0.0, 0.0]])
    assert ratio(sums).tolist() == [2.25, 0.0]
    assert root_ratio(sums).tolist() == [1.5, 0.0]


def test_forecasts_that_tell_of_the_same_time_are_one():
    late = [np.datetime64("2020-01-01"), np.datetime64("2020-07-01")]
    data = Series(["a", "b"], [np.arange(100.0), np.arange(94.0)], Frequency("month"), late)
    origins = [(0, 60), (0, 72), (0, 84), (1, 54), (1, 66), (1, 78)]
    assert blocks_of(data, origins, 12).tolist() == [0, 1, 2, 0, 1, 2]
    without = Series(data.names, data.values)
    assert len(set(blocks_of(without, origins, 12).tolist())) == 6
    assert len(set(blocks_of(data, [(0, t) for t in range(96)], 12).tolist())) == 2


class Plain(TaskReport):
    def table(self):
        return []


def plain(*, model=0.852, baseline=0.807, p=0.003, n=872, n_blocks=512, losses=(0.3, 0.2), part="test", training=None):
    found = Comparison("accuracy", False, model, baseline, "naive Bayes", p, n, "texts", n_blocks)
    record = [{"step": 10 * i, "loss": loss} for i, loss in enumerate(losses, 1)]
    figures = {"comparison": found.to_dict(), "part": part}
    settings = SimpleNamespace(hidden=8, layers=1)
    return Plain(
        SimpleNamespace(
            fitted=SimpleNamespace(metrics=figures), record=record, settings=settings, training=training or {}
        )
    )


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "The model beats naive Bayes: accuracy 85.20 % against 80.70 % (p = 0.003, 872 texts)."),
        (
            {"p": 0.0001},
            "The model beats naive Bayes: accuracy 85.20 % against 80.70 % (p < 0.001, 872 texts).",
        ),
        (
            {"model": 0.80702, "baseline": 0.80698, "p": 0.0001},
            "The model beats naive Bayes: accuracy 80.70 % against 80.70 % (by 0.004 %, p < 0.001, 872 texts).",
        ),
        (
            {"model": 0.80702, "baseline": 0.80698, "p": 0.5},
            "The model does as well as naive Bayes: accuracy 80.70 % against 80.70 % (p = 0.50, 872 texts).",
        ),
        (
            {"p": 0.062},
            "The model does as well as naive Bayes: accuracy 85.20 % against 80.70 % (p = 0.062, 872 texts).",
        ),
        (
            {"p": 0.003, "part": "validation", "losses": [0.2] * 20},
            "The model does as well as naive Bayes: accuracy 85.20 % against 80.70 % (p = 0.060, 872 texts).",
        ),
        (
            {"model": 0.7, "part": "validation"},
            "The model LOSES to naive Bayes: accuracy 70.00 % against 80.70 % (p = 0.003, 872 texts). "
            "It was still improving when its training ended: train longer.",
        ),
        (
            {"model": 0.7, "losses": (0.3, 0.2, 0.25)},
            "The model LOSES to naive Bayes: accuracy 70.00 % against 80.70 % (p = 0.003, 872 texts). It was best at step "
            "20 of 30, so longer training will not help: give it more examples, or try another --lr or a smaller "
            "--hidden or --layers.",
        ),
        (
            {"model": 0.7, "losses": (0.3, 0.2, 0.25), "training": {"has_begun": False}},
            "The model LOSES to naive Bayes: accuracy 70.00 % against 80.70 % (p = 0.003, 872 texts). It was best at step "
            "20 of 30, but its training had hardly begun: train longer, or try another --lr.",
        ),
        (
            {"model": 0.7, "losses": [*[0.3] * 9, 0.2, 0.25]},  # at the tenth of eleven evaluations
            "The model LOSES to naive Bayes: accuracy 70.00 % against 80.70 % (p = 0.003, 872 texts). "
            "It was still improving when its training ended: train longer.",
        ),
        (
            {"p": 0.25, "n": 3, "n_blocks": 3},
            "Too few texts to tell the model from naive Bayes: accuracy 85.20 % against 80.70 % (3 texts; a difference "
            "can show from 6 on).",
        ),
        (
            {"p": 1.0, "n": 1, "n_blocks": 1},
            "Too few texts to tell the model from naive Bayes: accuracy 85.20 % against 80.70 % (1 text; a difference can "
            "show from 6 on).",
        ),
        (
            {"p": 1.0, "n": 4, "n_blocks": 1},
            "Too few texts to tell the model from naive Bayes: accuracy 85.20 % against 80.70 % (4 texts, of which 1 is "
            "independent; a difference can show from 6 on).",
        ),
    ],
)
def test_the_verdict_in_words(given, line):
    assert plain(**given).last_line() == line


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize("gain", [1e-7, -1e-7])
def test_no_winner_looks_like_the_loser(task, gain):
    """Whatever digits a task shows: equal figures beside "beats" or "LOSES to" have their difference."""
    report = tasks.task(task).Report(SimpleNamespace(fitted=SimpleNamespace(metrics={})))
    for name, is_error in (("error", True), ("gain", False)):
        found = Comparison(
            name, is_error, 0.5, 0.5 + (gain if is_error else -gain), "the other", 0.0001, 900, "texts", 500
        )
        told = report.claim(found)
        assert f"(by 1e-0{5 if ' %' in told else 7}" in told
        assert ("LOSES" in told) == (gain < 0)


def test_folds_in_words():
    reports = [plain(model=0.85 + 0.01 * i, baseline=0.8) for i in range(4)]
    assert list(of_folds(reports)) == [
        "model     86.50 % ± 1.29",
        "baseline  80.00 % ± 0.00",
        "\nThe model beats naive Bayes: accuracy 86.50 % against 80.00 % (p = 0.007, 4 folds).",
    ]


SMALL = {"hidden": 8, "layers": 1, "words": 8, "chars": 0, "pairs": 0, "batch": 8}


def test_a_model_of_random_labels_claims_nothing():
    n_beaten = 0
    for seed in range(5):
        draw = np.random.default_rng(seed)
        data = [(" ".join(draw.choice(list("abcdefgh"), 4)), str(draw.integers(2))) for _ in range(120)]
        model = unrolled.ClassifyModel(unrolled.ClassifySettings(**SMALL, validation=0.4))
        model.fit(data, train=unrolled.TrainSettings(steps=20, lr=0.02, precision="float32", seed=seed))
        n_beaten += tasks.task("classify").Report(model).comparison().verdict == "beats"
    assert n_beaten == 0


def test_a_model_of_random_walks_claims_nothing():
    n_beaten = 0
    for seed in range(5):
        values = np.cumsum(np.random.default_rng(seed).normal(size=(3, 200)), axis=1)
        model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=2, context=10, hidden=4))
        model.fit(list(values), train=unrolled.TrainSettings(steps=20, lr=0.01, precision="float32", seed=seed))
        n_beaten += tasks.task("forecast").Report(model).comparison().verdict == "beats"
    assert n_beaten == 0


TARGETS = ["the cat sat on the mat", "a dog walks in the park today", "good", "the man sings a long song"]
ANSWERS = ["the cat sat on a mat", "the dog walks in a park", "bad", "the man sings a long song"]


def test_sums_over_examples_are_the_metrics_of_the_libraries():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("jiwer")
    assert bleu_of(TARGETS)(bleu_counts(ANSWERS, TARGETS).sum(0)) == pytest.approx(bleu(ANSWERS, TARGETS)["bleu"])
    assert ratio(word_errors(ANSWERS, TARGETS).sum(0)) == pytest.approx(error_rates(ANSWERS, TARGETS)["wer"])
    short = ["a b", "c d"]
    assert bleu_of(short)(bleu_counts(["a b", "c e"], short).sum(0)) == pytest.approx(
        bleu(["a b", "c e"], short)["bleu"]
    )
    gold, found = [["B-A", "I-A", "O"], ["O", "B-B"]], [["B-A", "I-A", "B-B"], ["O", "O"]]
    assert ratio(sentence_counts(gold, found, "BIO").sum(0)) == pytest.approx(scores(gold, found, "BIO")["f1"])
    plain = [["A", "B"], ["A"]], [["A", "A"], ["A"]]
    assert ratio(sentence_counts(*plain, "plain").sum(0)) == pytest.approx(scores(*plain, "plain")["accuracy"])


def test_bleu_is_compared_by_sentences():
    pytest.importorskip("sacrebleu")
    targets = [f"{text} {i}" for i in range(5) for text in TARGETS]
    answers = [f"{text} {i}" for i in range(5) for text in ANSWERS]
    copies = [text[::-1] for text in targets]
    counts = {name: bleu_counts(texts, targets) for name, texts in (("model", answers), ("copy", copies))}
    found = compare(counts["model"], {"a copy": counts["copy"]}, metric="BLEU", of="sentences", score=bleu_of(targets))
    assert (found.verdict, found.n, found.n_blocks) == ("beats", 20, 20)
    assert found.model == pytest.approx(bleu(answers, targets)["bleu"])


@pytest.mark.parametrize(("steps", "is_early"), [(4, True), (60, False)])
def test_a_model_file_says_whether_its_training_was_too_short_to_tell(tmp_path, steps, is_early):
    texts, labels = ["good food", "bad food", "good wine", "bad wine"] * 30, ["up", "down"] * 60
    model = unrolled.ClassifyModel(hidden=4, steps=steps, lr=0.02, batch=16).fit(texts, labels)
    model.save(tmp_path / "m.safetensors")
    assert unrolled.load(tmp_path / "m.safetensors").report().is_early() == is_early
