"""The command line as a stranger uses it: what it prints, its exit codes, and what it leaves behind."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.assertions import assert_equal
from unrolled.files import safetensors_tree

TEXT = "".join(f"line {i} of the tale, told by the fire\n" for i in range(300))
SMALL = ["--hidden", "8", "--layers", "1", "--batch", "4", "--k1", "16", "--precision", "float32"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tale.txt").write_text(TEXT)
    return tmp_path


def test_a_large_model_that_made_few_updates_is_told_so(call):
    large = ["--hidden", "384", "--layers", "2", "--batch", "2", "--k1", "8", "--precision", "float32"]
    code, out, _ = call("train", "text", "tale.txt", *large, "--steps", 3)
    assert code == 0
    assert out.splitlines()[-1] == (
        "Next step: it made 3 updates, few for its size; a smaller model learns more in the same time: "
        "--layers 1 --hidden 384 --batch 8 --dropout 0."
    )


def test_from_text_to_text(call, folder):
    code, out, err = call("train", "text", "tale.txt", *SMALL, "--steps", 20, "--folder", "runs/tale")
    assert code == 0
    assert re.search(r"^stopped     20 steps done; best at step \d+$", out, re.M)
    assert re.search(r"^model       \d\.\d{3} nats/char \(\d\.\d{3} bits/char\)$", out, re.M)
    assert re.search(r"^baseline    \d\.\d{3} nats/char .*, a \d-gram model on the same split$", out, re.M)
    verdict, step = out.splitlines()[-2:]
    assert re.match(
        r"The model (beats|does as well as|LOSES to) the \d-gram model: nats/char \d\.\d{3} against .* chars\)\.$",
        verdict,
    )
    assert step.startswith("Next step: it ")
    assert err.count("validation") == 10
    assert sorted(path.name for path in (folder / "runs/tale").iterdir()) == [
        ".lock", "checkpoint.safetensors", "log.csv", "model.safetensors",
    ]  # fmt: skip
    model = "runs/tale/model.safetensors"
    code, out, err = call("generate", model, "--prompt", "line ", "--length", 30, "--seed", 1)
    assert (code, err) == (0, "")
    assert out.startswith("line ")
    assert len(out) == 5 + 30 + 1
    assert call("generate", model, "--prompt", "line ", "--length", 30, "--seed", 1)[1] == out
    code, out, _ = call("evaluate", model, "tale.txt")
    assert code == 0
    assert re.search(rf"^text      tale\.txt, {len(TEXT):,} chars\nmodel     .*\nbaseline  .*\n", out)
    code, out, _ = call("info", model)
    assert code == 0
    for word in ("a model of the task 'text'", "hidden", "-gram", "tale.txt", "gradient_norm"):
        assert word in out


@pytest.mark.parametrize("command", [[], ["train"]])
def test_no_help_of_a_command_is_cut(call, command):
    _, out, _ = call(*command, "--help")
    listed = out[out.index("\nCommands:\n") :].splitlines()[2:]
    assert len(listed) >= 7
    assert not [line for line in listed if line.endswith("...")]
    assert max(map(len, listed)) <= 80


def test_default_run_folders_do_not_meet(call, folder):
    for _ in range(2):
        assert call("train", "text", "tale.txt", *SMALL, "--steps", 1)[0] == 0
    assert len(list((folder / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "text", "absent.txt"], "absent.txt: no such file"),
        (["train", "text", "."], ".: is a folder; name the files in it, such as ./*.txt"),
        (["train", "text", "short.txt"], "short.txt: holds 5 chars; a text model needs at least 1000. Give more text"),
        (["train", "text", "empty.txt"], "empty.txt: is empty; expected a text or a table"),
        (
            ["train", "text", "latin.txt"],
            "latin.txt, line 1: byte 0xf6 is not utf-8. Pass --encoding with the right one (such as latin-1), "
            "or --units byte to learn from raw bytes",
        ),
        (["train", "text", "tale.txt", "--hiden", "3"], "No such option '--hiden'. (Did you mean one of: '--help', '--hidden', '--size'?)"),
        (["train", "text", "tale.txt", "--hidden", "x"], "Invalid value for '--hidden': 'x' is not a valid integer."),
        (["train", "text", "tale.txt", "--hidden", "0", "--lr", "-1"], "hidden=0: expected at least 1"),
        (["train", "text", "tale.txt", "--k2", "5"], "k2=5: the gradient must reach back at least k1=100 steps. Raise k2 or lower k1."),
        (["train", "text", "tale.txt", "--device", "abacus"], "device='abacus': not to be had here"),
        (["train", "poem"], "No such command 'poem'."),
        (["train", "--resume", "runs/none"], "runs/none: no run to resume here; expected a folder with checkpoint.safetensors."),
        (["generate", "absent"], "absent: no such file"),
        (["generate", "tale.txt"], "tale.txt: is damaged or no model file"),
        (["info", "tale.txt"], "tale.txt: is damaged or no model file"),
        (["evaluate", "tale.txt", "tale.txt"], "tale.txt: is damaged or no model file"),
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
    ],
)  # fmt: skip
def test_faults_are_one_line_exit_2_and_nothing_written(call, folder, arguments, text):
    (folder / "short.txt").write_text("short")
    (folder / "empty.txt").write_text("")
    (folder / "latin.txt").write_bytes("schön ".encode("latin-1") * 500)
    before = sorted(folder.rglob("*"))
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.replace(f"{folder}/", "").startswith(f"unrolled: {text}")
    assert sorted(folder.rglob("*")) == before


def test_a_wrong_prompt_is_told_before_anything_is_written(call):
    call("train", "text", "tale.txt", *SMALL, "--steps", 1, "--folder", "run")
    code, out, err = call("generate", "run/model.safetensors", "--prompt", "€")
    assert (code, out) == (2, "")
    assert err.startswith("unrolled: prompt: '€' did not occur")


def test_help_teaches(call):
    for arguments, words in {
        (): ["train", "generate", "evaluate", "info"],
        ("train",): ["--resume RUN", "text"],
        ("train", "text"): ["--minutes", "--units [char|byte|subword]", "n-gram", "[default: 512]", "book.txt"],
        ("generate",): ["--temperature", "--top-k", "--top-p", "--length", "--seed", "--prompt"],
    }.items():
        code, out, _ = call(*arguments, "--help")
        assert code == 0
        assert all(word in out for word in words)


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def test_no_words_at_all_show_the_help(call):
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: unrolled [OPTIONS] COMMAND [ARGS]...\n\n  Recurrent neural networks")


def start(*arguments):
    """Starts the command line in a process of its own; to be used in a `with`."""
    command = [sys.executable, "-m", "unrolled", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def finish(*arguments, launcher=()):
    """Runs the command line in a process of its own to its end, which must be a good one."""
    command = [sys.executable, *launcher, "-m", "unrolled", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr


RUN = [*SMALL, "--steps", "300", "--eval-every", "40", "--checkpoint-s", "0", "--seed", "5"]


def weights(folder):
    tensors, _ = safetensors_tree.read_tensors(folder / "model.safetensors")
    state = safetensors_tree.read_tree(folder / "checkpoint.safetensors")["state"]
    return tensors, state["module"]


def test_kill_9_at_any_moment_and_resume_gives_the_same_bits(folder):
    finish("train", "text", "tale.txt", *RUN, "--folder", "whole")
    moments = random.Random(1)
    command = ["train", "text", "tale.txt", *RUN, "--folder", "killed"]
    n_kills = 0
    for _ in range(2):
        with start(*command) as process:
            while not (folder / "killed").exists():
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 4.0))  # three seconds of it go into starting again
            process.send_signal(signal.SIGKILL)
            process.communicate()
            n_kills += process.returncode == -signal.SIGKILL
        command = ["train", "--resume", "killed"]
    finish(*command)
    assert n_kills >= 1
    assert_equal(weights(folder / "killed"), weights(folder / "whole"))


def test_ctrl_c_says_how_to_go_on(folder):
    command = ["train", "text", "tale.txt", *SMALL, "--minutes", "5", "--eval-every", "10", "--folder", "run"]
    with start(*command) as process:
        while "validation" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "unrolled: interrupted. Go on: unrolled train --resume run"
    assert safetensors_tree.read_tree(folder / "run/checkpoint.safetensors")["state"]["position"]["step"] >= 10


def test_two_processes_give_the_result_of_one(call, folder):
    arguments = ["train", "text", "tale.txt", *SMALL, "--steps", "12", "--dropout", "0", "--k2", "24"]
    assert call(*arguments, "--folder", "one")[0] == 0
    finish(
        *arguments, "--folder", "two", launcher=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    )
    (_, one), (_, two) = weights(folder / "one"), weights(folder / "two")
    assert one.keys() == two.keys()
    for name in one:
        # the sums over the batch run in another order; Adam's division lets single roundings grow
        error = (one[name] - two[name]).abs().max() / one[name].abs().max()
        assert error < 1e-5, name


def test_a_reader_that_stops_early_ends_it_in_silence(call):
    call("train", "text", "tale.txt", *SMALL, "--steps", 1, "--folder", "run")
    with start("generate", "run/model.safetensors", "--length", "100000") as process:
        process.stdout.read(10)
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr.read() == ""


def test_a_run_that_may_be_extended_trains(call, folder):
    options = ["--minutes", "0.005", "--most-minutes", "0.02", "--hidden", "8", "--layers", "1", "--batch", "4"]
    code, _, err = call("train", "text", "tale.txt", *options, "--folder", "run")
    assert code == 0, err
    assert (folder / "run/model.safetensors").exists()
