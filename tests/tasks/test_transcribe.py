"""The transcription task: it learns, and answers the same alone, in a batch, saved, and as sound comes in."""

import dataclasses
import io
import itertools
import json
import sys

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.assertions import assert_equal

import unrolled
from unrolled.data.sound import Sound
from unrolled.errors import DataError, SettingsError
from unrolled.search import ctc
from unrolled.search.ngram_fusion import LanguageModel
from unrolled.tasks.transcribe import net as speech
from unrolled.tasks.transcribe.decoding import bonus_of
from unrolled.tasks.transcribe.net import SpeechNet
from unrolled.tasks.transcribe.report import TranscribeReport
from unrolled.tasks.transcribe.settings import TranscribeSettings
from unrolled.tasks.transcribe.stream import transcript_of
from unrolled.training.run_folder import Run

RATE = 8000
WORDS = ("ab", "ba", "aab", "bba", "bab", "ab ba")
SMALL = {"hidden": 16, "layers": 1, "dropout": 0.0, "mels": 20, "predictor": 32, "answer": "model"}


def spoken(text, seed=0):
    """A tone for each letter, a pause after each, a longer one for a space."""
    draw = np.random.default_rng(seed)
    tones = [
        np.zeros(900) if letter == " " else np.append(np.sin(np.arange(900) * (ord(letter) - 96) / 2), np.zeros(250))
        for letter in text
    ]
    sound = np.concatenate(tones)
    return ((sound + 0.01 * draw.standard_normal(len(sound))) / 1.1).astype(np.float32)


PAIRS = [((spoken(word, seed), RATE), word) for seed in range(10) for word in WORDS]


def fit(**options):
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**{**SMALL, **options}))
    training = unrolled.TrainSettings(steps=240, lr=0.02, precision="float32", patience=0, warmup=10)
    model.fit(PAIRS, train=training)
    return model


@pytest.fixture(scope="module")
def hearing():
    """A model for each way to hear."""
    return {
        ("ctc", "both"): fit(),
        ("transducer", "both"): fit(loss="transducer"),
        ("ctc", "forward"): fit(direction="forward", hidden=32),
        ("transducer", "forward"): fit(loss="transducer", direction="forward", hidden=32),
    }


KINDS = [(loss, direction) for loss in ("ctc", "transducer") for direction in ("both", "forward")]


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_stands_beside_its_baseline(hearing, kind, tmp_path):
    model = hearing[kind]
    metrics = model.evaluate(PAIRS)
    assert metrics["model"]["wer"] < 0.5
    assert metrics["most frequent transcript"]["wer"] > 0.7
    assert metrics["nearest template"]["wer"] == 0  # they are the same sounds but for the noise
    assert TranscribeReport(model, metrics).last_line().startswith(("The model ", "Too few "))
    found = model.predict((spoken("bab"), RATE))
    assert 0 < found.confidence <= 1
    for word in found.words:
        assert 0 <= word["start"] < word["end"] <= found.seconds
    model.save(tmp_path / "m.safetensors")
    same = unrolled.TranscribeModel.load(tmp_path / "m.safetensors")
    assert same.predict((spoken("bab"), RATE)) == found
    assert same.evaluate(PAIRS[:12]) == model.evaluate(PAIRS[:12])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beam", [1, 4])
def test_sounds_are_heard_together_as_alone(hearing, kind, beam):
    model = hearing[kind]
    sounds = [(spoken(word, 77), RATE) for word in ("ab ba", "b", "aab")]
    together = model.predict(sounds, beam=beam)
    for sound, found in zip(sounds, together, strict=True):
        alone = model.predict(sound, beam=beam)
        assert alone.text == found.text
        assert alone.confidence == pytest.approx(found.confidence, abs=2e-3)


@given(st.sampled_from(["ctc", "transducer"]), st.data())
def test_no_chunking_changes_what_is_heard(hearing, loss, data):
    model = hearing[loss, "forward"]
    samples = spoken(data.draw(st.sampled_from(["ab ba", "bab", "aab ba", "a"])), data.draw(st.integers(0, 50)))
    samples = samples[: data.draw(st.integers(1, len(samples)))]
    whole = model.predict((samples, RATE))
    stream, at = model.stream(), 0
    while at < len(samples):
        size = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 4000)))
        before = stream.text
        assert stream.accept(samples[at : at + size]).startswith(before)
        at += size
    found = stream.finish()
    assert found.text == whole.text
    assert [word["start"] for word in found.words] == [word["start"] for word in whole.words]
    assert found.seconds == pytest.approx(len(samples) / RATE)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_chunks_at_another_rate_give_the_same_bits(hearing, sizes):
    model = hearing["ctc", "forward"]
    samples = Sound(spoken("ab ba"), RATE).at(12_000).samples
    texts = []
    for cuts in ([len(samples)], sizes):
        stream, at = model.stream(12_000), 0
        for size in cuts:
            stream.accept(samples[at : at + size])
            at += size
        stream.accept(samples[at:])
        texts.append(stream.finish())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("loss", ["ctc", "transducer"])
def test_a_long_sound_is_heard_as_a_stream(hearing, loss, monkeypatch):
    model = hearing[loss, "forward"]
    monkeypatch.setattr(speech, "_BLOCK", 40)
    samples = spoken("ab ba bab aab " * 4)
    monkeypatch.setattr(model, "settings", dataclasses.replace(model.settings, longest=1.0))
    found, short = model.predict([(samples, RATE), (spoken("ab"), RATE)])
    stream = model.stream()
    stream.accept(samples)
    whole = stream.finish()
    assert found.text == whole.text
    assert [word["start"] for word in found.words] == [word["start"] for word in whole.words]
    assert short.text == model.predict((spoken("ab"), RATE)).text


def test_sounds_of_no_step_are_heard_with_silence_after_them():
    tiny = ((spoken("a")[:100], RATE), "a")
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**{**SMALL, "loss": "transducer", "reduction": 4}))
    model.fit(
        [*PAIRS, *[tiny] * 9], valid=[*PAIRS[:3], tiny], train=unrolled.TrainSettings(steps=3, precision="float32")
    )
    assert np.isfinite(model.record[-1]["nats"])


def test_integers_of_any_width_are_heard_alike(hearing):
    model = hearing["ctc", "forward"]
    samples = spoken("bab")
    wanted = model.predict((samples, RATE)).text
    for dtype in (np.int16, np.int32):
        assert model.predict(((samples * np.iinfo(dtype).max).astype(dtype), RATE)).text == wanted
    assert model.predict((np.stack([samples, samples], 1), RATE)).text == wanted


def test_a_model_that_hears_in_both_directions_cannot_stream(hearing):
    with pytest.raises(SettingsError) as caught:
        hearing["ctc", "both"].stream()
    assert str(caught.value) == (
        "the model hears in both directions, and so not before the sound is over. Train with --direction forward"
    )


def test_a_run_gives_the_same_weights_twice():
    states = []
    for _ in range(2):
        model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**{**SMALL, "dropout": 0.2, "loss": "transducer"}))
        model.fit(PAIRS, train=unrolled.TrainSettings(steps=8, precision="float32"))
        states.append(model.net.state_dict())
    for name, value in states[0].items():
        assert_equal(value, states[1][name])


def test_a_large_lattice_goes_in_parts_to_the_same_gradients(monkeypatch):
    torch.manual_seed(0)
    net = SpeechNet(5, TranscribeSettings(**{**SMALL, "loss": "transducer"})).double()
    generator = torch.Generator().manual_seed(1)
    steps = torch.randn(9, 4, 40, generator=generator, dtype=torch.float64)
    lengths, n_labels = torch.tensor([9, 4, 6, 2]), torch.tensor([3, 1, 0, 5])
    labels = torch.randint(1, 5, (4, 5), generator=generator)
    found = []
    for most in (10**9, 2 * 9 * 6 * 16, 1):
        monkeypatch.setattr(speech, "_MOST_NUMBERS", most)
        net.zero_grad()
        loss = net(steps, lengths, labels, n_labels)
        loss.backward()
        found.append([loss.detach(), *(each.grad.clone() for each in net.parameters())])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_what_ctc_cannot_write_is_named():
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**SMALL))
    short = [((spoken("a")[:600], RATE), "aabb"), ((spoken("a")[:900], RATE), "ab" * 30)]
    with pytest.raises(DataError) as caught:
        model.fit([*PAIRS, *short], valid=PAIRS[:4])
    assert str(caught.value) == (
        "sound 60: 0.07 s are 2 steps, its transcript 'aabb' needs 6. Mend the transcript, take a smaller --reduction, "
        "or --loss transducer\n"
        f"  sound 61: 0.11 s are 4 steps, its transcript '{('ab' * 30)[:37]}...' needs 60. Mend the transcript, take a "
        "smaller --reduction, or --loss transducer"
    )


def test_unseen_characters_and_long_sounds_are_told():
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**SMALL, longest=1.0))
    long = ((spoken("ab" * 10), RATE), "ab" * 10)
    model.fit([*PAIRS, long], valid=[*PAIRS[:4], ((spoken("ab"), RATE), "xaby")], train=unrolled.TrainSettings(steps=2))
    assert model.notes == [
        "characters of the validation part that training never saw count as errors: 'xy'",
        "1 sound of more than 1 s is left out of training",
    ]
    parts = Sound(long[0][0], RATE).in_parts(1.0)
    assert max(map(len, parts)) <= RATE
    assert_equal(torch.from_numpy(np.concatenate(parts)), torch.from_numpy(long[0][0]))
    assert isinstance(model.predict(long[0]).text, str)
    for samples in (np.zeros(1, np.float32), np.zeros(100_000, np.float32), np.ones(5, np.int16)):
        assert model.predict((samples, RATE)).seconds == len(samples) / RATE


@pytest.mark.parametrize("kind", ["char", "word"])
def test_a_language_model_guides_the_search(kind, tmp_path):
    (tmp_path / "lines.txt").write_text("ba ba\nba\n" * 20)
    model = unrolled.TranscribeModel(
        unrolled.TranscribeSettings(**SMALL, language=str(tmp_path / "lines.txt"), language_kind=kind, beam=8)
    )
    model.fit(PAIRS, train=unrolled.TrainSettings(steps=30, lr=0.02, precision="float32", patience=0))
    # two sounds, each nearly as much an a as a b
    log_p = np.log([[0.02, 0.01, 0.52, 0.45], [0.97, 0.01, 0.01, 0.01], [0.02, 0.01, 0.45, 0.52]])
    found = {
        len(bonus): "".join(model.fitted.characters[i - 1] for i in ctc.beam(log_p, **bonus)[0][0].ids)
        for bonus in ({}, {"bonus": bonus_of(model.fitted, model.settings.language_weight)})
    }
    assert model.fitted.characters == [" ", "a", "b"]
    assert found == {0: "ab", 1: "ba"}
    model.save(tmp_path / "m.safetensors")
    same = unrolled.TranscribeModel.load(tmp_path / "m.safetensors")
    assert same.predict((spoken("ab ba"), RATE)) == model.predict((spoken("ab ba"), RATE))


def test_a_language_model_without_a_beam_is_refused():
    with pytest.raises(SettingsError) as caught:
        unrolled.TranscribeSettings(language="lines.txt")
    assert str(caught.value) == "language: a language model guides a search among candidates; take beam=10, say"


@given(st.sampled_from(["char", "word"]), st.lists(st.sampled_from(["a b", "a", "b a a", "b"]), min_size=1, max_size=5))
def test_a_language_model_is_a_distribution_and_adds_up(kind, lines):
    model = LanguageModel.fit(lines, kind, order=3)
    for before in ([], ["a"], ["b", "a"], ["a", "b", "a"]):
        total = sum(np.exp(model.log_p(before, symbol)) for symbol in [*model.symbols, "never seen"])
        assert total == pytest.approx(1)
    text, total = "a b", 0.0
    for i, character in enumerate([*text, ""]):
        total += model.added(text[:i], character)
    symbols = list(text) if kind == "char" else text.split()
    wanted = sum(model.log_p(symbols[:i], symbol) for i, symbol in enumerate([*symbols, "\n"]))
    assert total == pytest.approx(wanted)


def test_words_have_times_and_confidence():
    half = float(np.log(0.5))
    pieces = [("a", 0.1, half), ("b", 0.2, half), (" ", 0.3, 0.0), ("c", 0.98, 0.0)]
    found = transcript_of(pieces, 1.0, 0.04)
    assert found.text == "ab c"
    assert found.words == [
        {"word": "ab", "start": 0.1, "end": 0.24, "confidence": 0.5},
        {"word": "c", "start": 0.98, "end": 1.0, "confidence": 1.0},
    ]
    assert found.confidence == pytest.approx(0.25 ** (1 / 3), abs=1e-4)
    assert transcript_of([], 1.0, 0.04).confidence is None  # of nothing heard nothing is known
    assert transcript_of([(" ", 0.1, -0.1)], 1.0, 0.04).to_dict()["confidence"] is None


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["path,transcript"]
    for i, ((samples, rate), text) in enumerate(PAIRS[:24]):
        soundfile.write(f"{i}.{'flac' if i % 2 else 'wav'}", samples, rate)
        rows.append(f"{i}.{'flac' if i % 2 else 'wav'},{text}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    return tmp_path


BRIEF = ["--hidden", "8", "--layers", "1", "--steps", "20", "--direction", "forward", "--precision", "float32"]


def test_from_files_to_answers_and_a_stream(corpus, call, monkeypatch):
    code, out, err = call("train", "transcribe", "m.csv", *BRIEF, "--folder", "run")
    assert code == 0
    assert err.startswith(
        "24 sounds, 0.2 minutes, 0.29 to 0.69 s (median 0.43), 8,000 samples a second; 3 characters: ' ab'"
    )
    assert "nearest template" in out
    assert "picture  run/heard.png" in out
    assert out.splitlines()[-1].startswith(("The model ", "Too few "))
    model = "run/model.safetensors"
    code, out, err = call("predict", model, "0.wav", "1.flac", "--format", "jsonl", "--beam", "3")
    assert (code, err) == (0, "")
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["0.wav", "1.flac"]
    code, out, _ = call("predict", model, "0.wav", "--format", "csv")
    assert out.splitlines()[0] == "file,text,confidence,seconds,by"
    code, whole, _ = call("predict", model, "4.wav")
    samples, _ = soundfile.read("4.wav", dtype="int16")
    for form, values in (("s16le", samples), ("f32le", (samples / 32768).astype("<f4"))):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(values.tobytes() + b"\0")))  # half a sample more
        code, out, err = call("stream", model, "--format", form, "--chunk-ms", "7")
        assert code == 0
        assert out.splitlines()[-1][10:] == whole.rstrip("\n")
        assert "real-time factor" in err
    code, out, err = call("evaluate", model, "m.csv")
    assert code == 0
    assert "most frequent transcript" in out


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(corpus, monkeypatch):
    settings = unrolled.TranscribeSettings(**{**SMALL, "dropout": 0.2, "loss": "transducer"})
    training = unrolled.TrainSettings(steps=8, precision="float32", checkpoint_s=0)
    whole = unrolled.TranscribeModel(settings)
    whole.fit("m.csv", train=training, run="whole")
    forward, calls = SpeechNet.forward, itertools.count()

    def interrupted(self, *arguments):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(SpeechNet, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unrolled.TranscribeModel(settings).fit("m.csv", train=training, run="cut")
    resumed, _ = unrolled.TranscribeModel.resume(Run.open("cut"))
    for name, value in whole.net.state_dict().items():
        assert_equal(value, resumed.net.state_dict()[name])
    assert resumed.metrics == whole.metrics


@pytest.mark.parametrize(
    ("library", "name"),
    [("soundfile", "soundfile"), ("soxr", "soxr"), ("kaldi_native_fbank", "kaldi-native-fbank"), ("jiwer", "jiwer")],
)
def test_a_library_that_is_missing_is_named_before_the_training(corpus, call, monkeypatch, library, name):
    soundfile.write("0.wav", np.zeros(9000), 44_100)  # has to be resampled
    monkeypatch.setitem(sys.modules, library, None)
    before = sorted(corpus.rglob("*"))
    code, out, err = call("train", "transcribe", "m.csv", *BRIEF, "--folder", "run")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"unrolled: speech needs the {name} library. Install it: pip install 'unrolled[speech]'"
    )
    assert sorted(corpus.rglob("*")) == before


def test_faults_are_told_at_once_and_nothing_is_written(corpus, call, monkeypatch):
    soundfile.write("nothing.wav", np.zeros(0), 8000)
    soundfile.write("nan.wav", np.array([0.0, np.nan], np.float32), 8000, subtype="FLOAT")
    (corpus / "text.wav").write_text("no sound")
    (corpus / "bad.csv").write_text("path,transcript\n0.wav,\nabsent.wav,a\nnothing.wav,a\nnan.wav,a\ntext.wav,a\n,b\n")
    before = sorted(corpus.rglob("*"))
    code, out, err = call("train", "transcribe", "bad.csv")
    assert (code, out) == (2, "")
    assert err == (
        "unrolled: bad.csv, line 7: the path is empty\n"
        "  bad.csv, line 2: the transcript of 0.wav is empty\n"
        "  bad.csv, line 3: absent.wav: no such file\n"
        "  bad.csv, line 4: nothing.wav: holds no samples\n"
        "  bad.csv, line 5: nan.wav: holds samples that are not finite numbers\n"
        "  bad.csv, line 6: text.wav: is no sound that can be read (Format not recognised). Expected WAV or FLAC\n"
    )
    code, _, err = call("train", "transcribe", "m.csv", "--path", "file")
    assert (code, err) == (2, "unrolled: m.csv: has no column 'file'. It has 'path', 'transcript'\n")
    (corpus / "empty").mkdir()
    code, _, err = call("train", "transcribe", "empty")
    assert (code, err.splitlines()[0]) == (
        2,
        "unrolled: empty: holds neither sounds nor one of manifest.csv, metadata.csv, manifest.tsv, metadata.jsonl, manifest.jsonl",
    )
    assert sorted(path for path in corpus.rglob("*") if path.name != "empty") == before


def test_a_folder_with_texts_beside_its_sounds_stereo_clipped_and_fast(tmp_path):
    for i, rate in enumerate((8000, 8000, 192_000, 44_100)):
        sound = Sound(spoken("ab", i), 8000).at(rate).samples
        sound = np.clip(5 * sound, -1, 1) if i == 1 else sound
        soundfile.write(tmp_path / f"{i}.wav", np.stack([sound, sound], 1) if i == 2 else sound, rate)
        (tmp_path / f"{i}.txt").write_text(" ab \n")
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(**SMALL))
    data = model.as_data(tmp_path)
    assert data.transcripts == ["ab"] * 4
    assert data.notes[1:] == ("1 sound has several channels, which are averaged", "1 sound is clipped")
    assert data.notes[0].startswith(
        "4 sounds, 0.0 minutes, 0.29 to 0.29 s (median 0.29), 8,000 and 44,100 and 192,000 "
    )
    model.fit(tmp_path, valid=tmp_path, train=unrolled.TrainSettings(steps=2))
    assert model.fitted.rate == 8000
    (tmp_path / "3.txt").unlink()
    with pytest.raises(
        DataError, match=r"3.wav: has no transcript; expected 3.txt beside it, or a manifest in the folder$"
    ):
        model.as_data(tmp_path)
