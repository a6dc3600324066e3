"""What `predict` and `evaluate` take: tables, folders, lines and items are told apart, and a run is a model."""

import csv
import gzip
import io
import json
import shutil
import sys

import pytest

import unrolled
from tests.test_verbs import BRIEF, COMMANDS, CONLL, REVIEWS

STEPS = {"steps": 40, "lr": 0.02, "precision": "float32"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of a classifier, a tagger and a model of intents."""
    folder = tmp_path_factory.mktemp("runs")
    for name, text, kind, settings in (
        ("c", REVIEWS, unrolled.ClassifyModel, {"label": "stars"}),
        ("t", CONLL, unrolled.TagModel, {}),
        ("u", COMMANDS, unrolled.UnderstandModel, {}),
    ):
        (folder / f"{name}.txt").write_text(text)
        model = kind(hidden=8, layers=1, **settings, **STEPS)
        model.fit([folder / f"{name}.txt"], run=folder / name)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("way", ["item", "--file", "gz", "semicolons", "utf-16", "jsonl", "txt"])
def test_a_table_is_predicted_as_a_table(runs, call, folder, way):
    text = REVIEWS.replace(",", ";") if way == "semicolons" else REVIEWS
    name = {"gz": "r.csv.gz", "jsonl": "r.jsonl", "txt": "r.txt"}.get(way, "r.csv")
    if way == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows_of(REVIEWS))
    content = text.encode("utf-16" if way == "utf-16" else "utf-8")
    (folder / name).write_bytes(gzip.compress(content) if way == "gz" else content)
    arguments = ["--file", name] if way == "--file" else [name]
    code, out, err = call("predict", runs / "c", *arguments, "--format", "csv")
    assert (code, err) == (0, f"{name}: a table of 60 rows, texts in column 'review'\n")
    found = rows_of(out)
    assert list(found[0]) == ["id", "review", "stars", "labels", "p(down)", "p(up)"]
    assert [{key: row[key] for key in ("id", "review", "stars")} for row in found] == rows_of(REVIEWS)
    assert all(row["labels"] == row["stars"] for row in found)
    _, out, _ = call("predict", runs / "c", *arguments, "--format", "jsonl")
    assert [json.loads(line)["labels"] for line in out.splitlines()] == [[row["stars"]] for row in found]
    assert json.loads(out.splitlines()[0])["id"] == "0"


def test_names_that_a_table_has_too_are_told_apart(runs, call, folder):
    (folder / "r.csv").write_text("text,labels\ngood food,x\n")
    _, out, _ = call("predict", runs / "c", "r.csv", "--text", "text", "--format", "csv")
    assert out.splitlines()[0] == "text,labels,labels (predicted),p(down),p(up)"


def test_folders_lines_and_items(runs, call, folder):
    (folder / "texts").mkdir()
    for name, text in (("1.txt", "good food"), ("2.txt", "bad\nfood")):
        (folder / "texts" / name).write_text(text)
    _, out, err = call("predict", runs / "c", "texts", "--format", "csv")
    assert err == "texts: 2 files, a text each\n"
    assert [(row["file"], row["labels"]) for row in rows_of(out)] == [("1.txt", "up"), ("2.txt", "down")]
    (folder / "lines.txt").write_text("good food\nbad food\n")
    _, out, err = call("predict", runs / "c", "lines.txt", "--format", "csv")
    assert err == "lines.txt: a text a line\n"
    assert [row["labels"] for row in rows_of(out)] == ["up", "down"]
    _, out, err = call("predict", runs / "c", "good food", "", "bad food", "x" * 5000, "--format", "csv")
    assert err == ""
    assert [row["text"] for row in rows_of(out)] == ["good food", "", "bad food", "x" * 5000]
    assert [row["labels"] for row in rows_of(out)][:3:2] == ["up", "down"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["reviews.csv"], "reviews.csv: no such file. If it is a text, pass it through standard input"),
        (["--file", "absent"], "absent: no such file"),
        (["lines.txt", "good food"], "'lines.txt' is a file and 'good food' is none; give either files or texts"),
        (["--file", "lines.txt", "good"], "--file lines.txt and 'good': give one of them"),
        (["odd.csv"], "odd.csv: which column has the texts? Pass --text with one of 'a', 'b'"),
        (["odd.csv", "--text", "c"], "odd.csv: has no column 'c'. It has 'a', 'b'. Pass --text with the column that has the texts"),
        (["one.csv"], "one.csv: which column has the texts? Pass --text with one of 'good food'. If the first line is a text and no name, pass --no-header"),
        (["empty.txt"], "empty.txt: is empty; expected a text a line"),
        (["p.txt"], "p.txt: is a PNG picture: expected text. Save it as plain text"),
        (["latin.txt"], "latin.txt, line 1: is not utf-8. Pass --encoding with the right one"),
        (["none"], "none: is a folder that holds no files; expected one with a text a file, or name the files"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_asked(runs, call, folder, arguments, told):
    (folder / "lines.txt").write_text("good food\nbad food\n")
    (folder / "odd.csv").write_text("a,b\nx,y\n")
    (folder / "one.csv").write_text("good food\nbad food\n")
    (folder / "empty.txt").write_text("")
    (folder / "p.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "latin.txt").write_bytes("schön".encode("latin-1"))
    (folder / "none").mkdir()
    # the label of the reviews' text column is guessed: the model has no --text of its own
    code, out, err = call("predict", runs / "c", *arguments)
    assert (code, out, err.splitlines()[-1]) == (2, "", f"unrolled: {told}")


def test_without_a_header(runs, call, folder):
    (folder / "one.csv").write_text("good food\nbad food\n")
    code, out, _ = call("predict", runs / "c", "one.csv", "--no-header", "--format", "csv")
    assert code == 0
    assert [(row["1"], row["labels"]) for row in rows_of(out)] == [("good food", "up"), ("bad food", "down")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", "standard input: is empty; expected a text a line"),
        (REVIEWS.encode(), "standard input: looks like a table, whose first line names the column 'review'; expected a text a line. "
         "Name the file instead: unrolled predict MODEL table.csv"),
        (b"\x89PNG\r\n\x1a\n\0", "standard input: is a PNG picture: expected text. Save it as plain text"),
    ],
)  # fmt: skip
def test_standard_input_that_is_no_texts(runs, call, monkeypatch, given, told):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))
    assert call("predict", runs / "c") == (2, "", f"unrolled: {told}\n")


def test_a_tagger_reads_what_it_was_trained_on_and_numbers_its_tokens(runs, call, folder):
    (folder / "c.conll").write_text(CONLL)
    code, out, err = call("predict", runs / "t", "c.conll", "--format", "csv")
    assert (code, err) == (0, "c.conll: 60 tagged sentences; their tokens are read\n")
    found = rows_of(out)
    assert [(row["sentence"], row["number"], row["token"]) for row in found[:4]] == [
        ("1", "1", "Ada"), ("1", "2", "saw"), ("1", "3", "Rome"), ("2", "1", "Ada"),
    ]  # fmt: skip
    assert len(found) == 180
    # its own results can be evaluated
    (folder / "own.csv").write_text(out)
    code, out, _ = call("evaluate", runs / "t", "own.csv")
    assert code == 0
    assert "100.00 %" in out
    (folder / "t.txt").write_text("Ada saw Rome\nBob saw Oslo\n")
    _, out, err = call("predict", runs / "t", "t.txt", "--format", "csv")
    assert err == "t.txt: a text a line\n"
    assert [row["sentence"] for row in rows_of(out)] == ["1"] * 3 + ["2"] * 3


def test_a_model_of_intents_reads_what_it_was_trained_on(runs, call, folder):
    (folder / "u.jsonl").write_text(COMMANDS)
    code, out, err = call("predict", runs / "u", "u.jsonl", "--format", "jsonl")
    assert (code, err) == (0, "u.jsonl: 60 tagged sentences; their tokens are read\n")
    assert json.loads(out.splitlines()[0])["text"] == "open the door"
    (folder / "set").mkdir()
    (folder / "set/seq.in").write_text("open the door\nclose the box\n")
    _, out, err = call("predict", runs / "u", "set", "--format", "jsonl")
    assert err == "set/seq.in: 2 sentences\n"
    assert [json.loads(line)["intent"] for line in out.splitlines()] == ["open", "shut"]


FLATTERED = (
    "On data that it learnt from, which flatters it, the model does as well as naive Bayes: accuracy 100.00 % against 100.00 % "
    "(p = 1.00, 60 texts). Evaluate files that it has not seen."
)


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_evaluations_in_every_form(runs, call, folder, form):
    (folder / "r.csv").write_text(REVIEWS)
    code, out, err = call("evaluate", runs / "c", "r.csv", "--format", form)
    assert (code, err) == (
        0,
        "60 texts in column 'review', 2 classes in column 'stars'\n"
        "r.csv: the model learnt from this, so the metrics flatter it; name what it has not seen\n",
    )
    assert call("evaluate", runs / "c", "r.csv", "--format", form, "--out", "e.txt")[1] == ""
    assert (folder / "e.txt").read_text() == out
    if form == "json":
        found = json.loads(out)
        assert (found["task"], found["files"], found["model"]["accuracy"]) == ("classify", ["r.csv"], 1.0)
        assert (found["is_flattered"], found["verdict"]) == (True, FLATTERED)
    elif form == "csv":
        found = {row["metric"]: row["value"] for row in rows_of(out)}
        assert found["model.accuracy"] == "1.0"
        assert found["model.classes.up.n"] == "30"
        assert (found["is_flattered"], found["verdict"]) == ("True", FLATTERED)
    else:
        assert out.splitlines()[-1] == FLATTERED


def test_a_run_folder_is_a_model(runs, call, folder):
    assert call("info", runs / "c")[0] == 0
    assert unrolled.ClassifyModel.load(runs / "c").predict("good food").labels == ["up"]
    (folder / "empty").mkdir()
    for verb in ("info", "predict", "evaluate", "generate", "stream"):
        code, out, err = call(verb, "empty", *(["x"] if verb in ("predict", "evaluate") else []))
        assert (code, out) == (2, "")
        assert err == (
            "unrolled: empty: is a folder without a model.safetensors in it; expected a model file or a run\n"
        )


def test_resume_after_the_task_is_put_right(call):
    code, out, err = call("train", "text", "--resume", "runs/x")
    assert (code, out) == (2, "")
    assert err == "unrolled: a run knows its task and its files. Go on: unrolled train --resume runs/x\n"


def test_the_encoding_of_the_training_files_is_that_of_others(call, folder):
    text = "text,label\n" + "".join(
        f"{'好吃' if i % 2 else '难吃'}{i},{'up' if i % 2 else 'down'}\n" for i in range(30)
    )
    (folder / "g.csv").write_bytes(text.encode("gb18030"))
    (folder / "u.csv").write_text(text, encoding="utf-8")
    assert call("train", "classify", "g.csv", "--encoding", "gb18030", *BRIEF, "--folder", "run")[0] == 0
    answers = [call("predict", "run", name, "--format", "csv")[1] for name in ("g.csv", "u.csv")]
    assert answers[0] == answers[1]
    assert "好吃1" in answers[0]
    for names in (["g.csv", "u.csv"], ["u.csv", "g.csv"]):  # each file has its own
        code, out, err = call("predict", "run", *names, "--format", "csv")
        assert (code, out) == (0, answers[0] + answers[0].split("\n", 1)[1]), err
    assert call("predict", "run", "好吃" * 3000)[0] == 0  # no file has such a name


def test_a_tagger_that_is_useless_on_text_says_so(call, folder):
    words = ["科技", "全国", "大学"]
    odd = "".join(
        f"{char}{i} {tag}\n" for word in words for i, (char, tag) in enumerate(zip(word, ("B-X", "I-X"), strict=True))
    )
    (folder / "odd.conll").write_text((odd + "我0 O\n\n") * 30)
    code, out, err = call("train", "tag", "odd.conll", *BRIEF, "--folder", "run")
    assert code == 0
    assert "the tokens look unlike plain text: 100 % end with a digit, such as '科0', '技1', '全0'" in err
    assert "the same sentences as plain text, cut as predict cuts them: F1 0.00 %" in out
    assert "That is MUCH WORSE: the files have other tokens than plain text." in out
    (folder / "c.conll").write_text(CONLL)
    _, out, _ = call("train", "tag", "c.conll", *BRIEF, "--folder", "good")
    assert "cut as predict cuts them: F1 100.00 %" in out
    assert "MUCH WORSE" not in out


@pytest.mark.parametrize("way", ["item", "--file", "link"])
def test_answers_do_not_take_the_place_of_what_is_read(runs, call, folder, way):
    (folder / "new.csv").write_text(REVIEWS)
    (folder / "link.csv").symlink_to("new.csv")
    out = "link.csv" if way == "link" else "new.csv"
    read = ["--file", "new.csv"] if way == "--file" else ["new.csv"]
    code, _, err = call("predict", runs / "c", *read, "--format", "csv", "--out", out)
    assert (code, err) == (2, f"unrolled: {out}: is read and written; name another file with --out\n")
    assert (folder / "new.csv").read_text() == REVIEWS


@pytest.mark.parametrize(
    "suffix", [".tar", ".csv.zst", ".PDF", ".txt.bz2", ".docx", ".html", ".log", ".parquet", ".7z"]
)
def test_a_file_that_is_not_there_is_no_text(runs, call, suffix):
    code, out, err = call("predict", runs / "c", f"absent{suffix}")
    assert (code, out) == (2, "")
    assert f"absent{suffix}: no such file. If it is a text, pass it through standard input" in err


def test_a_model_file_by_itself_knows_what_it_learnt_from(runs, call, folder):
    (folder / "r.csv").write_text(REVIEWS)
    shutil.copy(runs / "c/model.safetensors", "moved.safetensors")
    assert call("evaluate", "moved.safetensors", "r.csv")[1].splitlines()[-1] == FLATTERED
    (folder / "r.csv").write_text(REVIEWS + "61,good food,up\n")
    assert call("evaluate", "moved.safetensors", "r.csv")[1].splitlines()[-1].startswith("The model does as well as ")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("task", ["classify", "regress"])
def test_the_rows_of_a_table_of_numbers_keep_their_columns(call, folder, task, form):
    """With --series row each row is an item: its answer stands beside it, and nothing is named a text that is none."""
    answer = "kind" if task == "classify" else "y"
    table = folder / "t.csv"
    lines = [f"{'ab'[i % 2]},r{i},{i % 7},{i % 2 * 10 + i % 3}" for i in range(60)]
    if task == "regress":
        lines = [line.replace("a,", "1.5,", 1).replace("b,", "2.5,", 1) for line in lines]
    table.write_text("\n".join([f"{answer},name,x,z", *lines]))
    option = "--label" if task == "classify" else "--target"
    training = ["train", task, table, "--values", "x,z", "--series", "row", option, answer, "--steps", 2]
    assert call(*training, "--hidden", 4, "--folder", "run")[0] == 0
    code, text, err = call("predict", "run", table, "--format", form)
    assert (code, err) == (0, "60 windows of 1 row of 2 numbers\n")
    rows = rows_of(text) if form == "csv" else list(map(json.loads, text.splitlines()))
    assert [",".join(row[name] for name in (answer, "name", "x", "z")) for row in rows] == lines
    assert "text" not in rows[0]
    assert ("labels" if task == "classify" else "number") in rows[0]

    series = ["train", task, table, "--values", "x,z", "--series", "name", option, answer, "--steps", 2]
    assert call(*series, "--hidden", 4, "--folder", "other")[0] == 0
    named = rows_of(call("predict", "other", table, "--format", "csv")[1])
    assert [row["name"] for row in named] == [f"r{i}" for i in range(60)]
    assert "text" not in named[0]
