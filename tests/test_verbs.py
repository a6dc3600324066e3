"""The tasks on the command line: from a stranger's file to answers, in every format, and faults in one line."""

import csv
import dataclasses
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import load_file

import unrolled

BRIEF = ["--hidden", "8", "--layers", "1", "--steps", "30", "--lr", "0.02", "--precision", "float32"]
CONLL = (
    "".join(f"{name} B-PER\nsaw O\n{place} B-LOC\n\n" for name in ("Ada", "Bob", "Cy") for place in ("Rome", "Oslo"))
    * 10
)
REVIEWS = "id,review,stars\n" + "".join(
    f"{i},{'good' if i % 2 else 'bad'} food {i % 5},{'up' if i % 2 else 'down'}\n" for i in range(60)
)
SALES = "day,sales\n" + "".join(f"2024-{1 + i // 28:02}-{1 + i % 28:02},{5 + i % 7}\n" for i in range(120))
COMMANDS = "".join(
    json.dumps({"tokens": [verb, "the", thing], "tags": ["O", "O", "B-thing"], "intent": intent}) + "\n"
    for verb, intent in (("open", "open"), ("close", "shut")) for thing in ("door", "window", "box")
) * 10  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("c.conll", CONLL), ("r.csv", REVIEWS), ("s.csv", SALES), ("u.jsonl", COMMANDS)):
        (tmp_path / name).write_text(text)
    return tmp_path


CASES = {
    "tag": (["c.conll"], "Bob saw Rome.", "spans"),
    "classify": (["r.csv", "--label", "stars"], "good food", "probabilities"),
    "understand": (["u.jsonl"], "open the box", "slots"),
    "forecast": (["s.csv", "--horizon", "5"], "s.csv", "quantiles"),
}


@pytest.mark.parametrize("task", CASES)
def test_from_a_file_to_answers(task, call, folder):
    arguments, item, key = CASES[task]
    code, out, err = call("train", task, *arguments, *BRIEF, "--folder", "run")
    assert code == 0
    assert err.splitlines()[0].endswith(("every day", "in the scheme BIO", "2 classes in column 'stars'"))
    assert re.match(
        r"The model (beats|does as well as|LOSES to) |Too few .* to tell the model from ", out.splitlines()[-1]
    )
    assert re.search("baseline|seasonal naive|naive Bayes", out)
    kept = {".lock", "checkpoint.safetensors", "log.csv", "model.safetensors"}
    pictures = {path.name for path in (folder / "run").iterdir()} - kept
    assert len(pictures) == 1
    assert pictures.pop().endswith(".png")
    model = "run/model.safetensors"
    code, text, err = call("predict", model, item)
    assert code == 0
    assert (err == "") == (task != "forecast")  # how a table is read is said
    assert text.strip()
    code, line, _ = call("predict", model, item, "--format", "jsonl")
    assert key in json.loads(line)
    code, table, _ = call("predict", model, item, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert rows
    assert None not in rows[0]
    code, _, _ = call("predict", model, item, "--format", "csv", "--out", "answers.csv")
    assert (folder / "answers.csv").read_text() == table
    code, out, err = call("evaluate", model, arguments[0])
    assert code == 0
    flattered = f"{arguments[0]}: the model learnt from this, so the metrics flatter it; name what it has not seen\n"
    assert err.endswith(flattered) == (task != "forecast")  # whose training left out the end, which is judged
    data = unrolled.load(model).read([folder / arguments[0]])
    assert err.removesuffix(flattered).splitlines() == list(data.notes)  # how the files are read
    assert re.match(
        r"(On data that it learnt from, which flatters it, the|The) model (beats|does as well as|LOSES to) |Too few ",
        out.splitlines()[-1],
    )
    assert out.splitlines()[-1].startswith("On data that it learnt from") == (task != "forecast")
    code, out, _ = call("info", model)
    assert code == 0
    assert f"a model of the task '{task}'" in out
    assert "{" not in out
    assert not re.search(r"None|\bn_examples|items_per_step|figure=|\bnan\b|-0\b", out)
    assert re.search(r"\ntraining\n  trained on +\S.*\n(  read as .*\n)?  training +.* steps? in ", out)
    assert re.search(r"\nmetrics of the .* part\n  .*\n  ", out)


def test_texts_from_files_and_standard_input_in_bounded_memory(call, folder):
    call("train", "classify", "r.csv", "--label", "stars", *BRIEF, "--folder", "run")
    (folder / "t.txt").write_text("good food\n\nbad food\r\n" * 1500)
    code, out, _ = call("predict", "run/model.safetensors", "--file", "t.txt")
    assert code == 0
    assert len(out.splitlines()) == 4500
    (folder / "odd.txt").write_bytes(b"fine\nsch\xf6n\n")
    code, out, err = call("predict", "run/model.safetensors", "--file", "odd.txt", "--out", "answers.txt")
    assert (code, err.splitlines()) == (2, [
        "odd.txt: a text a line", "unrolled: odd.txt, line 2: is not utf-8. Pass --encoding with the right one",
    ])  # fmt: skip
    assert not (folder / "answers.txt").exists()
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "predict", "run/model.safetensors", "--highlights"],
        input="good food\n", capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "good" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_resumed_from_the_command_line(call):
    call("train", "tag", "c.conll", *BRIEF, "--folder", "run")
    code, out, _ = call("train", "--resume", "run")
    assert code == 0
    assert out.startswith("stopped  ")
    assert "F1" in out


def test_a_folder_of_parts(call, folder):
    for name, part in (("train", COMMANDS), ("valid", COMMANDS[:2000]), ("test", COMMANDS[:1000])):
        rows = [json.loads(line) for line in part.splitlines() if line.endswith("}")]
        (folder / "set" / name).mkdir(parents=True)
        for file, key in (("seq.in", "tokens"), ("seq.out", "tags"), ("label", "intent")):
            lines = (row[key] if key == "intent" else " ".join(row[key]) for row in rows)
            (folder / "set" / name / file).write_text("".join(f"{line}\n" for line in lines))
    code, out, _ = call("train", "understand", "set", *BRIEF, "--folder", "run")
    assert code == 0
    assert "\ntest file\n" in out


def test_options_that_would_be_ignored_are_refused(call):
    call("train", "tag", "c.conll", *BRIEF, "--folder", "run")
    for arguments, text in (
        (
            ("predict", "run/model.safetensors", "x", "--highlights"),
            "--highlights goes with a classifier or a forecast or a regression or a translator or a model of intents; "
            "run/model.safetensors is a model of the task 'tag'",
        ),
        (
            ("predict", "run/model.safetensors", "x", "--answer", "model"),
            "--answer goes with a forecast or a transcriber or a translator; run/model.safetensors is a model of the task 'tag'",
        ),
        (
            ("train", "tag", "c.conll", "--folds", "3", "--folder", "x"),
            "--folds validates on parts of FILE and keeps no model; leave --folder out",
        ),
    ):
        code, out, err = call(*arguments)
        assert (code, out, err) == (2, "", f"unrolled: {text}\n")


@pytest.mark.parametrize(
    "arguments", [["classify", "r.csv", "--label", "stars"], ["forecast", "s.csv", "--horizon", "5"]]
)
def test_folds(call, folder, arguments):
    code, out, _ = call("train", *arguments, *BRIEF, "--folds", "3")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if line] == ["fold", "fold", "fold", "model", "baseline", "The"]
    assert re.match(r"The model (beats|does as well as|LOSES to) .* \(p [=<] [\d.]+, 3 folds\)\.$", lines[-1])
    figures = [float(line.split()[3].rstrip("%,")) for line in lines[:3]]
    mean, spread = (float(lines[3].split(" ± ")[i].split()[-1 if i else 1]) for i in (0, 1))
    assert mean == pytest.approx(sum(figures) / 3, rel=1e-3)
    assert spread == pytest.approx(statistics.stdev(figures), rel=1e-2, abs=0.01)
    assert not (folder / "runs").exists()


def test_folds_of_a_forecast_know_nothing_of_what_comes_later():
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=5))
    values = np.arange(200.0)
    parts = [part.values[0] for part, _ in model.folds(model.as_data(values), 3, seed=0)]
    for before, after in itertools.pairwise(parts):
        # what one fold is judged on begins where the one before ends
        assert model.parts.ends(len(after))[1] == len(before)
    assert len(parts[-1]) == 200
    covariates = [np.ones((205, 2))]
    series = dataclasses.replace(model.as_data(values), covariates=covariates, n_future=1).until([150])
    assert not np.isnan(series.covariates[0][:, 0]).any()
    assert np.isnan(series.covariates[0][:, 1]).tolist() == [False] * 150 + [True] * 55


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "tag", "absent"], "absent: no such file"),
        (["train", "tag", "r.csv"], "r.csv: which column has the tokens and which has the tags? Pass --token and --tag with one of 'id', 'review', 'stars'"),
        (["train", "tag", "c.conll", "--test-file", "absent"], "absent: no such file"),
        (["train", "tag"], "Missing argument 'FILE...'."),
        (["train", "classify", "r.csv", "--label", "star"], "r.csv: has no column 'star'. Did you mean 'stars'?"),
        (["train", "classify", "r.csv", "--label", "stars", "--hidden", "0"], "hidden=0: expected at least 1"),
        (["train", "understand", "."], ".: has no seq.in, seq.out, label; expected the files seq.in, seq.out, label."),
        (["train", "forecast", "s.csv", "--target", "sale"], "s.csv: has no column 'sale'. Did you mean 'sales'?"),
        (["train", "forecast", "s.csv", "--horizon", "80"], "s.csv: series are too short for a horizon of 80: 'sales' has"),
        (["train", "forecast", "s.csv", "--horizon", "5", "--folds", "50"], "folds: a series of 12"),
        (["train", "tag", "c.conll", "--folds", "99"], "folds: 99 of 60 examples; take fewer"),
        (["predict", "absent"], "absent: no such file"),
        (["predict", "s.csv", "x"], "s.csv: is damaged or no model file"),
        (["evaluate", "s.csv", "s.csv"], "s.csv: is damaged or no model file"),
    ],
)  # fmt: skip
def test_faults_are_one_line_exit_2_and_nothing_written(call, folder, arguments, text):
    before = sorted(folder.rglob("*"))
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert any(line.startswith(f"unrolled: {text}") for line in lines), err
    assert "Traceback" not in err
    assert sorted(folder.rglob("*")) == before


def test_a_text_model_does_not_predict(call, folder):
    (folder / "tale.txt").write_text("once upon a time\n" * 100)
    call(
        "train",
        "text",
        "tale.txt",
        "--hidden",
        8,
        "--layers",
        1,
        "--batch",
        4,
        "--k1",
        16,
        "--steps",
        2,
        "--folder",
        "run",
    )
    code, _, err = call("predict", "run/model.safetensors", "x")
    assert code == 2
    assert (
        err
        == "unrolled: run/model.safetensors: a model of the task 'text' writes; use: unrolled generate run/model.safetensors\n"
    )


def test_help_teaches(call):
    for arguments, words in {
        ("train",): unrolled.tasks.names(),
        ("train", "forecast"): ["--horizon", "weather.csv", "--target", "last value"],
        ("train", "classify"): ["--label", "--separator", "reviews.csv", "naive Bayes"],
        ("train", "tag"): ["--scheme [auto|BIO|", "corpus.conll", "--folds"],
        ("predict",): ["--format [text|jsonl|csv]", "--highlights", "standard input", "bounded memory"],
    }.items():
        code, out, _ = call(*arguments, "--help")
        assert code == 0
        flat = " ".join(out.split())
        assert all(word in flat for word in words), (words, out)


@pytest.mark.parametrize("library", ["tokenizers", "sacrebleu"])
def test_translation_names_a_library_that_is_missing_before_the_training(call, folder, monkeypatch, library):
    (folder / "p.tsv").write_text("ein Hund\ta dog\nein Mann\ta man\n" * 4)
    monkeypatch.setitem(sys.modules, library, None)
    if library == "sacrebleu":
        monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    before = sorted(folder.rglob("*"))
    code, out, err = call("train", "translate", "p.tsv", "--steps", "2", "--folder", "run")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"unrolled: translation needs the {library} library. Install it: pip install 'unrolled[translate]'"
    )
    assert sorted(folder.rglob("*")) == before


def test_translation_from_two_files_to_answers(call, folder):
    sources, targets = "ein Hund geht\nder Mann singt\n" * 12, "a dog walks\nthe man sings\n" * 12
    for name, text in (("a.de", sources), ("a.en", targets), ("v.de", sources), ("v.en", targets)):
        (folder / name).write_text(text)
    brief = ["--hidden", "8", "--words", "8", "--subwords", "60", "--steps", "20", "--precision", "float32"]
    valid = ["--valid", "v.de", "--valid", "v.en", "--test-file", "v.de", "--test-file", "v.en"]
    code, out, err = call("train", "translate", "a.de", "a.en", *brief, *valid, "--folder", "run")
    assert code == 0
    assert err.splitlines()[:3] == ["validation part: v.de, v.en", "test part: v.de, v.en", "24 pairs of sentences"]
    assert "word by word (IBM model 1)" in out
    assert "BLEU nrefs:1|case:mixed|eff:yes|tok:13a" in out
    assert "picture  run/attention.png" in out
    model = "run/model.safetensors"
    code, out, err = call("predict", model, "ein Hund geht", "", "--format", "jsonl", "--beam", "2")
    assert (code, err) == (0, "")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["ein Hund geht", ""]
    code, out, _ = call("evaluate", model, "v.de", "v.en")
    assert code == 0
    assert "copy of the source" in out
    code, out, _ = call("info", model)
    assert code == 0
    assert max(map(len, out.splitlines())) < 260
    code, out, err = call("evaluate", model, "v.de")
    assert (code, out) == (2, "")
    assert err.startswith(
        "unrolled: v.de, line 1: 'ein Hund geht' has no tab; expected a source, a tab, its translation"
    )
    code, out, err = call("stream", model)
    assert (code, out) == (2, "")
    assert err == "unrolled: stream takes a transcriber; run/model.safetensors is a model of the task 'translate'\n"


def test_two_processes_give_the_result_of_one(call, folder):
    arguments = ["train", "classify", "r.csv", "--label", "stars", *BRIEF, "--dropout", "0", "--word-dropout", "0"]
    code, printed, _ = call(*arguments, "--folder", "one")
    assert code == 0
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command = [sys.executable, "-m", *launcher, "unrolled", *arguments, "--folder", "two"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert printed.replace("one/", "two/") == done.stdout  # told once, and the same figures
    one, two = (load_file(folder / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        # the sums over the batch run in another order; Adam's division lets single roundings grow
        assert (one[name] - two[name]).abs().max() <= 1e-4 * one[name].abs().max(), name
