"""`unrolled watch`: a page that grows with the log, for browsers on this machine alone, that ends without a word."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from tests.report import samples
from tests.report.pages import Page, faults_of
from unrolled import tasks
from unrolled.errors import RunError
from unrolled.pages.server import FIRST_PORT, HOST, Server, listening
from unrolled.training.run_folder import CHECKPOINT


@contextlib.contextmanager
def serving(folder):
    server = listening(folder, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read().decode("utf-8")


def test_the_page_waits_for_a_run_grows_with_its_log_and_becomes_the_report(tmp_path):
    folder, seen = tmp_path / "run", []
    data = tmp_path / "data"
    data.mkdir()
    files, settings = samples.FILES["regress"](data)
    model = tasks.task("regress").Model(**settings, steps=6, eval_every=2, precision="float32", warmup=1)
    with serving(folder) as server:
        waiting = get(server.address)
        assert f"Waiting for the run {folder}: it is shown here as soon as its training begins." in waiting
        assert faults_of(waiting) == []
        model.fit(files, run=folder, callbacks=[lambda step, metrics: seen.append((step, get(server.address)))])
        ended = get(server.address)
    assert [step for step, _ in seen] == [2, 4, 6]
    for n, (_, text) in enumerate(seen, 1):
        assert faults_of(text) == []
        words = Page(text).words
        assert "The training goes on." in words
        assert f"the numbers of {n} evaluation" in words
        assert "Predicted against true" not in words
        assert "ridge regression" in words  # the baseline's line
    assert "Predicted against true" in ended
    assert "The training goes on" not in ended
    assert (
        len({re.search('data-version="(\\w+)"', text)[1] for text in (waiting, *(each for _, each in seen), ended)})
        == 5
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return samples.all_runs(tmp_path_factory)


@pytest.mark.parametrize(
    "path",
    ["/log.csv", "/model.safetensors", "/../run/log.csv", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/./", "/page"],
)
def test_nothing_but_the_page_is_served(runs, path):
    with serving(runs / "text") as server:
        connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=30)
        connection.request("GET", path)  # as it stands: urllib would mend it
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"there is one page here: /")
        connection.close()


def test_other_hosts_and_other_methods_are_refused(runs):
    with serving(runs / "text") as server:
        for host, method, status in (
            ("evil.example", "GET", 403),
            ("evil.example:8484", "HEAD", 403),
            (HOST, "POST", 501),
        ):
            connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=30)
            connection.request(method, "/", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
        assert server.server_address[0] == "127.0.0.1"


def test_a_page_that_did_not_change_is_not_sent_again(runs):
    with serving(runs / "text") as server:
        with urllib.request.urlopen(server.address, timeout=60) as answer:
            tag = answer.headers["ETag"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.address, headers={"If-None-Match": tag}), timeout=60)
        assert caught.value.code == 304
        caught.value.close()


def test_a_port_in_use_is_told_and_without_one_the_next_is_taken(call, tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert call("watch", tmp_path / "run", "--port", port) == (
            2, "", f"unrolled: watch: port {port} is in use. Take another --port, or none: a free one is found\n",
        )  # fmt: skip
    first = listening(tmp_path / "run", None)
    second = listening(tmp_path / "run", None)
    try:
        assert FIRST_PORT <= first.server_address[1] < second.server_address[1]
    finally:
        first.server_close()
        second.server_close()


def test_what_is_no_run_is_told(tmp_path):
    (tmp_path / "m").write_text("")
    with pytest.raises(RunError) as caught:
        listening(tmp_path / "m", 0)
    assert str(caught.value) == (
        f"{tmp_path / 'm'}: no run to watch here; expected a folder with checkpoint.safetensors, or one that a training "
        f"will make. A model file is shown by: unrolled report {tmp_path / 'm'}"
    )


@pytest.mark.parametrize("n_beside", [0, 1, 5])
def test_a_run_that_is_not_there_is_told_with_those_beside_it(n_beside, tmp_path, call, monkeypatch):
    for i in range(n_beside):
        (tmp_path / f"run{i}").mkdir()
        (tmp_path / f"run{i}" / CHECKPOINT).touch()
    monkeypatch.setattr(Server, "serve_forever", lambda *_, **__: None)
    code, out, err = call("watch", tmp_path / "run")
    last = [str(tmp_path / f"run{i}") for i in range(n_beside)][-3:]
    beside = f" Runs beside it: {', '.join(last)}." if last else ""
    told = f"{tmp_path / 'run'}: is not there yet; waiting for a training that makes it.{beside}\n"
    assert (code, out.split("\n", 1)[1], err) == (0, told, "")
    if n_beside:
        _, out, _ = call("watch", tmp_path / "run0")
        assert "is not there" not in out


def test_ctrl_c_ends_it_cleanly(tmp_path):
    command = [sys.executable, "-m", "unrolled", "watch", str(tmp_path / "run"), "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        line = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends it\)\n", line)
        told = f"{tmp_path / 'run'}: is not there yet; waiting for a training that makes it.\n"
        assert process.stdout.readline() == told
        assert "Waiting for the run" in get(line.split()[0])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
