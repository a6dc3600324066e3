"""Where answers and models are written: devices, pipes, links, modes; what a killed run leaves; two who want one run."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled.errors import RunError
from unrolled.files import safetensors_tree, whole
from unrolled.training.interrupts import Terminated, ctrl_c_waits, ending_signals_interrupt
from unrolled.training.run_folder import Run

OLD = Path(__file__).parent / "tasks" / "old_models" / "classify.safetensors"
ANSWER = "a (58 %)\n"  # of the model, to the word that the tests ask
SMALL = ["--hidden", "8", "--layers", "1", "--batch", "4", "--k1", "16", "--precision", "float32"]
as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs to give files to other users")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, shell="", **options):
    """The command line in a process of its own; `shell` redirects."""
    command = [sys.executable, "-m", "unrolled", *map(str, arguments)]
    line = " ".join(f"'{word}'" for word in command) + " " + shell
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, **options)


@pytest.fixture
def kept(folder):
    """A file, a pipe and a link to itself, which are there afterwards as before, and nothing else."""
    (folder / "log").write_text("old\n")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    before = sorted(folder.iterdir())
    yield
    assert sorted(folder.iterdir()) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/dev/null", None),
        ("/dev/full", "No space left on device"),
        (".", "Is a directory"),
        ("absent/x", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("a" * 300, "File name too long"),
    ],
)
def test_what_takes_no_answers_is_told(kept, call, name, fault):
    told = (2, "", f"unrolled: {name}: cannot be written: {fault}\n") if fault else (0, "", "")
    assert call("predict", OLD, "good", "--out", name) == told


@pytest.mark.parametrize(
    ("shell", "code", "out", "err"),
    [
        ("--out /dev/stdout", 0, ANSWER, ""),
        ("--out /dev/fd/1", 0, ANSWER, ""),
        ("--out /proc/self/fd/1", 0, ANSWER, ""),
        ("--out /dev/stdout >> log; cat log", 0, "old\n" + ANSWER, ""),
        ("--out /dev/stderr", 0, "", ANSWER),
        ("--out >(cat)", 0, ANSWER, ""),
        ("--out pipe & cat pipe; wait $!", 0, ANSWER, ""),
        ("> /dev/full", 2, "", "unrolled: output cannot be written: No space left on device\n"),
        (">&-", 2, "", "unrolled: standard output is closed. Send it somewhere, such as > answers.txt\n"),
        (">&- 2>&- <&-", 2, "", ""),
        ("2> /dev/full", 0, ANSWER, ""),
        ("2>&-", 0, ANSWER, ""),
    ],
)
def test_what_is_no_file_is_written_through(kept, shell, code, out, err):
    done = run("predict", OLD, "good", shell=shell)
    assert (done.stdout, done.stderr, done.returncode) == (out, err, code)


def test_a_file_is_on_the_disk_before_it_takes_the_name(folder, monkeypatch):
    (folder / "out").write_text("old")
    found = []
    monkeypatch.setattr(os, "fsync", lambda file: found.append((os.pread(file, 9, 0), (folder / "out").read_text())))
    with whole.opened(folder / "out") as file:
        file.write(b"new")
    assert found == [(b"new", "old")]
    assert (folder / "out").read_text() == "new"


def test_a_name_of_255_bytes_is_written(folder, call):
    name = "é" * 127 + "a"
    assert call("predict", OLD, "good", "--out", name) == (0, "", "")
    assert [each.name for each in folder.iterdir()] == [name]


@pytest.mark.parametrize("links", [["real"], ["between", "real"], ["elsewhere/real"], ["absent"]])
def test_links_stay_and_their_target_is_replaced(folder, call, links):
    (folder / "elsewhere").mkdir()
    for name in ("real", "elsewhere/real"):
        (folder / name).write_text("old")
    names = ["link", *links]
    for name, target in zip(names, links, strict=False):
        (folder / name).symlink_to(target)
    assert call("predict", OLD, "good", "--out", "link") == (0, "", "")
    assert all((folder / name).is_symlink() for name in names[:-1])
    assert not (folder / names[-1]).is_symlink()
    assert (folder / names[-1]).read_text() == ANSWER


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755, 0o2664])
def test_an_existing_file_keeps_its_mode(call, folder, mode):
    (folder / "out").write_text("old")
    (folder / "out").chmod(mode)
    assert call("predict", OLD, "good", "--out", "out")[0] == 0
    assert stat.S_IMODE((folder / "out").stat().st_mode) == mode
    assert (folder / "out").read_text() == ANSWER


@as_root
def test_an_existing_file_keeps_owner_and_group(call, folder):
    (folder / "out").write_text("old")
    os.chown(folder / "out", 12345, 54321)
    call("predict", OLD, "good", "--out", "out")
    assert ((folder / "out").stat().st_uid, (folder / "out").stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
def test_new_files_have_the_mode_that_the_umask_says(folder, call, mask, mode):
    before = os.umask(mask)
    try:
        unrolled.ClassifyModel.load(OLD).save("model.safetensors")
        safetensors_tree.write_tree(folder / "tree", {"a": torch.ones(1)})
        call("predict", OLD, "good", "--out", "out")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {mode}
    assert len(list(folder.iterdir())) == 3


def test_a_file_that_may_not_be_written_is_not_replaced(folder, monkeypatch):
    (folder / "out").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write all
    with pytest.raises(PermissionError, match="Permission denied: 'out'"), whole.opened(Path("out")):
        pass
    assert [each.name for each in folder.iterdir()] == ["out"]


def test_a_group_that_cannot_be_kept_gets_no_more_than_others(folder, monkeypatch):
    monkeypatch.setattr(os, "chown", lambda *_: None)
    (folder / "out").write_text("old")
    (folder / "out").chmod(0o664)
    before = (folder / "out").stat()
    wanted = os.stat_result([*before[:5], before.st_gid + 1, *before[6:]])
    whole._take_over(folder / "out", wanted)
    assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o644


def test_a_model_goes_through_a_pipe(folder):
    os.mkfifo(folder / "pipe")
    model = unrolled.ClassifyModel.load(OLD)
    writer = threading.Thread(target=model.save, args=(folder / "pipe",))
    writer.start()
    content = (folder / "pipe").read_bytes()
    writer.join()
    (folder / "copy").write_bytes(content)
    assert unrolled.ClassifyModel.load(folder / "copy").predict("good").labels == model.predict("good").labels
    assert (folder / "pipe").is_fifo()


def test_what_killed_runs_left_is_removed_and_nothing_else(folder):
    made = Run.create(folder / "run", {"task": "none"})
    foreign = [".run.2.77-0123abcd.part", ".other.77.part", "run/.notes.txt.77.part", "run/mine.part"]
    own = [".run.77-0123abcd.part", "run/.checkpoint.safetensors.77.part", "run/.model.safetensors.9-00ff00ff.part"]
    for name in (*foreign, own[1]):
        (folder / name).write_text("half")
    for name in (own[0], own[2]):
        (folder / name).mkdir()
        (folder / name / ".tmpabc").write_text("half")
    with made.held():
        pass
    assert not [name for name in own if (folder / name).exists()]
    assert all((folder / name).exists() for name in foreign)
    assert sorted(each.name for each in made.folder.iterdir()) == [
        ".lock", ".notes.txt.77.part", "checkpoint.safetensors", "mine.part",
    ]  # fmt: skip


HOLDING = """
import sys, time
from unrolled.training.run_folder import Run
with Run.open(sys.argv[1]).held():
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_is_held_by_one_process_and_free_when_that_is_killed(folder):
    made = Run.create(folder / "run", {"task": "none"})
    with subprocess.Popen([sys.executable, "-c", HOLDING, "run"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError) as caught, made.held():
            pass
        other.kill()
    host = os.uname().nodename
    assert str(caught.value) == f"{made.folder}: process {other.pid} on {host} trains this run. Wait for it, or stop it"
    with made.held(), made.held(), pytest.raises(RunError, match="trains this run"), Run.open(folder / "run").held():
        pass
    with Run.open(folder / "run").held():
        pass


def test_a_run_that_went_on_meanwhile_is_read_again(folder):
    made = Run.create(folder / "run", {"task": "none"})
    late = Run.open(folder / "run")
    made.write_state({"step": 7})
    with late.held():
        assert late.state == {"step": 7}


def training(folder, *more):
    (folder / "tale.txt").write_text("".join(f"line {i} of the tale, told by the fire\n" for i in range(300)))
    command = [sys.executable, "-m", "unrolled", "train", "text", "tale.txt", *SMALL, "--minutes", "5", *more]
    return subprocess.Popen(
        [*command, "--eval-every", "100", "--folder", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_that_end_a_process_leave_a_checkpoint_and_two_resumes_are_refused(folder, number, code):
    with training(folder) as process:
        while not (folder / "run/model.safetensors").exists():
            time.sleep(0.01)
        second = run("train", "--resume", "run")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (second.returncode, second.stdout) == (2, "")
    host = os.uname().nodename
    assert second.stderr == f"unrolled: run: process {process.pid} on {host} trains this run. Wait for it, or stop it\n"
    assert process.returncode == code
    assert err.splitlines()[-1] == "unrolled: terminated. Go on: unrolled train --resume run"
    assert safetensors_tree.read_tree(folder / "run/checkpoint.safetensors")["state"]["position"]["step"] >= 100
    assert sorted(each.name for each in (folder / "run").iterdir()) == [
        ".lock", "checkpoint.safetensors", "log.csv", "model.safetensors",
    ]  # fmt: skip


def interrupted(done, at, now):
    with ending_signals_interrupt():
        with ctrl_c_waits():
            for now[0] in at:
                signal.raise_signal(signal.SIGTERM)
            done.append("waited")
        done.append("went on")


@pytest.mark.parametrize(("at", "done"), [([5], ["waited"]), ([5, 5.9], ["waited"]), ([5, 6.1], [])])
def test_a_signal_amid_an_update_waits_and_one_a_second_later_does_not(at, done, monkeypatch):
    now, found = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(SystemExit) as caught:
        interrupted(found, at, now)
    assert (found, caught.value.code) == (done, 143)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def pressed_again_and_again(found, now):
    with ending_signals_interrupt():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            for now[0], number in ((7.1, signal.SIGINT), (7.2, signal.SIGTERM), (7.9, signal.SIGINT)):
                signal.raise_signal(number)
                found.append("went on")


def test_signals_within_a_second_are_one(monkeypatch):
    """As `timeout` sends them, to the process and to its group."""
    now, found = [7.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            pressed_again_and_again(found, now)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    assert found == ["went on"] * 3


def test_signals_of_which_the_program_knows_stay_its_own():
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("mine"))
    try:
        with ending_signals_interrupt(), ctrl_c_waits():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == ["mine"]
    with pytest.raises(SystemExit) as caught, ending_signals_interrupt(), ending_signals_interrupt():
        raise Terminated(signal.SIGHUP)
    assert caught.value.code == 129


STOPPED = """
import sys, unrolled
settings = unrolled.TrainSettings(minutes=5, eval_every=100, precision="float32")
model = unrolled.TextModel(hidden=8, layers=1, batch=4, k1=16)
model.fit(["tale.txt"], train=settings, run="run", display=unrolled.training.display.display_for())
"""


def test_a_script_that_trains_is_stopped_as_the_command_is(folder):
    (folder / "tale.txt").write_text("a tale told by the fire\n" * 300)
    with subprocess.Popen([sys.executable, "-c", STOPPED], stderr=subprocess.PIPE, text=True) as process:
        while "validation" not in process.stderr.readline():
            pass
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert safetensors_tree.read_tree(folder / "run/checkpoint.safetensors")["state"]["position"]["step"] >= 100
