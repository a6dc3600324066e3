"""How well are spoken digits heard? `python -m benchmarks.speech DATA [QUESTION...]`; rows go to results/speech.csv.

Out of DATA/fsdd it makes manifests (kept with --make FOLDER): digits/ with train.csv and test.csv (the official split:
indices 0 to 4 of each speaker and digit are the test), strings/ with 3 to 7 digits of one speaker joined (test strings
of test files only), and one-out/SPEAKER/ with train.csv of the other speakers and test.csv of this one.
"""

import argparse
import csv
import random
import tempfile
from pathlib import Path

import numpy as np
import torch

import unrolled
from benchmarks.harness import append
from benchmarks.training import trained
from unrolled.data.sound import read_sound
from unrolled.report.metrics import error_rates

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_TEST = 5  # recordings of each speaker and digit
N_TRAIN_STRINGS, N_TEST_STRINGS = 2400, 300
SEED = 0
# chosen on a share of the training strings; CTC needs a step for each letter, of which fast speakers leave few
SETTINGS = {"ctc": {"reduction": 2}, "transducer": {"reduction": 3}}


def recordings(data):
    """(path, digit, speaker, index) of all."""
    found = []
    for path in sorted((data / "fsdd" / "recordings").glob("*.wav")):
        digit, speaker, index = path.stem.split("_")
        found.append((path, int(digit), speaker, int(index)))
    return found


def write(manifest, rows):
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with open(manifest, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "transcript"), *rows])


def strings(sounds, n, folder, name, draw):
    """Rows of n sounds of 3 to 7 digits of one speaker."""
    import soundfile

    by_speaker = {}
    for path, digit, speaker, _ in sounds:
        by_speaker.setdefault(speaker, []).append((path, digit))
    rows, firsts = [], []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        speaker = sorted(by_speaker)[i % len(by_speaker)]
        chosen = draw.choices(by_speaker[speaker], k=draw.randint(3, 7))
        samples = np.concatenate([read_sound(path).samples for path, _ in chosen])
        path = folder / f"{name}-{i:04}-{speaker}.wav"
        soundfile.write(path, samples, 8000, subtype="PCM_16")
        rows.append((path.absolute(), " ".join(WORDS[digit] for _, digit in chosen)))
        firsts.append((path.absolute(), chosen[0][0]))
    with open(folder.parent / "first.csv", "a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(firsts)
    return rows


def make(data, folder):
    sounds = recordings(data)
    parts = {"train": [s for s in sounds if s[3] >= N_TEST], "test": [s for s in sounds if s[3] < N_TEST]}
    draw = random.Random(SEED)
    for name, n in (("train", N_TRAIN_STRINGS), ("test", N_TEST_STRINGS)):
        write(folder / "digits" / f"{name}.csv", [(path.absolute(), WORDS[digit]) for path, digit, _, _ in parts[name]])
        rows = strings(parts[name], n, folder / "strings" / name, name, draw)
        write(folder / "strings" / f"{name}.csv", rows)
    for speaker in sorted({each[2] for each in sounds}):
        for name, wanted in (("train", False), ("test", True)):
            rows = [(path.absolute(), WORDS[digit]) for path, digit, who, _ in sounds if (who == speaker) == wanted]
            write(folder / "one-out" / speaker / f"{name}.csv", rows)


def digits(folder, seed):
    """Single digits, the official split."""
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(loss="transducer", **SETTINGS["transducer"]))
    seconds = trained(model, folder / "digits/train.csv", 4.5, seed, average=0.998, patience=0)
    yield from measured(model, folder / "digits/test.csv", seconds)


def strings_ctc(folder, seed):
    yield from of_strings(folder, seed, "ctc")


def strings_transducer(folder, seed):
    yield from of_strings(folder, seed, "transducer")


def of_strings(folder, seed, loss):
    """3 to 7 digits of one speaker, by a model that hears forward only: offline, and as a stream."""
    model = unrolled.TranscribeModel(unrolled.TranscribeSettings(loss=loss, direction="forward", **SETTINGS[loss]))
    seconds = trained(model, folder / "strings/train.csv", 18, seed, average=0.998, patience=0)
    yield from measured(model, folder / "strings/test.csv", seconds)
    yield from streamed(model, folder / "strings/test.csv", seconds)


def one_out(folder, seed):
    """Single digits of a speaker whom training never heard."""
    for speaker in sorted(path.name for path in (folder / "one-out").iterdir()):
        model = unrolled.TranscribeModel(unrolled.TranscribeSettings(loss="transducer", **SETTINGS["transducer"]))
        seconds = trained(model, folder / "one-out" / speaker / "train.csv", 2, seed, average=0.998, patience=0)
        for name, *rest in measured(model, folder / "one-out" / speaker / "test.csv", seconds):
            yield f"{name} {speaker}", *rest


def measured(model, manifest, seconds):
    figures = model.evaluate(manifest)
    baselines = [figures[name]["wer"] for name in ("most frequent transcript", "nearest template") if name in figures]
    yield "word error %", 100 * figures["model"]["wer"], 100 * min(baselines), seconds


def streamed(model, manifest, seconds):
    """Word error, real-time factor, and how long after a first word's end its text is there, on chunks of 20 ms."""
    data = model.read([manifest])
    found, busy, delays, differ = [], 0.0, [], 0
    for i, transcript in enumerate(data.transcripts):
        sound = data.load(i)
        stream, step, shown = model.stream(sound.rate), sound.rate // 50, None
        for start in range(0, len(sound.samples), step):
            text = stream.accept(sound.samples[start : start + step])
            if shown is None and text.split()[:1] == transcript.split()[:1]:
                shown = stream.seconds
        end = len(read_sound(first_of(manifest, data.sounds[i])).samples) / sound.rate
        heard = stream.finish()
        found.append(heard.text)
        busy += stream.busy_s
        differ += heard.text != model.predict((sound.samples, sound.rate)).text
        if shown is not None:
            delays.append(shown - end)
    delays = 1000 * np.array(delays)
    yield "word error % streaming", 100 * error_rates(found, data.transcripts)["wer"], float("nan"), seconds
    yield "streams that differ from the whole", differ, float("nan"), seconds
    yield "real-time factor", busy / float(data.seconds.sum()), float("nan"), seconds
    yield "ms from a first word's end to its text, median", float(np.median(delays)), float("nan"), seconds
    yield "ms from a first word's end to its text, 95 %", float(np.quantile(delays, 0.95)), float("nan"), seconds


def first_of(manifest, path):
    """The recording that a string begins with."""
    with open(manifest.parent / "first.csv", encoding="utf-8") as file:
        return next(first for string, first in csv.reader(file) if string == str(path))


BRIEF = ("digits", "one_out")  # a training takes less than five minutes
QUESTIONS = {each.__name__: each for each in (digits, strings_ctc, strings_transducer, one_out)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS], default=[])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seeds", type=int, nargs="+", help="[0 1 2; 0 alone where a training takes 18 minutes]")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="write the manifests there, and train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.make:
        make(arguments.data, arguments.make)
        return
    with tempfile.TemporaryDirectory() as name:
        make(arguments.data, Path(name))
        for question in arguments.questions or QUESTIONS:
            for seed in arguments.seeds or range(3 if question in BRIEF else 1):
                rows = []
                for figure, value, baseline, seconds in QUESTIONS[question](Path(name), seed):
                    print(
                        f"{question} {figure}, seed {seed}: {value:.4g}, baseline {baseline:.4g}, {seconds:.0f} s",
                        flush=True,
                    )
                    rows.append(
                        {"question": question, "figure": figure, "seed": seed, "value": value, "baseline": baseline}
                    )
                    rows[-1]["seconds"] = round(seconds)
                append("speech", rows)


if __name__ == "__main__":
    main()
