"""How long a check-up takes is told: after the first steps, as long as they are many, and to nobody who did not ask."""

import io

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import unrolled
from unrolled.cli.main import cli
from unrolled.insight import progress as progress_module
from unrolled.insight.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that go on by a step each time that a step asks."""

    def __init__(self, step):
        self.now, self.step = 100.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def told(stream, n, step, total):
    progress = Progress(stream, Clock(step))
    progress.start(total)
    for _ in range(n):
        progress.step()
    progress.stop()
    return stream.getvalue()


WORDS = "check-up: {} % of the products with Jacobians, at most {} left (Ctrl-C stops)"


def test_lines_tell_the_share_and_what_is_left():
    assert told(io.StringIO(), 100, 0.5, 400).splitlines() == [
        WORDS.format(0, "4 minutes"),  # after the first second
        WORDS.format(8, "4 minutes"),
        WORDS.format(15, "3 minutes"),
        WORDS.format(23, "3 minutes"),
    ]
    assert told(io.StringIO(), 40, 1.0, 40).splitlines() == [
        WORDS.format(2, "40 seconds"),
        WORDS.format(40, "30 seconds"),
        WORDS.format(77, "10 seconds"),
    ]


def test_what_is_short_is_not_told():
    assert told(io.StringIO(), 40, 0.1, 40) == ""
    assert told(Terminal(), 40, 0.1, 40) == ""


def test_the_line_of_a_terminal_is_one_and_goes():
    shown = told(Terminal(), 40, 1.0, 40)
    assert shown.count("\n") == 0
    assert shown.count("check-up: ") == 40
    assert shown.rsplit("\r", 2)[1].strip() == shown.rsplit("\r", 2)[2] == ""


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
@pytest.mark.parametrize("n_before", [0, 5])
def test_a_closed_stream_ends_no_check_up(n_before, kind, monkeypatch):
    stream = kind()
    progress = Progress(stream, Clock(1.0))
    progress.start(40)
    for i in range(20):
        if i == n_before:
            stream.close()
        progress.step()
    progress.stop()
    monkeypatch.setattr("sys.stderr", stream)
    unrolled.checkup(nn.RNN(2, 4), torch.randn(5, 3, 2))


class Counted(Progress):
    def __init__(self):
        super().__init__()
        self.totals, self.n = [], 0

    def start(self, total):
        self.totals.append(total)

    def step(self):
        self.n += 1


class Keeps(nn.Module):
    """States that nothing is forgotten of, so that all steps are done."""

    def forward(self, xs):
        return unrolled.scan(lambda x, h: (h, h + x), xs, torch.zeros(xs.shape[1], xs.shape[2]))[0]


@pytest.mark.parametrize("n_steps", [7, 100, 400])
def test_as_many_steps_are_told_as_are_done_at_most(n_steps):
    counted = Counted()
    unrolled.checkup(Keeps(), torch.randn(n_steps, 3, 4), progress=counted)
    assert counted.totals == [counted.n]
    counted = Counted()
    unrolled.checkup(nn.GRU(4, 5, bidirectional=True), torch.randn(n_steps, 3, 4), progress=counted)
    [total] = counted.totals
    assert 0.4 * total < counted.n <= total


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_call_tells_a_terminal_alone(stream, monkeypatch):
    errors = stream()
    monkeypatch.setattr("sys.stderr", errors)
    monkeypatch.setattr(progress_module, "_FIRST_S", 0.0)
    monkeypatch.setattr(progress_module, "_LONG_S", 0.0)
    unrolled.checkup(nn.RNN(2, 4), torch.randn(20, 3, 2))
    assert ("check-up: " in errors.getvalue()) == (stream is Terminal)


def test_the_command_tells_also_a_file(tmp_path, monkeypatch):
    data = [(f"a word {i}", "ab"[i % 2]) for i in range(20)]
    model = unrolled.ClassifyModel(hidden=4, layers=1)
    model.fit(data, train=unrolled.TrainSettings(steps=1, precision="float32")).save(tmp_path / "m.safetensors")
    monkeypatch.setattr(progress_module, "_FIRST_S", 0.0)
    monkeypatch.setattr(progress_module, "_LONG_S", 0.0)
    found = CliRunner().invoke(cli, ["checkup", str(tmp_path / "m.safetensors")])
    assert found.exit_code == 0, found.output
    assert "check-up: " in found.stderr
    assert "check-up: " not in found.stdout
