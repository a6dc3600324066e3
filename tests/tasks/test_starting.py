"""Fine-tuning: a training that starts from a model is ahead of one from scratch, keeps what it says, and resumes."""

import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.assertions import assert_equal
from tests.tasks.test_tokens import INTENTS, SMALL, TAGGED, TEXTS, windows
from tests.tasks.test_transcribe import PAIRS as SOUNDS
from tests.tasks.test_transcribe import RATE, spoken
from tests.tasks.test_transcribe import SMALL as SMALL_SOUND
from tests.tasks.test_translate import PAIRS
from tests.tasks.test_translate import SMALL as SMALL_PAIRS

import unrolled
from unrolled import tasks
from unrolled.data.tagging import padded
from unrolled.errors import ArgumentError, DataError, ModelFileError, SettingsError
from unrolled.tasks.starting import take_weights

FIRST = {"steps": 120, "lr": 0.02, "precision": "float32", "patience": 0, "warmup": 5}
THEN = unrolled.TrainSettings(steps=20, lr=0.005, precision="float32", patience=0, warmup=2)
TALE = "".join(f"line {i % 50} of the tale, told by the fire\n" for i in range(150))
SONG = "".join(f"the fire {i % 20} told a tale, line by line\n" for i in range(80))
WAVE = np.sin(np.arange(400) / 3) * 3 + np.random.default_rng(0).standard_normal(400) / 5 + 5
MORE_TEXTS = [(f"{a} {b} soup", label) for label, words in
              {"up": ("good", "great", "fine"), "down": ("bad", "late", "cold"), "so-so": ("average", "plain", "usual")}.items()
              for a, b in itertools.permutations(words, 2)] * 2  # fmt: skip
NEAR_TEXTS = [(f"{a} and {b} soup", label) for label, words in
              {"up": ("good", "great", "fine"), "down": ("bad", "late", "cold")}.items()
              for a, b in itertools.permutations(words, 2)] * 2  # fmt: skip
NEAR_INTENTS = [(f"{verb} {place} now", ["O", "B-city", "O"], intent) for (verb, intent), place in
                itertools.product({"visit": "travel", "describe": "tell"}.items(), ("rome", "oslo", "bonn"))] * 4  # fmt: skip
MORE_TAGGED = [
    ([name, "joined", firm], ["B-PER", "O", "B-ORG"])
    for name, firm in itertools.product(("Ada", "Bob", "Cy"), ("Acme", "Rome", "Zeta"))
] * 2
MORE_INTENTS = [
    (f"{verb} {place} {when}", ["O", "B-city", "B-day"], intent)
    for (verb, intent), place, when in itertools.product(
        {"visit": "travel", "leave": "go"}.items(), ("rome", "oslo"), ("today", "friday")
    )
] * 3
MORE_SOUNDS = [((spoken(word, seed), RATE), word) for seed in range(4) for word in ("ab", "bab", "cab", "abc")]
MORE_WINDOWS = [(1.2 * window, label) for window, label in windows()][:60]

CASES = {
    "text": (unrolled.TextModel, {"hidden": 24, "layers": 1, "batch": 4, "k1": 20, "size": "given", "dropout": 0.0}, TALE, SONG),
    "classify": (unrolled.ClassifyModel, SMALL, TEXTS, NEAR_TEXTS),
    "windows": (unrolled.ClassifyModel, {**SMALL, "values": "x,y", "series": "id"}, list(windows()), MORE_WINDOWS),
    "tag": (unrolled.TagModel, SMALL, TAGGED, MORE_TAGGED),
    "understand": (unrolled.UnderstandModel, SMALL, INTENTS, NEAR_INTENTS),
    "forecast": (unrolled.ForecastModel, {"horizon": 4, "context": 20, "hidden": 16}, WAVE, 10 * WAVE[100:220] + 7),
    "translate": (unrolled.TranslateModel, SMALL_PAIRS, PAIRS, PAIRS[:12]),
    "transcribe": (unrolled.TranscribeModel, SMALL_SOUND, SOUNDS, MORE_SOUNDS),
    "transducer": (unrolled.TranscribeModel, {**SMALL_SOUND, "loss": "transducer"}, SOUNDS, MORE_SOUNDS),
}  # fmt: skip


def learnt(model, data, **options):
    return model.fit(text=data, **options) if isinstance(data, str) else model.fit(data, **options)


@pytest.fixture(scope="module")
def firsts():
    """A model of each case, fitted on the first data when it is asked for."""
    made = {}

    def first(name):
        if name not in made:
            kind, settings, data, _ = CASES[name]
            made[name] = learnt(kind(**settings, **FIRST), data)
        return made[name]

    return first


def loss_of(model):
    """On the validation part: what decides; of a language model by its network alone, without the n-gram model; of a
    tagger how likely the tags are, as F1 of few sentences is coarse.
    """
    if model.task == "text":
        return min(row["network_nats"] for row in model.record)
    if model.task != "tag":
        return model.result.best_loss
    fitted, held = model.fitted, model.held
    batch = fitted.vocabulary.batch([fitted.vocabulary.encode(tokens) for tokens in held.sentences])
    numbers = [np.array([fitted.tags.index(tag.replace("B-", "S-")) for tag in tags]) for tags in held.tags]
    with torch.inference_mode():
        return float(fitted.net.eval()(batch, fitted.net.prior.table[batch.words], padded(numbers)))


@pytest.mark.parametrize("name", CASES)
def test_a_training_that_starts_from_a_model_is_ahead(firsts, name, tmp_path):
    kind, settings, _, second = CASES[name]
    start = firsts(name)
    before = {key: value.clone() for key, value in start.net.state_dict().items()}
    tuned = learnt(kind(), second, train=THEN, start=start)
    scratch = learnt(kind(**settings), second, train=THEN)
    assert loss_of(tuned) < loss_of(scratch)
    assert {key: getattr(tuned.settings, key) for key in settings} == {
        key: getattr(start.settings, key) for key in settings
    }
    assert all(torch.equal(value, before[key]) for key, value in start.net.state_dict().items())  # untouched
    assert tuned.notes[0] == "starts from a model in memory, whose sizes are kept"
    tuned.save(tmp_path / "m")
    loaded = unrolled.load(tmp_path / "m")
    assert loaded.training["start"] == "a model in memory"
    assert loaded.training["start_notes"] == tuned.notes
    report = "\n".join(tasks.task(kind.task).Report(loaded).of_training(tuned.result, tmp_path / "m"))
    assert "start" in report
    assert "a model in memory" in report


@pytest.mark.parametrize(
    ("name", "noun", "n_kept", "new"),
    [
        ("classify", "classes", 2, ["so-so"]),
        ("tag", "tags", 9, ["S-ORG"]),
        ("understand", "intents", 2, ["go"]),
        ("transcribe", "characters", 3, ["c"]),
        ("transducer", "characters", 3, ["c"]),
    ],
)
def test_new_labels_get_rows_of_their_own(firsts, name, noun, n_kept, new):
    kind, _, _, second = CASES[name]
    second = {"classify": MORE_TEXTS, "understand": MORE_INTENTS}.get(name, second)
    start = firsts(name)
    tuned = kind().fit(second, train=unrolled.TrainSettings(steps=1, lr=1e-9, precision="float32"), start=start)
    labels = {name: getattr(each.fitted, noun) for name, each in (("old", start), ("new", tuned))}
    assert set(labels["new"]) == {*labels["old"], *new}
    assert any(
        note == f"{noun}: {len(labels['old'])} of the model are kept, 1 new ({new[0]!r})" for note in tuned.notes
    )
    before, after = start.net.state_dict(), tuned.net.state_dict()
    blank = [""] if noun == "characters" else []
    places = [[*blank, *labels["new"]].index(each) for each in [*blank, *labels["old"]]]
    heads = {"classify": "members.0.output.bias", "tag": "heads.0.output.bias", "understand": "members.0.intent.bias"}
    head = heads.get(name, "output.bias")
    assert_close = torch.testing.assert_close
    assert_close(after[head][places], before[head], atol=1e-6, rtol=0)
    for key, value in before.items():
        if value.shape == after[key].shape and "prior" not in key and value.is_floating_point():
            assert_close(after[key], value, atol=1e-6, rtol=0, msg=key)


def test_a_word_that_the_new_sentences_do_not_have_keeps_its_tags(firsts):
    start = firsts("tag")
    tuned = unrolled.TagModel().fit(MORE_TAGGED, train=THEN, start=start)
    place = start.fitted.vocabulary.words.ids["oslo"]
    old = start.net.prior.table[place]
    kept = [tuned.fitted.tags.index(tag) for tag in start.fitted.tags]
    torch.testing.assert_close(tuned.net.prior.table[place][kept], old)


def test_the_learning_rate_is_a_quarter_unless_one_is_given(firsts):
    start = firsts("classify")
    assert unrolled.ClassifyModel(steps=2).fit(MORE_TEXTS, start=start).training["lr"] == 0.25e-3
    assert unrolled.ClassifyModel(steps=2, lr=0.01).fit(MORE_TEXTS, start=start).training["lr"] == 0.01
    assert unrolled.ClassifyModel(steps=2).fit(MORE_TEXTS).training["lr"] == 1e-3


def test_what_the_user_does_not_choose_is_the_models_and_what_he_does_is_taken(firsts):
    start = firsts("classify")
    tuned = unrolled.ClassifyModel(dropout=0.1).fit(MORE_TEXTS, train=THEN, start=start)
    assert (tuned.settings.dropout, tuned.settings.batch, tuned.settings.hidden) == (0.1, 8, 12)


@pytest.mark.parametrize("given", [{"hidden": 24}, {"hidden": 96}])  # 96 is the default, and chosen all the same
def test_a_size_that_contradicts_is_refused(firsts, given):
    start = firsts("classify")
    with pytest.raises(SettingsError) as caught:
        unrolled.ClassifyModel(**given, layers=1, dropout=0.2).fit(MORE_TEXTS, train=THEN, start=start)
    assert str(caught.value) == (
        f"a model in memory: a training that starts from a model keeps its sizes; got hidden={given['hidden']}, where "
        "the model has 12. Leave them out, or train without a model to start from"
    )


def test_a_clone_names_all_settings_and_may_start_from_a_model(firsts):
    sklearn = pytest.importorskip("sklearn.base")
    model = sklearn.clone(unrolled.ClassifyModel(dropout=0.2))
    assert model.fit(MORE_TEXTS, train=THEN, start=firsts("classify")).settings.hidden == 12


def test_a_model_may_start_from_itself(firsts):
    model = unrolled.ClassifyModel(**SMALL, **FIRST).fit(TEXTS)
    assert model.fit(MORE_TEXTS, train=THEN, start=model).fitted.classes == ["down", "so-so", "up"]


def test_labels_of_another_kind_are_named_as_both_can_be():
    texts = [text for text, _ in TEXTS]
    numbers = [1 if label == "up" else 2 for _, label in TEXTS]
    first = unrolled.ClassifyModel(**SMALL, steps=2).fit(texts, numbers)
    again = unrolled.ClassifyModel(steps=2).fit(texts, list(map(str, numbers)), start=first)
    assert again.classes_.tolist() == [1, 2]
    other = unrolled.ClassifyModel(steps=2).fit(*zip(*MORE_TEXTS, strict=True), start=first)
    assert other.classes_.tolist() == ["1", "2", "down", "so-so", "up"]


def refusals():
    kind = unrolled.ClassifyModel
    yield (
        "classify",
        kind(),
        [(np.zeros((5, 2)), "up"), (np.ones((5, 2)), "down")] * 5,
        DataError,
        ("these are windows of numbers; the model that training starts from reads texts"),
    )
    yield (
        "windows",
        kind(),
        TEXTS,
        DataError,
        ("these are texts; the model that training starts from reads windows of numbers"),
    )
    yield (
        "windows",
        kind(),
        [(np.ones((5, 3)) * i, "ab"[i % 2]) for i in range(20)],
        DataError,
        ("windows have 3 numbers at each time; the model that training starts from reads 2"),
    )
    yield (
        "classify",
        kind(),
        [("good food", ["up", "food"]), ("bad", ["down"])] * 10,
        DataError,
        ("an item of the model that training starts from has one; leave --separator out"),
    )
    yield (
        "tag",
        unrolled.TagModel(),
        [(["a", "b"], ["NOUN", "VERB"])] * 20,
        DataError,
        (
            "the tags here are plain ones; those of the model that training starts from are of a scheme with spans, such as "
            "B-city and I-city"
        ),
    )
    yield (
        "forecast",
        unrolled.ForecastModel(horizon=5),
        WAVE,
        SettingsError,
        (
            "a model in memory: a training that starts from a model keeps its sizes; got horizon=5, where the model has 4. "
            "Leave them out, or train without a model to start from"
        ),
    )


@pytest.mark.parametrize(("name", "model", "data", "kind", "text"), list(refusals()))
def test_data_that_do_not_fit_are_refused(firsts, name, model, data, kind, text):
    with pytest.raises(kind) as caught:
        learnt(model, data, train=THEN, start=firsts(name))
    assert str(caught.value) == text


def test_a_model_of_another_task_and_what_is_none_are_refused(firsts, tmp_path):
    tagger = firsts("tag")
    tagger.save(tmp_path / "tagger.safetensors")
    model = unrolled.ClassifyModel()
    with pytest.raises(ModelFileError) as caught:
        model.fit(MORE_TEXTS, train=THEN, start=tmp_path / "tagger.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/tagger.safetensors: is a model of the task 'tag'; expected one of 'classify'"
    )
    for start, got in ((tagger, "a model of the task 'tag'"), (7, "a value of type int")):
        with pytest.raises(ArgumentError) as wrong:
            model.fit(MORE_TEXTS, train=THEN, start=start)
        assert str(wrong.value) == f"fit: start must be a ClassifyModel, or the path of its file; got {got}"
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet\. Call fit, or ClassifyModel\.load$"):
        model.fit(MORE_TEXTS, train=THEN, start=unrolled.ClassifyModel())


HOURS = "time,x,temp\n" + "".join(f"2024-01-{1 + i // 24:02} {i % 24:02}:00,{5 + i % 7},{i % 3}\n" for i in range(240))
DAYS = "time,x,temp\n" + "".join(f"2024-{1 + i // 28:02}-{1 + i % 28:02},{5 + i % 7},{i % 3}\n" for i in range(120))


def test_series_of_another_frequency_or_with_other_covariates_are_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("hours.csv", HOURS), ("days.csv", DAYS)):
        (tmp_path / name).write_text(text)
    brief = ["--steps", 5, "--hidden", 8, "--target", "x"]
    code, _, _ = call("train", "forecast", "hours.csv", *brief, "--horizon", 3, "--past", "temp", "--folder", "first")
    assert code == 0
    code, _, err = call("train", "forecast", "days.csv", "--steps", 5, "--from", "first", "--folder", "second")
    assert (code, err.splitlines()[-1]) == (
        2,
        "unrolled: days.csv: there is a value every day; the model that training starts from reads series with one every hour",
    )
    code, _, err = call(
        "train", "forecast", "hours.csv", "--steps", 5, "--past", "", "--from", "first", "--folder", "b"
    )
    assert (code, err.splitlines()[-1]) == (
        2,
        "unrolled: hours.csv: the covariates are none; the model that training starts from reads 'temp'. Name the same with "
        "--future, --past and --static",
    )
    assert not (tmp_path / "second").exists()


def test_on_the_command_line_and_resumed_bit_for_bit(call, tmp_path, monkeypatch, interrupted):
    monkeypatch.chdir(tmp_path)
    for name, texts in (("first.csv", TEXTS), ("second.csv", MORE_TEXTS)):
        (tmp_path / name).write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in texts))
    brief = ["--steps", 20, "--precision", "float32", "--warmup", 2]
    code, _, _ = call("train", "classify", "first.csv", *brief, "--hidden", 8, "--folder", "first")
    assert code == 0
    code, out, err = call("train", "classify", "second.csv", *brief, "--from", "first", "--folder", "second")
    assert code == 0
    assert "\nstart    first\n" in out
    assert "starts from first, whose sizes are kept" in err
    assert "classes: 2 of the model are kept, 1 new ('so-so')" in err
    assert "words: 8 of the model are kept, 4 new ('soup', 'usual', 'average', 'plain')" in err
    with interrupted(9):
        unrolled.ClassifyModel(steps=20, precision="float32", warmup=2).fit(
            "second.csv", start="first/model.safetensors", run="third"
        )
    for path in (tmp_path / "first").iterdir():  # the run has a copy
        path.unlink()
    code, out, _ = call("train", "--resume", "third")
    assert code == 0
    assert "\nstart    first/model.safetensors\n" in out
    second, third = (unrolled.load(tmp_path / name) for name in ("second", "third"))
    assert_equal(second.net.state_dict(), third.net.state_dict())
    code, _, err = call("train", "classify", "second.csv", *brief, "--from", "second", "--hidden", 96, "--folder", "no")
    assert (code, err.splitlines()[-1]) == (
        2,
        "unrolled: second: a training that starts from a model keeps its sizes; got hidden=96, where the model has 8. "
        "Leave them out, or train without a model to start from",
    )
    code, out, _ = call("train", "classify", "second.csv", *brief, "--from", "second", "--folds", 2)
    assert code == 0
    assert out.startswith("fold 1  accuracy ")


def test_a_run_whose_copy_is_gone_says_so(call, tmp_path, firsts, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in MORE_TEXTS))
    unrolled.ClassifyModel(steps=4).fit("t.csv", start=firsts("classify"), run="run")
    (tmp_path / "run" / "start.safetensors").unlink()
    code, _, err = call("train", "--resume", "run")
    assert (code, err.splitlines()[-1]) == (2, "unrolled: run/start.safetensors: no such file")


def test_weights_with_labels_in_any_axis_go_where_their_names_stand():
    class Net(torch.nn.Module):
        label_axes: ClassVar = {"both": ("tags", "tags"), "second": (None, "tags"), "anew": ()}

        def __init__(self, n, fill):
            super().__init__()
            self.both, self.second = (torch.nn.Parameter(torch.full(shape, fill)) for shape in ((n, n), (2, n)))
            self.register_buffer("anew", torch.full((n,), fill))

    new, old = Net(3, 9.0), Net(2, 1.0)
    with torch.no_grad():
        old.both[:] = torch.tensor([[1.0, 2], [3, 4]])
        old.second[:] = torch.tensor([[5.0, 6], [7, 8]])
    take_weights(new, old, {"tags": (["b", "a"], ["a", "x", "b"])})
    assert new.both.tolist() == [[4, 9, 3], [9, 9, 9], [2, 9, 1]]
    assert new.second.tolist() == [[6, 9, 5], [8, 9, 7]]
    assert new.anew.tolist() == [9, 9, 9]
