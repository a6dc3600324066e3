"""Class weights: a rare class is found, metrics stay unweighted, and what is asked for is checked word for word."""

import numpy as np
import pytest
import torch
from tests.tasks.test_tokens import SMALL

import unrolled
from unrolled.baselines.cross_fitted import best_scale
from unrolled.errors import ModelFileError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.tasks.class_weights import parsed, weights_of
from unrolled.tasks.classify.judged import macro_f1_of
from unrolled.tasks.classify.net import loss_of

TRAINING = unrolled.TrainSettings(steps=60, lr=0.01, precision="float32", patience=0, warmup=5)
WORDS = ("soup", "wine", "bread", "rice", "fish", "cake")


def rare(seed, n=400):
    """One text of ten is rare. A word of its own is more likely in it, and stands in others too: the frequent class is
    the safer answer always, unless the rare one counts more.
    """
    draw = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        is_rare = i % 10 == 0
        words = list(draw.choice(WORDS, 5))
        if draw.random() < (0.8 if is_rare else 0.25):
            words[int(draw.integers(5))] = "smoke"
        texts.append(" ".join(words))
        labels.append("rare" if is_rare else "usual")
    return texts, labels


@pytest.fixture(scope="module")
def models():
    texts, labels = rare(0)
    asked = {"none": "none", "balanced": "balanced", "dict": {"rare": 9}}
    return {
        name: unrolled.ClassifyModel(**SMALL, class_weights=each).fit(texts, labels, train=TRAINING)
        for name, each in asked.items()
    }


@pytest.mark.parametrize("name", ["balanced", "dict"])
def test_the_recall_and_macro_f1_of_a_rare_class_rise(models, name):
    test = list(zip(*rare(1), strict=True))
    plain, weighted = (models[each].evaluate(test) for each in ("none", name))
    assert weighted["model"]["classes"]["rare"]["recall"] > plain["model"]["classes"]["rare"]["recall"] + 0.3
    assert weighted["model"]["macro_f1"] > plain["model"]["macro_f1"]
    assert weighted["baseline"]["classes"]["rare"]["recall"] > plain["baseline"]["classes"]["rare"]["recall"] + 0.3
    assert plain["comparison"]["metric"] == "accuracy"
    assert weighted["comparison"]["metric"] == "macro F1"
    assert weighted["comparison"]["model"] == pytest.approx(weighted["model"]["macro_f1"])


def test_the_weights_are_told_and_are_those_of_scikit_learn(models):
    assert models["balanced"].notes == ["class weights: rare 5, usual 0.556; macro F1 decides"]
    assert models["none"].notes == []
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels = ["a"] * 7 + ["b"] * 2 + ["c"]
    counts = {name: labels.count(name) for name in "abc"}
    for asked in ("balanced", {"a": 2.0, "c": 5.0}):
        wanted = utils.compute_class_weight(asked, classes=np.array(list("abc")), y=labels)
        assert weights_of(asked, counts, list("abc")) == pytest.approx(wanted)


def test_it_is_saved_and_damaged_weights_are_refused(models, tmp_path):
    model = models["balanced"]
    model.save(tmp_path / "m")
    loaded = unrolled.load(tmp_path / "m")
    assert loaded.settings.class_weights == "balanced"
    assert loaded.fitted.class_weights.tolist() == model.fitted.class_weights.tolist()
    texts, _ = rare(1)
    assert loaded.predict_proba(texts[:20]).tolist() == model.predict_proba(texts[:20]).tolist()
    models["dict"].save(tmp_path / "d")
    assert unrolled.load(tmp_path / "d").settings.class_weights == {"rare": 9}
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    metadata["vocabulary"] = metadata["vocabulary"].replace('"class_weights": [', '"class_weights": [-')
    safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata)
    with pytest.raises(ModelFileError, match=r"its class weights are damaged$"):
        unrolled.load(tmp_path / "bad")


@pytest.mark.parametrize(
    "asked",
    ["", "rare", "rare=", "rare=0", "rare=-1", "rare=x", "rare=1e-50", "rare=1e39", "=3", {}, {"rare": "x"}, {"a": -1}],
)
def test_what_is_no_weight_is_refused(asked):
    with pytest.raises(SettingsError) as caught:
        unrolled.ClassifyModel(class_weights=asked)
    assert str(caught.value) == (
        f"class_weights={asked!r}: expected none, balanced, or weights from 1e-6 to 1e6 by label, such as rare=5,other=1"
    )


def several(seed, n=400):
    """The same texts, of which some have a label more that says nothing of the rare one."""
    texts, labels = rare(seed, n)
    return texts, [["rare"] * (each == "rare") + ["even"] * (i % 2 == 0) for i, each in enumerate(labels)]


def test_a_rare_class_of_several_is_found(tmp_path):
    texts, labels = several(0)
    test = list(zip(*several(1), strict=True))
    found = {}
    for name in ("none", "balanced"):
        model = unrolled.ClassifyModel(**SMALL, class_weights=name).fit(texts, labels, train=TRAINING)
        model.save(tmp_path / "m.safetensors")
        found[name] = unrolled.load(tmp_path / "m.safetensors").evaluate(test)
        assert found[name] == model.evaluate(test)
    assert model.notes == ["class weights: even 1, rare 9; macro F1 decides"]
    for who in ("model", "baseline"):
        recalls = [found[name][who]["classes"]["rare"]["recall"] for name in ("none", "balanced")]
        assert recalls[1] > recalls[0] + 0.3, (who, recalls)
    assert found["balanced"]["model"]["macro_f1"] > found["none"]["model"]["macro_f1"]
    assert found["balanced"]["comparison"]["metric"] == "macro F1"


def test_the_weight_of_a_class_among_several_is_that_of_torch_and_of_repeated_items():
    draw = torch.Generator().manual_seed(0)
    logits, there = torch.randn(50, 3, generator=draw), torch.rand(50, 3, generator=draw) > 0.7
    weights = torch.tensor([5.0, 1.0, 0.25])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, there.float(), pos_weight=weights)
    targets = there * weights
    assert float(loss_of(logits, targets, is_multiple=True)) == pytest.approx(float(expected), rel=1e-6)
    twice = torch.cat([logits[there[:, 0]]] * 4 + [logits]), torch.cat([there[there[:, 0]]] * 4 + [there])
    column = [each[:, :1].double().numpy() for each in twice]
    own = [each[:, :1].double().numpy() for each in (logits, targets)]
    assert best_scale(*own, is_multiple=True) == best_scale(*column, is_multiple=True)


def test_a_label_that_is_no_class_is_refused():
    texts, labels = rare(0, 60)
    with pytest.raises(SettingsError) as caught:
        unrolled.ClassifyModel(**SMALL, class_weights="rarer=5").fit(texts, labels, train=TRAINING)
    assert str(caught.value) == "class_weights: 'rarer' is no class; the classes are 'rare', 'usual'"


def test_weights_by_number_and_a_clone():
    sklearn = pytest.importorskip("sklearn.base")
    texts, labels = rare(0, 60)
    model = sklearn.clone(unrolled.ClassifyModel(**SMALL, class_weights={0: 1, 1: 8}, steps=2))
    model.fit(texts, [int(each == "rare") for each in labels])
    assert model.fitted.class_weights.tolist() == [1, 8]
    assert parsed("a=b=2, c=1") == {"a=b": 2.0, "c": 1.0}


def test_on_the_command_line(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = zip(*rare(0, 100), strict=True)
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    brief = ["--hidden", 8, "--steps", 3, "--precision", "float32"]
    code, out, err = call("train", "classify", "t.csv", *brief, "--class-weights", "rare=4,usual=1", "--folder", "run")
    assert code == 0
    assert "class weights: rare 4, usual 1; macro F1 decides" in err
    assert "macro F1" in out.splitlines()[-1]
    code, _, err = call("train", "classify", "t.csv", *brief, "--class-weights", "rare", "--folder", "no")
    assert (code, err.splitlines()[-1]) == (
        2,
        "unrolled: class_weights='rare': expected none, balanced, or weights from 1e-6 to 1e6 by label, such as rare=5,other=1",
    )


def test_macro_f1_is_the_mean_over_classes():
    gold, found = [["a"], ["a"], ["b"], ["c"]], [["a"], ["b"], ["b"], ["a"]]
    assert macro_f1_of(gold, found, ["a", "b", "c"]) == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)


def rare_intents(seed, n=300):
    texts, labels = rare(seed, n)
    return [(text, ["O"] * len(text.split()), label) for text, label in zip(texts, labels, strict=True)]


@pytest.fixture(scope="module")
def of_intents():
    return {
        name: unrolled.UnderstandModel(**SMALL, class_weights=each).fit(rare_intents(0), train=TRAINING)
        for name, each in (("none", "none"), ("balanced", "balanced"))
    }


def test_a_rare_intent_is_found(of_intents, tmp_path):
    test = rare_intents(1)
    plain, weighted = (of_intents[each].evaluate(test) for each in ("none", "balanced"))
    assert "macro_f1" not in plain["model"]
    assert (plain["comparison"]["metric"], weighted["comparison"]["metric"]) == (
        "whole sentences",
        "macro F1 of intents",
    )
    found = {
        name: [each.intent for each in model.predict([text for text, _, _ in test])]
        for name, model in of_intents.items()
    }
    right = {name: sum(a == b[2] == "rare" for a, b in zip(each, test, strict=True)) for name, each in found.items()}
    assert right["balanced"] > right["none"] + 8
    gold = [[each] for _, _, each in test]
    macro = {name: macro_f1_of(gold, [[each] for each in names], ["rare", "usual"]) for name, names in found.items()}
    assert weighted["model"]["macro_f1"] == weighted["comparison"]["model"] == pytest.approx(macro["balanced"])
    assert macro["balanced"] > macro["none"]
    assert weighted["baseline"]["macro_f1"] > macro["none"]
    model = of_intents["balanced"]
    assert model.notes == ["class weights: rare 4.66, usual 0.56; macro F1 of intents decides"]
    assert "macro F1" in str(model.report()).splitlines()[0]
    model.save(tmp_path / "m")
    loaded = unrolled.load(tmp_path / "m")
    assert loaded.fitted.class_weights.tolist() == model.fitted.class_weights.tolist()
    assert loaded.evaluate(test) == weighted


def test_weights_of_intents_that_cannot_be_used_are_told():
    with pytest.raises(SettingsError, match=r"^class_weights: 'x' is no class; the classes are 'rare', 'usual'$"):
        unrolled.UnderstandModel(**SMALL, class_weights="x=2").fit(rare_intents(0), train=TRAINING)
    with pytest.raises(
        SettingsError, match=r"^class_weights='rare=-1': expected none, balanced, or weights from 1e-6 to 1e6"
    ):
        unrolled.UnderstandSettings(class_weights="rare=-1")


def test_what_finish_notes_is_shown(monkeypatch):
    class Notes(unrolled.Display):
        def __init__(self):
            self.seen = []

        def note(self, text):
            self.seen.append(text)

        def judged(self, result, verdict):
            self.seen.append("judged")

    finish = unrolled.ClassifyModel.finish

    def noting(self, valid):
        self.notes.append("of finish")
        return finish(self, valid)

    monkeypatch.setattr(unrolled.ClassifyModel, "finish", noting)
    display, training = Notes(), unrolled.TrainSettings(steps=2)
    unrolled.ClassifyModel(**SMALL).fit(*rare(0, 40), train=training, display=display)
    assert display.seen == ["of finish", "judged"]
