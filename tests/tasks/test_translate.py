"""The translation task: it learns, copies, and answers the same alone, in a batch, saved, resumed and in small steps."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.assertions import assert_equal

import unrolled
from unrolled.data.subwords import BEGIN, PAD, UNKNOWN, Cut
from unrolled.data.tagging import padded
from unrolled.errors import DataError, ModelFileError
from unrolled.files.model_file import read_model
from unrolled.tasks.translate.net import NetSettings, TranslateNet
from unrolled.tasks.translate.report import TranslateReport
from unrolled.training.run_folder import Run

WORDS = {"ein": "a", "der": "the", "hund": "dog", "mann": "man", "kater": "cat", "geht": "walks", "singt": "sings"}
PAIRS = [
    (f"{a} {b} {c}.", f"{WORDS[a]} {WORDS[b]} {WORDS[c]}.")
    for a, b, c in itertools.product(("ein", "der"), ("hund", "mann", "kater"), ("geht", "singt"))
] * 6
SMALL = {
    "hidden": 16, "words": 16, "subwords": 60, "dropout": 0.0, "word_dropout": 0.0, "batch": 16, "answer": "model",
}  # fmt: skip
TRAINING = unrolled.TrainSettings(steps=300, lr=0.02, precision="float32", patience=0, warmup=10)
SHORT = dataclasses.replace(TRAINING, steps=200)  # of what need not learn all of it


@pytest.fixture(scope="module")
def fitted():
    model = unrolled.TranslateModel(unrolled.TranslateSettings(**SMALL))
    model.fit(PAIRS, train=TRAINING)
    return model


def test_it_learns_and_stands_beside_its_baseline(fitted, tmp_path):
    metrics = fitted.evaluate(PAIRS)
    assert metrics["model"]["bleu"] == pytest.approx(100)
    assert 0 < metrics[fitted.fitted.baseline.name]["bleu"] < 100.1
    assert metrics["copy of the source"]["bleu"] < 20
    assert metrics["model"]["signature"].startswith("BLEU nrefs:1|case:mixed|eff:no|tok:13a")
    found = fitted.predict("ein kater singt.")
    assert str(found) == "a cat sings."
    assert found.source[0] == "e" or found.source[0].startswith("ein")
    assert found.attention.shape == (len(found.target) + 1, len(found.source))
    assert found.attention.sum(1) == pytest.approx(1, abs=1e-5)
    assert found.score <= 0
    assert found.picture(tmp_path / "attention.png").stat().st_size > 1000
    assert TranslateReport(fitted, metrics).last_line().startswith(("The model ", "Too few "))


@pytest.mark.parametrize(
    "options",
    [
        {"decoder": "fed"},
        {"decoder": "fed", "cell": "rnn", "dropout": 0.1},
        {"cell": "lstm", "attention": "additive", "vocabulary": "separate"},
        {"own": 0.3, "layers": 2, "cell": "gru"},
    ],
)
def test_every_form_learns_and_is_saved_whole(options, tmp_path):
    model = unrolled.TranslateModel(unrolled.TranslateSettings(**{**SMALL, **options}))
    model.fit(PAIRS, train=SHORT)
    texts = ["ein kater singt.", "der mann geht."]
    expected = model.translate(texts)
    assert model.evaluate(PAIRS)["model"]["bleu"] > 70
    model.save(tmp_path / "m.safetensors")
    saved = read_model(tmp_path / "m.safetensors").tensors
    n_weights = sum(parameter.numel() for parameter in model.net.parameters())
    assert sum(value.numel() for value in saved.values()) == n_weights, "shared vectors are kept once"
    same = unrolled.TranslateModel.load(tmp_path / "m.safetensors")
    assert same.translate(texts) == expected
    assert same.evaluate(PAIRS[:20]) == model.evaluate(PAIRS[:20])


def test_a_run_gives_the_same_weights_twice():
    states = []
    for _ in range(2):
        model = unrolled.TranslateModel(unrolled.TranslateSettings(**{**SMALL, "dropout": 0.2, "own": 0.2}))
        model.fit(PAIRS, train=unrolled.TrainSettings(steps=12, precision="float32"))
        states.append(model.net.state_dict())
    for name, value in states[0].items():
        assert_equal(value, states[1][name])


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    settings = unrolled.TranslateSettings(**{**SMALL, "dropout": 0.2, "word_dropout": 0.1, "own": 0.5})
    training = unrolled.TrainSettings(steps=12, precision="float32", average=0.9, checkpoint_s=0)
    whole = unrolled.TranslateModel(settings)
    whole.fit(tmp_path / "pairs.tsv", train=training, run=tmp_path / "whole")
    cut = unrolled.TranslateModel(settings)
    forward = TranslateNet.forward
    calls = itertools.count()

    def interrupted(self, *arguments):
        if next(calls) == 7:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(TranslateNet, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(tmp_path / "pairs.tsv", train=training, run=tmp_path / "cut")
    resumed, _ = unrolled.TranslateModel.resume(Run.open(tmp_path / "cut"))
    for name, value in whole.net.state_dict().items():
        assert_equal(value, resumed.net.state_dict()[name])
    assert resumed.metrics == whole.metrics


def net(**options):
    torch.manual_seed(0)
    made = TranslateNet(30, 30, NetSettings(hidden=6, words=8, **options), is_joint=True).double().eval()
    return made, torch.Generator().manual_seed(1)


@given(
    st.sampled_from(["deep", "fed"]), st.sampled_from(["lstm", "gru", "rnn"]), st.sampled_from(["multiplicative", "additive"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 5),
)  # fmt: skip
def test_the_decoder_step_by_step_is_the_whole_one_and_padding_is_of_no_effect(
    decoder, cell, attention, lengths, n_steps
):
    made, generator = net(decoder=decoder, cell=cell, attention=attention)
    sources = torch.randint(4, 30, (max(lengths), len(lengths)), generator=generator)
    inputs = torch.randint(4, 30, (n_steps, len(lengths)), generator=generator)
    with torch.no_grad():
        memory = made.encode(sources, torch.tensor(lengths))
        state = made.first_state(memory)
        whole, weights, _ = made.decode(inputs, state, memory)
        for t in range(n_steps):
            readout, at, state = made.decode(inputs[t : t + 1], state, memory)
            assert torch.allclose(readout[0], whole[t], atol=1e-12)
            assert torch.allclose(at[0], weights[t], atol=1e-12)
        for row, length in enumerate(lengths):
            memory = made.encode(sources[:length, row : row + 1], torch.tensor([length]))
            alone, _, _ = made.decode(inputs[:, row : row + 1], made.first_state(memory), memory)
            assert torch.allclose(alone[:, 0], whole[:, row], atol=1e-12)
            assert bool((weights[:, row, length:] == 0).all())


def test_the_loss_is_that_of_each_subword_and_its_gradients_are_right():
    made, generator = net(decoder="deep")
    made.settings.__dict__["smoothing"] = 0.0
    sources, targets = (
        torch.randint(4, 30, (4, 2), generator=generator),
        torch.randint(4, 30, (3, 2), generator=generator),
    )
    targets[2, 1] = PAD
    lengths = torch.tensor([4, 2])
    memory = made.encode(sources, lengths)
    inputs = torch.cat((torch.full((1, 2), BEGIN), targets[:-1]))
    log_p = made.scores(made.decode(inputs, made.first_state(memory), memory)[0]).log_softmax(2)
    of_subwords = [-log_p[t, b, targets[t, b]] for t, b in ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1))]
    assert made(sources, lengths, targets, 0.0).item() == pytest.approx(sum(of_subwords).item() / 5, rel=1e-12)
    parameters = [made.readout.weight, made.attention.of_query.weight, made.start.bias]

    def loss(*_):
        return made(sources, lengths, targets, 0.0)

    assert torch.autograd.gradcheck(loss, parameters)


def test_unknown_subwords_are_copied_from_where_they_were_read(fitted, monkeypatch):
    from unrolled.search.beam import Hypothesis

    def search(cuts, *, beam=None):
        attention = torch.eye(len(cuts[0]) + 1, len(cuts[0]))
        return [Hypothesis([UNKNOWN if i == UNKNOWN else int(i) for i in cuts[0].ids], 0.0, 0.0, attention)]

    monkeypatch.setattr(fitted, "search", search)
    assert fitted.predict("der Жук singt.").translation == "der Жук singt."


def test_long_texts_go_sentence_by_sentence(fitted, monkeypatch):
    seen = []

    def search(cuts, *, beam=None):
        from unrolled.search.beam import Hypothesis

        seen.extend(len(cut) for cut in cuts)
        return [Hypothesis([], 0.0, 0.0, torch.ones(1, len(cut))) for cut in cuts]

    monkeypatch.setattr(fitted, "search", search)
    fitted.predict("ein hund geht. " * 30 + "x" * 500)
    assert len(seen) > 30
    assert max(seen) <= fitted.settings.longest
    seen.clear()
    assert [str(each) for each in fitted.predict(["", "  "])] == ["", ""]
    assert not seen


def test_a_1000_word_line_is_left_out_of_training_and_translated_all_the_same(capsys):
    long = (" ".join(["ein hund"] * 500), " ".join(["a dog"] * 500))
    model = unrolled.TranslateModel(unrolled.TranslateSettings(**SMALL, longest=20))
    model.fit([*PAIRS, long], valid=PAIRS[:5], train=unrolled.TrainSettings(steps=2))
    assert model.notes == ["1 pair of more than 20 subwords is left out of training"]
    assert isinstance(model.predict(long[0]).translation, str)
    with pytest.raises(DataError, match=r"^all pairs are longer than 2 subwords; take a larger --longest$"):
        unrolled.TranslateModel(unrolled.TranslateSettings(**{**SMALL, "longest": 2})).fit(PAIRS, train=TRAINING)


def test_the_attention_of_a_text_in_parts_is_zero_and_takes_no_memory(fitted):
    found = fitted.predict(" ".join(["der hund singt."] * 60))
    assert found.attention.shape == (len(found.target) + 1, len(found.source))
    assert not found.attention.any()
    assert found.attention.strides == (0, 0)


def test_faults():
    model = unrolled.TranslateModel(unrolled.TranslateSettings(**SMALL))
    with pytest.raises(DataError, match=r"^pairs \[1\]: have an empty side$"):
        model.fit([("a", "b"), ("c", " ")])
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet"):
        model.predict("a")


def test_chinese_both_ways():
    pairs = [
        (f"{a}{b}。", f"{c} {d}.")
        for (a, c), (b, d) in itertools.product(
            {"狗": "the dog", "人": "the man", "猫": "the cat"}.items(),
            {"跑": "runs", "唱歌": "sings", "睡觉": "sleeps"}.items(),
        )
    ] * 8
    for direction in (1, -1):
        model = unrolled.TranslateModel(unrolled.TranslateSettings(**SMALL))
        model.fit([pair[::direction] for pair in pairs], train=SHORT)
        assert model.evaluate([pair[::direction] for pair in pairs])["model"]["bleu"] > 60
        assert (" " in str(model.predict(pairs[4][::direction][0]))) == (direction == 1)
        assert model.fitted.is_spaced == (direction == 1)
        assert ("tok:13a" in model.metrics["model"]["signature"]) == (direction == 1)


def test_padded_rows_of_subwords():
    cut = Cut(np.array([5, 6]), ["a", "b"])
    assert padded([cut.ids, np.array([7])]).tolist() == [[5, 7], [6, 0]]
