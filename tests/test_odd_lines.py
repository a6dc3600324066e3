"""Odd command lines, files and model files, generated: each ends in one clear line and exit code 2, or answers."""

import dataclasses
import gzip
import io
import json
import os
import random
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

import unrolled
from unrolled import json_values, tasks
from unrolled.errors import ArgumentError, DataError, UnrolledError
from unrolled.files import safetensors_tree

OLD = Path(__file__).parent / "tasks" / "old_models"
NAMES = sorted(each.stem for each in OLD.glob("*.safetensors"))  # tasks of which there is a model
TABLE = b"text,label\ngood food,a\nbad food,b\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_answered_or_told(folder, before, result, arguments):
    """Exit code 0, or 2 with one fault on standard error and nothing left behind."""
    code, _, err = result
    assert code in (0, 2), (arguments, err)
    assert "Traceback" not in err
    assert "panicked" not in err
    if code == 2:
        faults = [line for line in err.splitlines() if line.startswith("unrolled: ")]
        assert len(faults) == 1, (arguments, err)
        assert len(err) < 2000, arguments
        assert sorted(folder.iterdir()) == before, arguments


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    return file.getvalue()


def odd_files(draw):
    """Contents by name: blank, binary, damaged, huge in one way."""
    packed, archive, noise = gzip.compress(TABLE * 20), zipped(TABLE * 20), draw.randbytes(500)
    return {
        "empty.csv": b"", "line.csv": b"\n\n", "spaces.csv": b"   ", "mark.csv": b"\xef\xbb\xbf",
        "wide.csv": b"\xff\xfe", "odd.csv": b"\xff\xfea\0b", "zeros.csv": bytes(300), "noise.csv": noise,
        "names.csv": b"text,label\n", "cell.csv": b"a", "commas.csv": b",,,\n,,,\n", "open.csv": b'text,label\n"a,b\n',
        "long_name.csv": b"x" * 50_000 + b",y\n1,2\n", "long_number.csv": b"value\n" + (b"9" * 5000 + b"\n") * 5,
        "end_of_time.csv": b"time,value\n9999-12-30,1\n9999-12-31,2\n", "one_row.csv": b"time,value\n2020-01-01,5\n",
        "deep.json": b"[" * 50_000, "half.json": b'[{"text": "\\ud800", "label": "a"}]', "null.jsonl": b'{"text": null}',
        "cut.csv.gz": packed[:20], "bent.csv.gz": packed[:15] + b"\xff\xff" + packed[17:], "cut.zip": archive[:50],
        "bent.zip": archive[:45] + b"\xff\xff" + archive[47:], "magic.xlsx": b"PK\x03\x04", "magic.parquet": b"PAR1",
        "book.xlsx": zipped(b"")[:-4], "cut.wav": b"RIFF\x24\0\0\0WAVEfmt ", "sounds.csv": b"file,text\n/dev/zero,a\n",
        "picture.png": b"\x89PNG\r\n\x1a\n", "odd.conll": b"a b c d\ne f\n", "blank.conll": b"\n\n\n",
    }  # fmt: skip


@pytest.mark.parametrize("task", NAMES)
def test_odd_files_are_answered_or_told(folder, call, task):
    files = odd_files(random.Random(0))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    before = sorted(folder.iterdir())
    # learning from raw text takes what is odd in a table
    odd = [*files, "folder", "loop", "absent.csv", "a" * 300, "/dev/zero", "/dev/null", "", "é\n"]
    for name in odd:
        for arguments in (
            ["predict", OLD / f"{task}.safetensors", name],
            ["evaluate", OLD / f"{task}.safetensors", name],
        ):
            assert_answered_or_told(folder, before, call(*arguments), arguments)
        if task != "text" or name.endswith((".gz", ".zip", ".png")):
            arguments = ["train", task, name, "--steps", "0", "--folder", "run"]
            assert_answered_or_told(folder, before, call(*arguments), arguments)


@pytest.mark.parametrize("task", NAMES)
def test_an_empty_file_is_told_as_what_a_verb_needs(folder, call, task):
    for name in ("a.csv", "a.txt", "a.jsonl", "a.tsv"):
        (folder / name).write_bytes(b"")
        for verb in ("predict", "evaluate", "checkup"):
            code, out, err = call(verb, OLD / f"{task}.safetensors", name)
            assert (code, out, "learn" in err) == (2, "", False), (verb, name, err)
            assert "is empty" in err or "no such" in err or task in ("text", "transcribe"), (verb, name, err)


NUMBERS = ["", "abc", "-1", "nan", "inf", "-inf", "1e400", "9" * 30, "0x10", "１２", "1_0", "é" * 300]


@pytest.mark.parametrize("task", tasks.names())
def test_odd_values_of_each_option_are_told(folder, call, task):
    from unrolled.cli.main import cli

    command = cli.commands["train"].commands[task]
    before = sorted(folder.iterdir())
    options = [each.opts[0] for each in command.params if each.opts[0].startswith("--") and not each.is_flag]
    for i, option in enumerate(options):
        for value in (NUMBERS[i % len(NUMBERS)], NUMBERS[(5 * i + 3) % len(NUMBERS)]):
            arguments = ["train", task, "absent.csv", f"{option}={value}"]
            code, out, err = call(*arguments)
            assert (code, out) == (2, ""), (arguments, err)
            assert_answered_or_told(folder, before, (code, out, err), arguments)


@pytest.mark.parametrize("verb", ["info", "predict", "evaluate", "generate", "stream", "resume"])
def test_what_is_no_model_is_told(folder, call, verb):
    for name, content in odd_files(random.Random(1)).items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    before = sorted(folder.iterdir())
    for name in [*(each.name for each in before), "absent", "a" * 300, "/dev/zero", "/dev/null", "/proc/self/mem"]:
        more = ["x"] if verb in ("predict", "evaluate") else []
        arguments = ["train", "--resume", name] if verb == "resume" else [verb, name, *more]
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), arguments
        assert_answered_or_told(folder, before, (code, out, err), arguments)


ODD = [None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", "x", [], {}, [None], [[]], ["a", "a"], "\ud800"]


def places(tree, path=()):
    """Where values stand in nested data."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:3]) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize("task", NAMES)
def test_models_with_changed_descriptions_answer_or_are_told(folder, call, task):
    tensors, metadata = safetensors_tree.read_tensors(OLD / f"{task}.safetensors")
    parts = sorted(metadata.items())  # the file's own order changes from one reading to the next
    whole = [(part, *path) for part, text in parts if text[:1] in "{[" for path in places(json.loads(text))]
    draw = random.Random(task)
    path = folder / "m.safetensors"
    for _ in range(60):
        part, *inner, last = draw.choice(whole)
        tree = json.loads(metadata[part])
        at = tree
        for key in inner:
            at = at[key]
        if draw.random() < 0.3:
            del at[last]
        else:
            at[last] = draw.choice(ODD)
        safetensors_tree.write_tensors(path, tensors, metadata | {part: json.dumps(tree)})
        before = sorted(folder.iterdir())
        arguments = ["info", "m.safetensors"]
        assert_answered_or_told(folder, before, call(*arguments), (arguments, part, inner, last))
        try:
            unrolled.load(path)
        except UnrolledError as fault:
            assert str(path) in str(fault), (part, inner, last)  # noqa: PT017 - either way is right, no other error is


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan"), 10**400, "1e400", None, []])
def test_odd_numbers_of_a_file_are_read_as_numbers_or_told(odd):
    for read in (json_values.number, json_values.whole):
        try:
            assert isinstance(read(odd), int | float)
        except (TypeError, ValueError) as fault:
            assert str(fault)  # noqa: PT017 - readers of files report both as damage, no other error


def test_a_pipe_is_read_once(folder, call):
    for content, code, out, err in (
        (b"good\nbad\n", 0, 2, "pipe: a text a line\n"),
        (gzip.compress(b"good\nbad\n"), 0, 2, "pipe: a text a line\n"),
        (TABLE, 2, 0, "unrolled: pipe: looks like a table, whose first line names the column 'text'; expected a text a "
                      "line. Name the file instead: unrolled predict MODEL table.csv\n"),
    ):  # fmt: skip
        for task in ("classify", "tag"):
            os.mkfifo(folder / "pipe")
            writer = threading.Thread(target=(folder / "pipe").write_bytes, args=(content,))
            writer.start()
            found = call("predict", OLD / f"{task}.safetensors", "pipe")
            writer.join()
            assert (found[0], len(found[1].splitlines()), found[2]) == (code, out, err)
            (folder / "pipe").unlink()


@pytest.mark.parametrize("device", ["/dev/random", "/dev/zero", "/dev/null"])
def test_devices_are_no_files(call, device):
    for arguments in (["--file", device], [device]):
        found = call("predict", OLD / "classify.safetensors", *arguments)
        assert found == (2, "", f"unrolled: {device}: is a device; expected a file\n")


@pytest.mark.parametrize("nothing", [[], (), {}, set()])
def test_a_text_model_learns_from_the_standard_library_only_where_nothing_is_given(nothing):
    with pytest.raises(
        ArgumentError, match="expected text files, or nothing for the source of Python's standard library"
    ):
        unrolled.TextModel(hidden=8, steps=1).fit(nothing)


def test_of_many_faults_the_first_are_kept():
    from unrolled.data.files import Faults

    faults = Faults()
    for i in range(100_000):
        faults.add(f"line {i}")
    assert len(faults.texts) == 20
    with pytest.raises(DataError, match=r"line 19\n  and 99,980 faults more$"):
        faults.stop()


LIMITED = """
import resource, sys
from unrolled.cli import main
import unrolled.data.items, safetensors, safetensors.torch
from unrolled import tasks
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (size, size))
main.main()
"""


@pytest.mark.parametrize("more", [2**20, 2**26])
def test_want_of_memory_is_one_line(folder, more):
    (folder / "long.csv").write_bytes(b"text,label\n" + b"good food,a\n" * 1_000_000)
    command = [sys.executable, "-c", LIMITED, str(more), "evaluate", str(OLD / "classify.safetensors"), "long.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unrolled: out of memory")
    assert len(done.stderr.splitlines()) == 1


PEAK = """
import resource, sys
from unrolled.cli import faults, main
code = faults.run(lambda: main.cli.main(sys.argv[1:], standalone_mode=False))
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_of(folder, n_lines, model, encoding):
    """Mebibytes that a prediction of so many lines takes at most."""
    (folder / "lines.txt").write_bytes(("good food and café\n" * n_lines).encode(encoding))
    command = [sys.executable, "-c", PEAK, "predict", str(model), "--file", "lines.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, peak = done.stderr.splitlines()[-1].split()
    assert (code, len(done.stdout.splitlines())) == ("0", n_lines)
    return int(peak) / 1024


@pytest.mark.parametrize(
    ("of_training", "encoding"),
    [("utf-8", "utf-8"), ("latin-1", "latin-1"), ("latin-1", "utf-8"), ("utf-8", "utf-16"), ("utf-16", "utf-16")],
)
def test_memory_of_predict_does_not_grow_with_the_number_of_lines(folder, of_training, encoding):
    model, path = unrolled.load(OLD / "classify.safetensors"), folder / "m.safetensors"
    model.settings = dataclasses.replace(model.settings, encoding=of_training)
    model.save(path)
    few, many = (peak_of(folder, n, path, encoding) for n in (2_000, 12_000))
    assert many - few < 8  # kept answers alone would take 15: each has its text, and a probability of each class
