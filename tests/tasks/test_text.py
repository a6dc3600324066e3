"""The text task from Python: metrics, generation, evaluation, and streams that equal batches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.assertions import assert_equal

import unrolled
from unrolled.errors import ArgumentError, DataError, ModelFileError, RunError, SettingsError
from unrolled.tasks.text import model as task
from unrolled.tasks.text import sizing
from unrolled.tasks.text.mixture import best_share, mixed
from unrolled.tasks.text.sampling import sample
from unrolled.training.run_folder import Run

TEXT = "".join(f"The {animal} number {i} says hello.\n" for i in range(200) for animal in ("cat", "dog", "owl"))
SMALL = unrolled.TextSettings(hidden=12, layers=2, batch=4, k1=16, dropout=0.1)
TRAINING = unrolled.TrainSettings(steps=30, precision="float32", lr=0.02, warmup=5)


@pytest.fixture(scope="module")
def model():
    model = unrolled.TextModel(SMALL)
    model.fit(text=TEXT, train=TRAINING)
    return model


@pytest.fixture
def file(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


def test_learns_and_stands_beside_the_baseline(model):
    first, last = model.record[0], model.record[-1]
    assert last["network_nats"] < first["network_nats"] - 0.3
    assert last["loss"] < first["loss"]
    assert model.metrics["nats"] == pytest.approx(min(row["nats"] for row in model.record), abs=0.02)
    assert 0 < model.metrics["nats"] <= model.metrics["baseline_nats"] + 1e-3 < 1


def test_evaluation_carries_the_state_through_the_whole_text(model):
    text = TEXT[:3000]
    ids = torch.from_numpy(model.units.encode("\n" + text))
    model.net.eval()
    baseline, share = model.fitted.baseline, model.fitted.share
    assert 0 < share < 1  # few steps: the n-gram model is needed
    state, total = None, 0.0
    with torch.no_grad():
        for i, (now, then) in enumerate(zip(ids, ids[1:], strict=False)):  # one unit at a time, as a stream comes
            logits, state = model.net(now.view(1, 1), state)
            by_net = logits[0, 0].double().log_softmax(0).numpy()
            total -= mixed(by_net, baseline.next_log_p(ids[: i + 1].numpy()), share)[then]
    metrics = model.evaluate(text)
    assert metrics["nats"] == pytest.approx(total / len(text), rel=1e-5)
    assert metrics["bits"] == pytest.approx(metrics["nats"] / math.log(2))
    assert metrics["items"] == len(text)


def test_streams_side_by_side_come_near_the_exact_figure(model):
    text = TEXT[: 256 * 20 + 77]
    exact = model.evaluate(text, n_streams=1)["nats"]
    for n_streams in (2, 3, 7):
        assert model.evaluate(text, n_streams=n_streams)["nats"] == pytest.approx(exact, abs=2e-3)
    ids = model.units.encode(text)
    one, three = (model._metrics(ids[300:], 900, context=ids[:300], n_streams=n)["nats"] for n in (1, 3))
    assert one == pytest.approx(three, rel=2e-3)


def test_the_share_of_the_baseline_is_the_likeliest_one():
    draw = np.random.default_rng(0)
    by_net, by_baseline = np.log(draw.random((2, 5000)) + 0.01)
    share = best_share(by_net, by_baseline)
    losses = [-mixed(by_net, by_baseline, each).sum() for each in np.linspace(0.001, 0.998, 200)]
    assert -mixed(by_net, by_baseline, share).sum() <= min(losses) + 1e-6
    assert best_share(by_net, by_net - 1) == 0.0
    assert best_share(by_net - 1, by_net) == pytest.approx(0.999)


def test_a_model_that_learnt_nothing_is_its_baseline():
    model = unrolled.TextModel(SMALL)
    model.fit(text=TEXT, train=replace(TRAINING, steps=1, lr=1e-9))
    assert model.metrics["nats"] <= model.metrics["baseline_nats"] + 0.02
    assert len("".join(model.generate("The cat", length=200, seed=0))) == 200


def test_a_file_without_a_share_answers_by_the_network_alone(model, tmp_path):
    """As those of unrolled 0.1.0, which hold an n-gram model by Witten and Bell besides."""
    from unrolled.files import safetensors_tree

    model.save(tmp_path / "m")
    tensors, metadata = safetensors_tree.read_tensors(tmp_path / "m")
    tensors = {name: each for name, each in tensors.items() if not name.startswith("baseline.")}
    keys = torch.arange(3) * 7 - 3
    tensors |= {
        "baseline.1.keys": keys,
        **{f"baseline.1.{n}": torch.ones(3).int() for n in ("counts", "followed", "kinds")},
    }
    baseline = '{"method": "1-gram", "nats": 1.5, "baseline_nats": 2.5}'
    safetensors_tree.write_tensors(tmp_path / "old", tensors, metadata | {"baseline": baseline})
    old = unrolled.TextModel.load(tmp_path / "old")
    assert old.metrics == old.figures == {"nats": 1.5, "baseline_nats": 2.5}
    ids = old.units.encode(TEXT[:300])
    assert old.evaluate(TEXT[:300])["nats"] == -float(old._net_log_p(ids).sum()) / 300
    assert len("".join(old.generate("The", length=20, seed=0))) == 20


def test_unknown_characters_cost_what_it_takes_to_name_them(model):
    plain, odd = model.evaluate("The cat"), model.evaluate("The c猫t")
    assert odd["nats"] * 7 > plain["nats"] * 7 + math.log(0x110000) - 1
    assert odd["baseline_nats"] > plain["baseline_nats"] + 1


def test_generation_is_the_models_own_distribution(model):
    """Greedy text is the likeliest of the mixture after the whole text so far, the network's part as one batch."""
    text = "".join(model.generate("The cat", length=40, temperature=0))
    ids = model.units.encode("The cat" + text)
    with torch.no_grad():
        logits, _ = model.net(torch.from_numpy(ids).unsqueeze(1), None)
    by_net = logits[:, 0].double().log_softmax(-1).numpy()
    by_baseline = np.stack([model.fitted.baseline.next_log_p(ids[: i + 1]) for i in range(len(ids))])
    log_p = mixed(by_net, by_baseline, model.fitted.share)
    log_p[:, 0] = -math.inf
    assert "".join(model.units.decode(log_p[6:-1].argmax(-1).tolist())) == text


def test_generation_options(model):
    def write(**options):
        return "".join(model.generate("The ", length=60, seed=3, **options))

    greedy = write(temperature=0)
    assert write() == write()
    assert write() != "".join(model.generate("The ", length=60, seed=4))
    assert write(top_k=1) == greedy
    assert write(top_p=1e-9) == greedy
    assert write(temperature=1e-6) == greedy
    assert write(top_k=10**6, top_p=1.0) == write()
    assert "".join(model.generate(length=0)) == ""
    assert len("".join(model.generate(length=10))) == 10
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(model.generate(length=500, temperature=50.0, seed=0))


def test_sampling_follows_the_probabilities(model):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.tensor([0.0, 0.5, 0.3, 0.15, 0.05])
    logits = probabilities.log()

    def shares(**options):
        chosen = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options
        units = model.units
        drawn = [sample(logits.clone(), units, **chosen, generator=generator) for _ in range(3000)]
        return np.bincount(drawn, minlength=5) / 3000

    np.testing.assert_allclose(shares(), probabilities, atol=0.03)
    np.testing.assert_allclose(shares(top_k=2), [0, 0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(top_p=0.6), [0, 0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(top_p=0.5), [0, 1, 0, 0, 0], atol=0)
    np.testing.assert_allclose(shares(temperature=0.5)[1], 0.25 / 0.365, atol=0.03)


def test_faults_are_told(model):
    with pytest.raises(SettingsError, match=r"^temperature=-1: expected at least 0; top_p=0: expected more than 0$"):
        model.generate(temperature=-1, top_p=0)
    with pytest.raises(DataError, match=r"^prompt: '€' did not occur"):
        model.generate("€")
    with pytest.raises(DataError, match=r"^evaluate: the text is empty$"):
        model.evaluate("")
    with pytest.raises(DataError, match=r"holds 5 chars; a text model needs at least 1000\. Give more text$"):
        unrolled.TextModel(SMALL).fit(text="short")
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet"):
        unrolled.TextModel().generate()
    with pytest.raises(SettingsError, match=r"^fit: text goes without files and without run"):
        unrolled.TextModel().fit("file", text="x")
    with pytest.raises(SettingsError, match=r"k2=5: the gradient must reach back at least k1=16 steps"):
        replace(SMALL, k2=5)


@pytest.mark.parametrize(
    "changed",
    [
        {"units": "byte"},
        {"units": "subword", "subwords": 300},
        {"cell": "gru"},
        {"cell": "rnn", "layers": 1},
        {"k2": 40},
    ],
)
def test_every_kind_saves_loads_and_goes_on_the_same(tmp_path, changed):
    model = unrolled.TextModel(replace(SMALL, **changed))
    model.fit(text=TEXT, train=replace(TRAINING, steps=4))
    model.save(tmp_path / "model.safetensors")
    loaded = unrolled.TextModel.load(tmp_path / "model.safetensors")
    assert_equal(dict(loaded.net.state_dict()), dict(model.net.state_dict()))
    sample = TEXT[:500].encode() if changed.get("units") == "byte" else TEXT[:500]
    assert loaded.evaluate(sample) == model.evaluate(sample)
    assert "".join(loaded.generate("The", length=20, seed=1)) == "".join(model.generate("The", length=20, seed=1))
    assert loaded.settings == model.settings
    assert (loaded.metrics, loaded.record, loaded.training) == (model.metrics, model.record, model.training)


@pytest.mark.parametrize("texts", ["once upon a time", ["once upon a time"], ("one", "two texts")])
def test_texts_in_place_of_files_are_told_how_they_are_passed(texts):
    shown = "two texts" if isinstance(texts, tuple) else "once upon a time"
    with pytest.raises(ArgumentError) as told:
        unrolled.TextModel().fit(texts)
    assert str(told.value) == (
        f"fit: expected names of files; got {shown!r}, which is none. A text in memory is passed by name: fit(text=...)"
    )


@pytest.mark.parametrize("text", ["to be or not to be " * 20, "one line\nand another"])
def test_a_text_in_place_of_a_file_is_told(text):
    says = rf"^got a text of {len(text)} characters where a file is expected; in Python pass fit\(text=...\)$"
    with pytest.raises(DataError, match=says):
        unrolled.TextModel(SMALL).read(text)
    with pytest.raises(ArgumentError, match=r"^fit: .* A text in memory is passed by name: fit\(text=...\)$"):
        unrolled.TextModel(SMALL).fit(text)


def test_the_vocabulary_and_the_baseline_are_fitted_on_the_training_part_only():
    model = unrolled.TextModel(replace(SMALL, validation=0.1))
    model.fit(text=TEXT + "ß" * 50, train=replace(TRAINING, steps=1))
    assert "ß" not in model.units.chars
    assert model.metrics["baseline_nats"] > 0


def test_a_short_text_takes_fewer_streams():
    model = unrolled.TextModel(replace(SMALL, batch=500, k1=100))
    result = model.fit(text=TEXT[:1000], train=replace(TRAINING, steps=3)).result
    assert result.steps == 3


def test_windows_with_k2_beyond_k1_see_the_same_text():
    """With one epoch and carried state, the loss of a window is over its k1 new units, whatever k2."""
    losses = {}
    for k2 in (16, 40):
        model = unrolled.TextModel(replace(SMALL, k2=k2, dropout=0.0))
        corpus = task.Corpus(TEXT, TEXT.encode(), (), "utf-8", "")
        job = model._job(corpus, None, TRAINING, torch.device("cpu"))
        carried, losses[k2] = None, []
        for step in range(8):
            loss, carried = job.loss(job.module, step, carried)
            losses[k2].append(loss.item())
    np.testing.assert_allclose(losses[16], losses[40], rtol=1e-4)


def test_resume_finishes_a_run_and_sees_changed_files(tmp_path, file):
    run = tmp_path / "run"
    model = unrolled.TextModel(SMALL)
    model.fit(file, train=TRAINING, run=run)
    loaded = unrolled.TextModel.load(run / "model.safetensors")
    assert_equal(dict(loaded.net.state_dict()), dict(model.net.state_dict()))
    again, result = unrolled.TextModel.resume(Run.open(run))
    assert result.steps == 30
    assert_equal(dict(again.net.state_dict()), dict(model.net.state_dict()))
    file.write_text(TEXT + "more")
    with pytest.raises(RunError, match=r"text\.txt changed since the run began\. Train anew on it$"):
        unrolled.TextModel.resume(Run.open(run))


def test_it_learns_from_files_in_any_encoding_and_raw_bytes(tmp_path):
    (tmp_path / "latin").write_text("größe " * 300, encoding="latin-1")
    for settings in (replace(SMALL, encoding="latin-1"), replace(SMALL, units="byte")):
        model = unrolled.TextModel(settings)
        model.fit([tmp_path / "latin"], train=replace(TRAINING, steps=2))
        assert model.metrics["nats"] > 0


@pytest.mark.parametrize(
    ("slow", "hidden"), [(1, 512), (4, 384), (8, 256), (64, 128), (1000, 128)], ids=lambda each: str(each)
)
def test_the_size_is_chosen_by_the_speed_of_the_machine(monkeypatch, slow, hidden):
    seconds = {128: 0.005, 256: 0.01, 384: 0.03, 512: 0.11}  # of an update, on a fast machine
    monkeypatch.setattr(sizing, "seconds_of_update", lambda settings, *_: slow * seconds[settings.hidden])
    chosen, [note] = sizing.sized(
        unrolled.TextSettings(size="auto", k1=50), 90, unrolled.TrainSettings(minutes=3), torch.device("cpu")
    )
    assert (chosen.hidden, chosen.size, chosen.k1) == (hidden, "given", 50)
    assert (chosen.layers, chosen.batch, chosen.dropout) == ((2, 32, 0.3) if hidden == 512 else (1, 8, 0.0))
    assert note.startswith(f"size: {chosen.layers} layer")
    assert note.endswith(" updates in 3 minutes on this machine")


def test_an_update_is_measured_and_leaves_no_trace():
    before = torch.get_rng_state()
    assert 0 < sizing.seconds_of_update(SMALL, 30, torch.device("cpu")) < 10
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "training"),
    [
        ({"hidden": 64}, {"minutes": 3}),
        ({"size": "given"}, {"minutes": 3}),
        ({}, {"steps": 3}),
        ({"batch": 8}, {"minutes": 3}),
    ],
)
def test_a_size_that_was_chosen_and_a_run_of_steps_keep_theirs(settings, training):
    settings = unrolled.TextSettings(**settings)
    chosen, notes = sizing.sized(settings, 90, unrolled.TrainSettings(**training), torch.device("cpu"))
    assert (chosen, notes) == (replace(settings, size="given"), [])
    assert unrolled.TextSettings.from_dict({}).size == "given"  # of files that were written before


def test_a_run_of_a_chosen_size_goes_on_with_it(monkeypatch, tmp_path, file):
    monkeypatch.setattr(sizing, "SIZES", ((1, 8, 4, 0.0),))
    model = unrolled.TextModel()
    model.fit(file, train=unrolled.TrainSettings(minutes=0.01, precision="float32"), run=tmp_path / "run")
    assert (model.settings.hidden, model.settings.size) == (8, "given")
    assert Run.open(tmp_path / "run").config["settings"]["hidden"] == 8
    assert unrolled.TextModel.load(tmp_path / "run/model.safetensors").settings == model.settings
