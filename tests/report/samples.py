"""A run of each task, trained in a second on files with names, words and labels that would be HTML."""

import contextlib
import csv
import fcntl
import itertools
import json
import wave

import numpy as np

from unrolled import tasks
from unrolled.pages import of_run
from unrolled.pages.source import source

EVIL = "<script>document.title='run'</script>"
ODD = '"><img src=x onerror=alert(1)>'
SMALL = {"hidden": 8, "words": 8}
_RATE = 8000


def _rows(path, rows):
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return path


def _classify(folder):
    rows = [
        (f"{ODD} good {i % 5} food & more", EVIL) if i % 2 else (f"bad {i % 5} food", "down & out") for i in range(60)
    ]
    return [_rows(folder / "a <b> & c.csv", [("text", "label"), *rows])], SMALL | {"chars": 4, "pairs": 4, "layers": 1}


def _regress(folder):
    rows = [(f"{'good' if i % 2 else 'bad'} {ODD} {i % 7}", (i % 2) + i % 7 / 10) for i in range(240)]
    files = [_rows(folder / "numbers.csv", [("text", "stars"), *rows])]
    return files, SMALL | {"chars": 4, "pairs": 4, "layers": 1, "target": "stars"}


def _tag(folder):
    path = folder / "tags.conll"
    names = [(name, place) for name in ("Ada", "Bob") for place in ("Rome", EVIL.replace(" ", ""))]
    path.write_text("".join(f"{a} B-PER\nsaw O\n{b} B-<i>LOC\n\n" for a, b in names * 10), encoding="utf-8")
    return [path], SMALL | {"chars": 4, "layers": 1}


def _understand(folder):
    path = folder / "intents.jsonl"
    rows = [
        {"tokens": [verb, "the", thing], "tags": ["O", "O", "B-<thing>"], "intent": f"<{verb}>"}
        for verb, thing in itertools.product(("open", "close"), ("door", ODD.replace(" ", ""), "box"))
    ]
    path.write_text("\n".join(map(json.dumps, rows * 10)), encoding="utf-8")
    return [path], SMALL | {"chars": 4, "layers": 1}


def _text(folder):
    path = folder / "book.txt"
    path.write_text(f"{EVIL}\nto be or not to be & that\n" * 60, encoding="utf-8")
    return [path], {"hidden": 8, "layers": 1, "batch": 4, "k1": 20}


def _forecast(folder):
    days = np.datetime64("2024-01-01") + np.arange(150)
    rows = [(day, f"{5 + i % 7 + (i % 3) / 10}") for i, day in enumerate(days)]
    files = [_rows(folder / "sales.csv", [("day", EVIL), *rows])]
    return files, {"horizon": 5, "context": 20, "hidden": 8}


def _transcribe(folder):
    draw, rows = np.random.default_rng(0), []
    for i, said in enumerate(["ab", "ba", "<b>"] * 8):
        tones = [np.append(np.sin(np.arange(900) * (ord(each) % 32) / 2), np.zeros(200)) for each in said]
        samples = np.concatenate(tones) + 0.01 * draw.standard_normal(1100 * len(said))
        with wave.open(str(folder / f"{i}.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(_RATE)
            out.writeframes((samples / 1.2 * 32000).astype("<i2").tobytes())
        rows.append((f"{i}.wav", said))
    files = [_rows(folder / "sounds.csv", [("file", "text"), *rows])]
    return files, {"hidden": 8, "layers": 1, "mels": 20, "dropout": 0.0}


def _translate(folder):
    words = {"ein": "a", "der": "the", "hund": "dog", "<mann>": "<man>", "geht": "walks", "singt": "sings"}
    texts = [f"{a} {b} {c}" for a in ("ein", "der") for b in ("hund", "<mann>") for c in ("geht", "singt")]
    rows = [(text, " ".join(words[word] for word in text.split())) for text in texts * 6]
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    return [path], {"hidden": 16, "words": 16, "subwords": 60, "dropout": 0.0, "longest": 20}


CHECKED = "understand"  # whose page has the check-up, which takes as long as all the rest
FILES = {
    "classify": _classify,
    "forecast": _forecast,
    "regress": _regress,
    "tag": _tag,
    "text": _text,
    "transcribe": _transcribe,
    "translate": _translate,
    "understand": _understand,
}


def run_of(task, folder, name=None, **more):
    """Trains a model of a task; returns the run's folder."""
    data = folder / f"{task}-data"
    data.mkdir(exist_ok=True)
    files, settings = FILES[task](data)
    brief = {"steps": 6, "eval_every": 2, "precision": "float32", "warmup": 1, "lr": 0.02}
    model = tasks.task(task).Model(**(settings | brief | more))
    model.fit(files, run=folder / (name or task))
    return folder / (name or task)


@contextlib.contextmanager
def one_at_a_time(folder):
    """Several processes of the tests make one thing between them."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def all_runs(tmp_path_factory):
    """A run of each task, trained once for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if base.name.startswith("popen-") else base
    folder = base / "runs-of-report"
    with one_at_a_time(base):
        if not folder.exists():
            folder.mkdir()
            for task in FILES:
                run_of(task, folder)
            run_of("classify", folder, "classify-2", cell="gru")
            run_of("classify", folder, "classify-3", seed=1)
    return folder


def page_of(runs, task):
    """The page of a task's run, made once for all processes of the tests."""
    path = runs / f"{task}.html"
    with one_at_a_time(runs.parent):
        if not path.exists():
            path.write_text(of_run.page(source(runs / task), is_checked=task == CHECKED), encoding="utf-8")
    return path
