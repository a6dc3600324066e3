"""Sounds and their features: read as they lie, the same however they are cut; and sounds said a little differently."""

import contextlib

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from unrolled.baselines.template import Templates, warped
from unrolled.data.fbank import Fbank, fbank
from unrolled.data.sound import Resampler, Sound, as_sound, read_sound
from unrolled.errors import DataError
from unrolled.tasks.transcribe.augment import augmented, masked

SAMPLES = np.sin(np.arange(6000) ** 1.3 / 50).astype(np.float32) * 0.8


def pieces(values, sizes):
    at = 0
    for size in sizes:
        yield values[at : at + size]
        at += size
    yield values[at:]


@given(st.lists(st.integers(0, 2500), max_size=6), st.sampled_from([8000, 16_000, 22_050]), st.sampled_from([20, 40]))
def test_features_and_rates_do_not_depend_on_chunks(sizes, rate, n_mels):
    heard = Fbank(rate, n_mels)
    frames = np.concatenate([heard(piece) for piece in pieces(SAMPLES, sizes)])
    assert np.array_equal(frames, fbank(SAMPLES, rate, n_mels))
    assert heard.n_given == len(frames)
    resample = Resampler(rate, 12_000)
    found = np.concatenate([*map(resample, pieces(SAMPLES, sizes)), resample(SAMPLES[:0], last=True)])
    assert np.array_equal(found, Sound(SAMPLES, rate).at(12_000).samples)


def test_features_are_of_25_ms_every_10_and_tell_tones_apart():
    frames = fbank(np.zeros(8000, np.float32) + 1e-3, 8000, 30)
    assert frames.shape == (98, 30)
    low, high = (np.sin(np.arange(4000) * 2 * np.pi * hz / 8000).astype(np.float32) for hz in (300, 2500))
    assert fbank(low, 8000, 30).mean(0).argmax() < 10 < 20 < fbank(high, 8000, 30).mean(0).argmax()
    assert fbank(np.zeros(1, np.float32), 8000, 30).shape == (1, 30)


@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_files_come_back(tmp_path, suffix, rate):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([SAMPLES, np.zeros_like(SAMPLES)], 1), rate, subtype="PCM_24")
    found = read_sound(path)
    assert (found.rate, found.n_channels) == (rate, 2)
    assert found.samples == pytest.approx(SAMPLES / 2, abs=1e-6)
    assert found.seconds == 6000 / rate
    assert abs(len(found.at(16_000).samples) - 6000 * 16_000 / rate) <= 1
    assert not found.is_clipped
    assert Sound(np.clip(3 * SAMPLES, -1, 1), rate).is_clipped


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_sound_or_a_clear_fault(tmp_path_factory, content, has_head):
    path = tmp_path_factory.mktemp("fuzz") / "a.wav"
    if has_head:
        soundfile.write(path, SAMPLES[:50], 8000)
        content = path.read_bytes()[: 20 + len(content) % 60] + content
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        found = read_sound(path)
        assert found.samples.ndim == 1
        assert np.isfinite(found.samples).all()


def test_samples_in_memory():
    for dtype, values in (
        (np.int16, [0, 16384]),
        (np.int32, [0, 1 << 30]),
        (np.uint8, [128, 192]),
        (np.float64, [0, 0.5]),
    ):
        assert as_sound(np.array(values, dtype), 8000).samples.tolist() == [0.0, 0.5]
    for wrong, text in (
        (np.zeros(0), r"samples must be numbers, \[length\] or \[length, channels\]; got float64 \[0\]"),
        (["a"], r"samples must be numbers, \[length\] or \[length, channels\]; got <U1 \[1\]"),
        ([np.inf], "samples must be finite numbers"),
    ):
        with pytest.raises(DataError, match=f"^{text}$"):
            as_sound(wrong, 8000)


def test_sounds_said_a_little_differently():
    draw = np.random.default_rng(0)
    lengths = {len(augmented(SAMPLES, 8000, draw, speed=0.1, noise=0.0)) for _ in range(40)}
    assert min(lengths) < 5600 < 6400 < max(lengths)
    assert min(lengths) >= 5400
    assert max(lengths) <= 6700
    assert augmented(SAMPLES, 8000, draw, speed=0.0, noise=0.0) is SAMPLES
    noise = augmented(SAMPLES, 8000, draw, speed=0.0, noise=1.0) - SAMPLES
    ratio = 10 * np.log10(np.square(SAMPLES).mean() / np.square(noise).mean())
    assert 9 < ratio < 41
    frames, mean = np.ones((50, 20), np.float32), np.zeros(20, np.float32)
    hidden = masked(frames, mean, draw, share=0.2)
    assert 0 < (hidden == 0).mean() < 0.8
    assert np.array_equal(masked(frames, mean, draw, share=0.0), frames)
    assert bool((frames == 1).all())  # what was given stays


@given(st.integers(1, 6), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 100))
def test_warping_is_the_textbooks(n, lengths, seed):
    draw = np.random.default_rng(seed)
    frames, others = draw.normal(size=(n, 2)), [draw.normal(size=(m, 2)) for m in lengths]
    for other, found in zip(others, warped(frames, others), strict=True):
        cost = np.linalg.norm(frames[:, None] - other[None], axis=2)
        total = np.full((n + 1, len(other) + 1), np.inf)
        total[0, 0] = 0
        for i in range(n):
            for j in range(len(other)):
                total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
        assert found == pytest.approx(total[n, len(other)] / (n + len(other)), abs=1e-6)


def test_templates_are_a_few_of_each():
    assert Templates.chosen(["a", "b"] * 20) == list(range(10))
    assert Templates.chosen([str(i) for i in range(101)]) == []
    baseline = Templates([np.zeros((3, 2)), np.ones((4, 2))], ["low", "high"])
    assert baseline.nearest(np.full((9, 2), 0.9)) == "high"


def test_a_header_that_claims_more_than_the_bound_is_told_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, SAMPLES, 8000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the 36 bits of STREAMINFO that tell the number of samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_sound(path)
    assert str(caught.value) == (
        f"{path}: its header claims 68,719,476,735 samples; at most 1,073,741,824 are read, six hours at 48,000 a "
        "second. Cut it into parts"
    )
