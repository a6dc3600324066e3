"""`unrolled --help` and its like load no torch, and say what the command line says."""

import gc
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unrolled
from unrolled_command import command

ROOT = Path(__file__).parent.parent
PROGRAM = "import sys, unrolled_command\ntry:\n    unrolled_command.main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
HELP = json.loads(command.KEPT.read_text(encoding="utf-8"))


def run(*words, **more):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "100"}, **more,
    )  # fmt: skip


def test_the_kept_texts_are_what_the_commands_print():
    written = runpy.run_path(str(ROOT / "docs/commands.py"))
    assert written["kept"]() == HELP, "run python docs/commands.py (make docs)"
    assert HELP["100"].keys() >= {"", "train", "train classify", "predict", "info"}


@pytest.mark.parametrize("words", ["--help", "-h", "predict --help", "train --help", "train forecast -h", "--version"])
def test_help_loads_no_torch(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(*words.split())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "False\n")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    kept = HELP["100"].get(" ".join(words.split()[:-1]))
    assert done.stdout == ("unrolled, version 0.1.0\n" if words == "--version" else kept)
    assert unrolled.__version__ == "0.1.0"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], ["train", "classify", "--help"]])
def test_help_of_the_module_loads_no_torch(words):
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1]), "COLUMNS": "100"}
    run = [sys.executable, "-X", "importtime", "-m", "unrolled", *words]
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "torch" in done.stderr) == (0, False)
    assert done.stdout == command.kept_text(words, 100)


def test_a_module_beside_it_is_not_answered():
    run = "import sys; sys.argv = ['-m', '--help']; import unrolled; print('loaded')"
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "loaded\n"


def test_all_else_is_the_commands():
    assert command.kept_text(["predict"], 100) is None
    assert command.kept_text(["no-command", "--help"], 100) is None
    assert command.kept_text(["train", "text", "--steps", "--help"], 100) is None
    assert command.kept_text(["--help"], 79) is None  # lines are broken at the terminal's width
    assert command.kept_text(["--help"], 99) == HELP["80"][""]
    done = run("no-command", "--help")
    assert (done.returncode, done.stderr.splitlines()) == (2, ["unrolled: No such command 'no-command'.", "True"])


def test_a_full_disk_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == ["unrolled: output cannot be written: No space left on device", "True"]


def test_a_damaged_installation_still_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "KEPT", tmp_path / "help.json")
    for content in (None, b"", b"{", b"\xff", b"[]", b'{"80": {"": 3}}'):
        if content is not None:
            command.KEPT.write_bytes(content)
        assert command.kept_text(["--help"], 80) is None


WAYS = {"module": ["-m", "unrolled"], "script": ["-c", "from unrolled_command import main; main()"]}


def is_caught(process, number):
    """Whether a handler of the program gets a signal, as the kernel says; Python's own leaves SIGTERM alone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux whether a handler is set")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after_s", [0, 0.05, 0.4, 1, 2, "first line"])
def test_a_signal_at_any_moment_is_one_line(number, way, after_s, tmp_path):
    """From the first import of the package to the command that runs; `watch` does so until it is ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
    words = [sys.executable, *WAYS[way], "watch", str(tmp_path / "run"), "--port", "0"]  # which a training will make
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(words, **pipes) as process:
        while not is_caught(process, signal.SIGTERM):
            assert process.poll() is None
            time.sleep(0.001)
        first_line = process.stdout.readline() if after_s == "first line" else time.sleep(after_s)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    if number == signal.SIGINT and (out or first_line):  # the page was there, and Ctrl-C is how one leaves it
        assert (process.returncode, err) == (0, "")
    else:
        word = "interrupted" if number == signal.SIGINT else "terminated"
        assert (process.returncode, err) == (128 + number, f"unrolled: {word}.\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_signal_that_is_ignored_stays_so(way):
    """As under nohup: one that comes amid the loading of torch does nothing."""
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
    ignored = (signal.SIGINT, signal.SIGHUP)
    with subprocess.Popen(
        [sys.executable, *WAYS[way], "info", "absent"], stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored],
    ) as process:  # fmt: skip
        while not is_caught(process, signal.SIGTERM):
            time.sleep(0.001)
        for number in ignored:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, "unrolled: absent: no such file\n")


def test_no_signal_is_taken_by_the_library():
    program = "import signal; a = [*map(signal.getsignal, (2, 15, 1))]; import unrolled; print(a == [*map(signal.getsignal, (2, 15, 1))])"
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("megabytes", [150, 300, 450, 600, 750, 1000])
@pytest.mark.parametrize("way", ["module", "script"])
def test_too_little_address_space_is_one_line(megabytes, way):
    environment = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
    limit = megabytes * 10**6
    done = subprocess.run(
        [sys.executable, *WAYS[way], "predict", "m.safetensors", "text"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"unrolled: out of memory: the limit of address space is {limit / 2**30:.2f} GiB, and to load torch takes 1.0 GiB, "
        "a training more. Raise the limit, such as ulimit -v unlimited\n"
    )


def fail_to_load(fault, monkeypatch):
    class Failing:
        def find_spec(self, name, path=None, target=None):
            if name == "unrolled.cli.main":
                raise fault

    monkeypatch.delitem(sys.modules, "unrolled.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["unrolled", "info", "m.safetensors"])


def test_a_library_that_is_not_there_is_no_want_of_room(monkeypatch):
    fail_to_load(ModuleNotFoundError("No module named 'click'"), monkeypatch)
    monkeypatch.setattr(command, "address_space", lambda: 1 << 36)
    with pytest.raises(ModuleNotFoundError, match="click"):
        command.main()
    assert gc.isenabled()


@pytest.mark.parametrize("fault", [MemoryError, ImportError, SystemError])
def test_torch_that_finds_no_room_is_told_where_there_is_a_limit(fault, monkeypatch, capsys):
    fail_to_load(fault, monkeypatch)
    monkeypatch.setattr(command, "address_space", lambda: 1 << 31)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("unrolled: out of memory: the limit of address space is 2.00 GiB, ")
    monkeypatch.setattr(command, "address_space", lambda: None)
    with pytest.raises(fault):
        command.main()
