"""The commands of README and of the tasks' pages run as they are written, on small files of the names that they use.

Only the length of a training and the size of its network are others.
"""

import io
import itertools
import json
import random
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_docs_chinese import TASKS
from tests.test_docs_commands import COMMAND, ROOT, lines

SMALL = {
    "text": "--hidden 8 --layers 1 --batch 2 --k1 10",
    "transcribe": "--hidden 8 --layers 1",
    "translate": "--hidden 8 --words 8 --subwords 60",
}
LETTERS = {"one": 0.3, "two": 0.6, "seven": 0.9}


def write(name, lines):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def tables():
    days = np.datetime64("1990-01-01") + np.arange(730)
    wave = [15 + 8 * np.sin(i * 2 * np.pi / 7) + random.random() for i in range(730)]
    write("temperatures.csv", ["date,temperature", *(f"{d},{v:.1f}" for d, v in zip(days, wave, strict=True))])
    rows = [f"{d},{v:.1f},{v + 1:.1f},{v - 1:.1f},{v / 2:.1f}" for d, v in zip(days, wave, strict=True)]
    for name in ("weather.csv", "load.csv"):
        write(name, ["date,temp_max,OT,HUFL,MUFL", *rows])
    reviews = [f'"{a} {b}, {c}",{stars}' for a, stars in (("good", 5), ("bad", 1)) for b in ("food", "wine", "soup")
               for c in ("fast", "late", "here", "there")]  # fmt: skip
    for name in ("reviews.csv", "other.csv"):
        write(name, ["review,stars", *reviews])
    write("lines.txt", ["good food", "bad soup"])
    houses = [
        f"{('small', 'big')[i % 2]} house {('red', 'old', 'new')[i % 3]},{100 * (i % 2) + i}.5" for i in range(24)
    ]
    write("houses.csv", ["description,price", *houses])
    patients = [",".join(f"{draw:.3g}" for draw in np.random.default_rng(i).normal(size=11)) for i in range(40)]
    write("diabetes.csv", ["age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,target", *patients])
    posts = [{"body": f"{a} and {b}", "topics": f"{a};{b}"} for a in ("art", "food", "tax") for b in ("law", "war")]
    comments = [
        f"so {('bad', 'good')[i % 2]} a comment as {i},{int(i % 2 == 0)},{int(i % 3 == 0)},0" for i in range(24)
    ]
    write("comments.csv", ["comment,toxic,threat,insult", *comments])
    write("posts.jsonl", map(json.dumps, posts * 6))
    sensors = [f"{i},{['up', 'down'][i % 2]},{t * (i % 2)},{i},{t},{i % 5 + 0.5}" for i in range(30) for t in range(6)]
    for name in ("sensors.csv", "new.csv"):
        write(name, ["recording,activity,x,y,z,load", *sensors])


def sentences():
    tagged = ["Ada B-person\nmet O\nBob B-person\n", "in O\nNew B-location\nYork I-location\n"] * 12
    for name in ("entities.conll", "train.conll", "dev.conll", "test.conll", "other.conll"):
        write(name, tagged)
    numbered = [(i, *line.split()) for i, text in enumerate(tagged) for line in text.splitlines()]
    write("words.csv", ["id,form,label", *(",".join(map(str, row)) for row in numbered)])
    write("texts.txt", ["Ada met Bob", "Bob in York"])
    for part in ("train", "valid", "test"):
        write(f"atis/{part}/seq.in", ["flights to boston", "rain in denver"] * 8)
        write(f"atis/{part}/seq.out", ["O O B-city", "O O B-city"] * 8)
        write(f"atis/{part}/label", ["flight", "weather"] * 8)
    book = ["Once upon a time there was a ROMEO: and he said, to be or not to be."] * 60
    for name in ("book.txt", "a.txt", "b.txt", "other.txt", "shakespeare.txt"):
        write(name, book)
    pairs = [(f"Ein {a} {b}.", f"A {c} {d}.") for a, c in (("Hund", "dog"), ("Mann", "man"))
             for b, d in (("läuft", "runs"), ("geht im Schnee", "walks in the snow"))] * 6  # fmt: skip
    write("pairs.tsv", ["\t".join(pair) for pair in pairs])
    write("questions.csv", ["id,english,french", *(f"{i},where is {i},où est {i}" for i in range(24))])
    write("german.txt", [pair[0] for pair in pairs[:2]])
    for name in ("train", "val", "test"):
        write(f"{name}.de", [pair[0] for pair in pairs])
        write(f"{name}.en", [pair[1] for pair in pairs])


def sounds():
    soundfile = pytest.importorskip("soundfile")
    Path("recordings").mkdir()
    said = [(f"recordings/{word}{i}.wav", word) for i in range(6) for word in LETTERS]
    for name, word in [*said, ("7_jackson_0.wav", "seven"), ("call.wav", "one"), ("other.flac", "two")]:
        soundfile.write(name, np.sin(np.arange(4000) * LETTERS[word]) / 2, 8000)
    for name, word in said:
        write(Path(name).with_suffix(".txt"), [word])
    for name in ("manifest.csv", "digits.csv", "test.csv"):
        write(name, ["file,text", *(f"{name},{word}" for name, word in said)])


@pytest.fixture
def shell(call, monkeypatch, tmp_path):
    """Runs the lines of a page; MODEL and the folder of a run are those of the last training."""
    monkeypatch.chdir(tmp_path)
    random.seed(0)
    tables(), sentences(), sounds()
    numbers, last = itertools.count(), "none"

    def shell(line):
        nonlocal last
        before, _, command = line.rpartition("| ") if "| unrolled" in line else ("", "", line)
        line = re.split(r"\s{3,}| > ", command.removeprefix("$ "))[0]
        line = re.sub(r"MODEL|runs/\w+-DATE-TIME", last, line)
        given = shlex.split(line)[1:]
        if given[0] == "train" and "--resume" not in given:
            line = re.sub(r" --minutes [\d.]+", "", line) + f" --steps 2 {SMALL.get(given[1], '--hidden 8')}"
            last = given[given.index("--folder") + 1] if "--folder" in given else f"runs/{next(numbers)}"
            line += "" if "--folder" in given else f" --folder {last}"
        stdin = Path(before.split()[1]).read_bytes() if before.startswith("cat ") else bytes(32000)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        return call(*shlex.split(line)[1:])

    return shell


def commands(page):
    return [line for _, line in lines(page) if (found := COMMAND.match(line)) and found[1] == "unrolled "]


def tasks():
    """README's commands by task, and those of each task's page."""
    readme = [line for line in commands(ROOT / "README.md") if line.startswith("$ ")]
    starts = [i for i, line in enumerate(readme) if " train " in line]
    for start, end in itertools.pairwise([*starts, len(readme)]):
        yield pytest.param(readme[start:end], id=f"README-{readme[start].split()[3]}")
    for page in TASKS:
        yield pytest.param(commands(ROOT / "docs" / page.name), id=page.name)


@pytest.mark.parametrize("page", list(tasks()))
def test_the_pages_commands_run(shell, page):
    assert page
    for line in page:
        code, out, err = shell(line)
        assert code == 0, (line, err)
        assert out or "--out" in line, line


def test_the_pages_outputs_have_the_form_of_today(shell):
    """A forecast as README shows it, but for its numbers; shortened by its last line."""
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"\$ unrolled predict runs/temperatures temperatures.csv\n(.*?)\n +…", readme, re.S)[1]
    shell("$ unrolled train forecast temperatures.csv --horizon 7 --folder runs/temperatures")
    _, out, _ = shell("$ unrolled predict runs/temperatures temperatures.csv")
    shown = [line.removeprefix("    ") for line in shown.splitlines()]
    forms = [[re.sub(r"[\d.]+", "0", line) for line in each] for each in (shown, out.splitlines())]
    assert shown[0].endswith(", by model")  # or by the baseline that answers
    assert out.startswith("temperature, by ")
    assert forms[0][1:] == forms[1][1 : len(shown)]
