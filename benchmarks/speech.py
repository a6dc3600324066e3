"""Spoken digits as files for the transcription task: `python -m benchmarks.speech DATA FOLDER`.

Makes, out of DATA/fsdd: digits/ with train.csv and test.csv (the official split: indices 0 to 4 of each speaker and
digit are the test), strings/ with 3 to 7 digits of one speaker joined (test strings of test files only), and
one-out/SPEAKER/ with train.csv of the other speakers and test.csv of this one.
"""

import argparse
import csv
import random
from pathlib import Path

import numpy as np

from unrolled.data.sound import read_sound

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_TEST = 5  # recordings of each speaker and digit
N_TRAIN_STRINGS, N_TEST_STRINGS = 2400, 300
SEED = 0


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
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        speaker = sorted(by_speaker)[i % len(by_speaker)]
        chosen = draw.choices(by_speaker[speaker], k=draw.randint(3, 7))
        samples = np.concatenate([read_sound(path).samples for path, _ in chosen])
        path = folder / f"{name}-{i:04}-{speaker}.wav"
        soundfile.write(path, samples, 8000, subtype="PCM_16")
        rows.append((path.absolute(), " ".join(WORDS[digit] for _, digit in chosen)))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    make(arguments.data, arguments.folder)


if __name__ == "__main__":
    main()
