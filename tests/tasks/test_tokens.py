"""The tasks on tokens: they learn, stand beside their baselines, and answer the same saved, resumed, alone or in a batch."""

import itertools
import json

import numpy as np
import pytest
from tests.assertions import assert_equal

import unrolled
from unrolled import tasks
from unrolled.data import schemes, tagging
from unrolled.errors import DataError, ModelFileError, RunError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.tasks.classify.model import targets_of
from unrolled.training.run_folder import Run

TRAINING = unrolled.TrainSettings(steps=80, lr=0.02, precision="float32", patience=0, warmup=5)
NAMES, PLACES = ("Ada", "Bob", "Cy", "Ada Lee"), ("Rome", "Oslo", "New York")


def sentences():
    for name, verb, place in itertools.product(NAMES, ("went", "flew", "sailed"), PLACES):
        tokens, tags = [], []
        for words, label in ((name, "PER"), (verb, None), ("to", None), (place, "LOC")):
            for i, word in enumerate(words.split()):
                tokens.append(word)
                tags.append("O" if label is None else f"{'I' if i else 'B'}-{label}")
        yield tokens, tags


TAGGED = list(sentences()) * 3
INTENTS = [
    (
        f"{verb} {place.lower()} please",
        ["O", *(f"{'I' if i else 'B'}-city" for i, _ in enumerate(place.split())), "O"],
        intent,
    )
    for (verb, intent), place in itertools.product({"visit": "travel", "describe": "tell"}.items(), PLACES)
] * 12
TEXTS = [
    (f"{a} {b}, {c}", label)
    for label, words in {"up": ("good", "great", "fine"), "down": ("bad", "late", "cold")}.items()
    for a, b, c in itertools.permutations((*words, "food"), 3)
] * 2
LABELS = [
    (" ".join(words), sorted({"sun": "warm", "sea": "wet", "ice": "cold"}[word] for word in words if word != "and"))
    for words in itertools.product(("sun", "and"), ("sea", "and"), ("ice", "and"))
] * 8
SMALL = {"hidden": 12, "layers": 1, "words": 12, "chars": 6, "pairs": 4, "batch": 8}


def write_conll(path):
    path.write_text("\n".join("".join(f"{a} {b}\n" for a, b in zip(*each, strict=True)) for each in TAGGED))


def write_intents(path):
    rows = [{"tokens": text.split(), "tags": tags, "intent": intent} for text, tags, intent in INTENTS]
    path.write_text("\n".join(map(json.dumps, rows)))


def write_texts(path):
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in TEXTS))


CASES = {
    "tag": (unrolled.TagModel, unrolled.TagSettings(**SMALL), TAGGED, write_conll, "Bob sailed to New York"),
    "understand": (
        unrolled.UnderstandModel, unrolled.UnderstandSettings(**SMALL), INTENTS, write_intents, "describe new york please",
    ),
    "classify": (unrolled.ClassifyModel, unrolled.ClassifySettings(**SMALL), TEXTS, write_texts, "good food, great"),
}  # fmt: skip


def report(model, metrics=None):
    return tasks.task(model.task).Report(model, metrics)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    kind, settings, data, _, text = CASES[request.param]
    model = kind(settings)
    model.fit(data, train=TRAINING)
    return model, data, text


def test_learns_and_stands_beside_the_baseline(case):
    model, data, _ = case
    found = report(model).comparison()
    assert found.model == 1.0
    assert 0 <= found.baseline <= 1
    assert found.n == len(model.held)
    again = model.evaluate(data)
    assert report(model, again).comparison().model > 0.9
    assert len(report(model, again).table()) >= 3
    assert model.record[0]["loss"] > model.record[-1]["loss"] or model.record[0]["loss"] == 0


def test_saved_and_loaded_answers_are_the_same(case, tmp_path):
    model, data, text = case
    model.save(tmp_path / "m")
    loaded = type(model).load(tmp_path / "m")
    assert loaded.predict(text) == model.predict(text)
    assert loaded.evaluate(data) == model.evaluate(data)
    assert (loaded.metrics, loaded.record) == (json.loads(json.dumps(model.metrics)), model.record)


def test_alone_or_in_a_batch(case):
    model, data, text = case
    texts = [
        text,
        "",
        "x",
        "somewhere   over the\trainbow " * 30,
        "很好",
        *(" ".join(row[0]) if isinstance(row[0], list) else row[0] for row in data[:20]),
    ]
    together = model.predict_all(texts)
    for given, answer in zip(texts, together, strict=True):
        alone = model.predict_all([given])[0]
        first, second = alone.to_dict(), answer.to_dict()
        for name in ("probability", "probabilities"):
            a, b = first.pop(name, 0), second.pop(name, 0)
            assert a == pytest.approx(b, abs=1e-5)
        assert first == second
        assert str(answer)
        assert answer.rows() is not None


def test_places_are_those_of_the_text(case):
    model, _, text = case
    found = model.predict(text).to_dict()
    for span in (*found.get("spans", []), *found.get("slots", [])):
        assert text[span["start"] : span["end"]] == span["text"]


@pytest.mark.parametrize("name", CASES)
def test_resumed_weights_are_the_same_bit_for_bit(name, tmp_path, interrupted):
    kind, settings, _, write, text = CASES[name]
    write(tmp_path / "data")
    training = unrolled.TrainSettings(steps=12, lr=0.02, precision="float32", checkpoint_s=0, average=0.9)
    whole = kind(settings)
    whole.fit(tmp_path / "data", train=training, run=tmp_path / "whole")
    with interrupted(8):
        kind(settings).fit([tmp_path / "data"], train=training, run=tmp_path / "cut")
    resumed, result = kind.resume(Run.open(tmp_path / "cut"))
    assert result.steps == 12
    assert_equal(dict(resumed.net.state_dict()), dict(whole.net.state_dict()))
    assert kind.load(tmp_path / "cut/model.safetensors").predict(text) == whole.predict(text)
    (tmp_path / "data").write_text((tmp_path / "data").read_text() + "\n")
    with pytest.raises(RunError, match="changed since the run began"):
        kind.resume(Run.open(tmp_path / "cut"))


def test_ctrl_c_within_an_evaluation_keeps_the_weights_themselves(tmp_path, monkeypatch):
    """While the average is judged it stands in the module; a checkpoint of it would go on from other weights."""
    kind, settings, _, write, _ = CASES["tag"]
    write(tmp_path / "data")
    training = unrolled.TrainSettings(steps=12, lr=0.02, precision="float32", checkpoint_s=0, average=0.9, eval_every=4)
    whole = kind(settings)
    whole.fit(tmp_path / "data", train=training, run=tmp_path / "whole")
    tag, n_calls = kind.tag, 0

    def stop(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return tag(*arguments)

    monkeypatch.setattr(kind, "tag", stop)
    with pytest.raises(KeyboardInterrupt):
        kind(settings).fit(tmp_path / "data", train=training, run=tmp_path / "cut")
    monkeypatch.undo()
    resumed, _ = kind.resume(Run.open(tmp_path / "cut"))
    assert_equal(dict(resumed.net.state_dict()), dict(whole.net.state_dict()))
    plain = lambda record: [{k: v for k, v in row.items() if k != "seconds"} for row in record]
    assert plain(resumed.record) == plain(whole.record)


@pytest.mark.parametrize("name", CASES)
def test_members_answer_together(name):
    kind, settings, data, _, text = CASES[name]
    model = kind(type(settings)(**{**settings.to_dict(), "ensemble": 2, "cell": "gru"}))
    model.fit(data, train=TRAINING)
    assert report(model).comparison().model > 0.9
    assert str(model.predict(text))


def test_damaged_files_are_refused(case, tmp_path):
    model, _, _ = case
    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    kind = type(model)
    for part, value in (
        ("vocabulary", "{}"), ("vocabulary", json.dumps({"words": ["a", "a"], "chars": [], "pairs": []})),
        ("settings", json.dumps({"model": {"hidden": -1}})), ("baseline", "{}"), ("settings", "{}"),
    ):  # fmt: skip
        safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata | {part: value})
        with pytest.raises(ModelFileError, match=rf"^{tmp_path}/bad: "):
            kind.load(tmp_path / "bad")
    huge = json.loads(metadata["settings"])
    huge["model"]["hidden"] = 16384
    safetensors_tree.write_tensors(tmp_path / "bad", tensors, metadata | {"settings": json.dumps(huge)})
    with pytest.raises(ModelFileError, match="its weights do not fit its settings"):
        kind.load(tmp_path / "bad")


def test_faults_are_told(tmp_path):
    with pytest.raises(
        DataError, match=r"^there is one class only, 'a'; a classifier needs at least two to tell apart$"
    ):
        unrolled.ClassifyModel().fit([("x", "a"), ("y", "a"), ("z", "a")])
    with pytest.raises(DataError, match=r"^there is one intent only, 'a'"):
        unrolled.UnderstandModel().fit([("x", ["O"], "a"), ("y", ["O"], "a")])
    with pytest.raises(DataError, match=r"^there is one tag only"):
        unrolled.TagModel().fit([(["x"], ["O"]), (["y"], ["O"])])
    with pytest.raises(DataError, match=r"^sentences \[1\]: expected as many tags as tokens, and at least one$"):
        unrolled.TagModel().fit([(["x"], ["O"]), (["y"], [])])
    with pytest.raises(DataError, match=r"^there is 1 example only; expected at least 2, better hundreds$"):
        unrolled.TagModel().fit([(["x", "y"], ["O", "B-X"])])
    with pytest.raises(SettingsError, match=r"^fit: run goes with files"):
        unrolled.TagModel().fit(TAGGED, run=tmp_path / "run")
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet\. Call fit, or TagModel\.load$"):
        unrolled.TagModel().fitted()


def test_several_labels(tmp_path):
    model = unrolled.ClassifyModel(unrolled.ClassifySettings(**SMALL))
    model.fit(LABELS, train=TRAINING)
    assert model.predict("sun and ice").labels == ["cold", "warm"]
    assert model.predict("and and and").labels == []
    assert str(model.predict("and and and")).startswith("none; likeliest ")
    model.save(tmp_path / "m")
    assert unrolled.ClassifyModel.load(tmp_path / "m").predict("sea") == model.predict("sea")


def test_a_label_that_training_never_saw_counts_as_wrong(case):
    model, _, _ = case
    if isinstance(model, unrolled.ClassifyModel):
        metrics = model.evaluate([("good food, great", "up"), ("odd", "sideways")])
        assert metrics["model"]["accuracy"] == 0.5
        assert metrics["model"]["classes"]["sideways"]["recall"] == 0.0
        assert np.isfinite(metrics["model"]["log_loss"])


def windows():
    draw = np.random.default_rng(0)
    for i in range(90):
        n = int(draw.integers(6, 20))
        wave = np.stack(
            [np.sin(np.arange(n) * (0.4 if i % 2 else 1.5) + draw.random() * 6), draw.normal(size=n) * 0.2], 1
        )
        yield wave * 50 + 1000, "slow" if i % 2 else "fast"


def test_windows_of_numbers(tmp_path):
    model = unrolled.ClassifyModel(unrolled.ClassifySettings(**SMALL, values="x,y", series="id"))
    data = list(windows())
    model.fit([window for window, _ in data], [label for _, label in data], train=TRAINING)
    found = report(model).comparison()
    assert found.model > 0.9 > found.baseline
    assert found.of == "windows"
    model.save(tmp_path / "m")
    loaded = unrolled.ClassifyModel.load(tmp_path / "m")
    rows = [f"{i},{x},{y}" for i, (window, _) in enumerate(data[:9]) for x, y in window]
    (tmp_path / "t.csv").write_text("\n".join(["id,x,y", *rows]))
    answers = loaded.predict_table([tmp_path / "t.csv"])
    assert [answer.text for answer in answers] == [str(i) for i in range(9)]
    assert [answer.labels for answer in answers] == [model.predict(window).labels for window, _ in data[:9]]
    with pytest.raises(DataError, match=r"^a window must be \[time, 2\], of finite numbers; got \[3, 1\]"):
        loaded.predict(np.zeros((3, 1)))


def test_faults_of_windows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,x,label\na,1,up\na,2,down\nb,,up\nc,z,up\n")
    with pytest.raises(DataError) as caught:
        unrolled.ClassifyModel(unrolled.ClassifySettings(values="x", series="id")).fit(path)
    assert str(caught.value).replace(f"{tmp_path}/", "").split("\n  ") == [
        "t.csv, line 5, column 'x': 'z' is not a number.",
        "t.csv, line 4, column 'x': is empty; expected a number",
        "t.csv, line 2: the window 'a' has the labels 'down', 'up'; expected one for all its rows",
    ]
    with pytest.raises(
        SettingsError,
        match=r"^--values needs --series, the column that tells windows apart; --series row: "
        r"each row is one$",
    ):
        unrolled.ClassifyModel(unrolled.ClassifySettings(values="x")).fit(path)


def test_highlights_name_what_moved_the_decision():
    model = unrolled.ClassifyModel(CASES["classify"][1])
    model.fit(TEXTS, train=TRAINING)
    answer = model.predict("bad food, good bad", highlights=True)
    assert [each["token"] for each in answer.highlights] == ["bad", "food", ",", "good", "bad"]
    assert model.predict("great", highlights=True).highlights[0]["nats"] > 0
    assert model.predict("", highlights=True).highlights == []


def test_probabilities_are_calibrated_by_a_temperature():
    model = unrolled.ClassifyModel(CASES["classify"][1])
    draw = np.random.default_rng(0)
    noisy = [(text, label if draw.random() < 0.7 else "up") for text, label in TEXTS * 3]
    model.fit(noisy, train=unrolled.TrainSettings(steps=150, lr=0.02, precision="float32", patience=0))
    logits = model.logits([model.fitted.input_layer.sequence(item) for item in model.held.items])
    targets = targets_of(model.held.labels, model.fitted.classes)
    from unrolled.tasks.classify.net import loss_of

    fitted = float(loss_of(logits / model.fitted.temperature, targets, is_multiple=False))
    assert fitted <= float(loss_of(logits, targets, is_multiple=False)) + 1e-4


def test_texts_of_single_characters_are_cut_into_characters():
    data = [
        (list("高勇在北京"), ["B-PER", "E-PER", "O", "B-LOC", "E-LOC"]),
        (list("王在上海"), ["S-PER", "O", "B-LOC", "E-LOC"]),
    ] * 15
    model = unrolled.TagModel(CASES["tag"][1])
    model.fit(data, train=TRAINING)
    assert [span["text"] for span in model.predict("高勇在上海").spans] == ["高勇", "上海"]


def test_files_may_be_tagged_in_other_schemes():
    model = unrolled.TagModel(CASES["tag"][1])
    model.fit(TAGGED, train=TRAINING)
    other = [(tokens, schemes.to_bioes(tags, "BIO")) for tokens, tags in TAGGED[:30]]
    assert model.evaluate(other)["model"]["f1"] == model.evaluate(TAGGED[:30])["model"]["f1"] > 0.9
    assert model.evaluate([(["nothing", "here"], ["O", "O"])])["model"]["recall"] == 0


def test_plain_tags():
    model = unrolled.TagModel(CASES["tag"][1])
    model.fit(
        [(["the", "cat", "sat"], ["DET", "NOUN", "VERB"]), (["a", "dog", "ran"], ["DET", "NOUN", "VERB"])] * 15,
        train=TRAINING,
    )
    assert str(model.predict("the dog sat")) == "the/DET dog/NOUN sat/VERB"
    assert report(model).last_line() == (
        "Too few sentences to tell the model from the most frequent tag of the word: accuracy 100.00 % against 100.00 % "
        "(3 sentences; a difference can show from 6 on)."
    )


def test_two_runs_of_a_seed_are_the_same():
    kind, settings, data, _, _ = CASES["tag"]
    nets = []
    for _ in range(2):
        model = kind(settings)
        model.fit(data, train=unrolled.TrainSettings(steps=5, precision="float32", seed=3))
        nets.append(dict(model.net.state_dict()))
    assert_equal(*nets)


@pytest.mark.parametrize("kind", ["tag", "understand"])
def test_very_long_sentences_are_read_in_parts_and_left_out_of_training(kind, monkeypatch):
    monkeypatch.setattr(tagging, "LONGEST", 6)
    long = (["Ada", "went"] * 9, ["B-PER", "O"] * 9)
    if kind == "tag":
        model = unrolled.TagModel(unrolled.TagSettings(**SMALL))
        model.fit([*TAGGED, long], valid=TAGGED[:9], train=TRAINING)
        read = model.tag
    else:
        model = unrolled.UnderstandModel(unrolled.UnderstandSettings(**SMALL))
        model.fit([*INTENTS, (*long, "travel")], valid=INTENTS[:9], train=TRAINING)

        def read(sentences):
            return model.understand(sentences)[1]

        first = INTENTS[0][0].split()
        intents, _ = model.understand([first * 2, first[:3] * 2])
        assert intents[0] == pytest.approx(model.understand([(first * 2)[:6]])[0][0], abs=1e-6)
    assert model.notes == ["1 sentence of more than 6 tokens is left out of training"]
    tokens = [*TAGGED[0][0][:4], "Rome", "went"] * 3
    [whole], parts = read([tokens]), read([tokens[:6], tokens[6:12], tokens[12:]])
    assert whole == [tag for part in parts for tag in part]
    assert read([[], ["Ada"]])[0] == []
    with pytest.raises(DataError) as caught:
        type(model)(model.settings).fit(
            [(*long, "travel")[: 2 + (kind == "understand")]] * 4, valid=[TAGGED[0], INTENTS[0]][kind != "tag" :][:1]
        )
    assert str(caught.value) == (
        "all sentences have more than 6 tokens; expected an empty line, or a line end, after each sentence"
    )


def test_a_run_that_cannot_be_extended_is_refused_before_anything_is_written(tmp_path):
    write_conll(tmp_path / "data")
    training = unrolled.TrainSettings(minutes=1, most_minutes=2, precision="float32")
    with pytest.raises(SettingsError, match=r"^most_minutes: nothing says what the baseline's loss is here; set minut"):
        unrolled.TagModel(CASES["tag"][1]).fit(tmp_path / "data", train=training, run=tmp_path / "run")
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
