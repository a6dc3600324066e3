"""Who answers, network or baseline: the rule, what it says of itself, and that every verb keeps to it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tasks.test_start import NOTHING
from tests.tasks.test_transcribe import RATE, spoken
from tests.tasks.test_transcribe import SMALL as HEARING
from tests.tasks.test_translate import PAIRS as SENTENCES
from tests.tasks.test_translate import SMALL as TRANSLATING

import unrolled
from unrolled import tasks
from unrolled.errors import ModelFileError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.report.comparison import compare, shares
from unrolled.tasks.blend import best_weights, blended, cross_blended
from unrolled.tasks.fallback import NEVER, Fallback, cross_fitted_who, fitted_fallback

WORD_BY_WORD, TEMPLATE = "word by word (IBM model 1)", "nearest template"
WORDS = ("ab", "ba", "aab", "bba", "bab", "abba")
SOUNDS = [((spoken(word, seed), RATE), word) for seed in range(8) for word in WORDS]


@pytest.fixture(scope="module")
def untrained():
    """Models that learnt nothing; by task."""
    translator = unrolled.TranslateModel(unrolled.TranslateSettings(**{**TRANSLATING, "answer": "best"}))
    transcriber = unrolled.TranscribeModel(
        unrolled.TranscribeSettings(**{**HEARING, "answer": "best", "direction": "forward"})
    )
    return {
        "translate": translator.fit(SENTENCES, train=NOTHING),
        "transcribe": transcriber.fit(SOUNDS, train=NOTHING),
    }


def test_the_better_one_answers_everything_and_the_network_where_both_are_as_good():
    good, bad = shares([True] * 9 + [False]), shares([True] * 3 + [False] * 7)
    confidences = np.linspace(0, 1, 10)
    for network, baseline, wanted in ((good, bad, NEVER), (bad, good, Fallback("b", 2.0)), (bad, bad, NEVER)):
        assert fitted_fallback(confidences, {"model": network, "b": baseline}) == wanted
        swapped = {"model": baseline, "b": network}  # as errors, less is better
        assert fitted_fallback(confidences, swapped, is_error=True) == wanted
    both = {"model": bad, "b": bad[::-1], "c": good}
    assert fitted_fallback(confidences, both) == Fallback("c", 2.0)
    assert fitted_fallback(confidences[:0], {name: each[:0] for name, each in both.items()}) == NEVER


def test_the_network_answers_where_it_is_confident_if_there_is_enough_to_tell():
    draw = np.random.default_rng(0)
    confidences = draw.permutation(200) / 200
    counts = {"model": shares(confidences >= 0.6), "b": shares(np.arange(200) % 2 == 0)}
    found = fitted_fallback(confidences, counts)
    assert found.least == pytest.approx(0.6, abs=0.06)  # the bounds that are tried are 10 items apart
    assert found.who(np.array([0.1, 0.9])) == ["b", "model"]
    assert fitted_fallback(confidences, counts, whole=["b"]) == Fallback("b", 2.0)
    few = {name: each[:39] for name, each in counts.items()}
    assert fitted_fallback(confidences[:39], few).least in (0.0, 2.0)


@given(st.integers(1, 60), st.integers(0, 2**31))
def test_no_choice_is_worse_than_the_network_or_a_baseline_where_it_was_made(n, seed):
    draw = np.random.default_rng(seed)
    confidences = draw.random(n).round(1)  # ties
    counts = {name: shares(draw.random(n) < 0.5) for name in ("model", "b", "c")}
    found = fitted_fallback(confidences, counts)
    assert found.least in (0.0, 2.0) or found.least in confidences
    if found.least in (0.0, 2.0):
        right = sum(counts[name][i, 0] for i, name in enumerate(found.who(confidences)))
        assert right == max(each[:, 0].sum() for each in counts.values())


def test_a_choice_gains_nothing_on_the_examples_that_it_was_made_on():
    """Network and baselines are equally good; a bound sought among twenty looks like a gain, cross-fitted it is none."""
    draw, n, claims = np.random.default_rng(0), 80, {"chosen on": 0, "cross-fitted": 0}
    for _ in range(120):
        counts = {name: shares(draw.random(n) < 0.5) for name in ("model", "b", "c", "d")}
        confidences = draw.random(n)
        for how in claims:
            if how == "chosen on":
                who = fitted_fallback(confidences, counts).who(confidences)
            else:
                who = cross_fitted_who(confidences, counts, fitted_fallback)
            model = np.stack([counts[name][i] for i, name in enumerate(who)])
            found = compare(model, {"b": counts["b"]}, metric="accuracy", of="items")
            claims[how] += found.verdict == "beats"
    assert claims["cross-fitted"] <= 0.06 * 120
    assert claims["chosen on"] > 2 * claims["cross-fitted"]


def test_weights_are_cross_fitted():
    draw = torch.Generator().manual_seed(0)
    network, baseline = torch.randn(30, 3, generator=draw), torch.randn(30, 3, generator=draw)
    targets = torch.nn.functional.one_hot(torch.randint(3, (30,), generator=draw), 3).float()
    loss = torch.nn.functional.cross_entropy
    found = cross_blended(network, baseline, targets, loss)
    whole = blended(network, baseline, best_weights(network, baseline, targets, loss))
    assert loss(found, targets) > loss(whole, targets)
    changed = cross_blended(network, baseline, targets.index_copy(0, torch.tensor([4]), 1 - targets[4:5]), loss)
    assert torch.equal(changed[4], found[4])  # what is right for an item has no part in its own answer
    assert not torch.equal(changed, found)
    assert torch.equal(cross_blended(network[:1], baseline[:1], targets[:1], loss), (network + baseline)[:1] / 2)


def test_a_translator_that_learnt_nothing_answers_word_by_word(untrained):
    model = untrained["translate"]
    found = model.predict("ein hund singt.")
    assert (found.by, found.translation, found.score) == (WORD_BY_WORD, "a dog sings.", None)
    assert found.to_dict() == {
        "text": "ein hund singt.", "translation": "a dog sings.", "score": None, "by": WORD_BY_WORD,
    }  # fmt: skip
    assert found.attention.tolist() == np.eye(5, 4).tolist()
    assert (found.source, found.target) == (["ein", "hund", "singt", "."], ["a", "dog", "sings", "."])
    assert [each.translation for each in model.predict(["", " "])] == ["", ""]
    long = model.predict("ein hund " * 2000)
    assert long.attention.strides == (0, 0)
    metrics = model.evaluate(SENTENCES)
    assert metrics["by"] == {WORD_BY_WORD: len(SENTENCES)}
    assert metrics["model"] == metrics[WORD_BY_WORD]
    assert metrics["network alone"]["bleu"] < metrics["model"]["bleu"]


def test_a_transcriber_that_learnt_nothing_answers_by_the_nearest_template_and_so_does_its_stream(untrained):
    model = untrained["transcribe"]
    for word in WORDS:
        samples = spoken(word, 99)
        found = model.predict((samples, RATE))
        assert (found.by, found.text, found.confidence, found.words) == (TEMPLATE, word, None, [])
        for size in (77, len(samples)):
            stream = model.stream()
            texts = [stream.accept(samples[i : i + size]) for i in range(0, len(samples), size)]
            assert set(texts) == {""}
            assert stream.finish() == found
    assert model.stream().finish().text == ""  # no sound at all
    for samples in (np.zeros(1, np.float32), spoken("a")[:100]):
        stream = model.stream()
        stream.accept(samples)
        assert stream.finish() == model.predict((samples, RATE))


@pytest.mark.parametrize("task", ["translate", "transcribe"])
def test_the_report_says_who_answers_and_claims_nothing(untrained, task):
    model = untrained[task]
    report = tasks.task(task).Report(model)
    name, metric = {
        "translate": ("translation word by word", "BLEU"),
        "transcribe": ("the nearest template", "word error"),
    }[task]
    assert report.comparison().verdict == "does as well as"
    line = report.last_line()
    assert f"{name}: {metric}" in line
    assert (
        f" `unrolled predict` answers with {name}, the best on the validation part; --answer model takes the network "
        "all the same. It was still improving when its training ended: train longer."
    ) in line
    assert sum("network alone" in row for row in report.table()) == 1


@pytest.mark.parametrize("task", ["translate", "transcribe"])
def test_the_network_answers_if_it_is_told_to(untrained, task, tmp_path):
    model, data = untrained[task], {"translate": SENTENCES, "transcribe": SOUNDS}[task]
    items = [item for item, _ in data[:5]]
    assert {each.by for each in model.predict(items)} == {model.fitted.fallback.baseline}
    assert {each.by for each in model.predict(items, answer="model")} == {"model"}
    with pytest.raises(SettingsError, match="answer"):
        model.predict(items, answer="dog")
    model.save(tmp_path / "m")
    loaded = type(model).load(tmp_path / "m")
    assert loaded.fitted.fallback == model.fitted.fallback
    assert json.dumps([each.to_dict() for each in loaded.predict(items)]) == json.dumps(
        [each.to_dict() for each in model.predict(items)]
    )
    assert loaded.evaluate(data[:9]) == model.evaluate(data[:9])


def test_the_baseline_answers_where_the_network_is_less_confident(untrained, monkeypatch):
    for task, items in (("translate", [text for text, _ in SENTENCES[:12]]), ("transcribe", [s for s, _ in SOUNDS])):
        model = untrained[task]
        confidences = [each.confidence or 0.0 for each in model.predict(items, answer="model")]
        least = float(np.median(confidences))
        some = Fallback(model.fitted.fallback.baseline, least)
        monkeypatch.setattr(model, "fallback", lambda answer=None, some=some: some)
        found = model.predict(items)
        assert [each.by == "model" for each in found] == [each >= least for each in confidences]
        assert some.sentence("the dog", {"model": 3, some.baseline: 1}, "texts") == (
            "Where the network is less confident (1 of 4 texts), the dog answers; --answer model takes the network all "
            "the same."
        )


@pytest.mark.parametrize("task", ["translate", "transcribe"])
@pytest.mark.parametrize(
    "answers", [{"baseline": "dog", "least": 0.5}, {"baseline": WORD_BY_WORD, "least": -1}, {"least": 1.0}, "dog", [1]]
)
def test_a_damaged_rule_is_refused(untrained, task, answers, tmp_path):
    untrained[task].save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    metadata["baseline"] = json.dumps(json.loads(metadata["baseline"]) | {"answers": answers})
    safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata)
    with pytest.raises(ModelFileError, match=r"what tells who answers, network or baseline, is damaged$"):
        type(untrained[task]).load(tmp_path / "bad")
